"""From a spec to a method with its networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import nn

from harness import registry
from harness.architectures.contract import Architecture
from harness.data.datasets.contract import Dataset
from harness.data.trial_data import TrialData
from harness.seeding import seed_everything
from harness.spec import ArchitectureSpec, TrialSpec
from harness.training.batches import pretraining_batches, training_batches
from harness.training.compiling import compiled
from harness.training.loop import Trainer, memory_format
from harness.training.losses import segmentation_loss
from harness.training.method import Context, Method, Setting


class Labelled(Protocol):
    """What a network's shape depends on."""

    @property
    def dataset(self) -> Dataset:
        """Says channels and labels."""

    @property
    def training(self) -> Sequence[str]:
        """The labelled training cases."""


def build_architecture(spec: ArchitectureSpec) -> Architecture[Any]:
    """Return the architecture of a spec, with its options."""
    found = registry.load("architecture", spec.name)
    architecture: Architecture[Any] = found(found.Options(**spec.options))
    return architecture


def build_method(
    spec: TrialSpec,
    data: Labelled,
    device: torch.device,
    start: Callable[[nn.Module], object] = lambda network: None,
) -> Method[Any]:
    """Return the method of a spec, set up on ``device`` with weights seeded by the trial's seed.

    Args:
        spec: of the trial.
        data: says channels, labels and the number of training cases.
        device: where networks are put.
        start: given each network that the method builds, to change its weights.
    """
    architecture = build_architecture(spec.architecture)
    method_class = registry.load("method", spec.method.name)
    method: Method[Any] = method_class(method_class.Parameters(**spec.method.parameters))
    recipe, channels = spec.recipe, len(data.dataset.channels)
    classes, ignore = max(data.dataset.training_labels()) + 1, data.dataset.training_ignore()
    layout = memory_format(recipe)

    def build_network(stream: str = "network", out_channels: int = classes) -> nn.Module:
        seed_everything(spec.seed, stream)
        network = architecture.build(channels, out_channels, recipe.patch)
        start(network)
        network = network.to(device, memory_format=layout)  # type: ignore[call-overload]
        return compiled(network) if recipe.compile else network

    setting = Setting(spec.architecture.name, architecture, spec.dataset.name, recipe.patch, recipe.precision)
    method.setup(
        Context(
            build_network=build_network,
            setting=setting,
            segmentation_loss=segmentation_loss(recipe.loss, ignore),
            in_channels=channels,
            classes=classes,
            steps=recipe.steps,
            batch=recipe.batch,
            training_cases=len(data.training),
            seed=spec.seed,
            stage=spec.kind,
            ignore=ignore,
        )
    )
    method.modules.to(device)
    return method


def build_trainer(
    spec: TrialSpec, data: TrialData, method: Method[Any], device: torch.device, loaders: int = 0
) -> Trainer:
    """Return the trainer of a trial at step 0, with the batches of its stage.

    Raises:
        UserError: the method wants unlabelled patches, and no training case is withheld.
    """
    if spec.kind == "pretrain":
        draw = pretraining_batches(data, spec.recipe, spec.seed)
    else:
        draw = training_batches(data, method, spec.recipe, spec.seed)
    return Trainer(method, spec.recipe, spec.seed, device, draw, loaders)
