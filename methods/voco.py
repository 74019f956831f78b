"""VoCo: the encoder tells how much a random crop overlaps each cell of its surroundings."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING

from pydantic import Field

from harness.ranges import tunable
from harness.spec import Frozen, Triple
from harness.training.method import Batch, Context, Losses, Progress, Setting
from harness.training.pretraining import Pretrained

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Corner = tuple[int, int, int]


class VoCoParameters(Frozen):
    """How crops are taken, and what spreads the base crops apart."""

    cells: Triple = Field((2, 2, 1), title="Base crops", description="base crops along each axis of a patch")
    targets: int = Field(4, title="Random crops", ge=1, description="random crops of a patch")
    regularisation: float = tunable(1.0, 0.1, 10.0, log=True, ge=0)
    projection: int = Field(
        256,
        title="Projection",
        ge=1,
        description="of the vectors that are compared, and of the layers before",
    )
    momentum: float = Field(
        0.9, title="EMA momentum", ge=0, lt=1, description="of the teacher; its first weights are drawn apart"
    )
    jitter: float = Field(
        0.1, title="Crop jitter", ge=0, description="deviation of a crop's scale and shift of intensity"
    )


class VoCo(Pretrained[VoCoParameters]):
    """``L = L_pred + L_reg`` on vectors of base and of random crops.

    A crop's vector is made of the deepest features, averaged over space, by three linear layers with batch normalisation over
    all crops of a step, without which all vectors become one. A teacher follows the student by exponential moving average. With s the positive part of the cosine between a random
    crop and a base crop, l the mean of s for the student's random and the teacher's base crop and of s for the
    teacher's random and the student's base crop, and y the share of the random crop that the base crop covers:
    ``L_pred = sum y (-log(1 - |y - l|)) / sum y`` plus the mean of l squared where y is 0. ``L_reg`` is the mean, over pairs of
    the student's base crops, of s squared, with a gradient through the first crop of a pair alone. The encoder alone is
    transferred.
    """

    # 1 had no teacher, no linear layers, no gradient of base crops in L_pred, and s in place of its square
    version = 2
    differences = (
        "Vectors are made of the deepest features and have 256 values (`projection`); the authors' code joins the features of all "
        "stages, and has 2048.",
        "Crops are parts of the training patch, enlarged to it, since a network may take no other size; the authors' are "
        "of 96 voxels a side, reduced to 64, from volumes of 4 x 4 x 1 of them. Every crop is scaled and shifted; theirs seldom.",
    )
    print_name = "VoCo"
    summary = "pretraining: predict how random crops overlap base crops, by encoder features"
    source = "Wu et al., CVPR 2024; Luffy03/VoCo; variant in MIC-DKFZ/nnssl"
    Parameters = VoCoParameters
    least_share = 0.05

    def supports(self, setting: Setting) -> str | None:
        """Refuse networks that hide their deepest features, and a single base crop."""
        if setting.architecture.bottleneck() is None:
            return "it does not say where its deepest features are (bottleneck)"
        x, y, z = self.parameters.cells
        if min(x, y, z) < 1 or x * y * z < 2:
            return f"cells {[x, y, z]} make fewer than two base crops"
        return None

    def setup_pretraining(self, context: Context) -> None:
        """Build the network, of which what does not lead to its deepest features is not trained, and the teacher."""
        import torch

        from harness.training.features import deepest_features

        super().setup_pretraining(context)
        teacher = context.build_network("teacher", out_channels=context.in_channels)
        self.modules["teacher"] = teacher.requires_grad_(False)
        self._path = str(context.setting.architecture.bottleneck())
        student = self.modules["student"]
        with torch.no_grad():
            image = torch.zeros(
                1, context.in_channels, *context.setting.patch, device=next(student.parameters()).device
            )
            size = deepest_features(student, self._path, image).shape[1]
        self.modules["projection"] = _projection(size, self.parameters.projection)
        self.modules["teacher_projection"] = _projection(size, self.parameters.projection).requires_grad_(
            False
        )
        trained = self.transferred(student)
        for name, parameter in student.named_parameters():
            parameter.requires_grad_(name in trained)
        self._move_teacher()

    def after_step(self, progress: Progress) -> None:
        """Move the teacher."""
        if "teacher" in self.modules:
            self._move_teacher()

    def _move_teacher(self) -> None:
        """Move the teacher, which the authors do before each of its passes."""
        from harness.training.ema import update_teacher

        for teacher, student in (("teacher", "student"), ("teacher_projection", "projection")):
            update_teacher(self.modules[teacher], self.modules[student], self.parameters.momentum, "skip")

    def transferred(self, network: nn.Module) -> set[str]:
        """Return the names of the encoder's parameters and of all buffers."""
        import torch

        from harness.training.features import encoder_parameter_names

        setting = self._context.setting
        path = str(setting.architecture.bottleneck())
        device = next(network.parameters()).device
        image = torch.randn(2, self._context.in_channels, *setting.patch, device=device)
        names = encoder_parameter_names(network, path, image)
        return names | {name for name, _ in network.named_buffers()}

    def pretraining_passes(self) -> int:
        """Return 4: base and random crops, of student and teacher, without the decoder; each has the size of a patch."""
        return 4

    def pretraining_step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the prediction and the regularisation, means over the patches of a batch."""
        import torch

        rng = progress.numpy_generator("crops")
        size, corners = _cells(self._context.setting.patch, self.parameters.cells)
        drawn = [self._random_corners(size, rng) for _ in batch.image]
        crops = [self._crops(batch.image, places, size, rng) for places in ([corners] * len(drawn), drawn)]
        base, random = self._vectors("student", "projection", crops)
        with torch.no_grad():
            teacher_base, teacher_random = self._vectors("teacher", "teacher_projection", crops)
        prediction, spread = [], []
        for index, place in enumerate(drawn):
            overlap = torch.tensor([[_overlap(a, b, size) for b in corners] for a in place])
            one = similarity(random[index], teacher_base[index])
            other = similarity(teacher_random[index], base[index])
            prediction.append(prediction_loss((one + other) / 2, overlap.to(one)))
            spread.append(spread_loss(base[index]))
        terms = {"prediction": torch.stack(prediction).mean(), "regularisation": torch.stack(spread).mean()}
        return Losses.weigh(terms, {"prediction": 1.0, "regularisation": self.parameters.regularisation})

    def _random_corners(self, size: Triple, rng: np.random.Generator) -> list[Corner]:
        """Return where the random crops of a patch begin."""
        room = [side - part for side, part in zip(self._context.setting.patch, size, strict=True)]
        corners = rng.integers(0, room, endpoint=True, size=(self.parameters.targets, 3)).tolist()
        return [(x, y, z) for x, y, z in corners]

    def _crops(
        self, images: Tensor, corners: list[list[Corner]], size: Triple, rng: np.random.Generator
    ) -> Tensor:
        """Return N crops of each image ``(B, C, D, H, W)``, each of the image's size: ``(B, N, C, D, H, W)``."""
        import torch
        from torch.nn import functional

        dx, dy, dz = size
        crops = torch.stack(
            [
                image[:, x : x + dx, y : y + dy, z : z + dz]
                for image, places in zip(images, corners, strict=True)
                for x, y, z in places
            ]
        )
        jitter = rng.normal(0, self.parameters.jitter, (2, len(crops), 1, 1, 1, 1))
        scale, shift = torch.from_numpy(jitter).to(crops)
        crops = functional.interpolate(crops * (1 + scale) + shift, size=images.shape[2:], mode="trilinear")
        return crops.unflatten(0, (len(images), -1))

    def _vectors(self, network: str, projection: str, crops: list[Tensor]) -> tuple[Tensor, ...]:
        """Return what is compared of each kind of crops ``(B, N, C, D, H, W)``: ``(B, N, projection)``."""
        import torch

        from harness.training.features import deepest_features

        counts = [part.shape[1] for part in crops]
        features = [
            deepest_features(self.modules[network], self._path, part.flatten(0, 1)).unflatten(
                0, part.shape[:2]
            )
            for part in crops
        ]
        vectors = self.modules[projection](torch.cat(features, dim=1).float().flatten(0, 1))
        return vectors.float().unflatten(0, (-1, sum(counts))).split(counts, dim=1)


