"""nnFormer's network: Zhou et al., IEEE Transactions on Image Processing 2023; code 282857341/nnFormer.

Between modules, features are ``(B, C, D, H, W)``, in channels-last memory after the first normalisation; blocks
see tokens ``(B, D, H, W, C)``, which is then the same memory without a copy.

``torch.compile`` captures the whole network in one graph (``fullgraph=True``), in training and evaluation; the
default backend compiles it for CPU too, in minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from einops import rearrange
from monai.networks.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional

from harness.spec import Triple

if TYPE_CHECKING:
    from harness.architectures.networks.nnformer_options import NNFormerOptions

_APART = -100.0  # added to the logits of tokens that do not belong together


class NNFormerNetwork(nn.Module):
    """Maps an image ``(B, in_channels, *patch)`` to logits ``(B, out_channels, *patch)``.

    With deep supervision, in training mode: a list, finest first, the others at the resolution of their stage.

    Args:
        in_channels: of the image.
        out_channels: classes.
        patch: voxels; an image of another size is a ``ValueError``.
        options: sizes.
    """

    def __init__(self, in_channels: int, out_channels: int, patch: Triple, options: NNFormerOptions) -> None:
        super().__init__()
        self.patch = patch
        grids, size = options.grids(patch), options.patch_size()
        self.model_down = Encoder(in_channels, grids, options)
        self.decoder = Decoder(grids, options)
        supervised = range(len(grids) - 1) if options.deep_supervision else range(1)
        self.final = nn.ModuleList(
            nn.ConvTranspose3d(options.channels(stage), out_channels, size, stride=size)
            for stage in supervised
        )
        # what padding to whole tokens added is cut off, at the resolution of each output
        self.sizes = [
            [-(-side * n // finest) for side, n, finest in zip(patch, grids[stage], grids[0], strict=True)]
            for stage in supervised
        ]

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits, or a list of them."""
        if image.shape[2:] != self.patch:
            raise ValueError(f"image of {list(image.shape[2:])} voxels in a network for {list(self.patch)}")
        features = self.decoder(self.model_down(image))
        if not self.training:
            return self._logits(features, 0)
        outputs = [self._logits(features, stage) for stage in range(len(self.final))]
        return outputs if len(outputs) > 1 else outputs[0]

    def _logits(self, features: list[Tensor], stage: int) -> Tensor:
        a, b, c = self.sizes[stage]
        return self.final[stage](features[stage])[:, :, :a, :b, :c]


