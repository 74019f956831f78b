"""Unlabelled patches: of withheld cases, without their labels, and without shifting anything else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from harness.data.augmentation import Augmenter
from harness.data.preprocessing import CaseCache
from harness.data.trial_data import TrialData, load_trial_data
from harness.errors import UserError
from harness.spec import Augmentation, TrialSpec
from harness.study.resolve import Resolver
from harness.training.batches import training_batches


def make_spec(method: str, **settings: Any) -> TrialSpec | str:
    flat = {
        "dataset": "phantom",
        "architecture": "unet",
        "method": method,
        "shots": 2,
        "subset": 0,
        "seed": 0,
    }
    return Resolver("test").trial({**flat, **settings})


class Wants:
    """A method, as far as batches go."""

    def __init__(self, count: int) -> None:
        self.unlabelled_batch = lambda batch: count


@pytest.fixture(scope="module")
def data() -> TrialData:
    spec = make_spec("supervised")
    assert isinstance(spec, TrialSpec)
    return load_trial_data(spec, None)


def test_patches_are_those_of_withheld_training_images(data: TrialData) -> None:
    assert len(data.withheld) == 30 and not set(data.withheld) & {*data.training, *data.split.test}
    images = {case: data.image(case) for case in data.withheld}
    sampler = data.unlabelled_sampler(3)
    for step in range(4):
        for patch in sampler.draw(step):
            views = [
                np.lib.stride_tricks.sliding_window_view(image[0], patch.shape[1:])
                for image in images.values()
            ]
            corner = patch[0, :2, :2, :2]
            assert any((view[..., :2, :2, :2] == corner).all(axis=(-1, -2, -3)).any() for view in views)


def test_each_withheld_case_is_drawn_once_an_epoch(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = data.unlabelled_sampler(3)
    for number, case in enumerate(data.withheld):
        sampler._images[case] = np.full((1, 32, 32, 16), number, np.float32)
    seen = [float(patch.flat[0]) for step in range(10) for patch in sampler.draw(step)]
    assert sorted(seen) == list(range(30)) and seen != sorted(seen)


def test_no_label_of_a_withheld_case_is_read(data: TrialData, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_cache: CaseCache, case: str) -> Any:
        raise AssertionError(f"the labels of {case} were read")

    with monkeypatch.context() as context:
        for name in ("label", "foreground", "native_reference"):
            context.setattr(CaseCache, name, read)
        assert data.unlabelled_sampler(2).draw(0).shape == (2, 1, 32, 32, 16)


def test_unlabelled_patches_shift_no_labelled_one(data: TrialData) -> None:
    spec = make_spec("supervised")
    assert isinstance(spec, TrialSpec)
    without = training_batches(data, Wants(0), spec.recipe, 0)  # type: ignore[arg-type]
    with_them = training_batches(data, Wants(3), spec.recipe, 0)  # type: ignore[arg-type]
    for step in (0, 7):
        one, other = without(step), with_them(step)
        assert torch.equal(one.image, other.image) and torch.equal(one.label, other.label)
        assert one.unlabelled is None and other.unlabelled is not None
        assert other.unlabelled.shape == (3, 1, 32, 32, 16)
        again = with_them(step).unlabelled
        assert again is not None and torch.equal(again, other.unlabelled)


def test_images_are_augmented_as_labelled_ones_are() -> None:
    settings = Augmentation(
        mirror_axes=(0, 1), affine_probability=1.0, rotation=20, scaling=0.1, noise_probability=0.5,
        intensity_probability=0.5,
    )  # fmt: skip
    images = np.random.default_rng(0).normal(size=(2, 1, 8, 8, 8)).astype(np.float32)
    labels = np.zeros((2, 1, 8, 8, 8), np.uint8)
    augment = Augmenter(settings, 3)
    for step in range(4):
        assert torch.equal(augment(images, labels, step)[0], augment.images(images, step))
    assert not torch.equal(augment.images(images, 0), Augmenter(settings, 3, "other").images(images, 0))


@pytest.mark.parametrize("method", ["mean_teacher", "ua_mt", "cps", "medcontext"])
def test_a_plan_skips_what_withholds_no_case(method: str) -> None:
    own = {"method.unlabelled": True} if method == "medcontext" else {}
    assert isinstance(make_spec(method, **own), TrialSpec)
    assert "shots all withholds none" in str(make_spec(method, shots="all", **own))


def test_as_many_shots_as_training_cases_are_refused_in_time() -> None:
    spec = make_spec("supervised", shots=32)
    assert isinstance(spec, TrialSpec)
    with pytest.raises(UserError, match=r"all 32 training cases.*fewer"):
        load_trial_data(spec, None).unlabelled_sampler(2)
