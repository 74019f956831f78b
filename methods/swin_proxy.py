"""Swin UNETR's proxy tasks: in-painting, rotation and contrast of two views."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.ranges import tunable
from harness.spec import Frozen
from harness.training.method import Batch, Context, Losses, Progress, Setting
from harness.training.pretraining import Pretrained

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class ProxyWeights(Frozen):
    """Weights of the terms, as published."""

    restoration: float = Field(1.0, title="Restoration weight", ge=0)
    rotation: float = Field(1.0, title="Rotation weight", ge=0)
    contrast: float = Field(1.0, title="Contrast weight", ge=0)


class SwinProxyParameters(Frozen):
    """What is cut out, and how views are told apart."""

    drop: float = Field(
        0.3,
        title="Cut-out share",
        ge=0,
        lt=1,
        description="largest share of voxels cut out, and then of those swapped",
    )
    temperature: float = tunable(0.5, 0.05, 1.0, log=True, gt=0)
    contrast_size: int = Field(512, ge=1, description="of the vectors that are contrasted")
    losses: ProxyWeights = ProxyWeights()


class SwinProxy(Pretrained[SwinProxyParameters]):
    """``L = |f(cut x_r) - x_r| + CE(rotation) + NT-Xent`` over two views of each patch.

    A view is turned by a multiple of 90 degrees in a plane of equal sides; then boxes are replaced by normal
    noise, scaled to the view's least and greatest value (the original's images lie in [0, 1]), and others by those of
    another sample, where there is one. Both classifying heads read the mean over space of the
    deepest features; the image is restored by the network's own decoder.
    """

    version = 2  # 1 counted overlaps of boxes once, and swapped with untouched samples, always
    differences = (
        "Both classifying heads read the mean over space of the deepest features; the original's read one token each.",
        "The network's own decoder restores the image; the original has one of its own, which is thrown away.",
    )
    print_name = "Swin UNETR proxy tasks"
    summary = "pretraining: in-painting, rotation and contrast of two views (Swin UNETR's proxy tasks)"
    source = "Tang et al., CVPR 2022; Project-MONAI/research-contributions SwinUNETR/Pretrain"
    Parameters = SwinProxyParameters

    def supports(self, setting: Setting) -> str | None:
        """Refuse patches without a square plane to turn in, and networks that hide their deepest features."""
        if _square_plane(setting.patch) is None:
            return f"patch {list(setting.patch)} has no two equal sides to be turned in"
        if setting.architecture.bottleneck() is None:
            return "it does not say where its deepest features are (bottleneck)"
        return None

    def setup_pretraining(self, context: Context) -> None:
        """Build the network, which returns an image, and two linear heads."""
        import torch
        from torch import nn

        from harness.training.features import deepest_features

        super().setup_pretraining(context)
        student, patch = self.modules["student"], context.setting.patch
        self._path = str(context.setting.architecture.bottleneck())
        self._plane = _square_plane(patch) or []
        device = next(student.parameters()).device
        with torch.no_grad():
            image = torch.zeros(1, context.in_channels, *patch, device=device)
            size = deepest_features(student, self._path, image).shape[1]
        self.modules["rotation"] = nn.Linear(size, 4)
        self.modules["contrast"] = nn.Linear(size, self.parameters.contrast_size)

    def pretraining_step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the three terms."""
        import torch
        from torch.nn import functional

        from harness.training.features import capture_outputs, spatial_mean
        from harness.training.losses import finest, nt_xent

        weights, student = self.parameters.losses, self.modules["student"]
        rng = progress.numpy_generator("views")
        count = len(batch.image)
        turns = rng.integers(0, 4, 2 * count)
        views = zip(torch.cat([batch.image, batch.image]), turns.tolist(), strict=True)
        target = torch.stack([torch.rot90(image, turn, self._plane) for image, turn in views])
        with capture_outputs(student, self._path) as found:
            restored = finest(student(self._cut(target, rng))).float()
        features = spatial_mean(found[0]).float()
        vectors = self.modules["contrast"](features)
        predicted, turned = self.modules["rotation"](features), torch.from_numpy(turns).to(features.device)
        terms = {
            "restoration": (restored - target).abs().mean(),
            "rotation": functional.cross_entropy(predicted, turned),
            "contrast": nt_xent(vectors[:count], vectors[count:], self.parameters.temperature),
        }
        return Losses.weigh(terms, weights.model_dump())

    def _cut(self, target: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the views with boxes of noise, and with boxes of the same view of another sample, which may be cut already.

        The other sample is drawn among all: where it is the sample itself, nothing is swapped.
        """
        import numpy as np
        import torch

        cut, count = target.cpu().numpy().copy(), len(target) // 2
        for index, view in enumerate(cut):
            low, high = view.min(), view.max()
            for box in _boxes(view.shape[1:], self.parameters.drop, rng):
                noise = rng.standard_normal(view[box].shape, dtype=np.float32)
                share = (noise - noise.min()) / max(float(np.ptp(noise)), 1e-6)
                view[box] = low + share * (high - low)
            other = index // count * count + int(rng.integers(count))
            for box in _boxes(view.shape[1:], self.parameters.drop, rng) if other != index else ():
                view[box] = cut[other][box]
        return torch.from_numpy(cut).to(target)


def _boxes(shape: tuple[int, ...], drop: float, rng: np.random.Generator) -> list[Any]:
    """Return boxes, 5 to 25 % of the sides each, whose voxels add up to a random share of at most ``drop``.

    Boxes end at the patch's faces, and voxels of two boxes count twice.
    """
    wanted, total, boxes = rng.uniform(0, drop) * math.prod(shape), 0, []
    while total < wanted:
        box = []
        for side in shape:
            least = max(1, side // 20)
            start = int(rng.integers(0, max(1, side - least)))
            size = int(rng.integers(least, max(least + 1, side // 4)))
            box.append(slice(start, min(start + size, side)))
        total += math.prod(part.stop - part.start for part in box)
        boxes.append((slice(None), *box))
    return boxes


def _square_plane(patch: tuple[int, ...]) -> list[int] | None:
    """Return the axes of ``(C, D, H, W)`` that span the first square plane of a patch."""
    planes = ((0, 1), (0, 2), (1, 2))
    return next(([one + 1, other + 1] for one, other in planes if patch[one] == patch[other]), None)
