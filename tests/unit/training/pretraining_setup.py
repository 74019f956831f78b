"""Methods of pretraining, set up on a small network, and a batch for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from harness import registry
from harness.training.losses import segmentation_loss
from harness.training.method import Batch, Context, Progress, Setting
from harness.training.pretraining import Pretrained

PATCH, SEED, CLASSES = (32, 32, 32), 5, 3
AT = Progress(4, 10, SEED)


def setting_of(architecture: str, patch: tuple[int, int, int] = PATCH) -> Setting:
    entry = registry.load("architecture", architecture)
    return Setting(architecture, entry(entry.resolve({}, architecture)), "phantom", patch, "fp32")


def set_up(
    kind: type[Pretrained[Any]], architecture: str = "unet", stage: Any = "pretrain", **settings: Any
) -> Any:
    setting = setting_of(architecture)
    method = kind(kind.resolve(settings, "test", setting))

    def build_network(stream: str = "network", out_channels: int = CLASSES) -> nn.Module:
        torch.manual_seed(SEED)
        return setting.architecture.build(1, out_channels, PATCH)

    method.setup(
        Context(
            build_network=build_network, setting=setting, segmentation_loss=segmentation_loss("dice_ce"),
            in_channels=1, classes=CLASSES, steps=10, batch=2, training_cases=3, seed=SEED, stage=stage,
        )
    )  # fmt: skip
    return method


def batch_of(count: int = 2) -> Batch:
    image = torch.randn(count, 1, *PATCH, generator=torch.Generator().manual_seed(1))
    return Batch(image, torch.empty(0, dtype=torch.long))
