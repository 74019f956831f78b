"""Pictures of labels above 255, and of cases in which not all is labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from harness.data.check_report import CaseFacts
from harness.data.datasets.contract import Case, Dataset, Volume
from harness.data.nifti import write_label
from harness.reporting.slices.dataset import slices
from harness.reporting.slices.galleries import CaseVolumes, _in_bytes, _prediction
from harness.reporting.slices.images import CaseImage, case_image

VALUES = np.array([0, 205, 850, 7])


class Heart(Dataset):
    """One case of two labels and ignored voxels."""

    summary, source = "a heart", "made here"
    channels, recipe = ("CT",), {}
    labels, ignore = {0: "background", 205: "LV", 850: "PA"}, 7

    def cases(self, root: Path | None) -> list[Case]:
        return [Case("c", "c")]

    def image(self, case: Case) -> Volume:
        return Volume(self.label(case).array[None].astype(np.float32), np.eye(4))

    def label(self, case: Case) -> Volume:
        return Volume(np.random.default_rng(0).choice(VALUES, (6, 5, 4)).astype(np.int16), np.eye(4))


def test_ignored_voxels_are_in_no_picture(tmp_path: Path) -> None:
    truth = Heart().label(Case("c", "c")).array
    for _ in range(2):  # made, and read from the study's copy
        found = case_image(tmp_path, f"{__name__}:Heart", "c", None)
        assert isinstance(found, CaseImage) and found.ignored is not None
        assert np.array_equal(found.ignored, truth == 7)
        assert np.array_equal(found.label, np.where(truth == 7, 0, truth)) and found.label.dtype == np.uint16
    folder = tmp_path / "trials" / "t" / "predictions"
    folder.mkdir(parents=True)
    write_label(folder / "c.student.nii.gz", np.full((6, 5, 4), 850, np.uint16), np.eye(4))
    prediction = _prediction(tmp_path, "t", "c", found)
    assert prediction is not None and np.array_equal(prediction, np.where(truth == 7, 0, 850))


def volumes(reference: list[int], prediction: list[int] | None) -> CaseVolumes:
    first, second = (None if one is None else np.array([[one]], np.uint16) for one in (reference, prediction))
    assert first is not None
    return CaseVolumes("c", (1.0, 1.0, 1.0), first.astype(np.uint8), first, (second, None), ("", ""))


def test_labels_above_255_are_bytes_in_pictures_with_their_own_names() -> None:
    cases = [volumes([0, 205, 850], [0, 0, 205]), volumes([0, 0, 0], [500, 205, 0])]
    shown, names = _in_bytes(cases, {0: "background", 205: "LV", 850: "PA"})
    assert dict(names) == {1: "LV", 2: "label 500", 3: "PA"}
    assert shown[0].reference.tolist() == [[[0, 1, 3]]] and shown[0].reference.dtype == np.uint8
    assert [one.tolist() for case in shown for one in case.predictions if one is not None] == [[[[0, 0, 1]]], [[[2, 1, 0]]]]  # fmt: skip
    (same,), names = _in_bytes([volumes([0, 3, 255], None)], {3: "a"})
    assert same.reference.tolist() == [[[0, 3, 255]]] and dict(names) == {3: "a"}


def test_the_overview_of_a_dataset_has_training_numbers() -> None:
    facts = CaseFacts(Case("c", "c"), (1, 1, 1), (6, 5, 4), "RAS", "int16", 1.0, {}, "", "")
    (picture,) = slices(Heart(), [facts])
    assert not isinstance(picture, str) and set(np.unique(picture.label).tolist()) <= {0, 1, 2}
