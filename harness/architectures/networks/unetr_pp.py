"""UNETR++: efficient paired attention (EPA) over channels and over space, with shared queries and keys.

Shaker et al., IEEE TMI 2024, as in Amshaker/unetr_plus_plus. ``N`` is the number of tokens, ``h`` of heads,
``d`` of channels of a head, ``P`` of projected tokens. ``torch.compile`` captures the whole network in one graph
(``fullgraph=True``); the default backend compiles it for CPU too, in minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks.dynunet_block import UnetResBlock
from torch import Tensor, nn
from torch.nn import functional

Triple = tuple[int, int, int]


class PairedAttention(nn.Module):
    """EPA: tokens ``(B, N, C)`` to tokens ``(B, N, C)``.

    ``x_c = softmax(q k^T t1) v_c`` over channels, with ``q`` and ``k`` normalised over tokens;
    ``x_s = softmax(q^T k_p t2) v_p^T`` over tokens, where ``k_p = E k`` and ``v_p = F v_s`` have ``P`` tokens and
    ``k_p`` is projected before the normalisation.

    Args:
        grid: of the tokens, whose order has its first axis slowest; N is their number.
        width: C.
        heads: h.
        projected: P.
        projection: ``shared``: one linear layer for E and F; ``separate``: two; ``matrix``: one without a bias.
        fusion: ``concat`` of two linear layers to half of the width, or ``sum`` without any.
        spatial_reshape: ``original`` scrambles tokens and channels of ``x_s`` as the released code does, whose tokens have
            the last axis, across slices, slowest; ``fixed`` does not.
        dropout: of both attention maps.
    """

    def __init__(
        self, grid: Triple, width: int, heads: int, projected: int, projection: str, fusion: str,
        spatial_reshape: str, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.grid, tokens = grid, math.prod(grid)
        self.heads, self.scrambled, self.dropout = heads, spatial_reshape == "original", dropout
        self.qkvv = nn.Linear(width, 4 * width, bias=False)
        self.t1 = nn.Parameter(torch.ones(heads, 1, 1))
        self.t2 = nn.Parameter(torch.ones(heads, 1, 1))
        self.E = nn.Linear(tokens, projected, bias=projection != "matrix")
        if projection == "matrix":
            nn.init.uniform_(self.E.weight, -1 / math.sqrt(projected), 1 / math.sqrt(projected))
        self.F = nn.Linear(tokens, projected) if projection == "separate" else self.E
        if fusion == "concat":
            self.out_spatial: nn.Module = nn.Linear(width, width // 2)
            self.out_channel: nn.Module = nn.Linear(width, width // 2)
        self.concatenates = fusion == "concat"

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended tokens."""
        b, n, c = x.shape
        parts = self.qkvv(x).view(b, n, 4, self.heads, c // self.heads)
        q, k, v_channel, v_space = parts.permute(2, 0, 3, 4, 1).contiguous().unbind()  # each (B, h, d, N)
        k_projected, v_projected = self.E(k), self.F(v_space)  # (B, h, d, P)
        # normalising q and k is scaling the rows and columns of the maps, which are small
        q_scale, k_scale = _inverse_norm(q), _inverse_norm(k)
        rate = self.dropout if self.training else 0.0
        over_channels = ((q @ k.mT) * (q_scale * k_scale.mT * self.t1)).softmax(dim=-1)
        x_channel = functional.dropout(over_channels, rate) @ v_channel
        x_space = attend(q.mT, (k_projected * (q_scale * self.t2)).mT, v_projected.mT, rate)  # (B, h, N, d)
        x_channel = x_channel.flatten(1, 2).mT
        x_space = self._scramble(x_space) if self.scrambled else x_space.transpose(1, 2).reshape(x.shape)
        if self.concatenates:
            return torch.cat([self.out_spatial(x_space), self.out_channel(x_channel)], dim=-1)
        return x_space + x_channel

    def _scramble(self, x: Tensor) -> Tensor:
        """Return ``(B, N, C)`` of ``(B, h, N, d)``, as the released code reshapes it for the same image, slices first."""
        b, h, n, d = x.shape
        slices_first = x.unflatten(2, self.grid).permute(0, 5, 1, 4, 3, 2)  # (B, d, h, Z, Y, X)
        scrambled = slices_first.reshape(b, *self.grid[::-1], h * d)
        return scrambled.permute(0, 3, 2, 1, 4).reshape(b, n, h * d)


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Return ``softmax(q k^T) v``, ``(B, h, N, d)``, of N queries and P keys and values."""
    if q.is_cpu:
        # the fused kernel there is the slower of both for heads of few channels
        return (v.mT @ functional.dropout((q @ k.mT).softmax(dim=-1), dropout).mT).mT
    return functional.scaled_dot_product_attention(
        q.contiguous(), k.contiguous(), v.contiguous(), dropout_p=dropout, scale=1.0
    )


def _inverse_norm(x: Tensor) -> Tensor:
    """Return ``1 / |x|`` over tokens, ``(B, h, d, 1)`` of ``(B, h, d, N)``."""
    return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-12).reciprocal()


class Block(nn.Module):
    """EPA with learnable positions and a residual, then a convolutional residual: ``(B, C, *grid)`` to the same."""

    def __init__(self, grid: Triple, width: int, projected: int, options: Any) -> None:
        super().__init__()
        tokens = math.prod(grid)
        self.positions = nn.Parameter(torch.zeros(1, tokens, width))
        self.norm = nn.LayerNorm(width)
        self.gamma = nn.Parameter(1e-6 * torch.ones(width))
        self.attention = PairedAttention(
            grid, width, options.heads, projected, options.projection, options.fusion,
            options.spatial_reshape, options.dropout,
        )  # fmt: skip
        self.convolutions = nn.Sequential(
            *(UnetResBlock(3, width, width, 3, 1, norm_name="batch") for _ in range(options.residual_blocks))
        )
        self.last = nn.Sequential(nn.Dropout3d(options.conv_dropout), nn.Conv3d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        tokens = x.flatten(2).mT + self.positions
        tokens = tokens + self.gamma * self.attention(self.norm(tokens))
        attended = tokens.mT.reshape(x.shape)
        return attended + self.last(self.convolutions(attended))


class Encoder(nn.Module):
    """Four stages, each a convolution that makes the grid coarser and EPA blocks."""

    def __init__(self, in_channels: int, grids: Sequence[Triple], options: Any) -> None:
        super().__init__()
        dims = options.dims
        self.downsample_layers = nn.ModuleList([_down(in_channels, dims[0], options.stem, in_channels)])
        for coarse, fine in zip(dims[1:], dims[:-1], strict=True):
            self.downsample_layers.append(_down(fine, coarse, (2, 2, 2), fine))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(grid, width, projected, options) for _ in range(depth)))
            for grid, width, projected, depth in zip(
                grids, dims, options.projected, options.depths, strict=True
            )
        )
        self.apply(_initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of each stage, finest first."""
        features = []
        for down, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(down(x))
            features.append(x)
        return features


class Up(nn.Module):
    """A transposed convolution, the skip added, then EPA blocks."""

    def __init__(self, coarse: int, fine: int, grid: Triple, depth: int, options: Any) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(coarse, fine, 2, 2, bias=False)
        projected = options.decoder_projected
        self.blocks = nn.Sequential(*(Block(grid, fine, projected, options) for _ in range(depth)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return features on the grid of the skip."""
        return self.blocks(self.up(x) + skip)


class UNETRPlusPlus(nn.Module):
    """Images ``(B, C, *patch)`` to logits; positions and projections are made for the patch.

    In training with deep supervision a list of logits, finest first: at the patch's size, on the grid of the
    first stage and on that of the second.
    """

    def __init__(self, in_channels: int, classes: int, patch: Triple, options: Any) -> None:
        super().__init__()
        dims, width = options.dims, options.dims[0] // 2
        first = tuple(side // stride for side, stride in zip(patch, options.stem, strict=True))
        grids: list[Any] = [tuple(side // 2**stage for side in first) for stage in range(4)]
        self.unetr_pp_encoder = Encoder(in_channels, grids, options)
        self.encoder1 = UnetResBlock(3, in_channels, width, 3, 1, norm_name="instance")
        self.decoders = nn.ModuleList(
            Up(dims[stage + 1], dims[stage], grids[stage], options.depths[stage], options)
            for stage in (2, 1, 0)
        )
        self.last_up = nn.ConvTranspose3d(dims[0], width, options.stem, options.stem, bias=False)
        self.last_block = UnetResBlock(3, width, width, 3, 1, norm_name="instance")
        self.head = nn.Conv3d(width, classes, 1)
        self.lower_heads = nn.ModuleList(
            nn.Conv3d(dims[stage], classes, 1) for stage in ((0, 1) if options.deep_supervision else ())
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits, or a list of them in training with deep supervision."""
        *skips, x = self.unetr_pp_encoder(image)
        decoded = []
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = decoder(x, skip)
            decoded.append(x)
        finest = self.head(self.last_block(self.last_up(x) + self.encoder1(image)))
        if not (self.training and self.lower_heads):
            return finest
        lower = [head(features) for head, features in zip(self.lower_heads, decoded[:0:-1], strict=True)]
        return [finest, *lower]


def _down(channels: int, width: int, stride: Triple, groups: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, width, stride, stride, bias=False), nn.GroupNorm(math.gcd(groups, width), width)
    )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear) and module.out_features == 4 * module.in_features:
        nn.init.trunc_normal_(module.weight, std=0.02)
