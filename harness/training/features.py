"""The deepest features of a network, and what leads to them, found from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn


class _FeaturesReached(Exception):
    """The features are there; the rest of the network need not run."""


def deepest_features(network: nn.Module, path: str, image: Tensor) -> Tensor:
    """Return the mean over space ``(B, C)`` of the features at ``path``, without running the decoder."""
    with capture_outputs(network, path, stop=True) as found, suppress(_FeaturesReached):
        network(image)
    return spatial_mean(found[-1])


@contextmanager
def capture_outputs(network: nn.Module, path: str, stop: bool = False) -> Iterator[list[Tensor]]:
    """Within this context, the outputs of the module at ``path`` are appended to the list.

    Args:
        network: that holds the module.
        path: of the module.
        stop: end the network's pass there, by an exception that the caller has to suppress.
    """
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        found.append(output)
        if stop:
            raise _FeaturesReached

    hook = network.get_submodule(path).register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()


def spatial_mean(features: Tensor) -> Tensor:
    """Return the mean over space ``(B, C)`` of ``(B, C, D, H, W)``, or of tokens ``(B, N, C)``."""
    return features.mean(dim=1) if features.ndim == 3 else features.flatten(2).mean(dim=2)


def encoder_parameter_names(network: nn.Module, path: str, image: Tensor) -> set[str]:
    """Return the names of the parameters that the features at ``path`` depend on.

    Args:
        network: its gradients are cleared.
        path: of the deepest features.
        image: that the network can take.
    """
    with torch.enable_grad(), capture_outputs(network, path, stop=True) as found, suppress(_FeaturesReached):
        network(image)
    (found[-1].float() ** 2).sum().backward()
    names = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    network.zero_grad(set_to_none=True)
    return names


def encoder_layers(network: nn.Module, path: str, image: Tensor) -> list[nn.Module]:
    """Return the modules without children that run before the features at ``path`` are there, in order."""
    ran: list[nn.Module] = []
    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(lambda module, _i, _o: ran.append(module)) for leaf in leaves]
    try:
        with torch.no_grad(), capture_outputs(network, path, stop=True), suppress(_FeaturesReached):
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    return list(dict.fromkeys(ran))
