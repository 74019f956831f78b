"""Weights from a pretrained network into another of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.errors import TrialFailure


@dataclass(frozen=True)
class Transfer:
    """What became of each parameter and buffer.

    Attributes:
        share: of the network's parameters (counted in numbers) that were loaded.
        loaded: names that were loaded.
        missing: names that the source lacks.
        unfit: names whose shape differs.
        random: names that were not asked for, such as the head's.
        unexpected: names of the source that the network lacks.
    """

    share: float
    loaded: list[str]
    missing: list[str]
    unfit: list[str]
    random: list[str]
    unexpected: list[str]


def transfer(
    network: nn.Module, source: Mapping[str, Tensor], names: set[str], least_share: float
) -> Transfer:
    """Load those of ``names`` that ``source`` has in the same shape.

    Raises:
        TrialFailure: ``transfer``, where less than ``least_share`` of the network's parameters is loaded.
    """
    found = copy_fitting(network, source, names)
    if found.share < least_share:
        missing, unfit = found.missing, found.unfit
        raise TrialFailure(
            "transfer",
            f"pretraining gives {found.share:.0%} of the parameters, at least {least_share:.0%} expected; "
            f"{len(missing)} missing, {len(unfit)} of another shape (first: {[*missing, *unfit][:3]})",
        )
    return found


@torch.no_grad()
def copy_fitting(network: nn.Module, source: Mapping[str, Tensor], names: set[str]) -> Transfer:
    """Load those of ``names`` that ``source`` has in the same shape, however few they are."""
    own = network.state_dict()
    wanted = [name for name in own if name in names]
    missing = [name for name in wanted if name not in source]
    unfit = [name for name in wanted if name in source and source[name].shape != own[name].shape]
    loaded = [name for name in wanted if name not in (*missing, *unfit)]
    for name in loaded:
        own[name].copy_(source[name])
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    share = sum(sizes.get(name, 0) for name in loaded) / sum(sizes.values())
    random = [name for name in own if name not in names]
    return Transfer(share, loaded, missing, unfit, random, [name for name in source if name not in own])


def head_names(network: nn.Module, other: nn.Module) -> set[str]:
    """Return the names whose shape follows the number of classes: ``other`` has another number of them."""
    shapes = {name: values.shape for name, values in other.state_dict().items()}
    return {name for name, values in network.state_dict().items() if values.shape != shapes[name]}
