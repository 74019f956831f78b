"""Masks over patch tokens or image blocks, and the hooks that apply them from outside a network.

A mask is a boolean tensor ``(B, *grid)``, true where the input is hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.architectures.contract import Tokens
from harness.spec import Triple

Kind = Literal["tube", "random", "block"]
Fill = Literal["learned", "zero", "mean"]


def draw_mask(
    kind: Kind,
    grid: Triple,
    ratio: float,
    batch: int,
    *,
    axis: int = 2,
    per_sample: bool = True,
    generator: torch.Generator,
) -> Tensor:
    """Return a mask ``(batch, *grid)`` on the CPU.

    Args:
        kind: ``tube`` hides ``int(ratio * cells)`` cells of a plane, at the same places all along ``axis``;
            ``random`` hides ``int(ratio * cells)`` cells of the grid; ``block`` the same number, in cubes of
            two cells a side.
        grid: cells along each spatial axis.
        ratio: share of hidden cells, 0 to 1.
        batch: number of samples.
        axis: of the tube, 0 to 2.
        per_sample: draw one mask for each sample, or one for all.
        generator: a CPU generator.
    """
    masks = [_draw_one(kind, grid, ratio, axis, generator) for _ in range(batch if per_sample else 1)]
    return torch.stack(masks).expand(batch, *grid)


def _draw_one(kind: Kind, grid: Triple, ratio: float, axis: int, generator: torch.Generator) -> Tensor:
    if kind == "tube":
        plane = tuple(cells for i, cells in enumerate(grid) if i != axis)
        return _choose(torch.rand(plane, generator=generator), ratio).unsqueeze(axis).expand(grid)
    score = torch.rand(grid, generator=generator)
    if kind == "block":
        # cells of one cube share a score; the small part that differs breaks ties, so the count is exact
        cubes = torch.rand([(cells + 1) // 2 for cells in grid], generator=generator)
        for i, cells in enumerate(grid):
            cubes = cubes.repeat_interleave(2, dim=i).narrow(i, 0, cells)
        score = cubes + 1e-6 * score
    return _choose(score, ratio)


def _choose(score: Tensor, ratio: float) -> Tensor:
    """Return true at the ``int(ratio * size)`` lowest scores."""
    hidden = torch.zeros(score.numel(), dtype=torch.bool)
    # 1e-9: 0.58 * 50 is 29 to a person and 28.999… to a float
    hidden[score.flatten().argsort()[: int(ratio * score.numel() + 1e-9)]] = True
    return hidden.view(score.shape)


def resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Return the mask ``(B, *grid)`` on a finer grid, each cell repeated."""
    return functional.interpolate(mask[:, None].float(), size=list(size), mode="nearest")[:, 0] > 0.5


class Masker(nn.Module):
    """Hides parts of a network's input; holds the learnable fill and nothing of the network.

    Args:
        channels: size of a token, or number of image channels.
        fill: a learned vector (zeros at first), zeros, or the mean of a sample's channel over all places.
    """

    def __init__(self, channels: int, fill: Fill) -> None:
        super().__init__()
        self.fill = fill
        self.token = nn.Parameter(torch.zeros(channels)) if fill == "learned" else None

    def apply_to(self, values: Tensor, mask: Tensor, channel_axis: int) -> Tensor:
        """Return ``values`` with the fill where ``mask``, which broadcasts to it, is true."""
        if self.fill == "mean":
            axes = [i for i in range(1, values.ndim) if i != channel_axis % values.ndim]
            filled: Any = values.mean(dim=axes, keepdim=True)
        elif self.token is not None:
            shape = [1] * values.ndim
            shape[channel_axis] = -1
            filled = self.token.view(shape).to(values.dtype)
        else:
            filled = torch.zeros((), dtype=values.dtype, device=values.device)
        return torch.where(mask, filled, values)

    def hide_image(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return the image ``(B, C, D, H, W)`` with the blocks of ``mask`` filled."""
        return self.apply_to(image, resize_mask(mask, image.shape[2:])[:, None], channel_axis=1)

    @contextmanager
    def hide_tokens(
        self, network: nn.Module, tokens: Tokens, mask: Tensor, *, before_position: bool, skip: str | None
    ) -> Iterator[None]:
        """Within this context, the network's patch tokens are filled where ``mask`` is true.

        The hooks live only as long as the context, so a copy of the network, such as a teacher, has none.

        Args:
            network: whose tokens are masked.
            tokens: where they are.
            mask: ``(B, *tokens.mask_grid)``.
            before_position: mask before positions are added, so that a hidden token keeps its place.
            skip: path of a raw-image module whose input is zeroed at the same places; None leaves it.
        """
        cells = resize_mask(mask, tokens.grid)

        def fill_tokens(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            if output.ndim == 3:  # (B, N, C)
                return self.apply_to(output, cells.flatten(1)[..., None], channel_axis=2)
            return self.apply_to(output, cells[:, None], channel_axis=1)  # (B, C, *grid)

        def zero_image(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            image, *others = inputs
            return (image.masked_fill(resize_mask(mask, image.shape[2:])[:, None], 0.0), *others)

        path = tokens.before_position if before_position else tokens.module
        with ExitStack() as hooks:
            hooks.callback(network.get_submodule(path).register_forward_hook(fill_tokens).remove)
            if skip is not None:
                hooks.callback(network.get_submodule(skip).register_forward_pre_hook(zero_image).remove)
            yield
