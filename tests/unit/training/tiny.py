"""A network, a setting and a batch small enough to be worked out by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.architectures.contract import Architecture, Tokens
from harness.spec import Frozen, Triple
from harness.training.losses import segmentation_loss
from harness.training.method import Batch, Context, Method, Progress, Setting

PATCH: Triple = (8, 8, 4)
CLASSES, STEPS, SEED = 3, 10, 5


class TinyNetwork(nn.Module):
    """Tokens of 2 x 2 x 1 voxels, a batch normalisation, and a head that brings them back to voxels."""

    def __init__(self, levels: int = 1) -> None:
        super().__init__()
        self.embed = nn.Conv3d(1, 4, (2, 2, 1), stride=(2, 2, 1))
        self.norm = nn.BatchNorm3d(4)
        self.head = nn.ConvTranspose3d(4, CLASSES, (2, 2, 1), stride=(2, 2, 1))
        self.skip = nn.Conv3d(1, CLASSES, 1)
        self.levels = levels

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        logits = self.head(torch.tanh(self.norm(self.embed(image)))) + self.skip(image)
        if self.training and self.levels > 1:
            return [logits, 2 * nn.functional.avg_pool3d(logits, 2)][: self.levels]
        return logits


class Tiny(Architecture[Any]):
    def tokens(self, patch: Triple) -> Tokens:
        grid = (patch[0] // 2, patch[1] // 2, patch[2])
        return Tokens("embed", "embed", "BCDHW", grid, 4, grid)

    def image_skip(self) -> str:
        return "skip"


def make_setting(
    name: str = "tiny", dataset: str = "synapse", precision: str = "bf16", architecture: type = Tiny
) -> Setting:
    return Setting(name, architecture(Frozen()), dataset, PATCH, precision)


def set_up(method_class: type[Method[Any]], levels: int = 1, **settings: Any) -> Method[Any]:
    """Return the method, set up; its weights depend on nothing but the seed."""
    setting = make_setting()
    method = method_class(method_class.resolve(settings, "test", setting))

    def build_network(stream: str = "network") -> nn.Module:
        torch.manual_seed(SEED + len(stream))
        return TinyNetwork(levels)

    method.setup(
        Context(
            build_network=build_network, setting=setting, segmentation_loss=segmentation_loss("dice_ce"),
            in_channels=1, classes=CLASSES, steps=STEPS, batch=2, training_cases=3, seed=SEED,
        )
    )  # fmt: skip
    return method


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(2)
    label = torch.randint(0, CLASSES, (2, 1, *PATCH), generator=generator)
    return Batch(torch.randn(2, 1, *PATCH, generator=generator) + label, label)


def at(step: int) -> Progress:
    return Progress(step, STEPS, SEED)


def gradients_of(method: Method[Any], total: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each parameter that has one."""
    total.backward()
    named = method.modules.named_parameters()
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}
