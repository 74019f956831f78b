"""Ignored voxels in training patches: where patches lie, and what augmentation makes of the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.data.augmentation import Augmenter
from harness.data.datasets.contract import Case, Dataset, Volume
from harness.data.numbering import IGNORE
from harness.data.patches import PatchSampler
from harness.data.preprocessing import prepare
from harness.spec import Augmentation, Recipe


class Half(Dataset):
    """A ball in the lower half; all of the upper half is ignored."""

    channels = ("MRI",)
    labels = {0: "background", 1: "ball"}
    ignore = 2

    def cases(self, root: Path | None) -> list[Case]:
        return [Case("c", "c")]

    def image(self, case: Case) -> Volume:
        return Volume(np.random.default_rng(0).normal(size=(1, 40, 40, 40)).astype(np.float32), np.eye(4))

    def label(self, case: Case) -> Volume:
        ball = (np.indices((40, 40, 40)) - np.array([20, 20, 8]).reshape(3, 1, 1, 1)) ** 2
        labels = (ball.sum(axis=0) <= 16).astype(np.uint8)
        labels[:, :, 20:] = 2
        return Volume(labels, np.eye(4))

    def content(self, case: Case) -> str:
        return "half"


@pytest.mark.usefixtures("fresh_cache")
def test_patches_are_centred_on_labels_and_never_on_ignored_voxels() -> None:
    recipe = Recipe(patch=(8, 8, 8), spacing=(1, 1, 1), batch=2, foreground=1.0)
    sampler = PatchSampler(prepare(Half(), "half", Half().cases(None), recipe), ["c"], recipe, 0)
    for step in range(40):
        for label in sampler.draw(step)[1]:
            assert label[0, 4, 4, 4] == 1


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {"affine_probability": 1.0, "rotation": 30.0, "scaling": 0.2},
        {"affine_probability": 1.0, "rotation": 30.0, "scale_range": (0.7, 1.4), "enlarge": True},
        {"rotate90_probability": 1.0, "mirror_probability": 1.0},
    ],
)
def test_augmentation_makes_no_other_number_of_the_ignored_one(settings: dict, version: int) -> None:
    augment = Augmenter(Augmentation(version=version, **settings), seed=0)
    seen: set[int] = set()
    for step in range(5):
        (margin,) = augment.margins((16, 16, 16), 1, step)
        rng = np.random.default_rng(step)
        labels = rng.choice(
            np.array([0, 1, 2, IGNORE], np.uint8), (1, 1, *(16 + 2 * more for more in margin))
        )
        seen |= set(augment(labels.astype(np.float32), labels, step, [margin])[1].unique().tolist())
    assert seen == {0, 1, 2, IGNORE}
