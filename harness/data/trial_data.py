"""What one trial may see of its data, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.data.patches import ImageSampler, PatchSampler
from harness.data.preprocessing import CaseCache, LabelsLocked, prepare
from harness.data.splits import Split, few_shot_cases, find_split
from harness.data.volume import Volume
from harness.errors import UserError
from harness.spec import TrialSpec


class TrialData:
    """The cases of one trial, preprocessed; test labels are locked until ``freeze`` is called.

    Attributes:
        dataset: says labels and regions.
        split: all case ids by part.
        training: ids of the labelled training cases (the shots).
        patients: test case -> patient; None where that is not known.
        contents: hash of the files of each case.
        content: hash of all of them.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: Split,
        training: tuple[str, ...],
        cache: CaseCache,
        spec: TrialSpec,
        patients: Mapping[str, str] | None = None,
    ) -> None:
        self.dataset, self.split, self.training = dataset, split, training
        self.patients = patients
        self.contents, self.content = cache.contents, cache.content
        self._cache = cache.with_locked(() if spec.recipe.selection == "test_oracle" else split.test)
        self._spec, self._frozen = spec, False

    def sampler(self) -> PatchSampler:
        """Return the sampler of training patches."""
        return PatchSampler(self._cache, self.training, self._spec.recipe, self._spec.seed)

    @property
    def withheld(self) -> tuple[str, ...]:
        """The training cases that are not among the shots."""
        return tuple(case for case in self.split.train if case not in self.training)

    def unlabelled_sampler(self, batch: int) -> ImageSampler:
        """Return the sampler of ``batch`` image patches a step, of the training cases that are withheld.

        Raises:
            UserError: no case is withheld.
        """
        if not self.withheld:
            raise UserError(
                "shots", f"all {len(self.training)} training cases", "fewer, for a method that learns from"
                " the images of the others", "Choose fewer shots.",
            )  # fmt: skip
        return self.image_sampler(self.withheld, batch, "unlabelled")

    def image_sampler(self, cases: tuple[str, ...], batch: int, stream: str) -> ImageSampler:
        """Return a sampler of ``batch`` image patches a step, of training or validation cases."""
        assert not set(cases) & set(self.split.test), "test images are for testing"
        images = {case: self.image(case) for case in cases}
        return ImageSampler(images, self._spec.recipe.patch, batch, self._spec.seed, stream)

    def image(self, case: str) -> NDArray[np.float32]:
        """Return a preprocessed image ``(C, X, Y, Z)``."""
        return self._cache.image(case)

    @property
    def selection_cases(self) -> tuple[str, ...]:
        """The cases that a checkpoint is selected on: the validation cases, but with ``test_oracle``."""
        return self.split.test if self._spec.recipe.selection == "test_oracle" else self.split.validation

    def selection_label(self, case: str) -> NDArray[np.uint8]:
        """Return the labels of a case of ``selection_cases`` ``(X, Y, Z)`` on the preprocessed grid; training numbers.

        Raises:
            LabelsLocked: it is another case.
        """
        if case not in self.selection_cases:
            raise LabelsLocked(f"{case} is not a case to select a checkpoint on")
        return self._cache.label(case)

    def freeze(self) -> None:
        """Say that the selection is written down; from now on test labels may be read."""
        self._frozen, self._cache = True, self._cache.with_locked(())

    def test_reference(self, case: str) -> Volume:
        """Return the labels of a test case on the grid of its file, in training numbers.

        Raises:
            LabelsLocked: the selection is not frozen.
        """
        if not self._frozen:
            raise LabelsLocked(f"the labels of {case} were asked for before the selection was frozen")
        return self._cache.native_reference(case)

    def to_native(self, case: str, probabilities: Iterable[NDArray[np.float32]]) -> Volume:
        """Return the most probable label, a training number, on the grid of the case's file.

        Args:
            case: its id.
            probabilities: of each class ``(X, Y, Z)`` on the grid of ``image``.
        """
        return self._cache.to_native(case, probabilities, self._spec.recipe.output_resampling)


def load_trial_data(
    spec: TrialSpec, root: Path | None, heartbeat: Callable[[], None] = lambda: None
) -> TrialData:
    """Return a trial's data; preprocesses the dataset first where this host has not yet.

    Raises:
        UserError: the data are missing or broken, or there are fewer training cases than shots.
    """
    name = spec.dataset.name
    dataset: Dataset = registry.load("dataset", name)()
    cases = dataset.cases(root)
    if spec.tolerances is not None:
        dataset.tolerances = dataset.by_region(spec.tolerances, "tolerances of the study")
    split = find_split(dataset, spec.dataset, cases, dataset.is_twin(root))
    if not split.validation and spec.recipe.validate_every and spec.recipe.selection != "test_oracle":
        raise UserError(
            f"dataset {name!r}", f"no validation cases in the split ({split.rule})",
            "some, where recipe.validate_every is set", "Choose another split, or selection last without it.",
        )  # fmt: skip
    training = few_shot_cases(split, cases, spec.shots, name, spec.subset, spec.dataset.split_fold)
    divided = set(split.cases)
    used = [case for case in cases if case.id in divided]  # not the excluded ones: they may be broken
    cache = prepare(dataset, name, used, spec.recipe, heartbeat)
    patients = {case.id: case.patient for case in cases if case.id in split.test}
    known = dataset.knows_patients(cases)
    return TrialData(dataset, split, training, cache, spec, patients if known else None)