def _projection(size: int, width: int) -> nn.Module:
    """Return three linear layers, ``(M, size)`` to ``(M, width)``, with batch normalisation between them."""
    from torch import nn

    def layer(inputs: int) -> list[nn.Module]:
        norm = nn.BatchNorm1d(width, affine=False, track_running_stats=False)
        return [nn.Linear(inputs, width, bias=False), norm, nn.ReLU(inplace=True)]

    return nn.Sequential(*layer(size), *layer(width), nn.Linear(width, width))


def similarity(targets: Tensor, base: Tensor) -> Tensor:
    """Return the positive part of the cosine of each of ``(T, C)`` with each of ``(N, C)``: ``(T, N)``."""
    from torch.nn import functional

    return functional.cosine_similarity(targets[:, None], base[None], dim=2).relu()


def prediction_loss(predicted: Tensor, overlap: Tensor) -> Tensor:
    """Return the loss of the predicted overlaps.

    Args:
        predicted: overlap of each random crop with each base crop ``(T, N)``, 0 to 1.
        overlap: share of the random crop that the base crop covers ``(T, N)``.
    """
    near = -(1 - (overlap - predicted).abs() + 1e-6).log()
    apart = (overlap == 0).to(overlap)
    far = (predicted.square() * apart).sum() / apart.sum().clamp_min(1)
    return (overlap * near).sum() / overlap.sum() + far


def spread_loss(base: Tensor) -> Tensor:
    """Return the mean squared positive cosine of two of the base crops ``(N, C)``; no gradient reaches the later one."""
    import torch

    one, other = torch.triu_indices(len(base), len(base), offset=1)
    return similarity(base, base.detach())[one, other].square().mean()


def _cells(patch: Triple, cells: Triple) -> tuple[Triple, list[Corner]]:
    """Return the size of a base crop, and where each begins."""
    dx, dy, dz = (side // count for side, count in zip(patch, cells, strict=True))
    corners = [(x * dx, y * dy, z * dz) for x, y, z in product(*map(range, cells))]
    return (dx, dy, dz), corners


def _overlap(one: Corner, other: Corner, size: Triple) -> float:
    """Return the share of a crop at ``one`` that a crop of the same size at ``other`` covers."""
    sides = zip(one, other, size, strict=True)
    return math.prod(max(0, side - abs(a - b)) / side for a, b, side in sides)
