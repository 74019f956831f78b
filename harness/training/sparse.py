"""Sparse convolution by masking: an encoder that computes at visible places alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_LAYERS = (nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d, nn.AvgPool3d)
_NORMS = (nn.InstanceNorm3d, nn.GroupNorm)


@contextmanager
def sparse_convolution(leaves: Sequence[nn.Module], visible: Tensor) -> Iterator[None]:
    """Within this context, ``leaves`` see and give zeros where ``visible`` is false, at every resolution.

    Convolutions and pools get masked inputs and outputs; instance and group normalisation take their
    statistics over visible places only (Tian et al., ICLR 2023).

    Args:
        leaves: layers of an encoder.
        visible: boolean ``(B, *grid)``, scaled to each layer's size by nearest neighbour.
    """
    masks: dict[tuple[int, ...], Tensor] = {}

    def mask_of(values: Tensor) -> Tensor:
        size = tuple(values.shape[2:])
        if size not in masks:
            masks[size] = functional.interpolate(visible[:, None].to(values.dtype), size=size, mode="nearest")
        return masks[size]

    def mask_input(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * mask_of(inputs[0]), *inputs[1:])

    def mask_output(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output * mask_of(output)

    def normalise(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
        return sparse_norm(module, inputs[0], mask_of(inputs[0]))

    with ExitStack() as hooks:
        for leaf in leaves:
            if isinstance(leaf, _LAYERS):
                hooks.callback(leaf.register_forward_pre_hook(mask_input).remove)
                hooks.callback(leaf.register_forward_hook(mask_output).remove)
            elif isinstance(leaf, _NORMS):
                hooks.callback(leaf.register_forward_hook(normalise).remove)
        yield


def sparse_norm(module: nn.Module, values: Tensor, mask: Tensor) -> Tensor:
    """Return ``values`` ``(B, C, D, H, W)`` normalised by the statistics of their visible places, zero elsewhere.

    Args:
        module: an instance or group normalisation, for its groups, affine parameters and epsilon.
        values: what it was given.
        mask: ``(B, 1, D, H, W)``, 1 where visible.
    """
    groups: Any = module.num_groups if isinstance(module, nn.GroupNorm) else values.shape[1]
    grouped = values.unflatten(1, (groups, -1))
    seen = mask[:, None]
    count = (seen.sum(dim=(2, 3, 4, 5), keepdim=True) * grouped.shape[2]).clamp_min(1)
    mean = (grouped * seen).sum(dim=(2, 3, 4, 5), keepdim=True) / count
    variance = ((grouped - mean).square() * seen).sum(dim=(2, 3, 4, 5), keepdim=True) / count
    normal = ((grouped - mean) / (variance + module.eps).sqrt()).flatten(1, 2)
    if module.weight is not None:
        shape = (1, -1, 1, 1, 1)
        normal = normal * module.weight.view(shape) + module.bias.view(shape)  # type: ignore[operator]
    return normal * mask


class Densify(nn.Module):
    """Puts a learned vector where the deepest features ``(B, C, D, H, W)`` are hidden."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(channels), std=0.02))

    def forward(self, features: Tensor, visible: Tensor) -> Tensor:
        """Return the features with the token where ``visible`` ``(B, *grid)`` is false."""
        mask = functional.interpolate(visible[:, None].to(features.dtype), size=features.shape[2:])
        return features * mask + self.token.view(1, -1, 1, 1, 1) * (1 - mask)