class Encoder(nn.Module):
    """Maps an image to the normalised features of every stage, finest first."""

    def __init__(self, in_channels: int, grids: list[Triple], options: NNFormerOptions) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(in_channels, options)
        rates = iter(torch.linspace(0, options.drop_path, sum(options.depths), device="cpu").tolist())
        self.layers = nn.ModuleList()
        for stage, grid in enumerate(grids):
            channels, heads, window = options.channels(stage), options.heads[stage], options.windows[stage]
            self.layers.append(
                nn.ModuleList(
                    Block(channels, heads, grid, window, options, shifted=i % 2 == 1, drop_path=next(rates))
                    for i in range(options.depths[stage])
                )
            )
        self.down = nn.ModuleList(
            DownSampling(options.channels(stage), grid, stride)
            for stage, (grid, stride) in enumerate(zip(grids, options.strides, strict=False))
        )
        self.norms = nn.ModuleList(LayerNorm3d(options.channels(stage)) for stage in range(len(grids)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return one ``(B, C, D, H, W)`` for each stage."""
        x, features = self.patch_embed(image), []
        for stage, (blocks, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            if stage:
                x = self.down[stage - 1](x)
            tokens = x.movedim(1, -1)
            for block in blocks:  # type: ignore[attr-defined]
                tokens = block(tokens)
            x = tokens.movedim(-1, 1)
            features.append(norm(x))
        return features


class Decoder(nn.Module):
    """Goes from the encoder's coarsest features to the finest; modules are finest first."""

    def __init__(self, grids: list[Triple], options: NNFormerOptions) -> None:
        super().__init__()
        depths = options.decoder_depths
        rates = iter(torch.linspace(0, options.drop_path, sum(depths), device="cpu").tolist())
        # the coarsest stage has the lowest rates
        of_stage = [[next(rates) for _ in range(depth)] for depth in reversed(depths)][::-1]
        self.layers = nn.ModuleList(
            DecoderStage(stage, (grids[stage], grids[stage + 1]), of_stage[stage], options)
            for stage in range(len(depths))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the features of all stages but the coarsest, finest first."""
        *skips, x = features
        outputs: list[Tensor] = []
        for layer, skip in zip(reversed(self.layers), reversed(skips), strict=True):
            x = layer(x, skip)
            outputs.insert(0, x)
        return outputs


class DecoderStage(nn.Module):
    """Up-sampling, attention of what was up-sampled over the skip, then self-attention."""

    def __init__(
        self, stage: int, grids: tuple[Triple, Triple], rates: list[float], options: NNFormerOptions
    ) -> None:
        super().__init__()
        channels, heads = options.channels(stage), options.decoder_heads[stage]
        window = options.windows[stage]
        self.up = UpSampling(channels, *grids, options.strides[stage])
        self.skip = SkipBlock(channels, heads, grids[0], window, options, drop_path=rates[0])
        self.blocks = nn.ModuleList(
            Block(channels, heads, grids[0], window, options, shifted=i % 2 == 1, drop_path=rate)
            for i, rate in enumerate(rates[1:], start=1)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return ``(B, C, D, H, W)`` from ``(B, 2C, …)`` of the stage below and the skip ``(B, C, D, H, W)``."""
        tokens = self.skip(self.up(x).movedim(1, -1), skip.movedim(1, -1))
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.movedim(-1, 1)


class LayerNorm3d(nn.LayerNorm):
    """Normalises the channels of ``(B, C, D, H, W)`` at each place."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape, in channels-last memory."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class PatchEmbedding(nn.Sequential):
    """Maps an image ``(B, C, D, H, W)`` to tokens ``(B, embed, *grid)`` by four convolutions."""

    def __init__(self, in_channels: int, options: NNFormerOptions) -> None:
        (first, second), embed = options.embedding_strides, options.embed
        half = embed // 2
        super().__init__(
            nn.Conv3d(in_channels, half, 3, stride=first, padding=1), nn.GELU(), LayerNorm3d(half),
            nn.Conv3d(half, half, 3, padding=1), nn.GELU(), LayerNorm3d(half),
            nn.Conv3d(half, embed, 3, stride=second, padding=1), nn.GELU(), LayerNorm3d(embed),
            nn.Conv3d(embed, embed, 3, padding=1), LayerNorm3d(embed),
        )  # fmt: skip
        self.patch_size = options.patch_size()

    def forward(self, image: Tensor) -> Tensor:
        """Return the tokens of the image, padded with zeros at the end to whole tokens."""
        a, b, c = (-side % size for side, size in zip(image.shape[2:], self.patch_size, strict=True))
        return super().forward(functional.pad(image, (0, c, 0, b, 0, a)))


class DownSampling(nn.Sequential):
    """Halves axes of stride 2 and doubles the channels.

    An odd side is not padded, so that it rounds down, as the 7 slices of ACDC become 3 in the original.
    """

    def __init__(self, channels: int, grid: Triple, stride: Triple) -> None:
        kernel, padding = [], []
        for side, step in zip(grid, stride, strict=True):
            kernel.append(3 if step == 2 else 1)
            padding.append(1 if step == 2 and side % 2 == 0 else 0)
        super().__init__(
            nn.GELU(),
            LayerNorm3d(channels),
            nn.Conv3d(channels, 2 * channels, tuple(kernel), stride, tuple(padding)),  # type: ignore[arg-type]
        )


class UpSampling(nn.Sequential):
    """Goes from ``2 * channels`` on the grid ``coarse`` to ``channels`` on the grid ``fine``."""

    def __init__(self, channels: int, fine: Triple, coarse: Triple, stride: Triple) -> None:
        a, b, c = (n - step * m for n, m, step in zip(fine, coarse, stride, strict=True))
        super().__init__(
            LayerNorm3d(2 * channels),
            nn.ConvTranspose3d(2 * channels, channels, stride, stride, output_padding=(a, b, c)),
        )


class Block(nn.Module):
    """``x + attention(norm(x))``, then ``x + MLP(norm(x))``, on tokens ``(B, D, H, W, C)``."""

    from_skip = False

    def __init__(
        self, channels: int, heads: int, grid: Triple, window: Triple, options: NNFormerOptions,
        *, drop_path: float, shifted: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        window, shift = fit_window(window, grid)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(
            channels, heads, grid, window, shift if shifted else (0, 0, 0),
            bias_index=options.bias_index, masked=options.shift_mask, from_skip=self.from_skip,
        )  # fmt: skip
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        return self._add(x, self.attention(self.norm1(x)))

    def _add(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.drop_path(attended)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class SkipBlock(Block):
    """A block whose keys and values come from the skip, and whose queries are the up-sampled tokens themselves."""

    from_skip = True

    def forward(self, up: Tensor, skip: Tensor) -> Tensor:  # type: ignore[override]
        """Return the shape of both, ``(B, D, H, W, C)``."""
        return self._add(up + skip, self.attention(self.norm1(skip), self.norm1(up)))


class WindowAttention(nn.Module):
    """``softmax(q k^T / sqrt(d) + bias + mask) v`` within windows of the grid, which may be shifted.

    Args:
        channels: of a token.
        heads: that share them.
        grid: tokens along each axis.
        window: tokens along each axis; the grid is padded with zeros to whole windows.
        shift: how far windows are shifted along each axis.
        bias_index: see :func:`relative_index`.
        masked: keep tokens apart that only the shift brings into one window.
        from_skip: project keys and values alone; queries are given.
    """

    index: Tensor
    mask: Tensor | None

    def __init__(
        self, channels: int, heads: int, grid: Triple, window: Triple, shift: Triple,
        *, bias_index: Literal["original", "unique"] = "unique", masked: bool = True, from_skip: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.grid, self.window, self.shift = heads, grid, window, shift
        self.padded = [-(-side // w) * w for side, w in zip(grid, window, strict=True)]
        self.project = nn.Linear(channels, (2 if from_skip else 3) * channels)
        self.out = nn.Linear(channels, channels)
        rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.bias = nn.Parameter(torch.zeros(rows, heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        # derived from the sizes, so no part of the state
        self.register_buffer("index", relative_index(window, bias_index), persistent=False)
        mask = shift_mask(self.padded, window, shift) if masked and any(shift) else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
        """Return what tokens ``(B, D, H, W, C)`` attend to; ``queries`` of the same shape, or those of ``x``."""
        projected = self._windows(self.project(self._shifted(x)))
        if queries is None:
            q, k, v = projected
        else:
            (q,), (k, v) = self._windows(self._shifted(queries)), projected
        bias = self._bias()
        # windows that are masked differently are told apart like heads: (B * windows, heads, N, d), or
        # (B, windows * heads, N, d), is the same memory
        shape = (-1, len(bias), *q.shape[2:])
        attended = attend(q.view(shape), k.view(shape), v.view(shape), bias[None].to(q.dtype))
        return self.out(self._merged(attended.view(q.shape)))

    def _bias(self) -> Tensor:
        """Return what is added to the logits: ``(heads, N, N)``, or ``(windows * heads, N, N)`` with a mask."""
        bias = self.bias[self.index].permute(2, 0, 1)
        return bias if self.mask is None else (self.mask[:, None] + bias).flatten(0, 1)

    def _shifted(self, x: Tensor) -> Tensor:
        """Return ``(B, *padded, C)``, rolled."""
        a, b, c = (more - side for more, side in zip(self.padded, self.grid, strict=True))
        if a or b or c:
            x = functional.pad(x, (0, 0, 0, c, 0, b, 0, a))
        return x.roll([-step for step in self.shift], (1, 2, 3)) if any(self.shift) else x

    def _windows(self, x: Tensor) -> Tensor:
        """Return ``(T, B * windows, heads, N, d)`` from ``(B, *padded, T * C)``."""
        i, j, k = self.window
        pattern = "b (x i) (y j) (z k) (t h c) -> t (b x y z) h (i j k) c"
        return rearrange(x, pattern, i=i, j=j, k=k, h=self.heads, c=self.out.in_features // self.heads)

    def _merged(self, windows: Tensor) -> Tensor:
        """Return ``(B, *grid, C)``, rolled back and cropped, from ``(B * windows, heads, N, d)``."""
        (i, j, k), (a, b, c) = self.window, self.padded
        pattern = "(b x y z) h (i j k) c -> b (x i) (y j) (z k) (h c)"
        x = rearrange(windows, pattern, x=a // i, y=b // j, z=c // k, i=i, j=j, k=k)
        if any(self.shift):
            x = x.roll(self.shift, (1, 2, 3))
        a, b, c = self.grid
        return x[:, :a, :b, :c]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Return ``softmax(q k^T / sqrt(d) + bias) v`` for ``(B, heads, N, d)`` and a bias ``(1, heads, N, N)``."""
    if q.is_cpu:
        # no fused kernel takes a bias with gradient there, and PyTorch's replacement scales both q and k
        logits = (q * q.shape[-1] ** -0.5) @ k.mT
        logits += bias
        return logits.softmax(dim=-1) @ v
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def fit_window(window: Triple, grid: Triple) -> tuple[Triple, Triple]:
    """Return the window that is used on a grid, and how far it is shifted in every other block."""
    shortest = min(grid)
    if len(set(window)) == 1 and shortest <= window[0]:
        return (shortest, shortest, shortest), (0, 0, 0)
    if window == grid:
        return window, (0, 0, 0)
    return window, (window[0] // 2, window[1] // 2, window[2] // 2)


def relative_index(window: Triple, kind: Literal["original", "unique"]) -> Tensor:
    """Return the row of the bias table ``(N, N)`` of each pair of tokens in a window of N.

    With an offset (dz, dy, dx) between two tokens, shifted to begin at 0, ``unique`` counts in the base
    (2z-1, 2y-1, 2x-1). ``original`` is ``dz (3y - 1) + dy (2y - 1) + dx``, which gives many offsets one row.
    """
    x, y, _ = window
    places = torch.cartesian_prod(*(torch.arange(side) for side in window)).view(-1, 3)
    offsets = places[:, None] - places[None] + torch.tensor(window) - 1
    dx, dy, dz = offsets.unbind(-1)
    if kind == "original":
        return dz * (3 * y - 1) + dy * (2 * y - 1) + dx
    return (dz * (2 * y - 1) + dy) * (2 * x - 1) + dx


def shift_mask(padded: Sequence[int], window: Triple, shift: Triple) -> Tensor:
    """Return ``(windows, N, N)``, to be added to logits: 0 between tokens of one region, else -100.

    Along a shifted axis, what the roll brought from the beginning to the end is a region of its own.
    """
    x, y, z = ((torch.arange(side) >= side - step).long() for side, step in zip(padded, shift, strict=True))
    region = x[:, None, None] * 4 + y[:, None] * 2 + z
    i, j, k = window
    region = rearrange(region, "(x i) (y j) (z k) -> (x y z) (i j k)", i=i, j=j, k=k)
    return (region[:, :, None] != region[:, None]) * _APART
