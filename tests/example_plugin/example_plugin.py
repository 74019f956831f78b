"""A method, an architecture and a dataset as another package would bring them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from harness.architectures.contract import Architecture
from harness.data.datasets.contract import Case, Dataset, Volume
from harness.spec import Frozen, Triple
from harness.training.method import Batch, Context, Losses, Method, Progress


class SmoothedParameters(Frozen):
    """What can be set in a study."""

    smoothing: float = Field(0.1, ge=0, lt=1)
    sharpness: float = Field(1.0, gt=0, description="acts where smoothing is squared")
    squared: bool = False


class SmoothedSupervised(Method[SmoothedParameters]):
    """The recipe's loss, plus cross-entropy against smoothed labels."""

    summary = "supervised training with smoothed labels"
    source = "Szegedy et al., CVPR 2016"
    Parameters = SmoothedParameters
    acts_with = {"sharpness": {"squared": True}}

    def setup(self, context: Context) -> None:
        from torch import nn

        self.modules = nn.ModuleDict({"student": context.build_network()})
        self._loss = context.segmentation_loss

    def step(self, batch: Batch, progress: Progress) -> Losses:
        from torch.nn import functional

        from harness.training.losses import finest

        settings = self.parameters
        logits = self.modules["student"](batch.image)
        smoothing = settings.smoothing
        if settings.squared:
            smoothing = smoothing ** (2 * settings.sharpness)
        smooth = functional.cross_entropy(finest(logits), batch.label[:, 0], label_smoothing=smoothing)
        return Losses.weigh(
            {"supervised": self._loss(logits, batch.label), "smooth": smooth},
            {"supervised": 1.0, "smooth": 1.0},
        )

    def roles(self) -> dict[str, Any]:
        return {"student": self.modules["student"]}


class PlainOptions(Frozen):
    """Width of the hidden layers."""

    width: int = 8


class PlainNet(Architecture[PlainOptions]):
    """Convolutions at half resolution."""

    summary = "a few convolutions"
    source = "an example"
    Options = PlainOptions
    presets = {"tiny": {"width": 8}}

    def multiple(self) -> Triple:
        return (2, 2, 2)

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> Any:
        from torch import nn

        width = self.options.width
        return nn.Sequential(
            nn.Conv3d(in_channels, width, 4, stride=2, padding=1),
            nn.InstanceNorm3d(width, affine=True),
            nn.PReLU(),
            nn.Conv3d(width, width, 3, padding=1),
            nn.PReLU(),
            nn.ConvTranspose3d(width, out_channels, 2, stride=2),
        )


class Spheres(Dataset):
    """Five generated volumes with a bright sphere each."""

    summary = "bright spheres"
    source = "an example"
    channels = ("MRI",)
    labels = {0: "background", 1: "sphere"}
    recipe = {"patch": (16, 16, 16), "spacing": (1.0, 1.0, 1.0)}

    def cases(self, root: Path | None) -> list[Case]:
        return [Case(f"sphere_{number}", patient=f"sphere_{number}") for number in range(5)]

    def image(self, case: Case) -> Volume:
        noise = np.random.default_rng(int(case.id[-1])).normal(0, 0.1, (16, 16, 16))
        return Volume((self.label(case).array + noise)[None].astype(np.float32), np.eye(4))

    def label(self, case: Case) -> Volume:
        distance = ((np.indices((16, 16, 16)) - 7 - int(case.id[-1]) % 3) ** 2).sum(axis=0)
        return Volume((distance < 25).astype(np.uint8), np.eye(4))

    def content(self, case: Case) -> str:
        return f"{case.id}-{self.version}"
