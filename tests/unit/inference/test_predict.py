"""``medctx predict``: the same labels as a trial's own test, means of several, and what goes wrong."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

import harness
from harness.inference import outputs
from harness.inference.trained import changed_since
from harness.study.resolve import Resolver
from tests.unit.inference.conftest import Finished


def array(path: Path) -> NDArray[Any]:
    return np.asanyarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize(("trial", "role"), [(0, "student"), (0, "teacher"), (1, "student")])
def test_test_cases_get_the_labels_of_the_trials_own_test(
    finished: Finished, tmp_path: Path, trial: int, role: str
) -> None:
    record = finished.trials[trial]
    found = harness.predict(record.id[:6], finished.images, tmp_path, results=finished.results, role=role)
    assert record.protocol and [one.case for one in found.cases] == sorted(record.protocol.test_cases)
    assert not found.problems and not any(one.kept for one in found.cases)
    for one in found.cases:
        stored, written = finished.stored(trial, one.case, role), nibabel.load(one.labels)
        # the trial's image had its axes in another order in memory: the last bits of its mean differ, and may break a tie
        assert np.mean(np.asanyarray(written.dataobj) != np.asanyarray(stored.dataobj)) < 1e-4
        assert written.get_data_dtype() == stored.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(written.affine, stored.affine)
        assert len(np.unique(np.asanyarray(written.dataobj))) > 1


def test_several_trials_are_averaged(finished: Finished, tmp_path: Path) -> None:
    """The oracle is the mean of the files of each trial's probabilities."""
    ids = [record.id for record in finished.trials]

    def predicted(trials: Any, name: str) -> dict[str, NDArray[Any]]:
        found = harness.predict(
            trials, finished.images, tmp_path / name, results=finished.results, probabilities=True
        )
        for one in found.cases:
            assert one.probabilities is not None
            assert (array(one.probabilities).argmax(axis=-1) == array(one.labels)).all()
        return {one.case: array(one.probabilities) for one in found.cases if one.probabilities}

    alone, both = [predicted(id, id) for id in ids], predicted(ids, "both")
    assert both
    for case, values in both.items():
        assert values.shape == (40, 40, 24, 5) and values.dtype == np.float32
        np.testing.assert_allclose(values.sum(axis=-1), 1, atol=1e-5)
        np.testing.assert_allclose(values, (alone[0][case] + alone[1][case]) / 2, atol=1e-6)
    card = json.loads((tmp_path / "both" / "predictions.json").read_text())
    assert [one["id"] for one in card["trials"]] == ids and card["labels"]["1"] == "lobe"


def test_what_has_another_version_now_is_said(finished: Finished, tmp_path: Path) -> None:
    record, said = finished.trials[0], list[str]()
    harness.predict(record.id, finished.images, tmp_path, results=finished.results, say=said.append)
    assert said and all(line.startswith("predicted: ") for line in said)
    older = record.spec.architecture.model_copy(update={"version": 0})
    trained_before = record.model_copy(
        update={"spec": record.spec.model_copy(update={"architecture": older})}
    )
    (sentence,) = changed_since(trained_before)
    assert sentence.startswith("architecture unet is at version ") and "had 0" in sentence


def test_the_header_is_that_of_the_image(finished: Finished, tmp_path: Path) -> None:
    source = nibabel.load(next(finished.images.glob("*.nii.gz")))
    affine = np.array([[0, 0, -2.0, 30], [1.0, 0, 0, -20], [0, 1.0, 0, 5], [0, 0, 0, 1]])
    for forms in ("q", "s", "qs", ""):
        image = nibabel.Nifti1Image(np.asanyarray(source.dataobj).transpose(2, 0, 1), None, source.header)
        image.set_qform(affine if "q" in forms else None, 1 if "q" in forms else 0)
        image.set_sform(affine if "s" in forms else None, 2 if "s" in forms else 0)
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, tmp_path / f"turned_{forms}.nii")
        found = harness.predict(
            finished.trials[1].id, tmp_path / f"turned_{forms}.nii", tmp_path / "out",
            results=finished.results, probabilities=True,
        )  # fmt: skip
        given = nibabel.load(tmp_path / f"turned_{forms}.nii")
        (one,) = found.cases
        assert one.probabilities
        for path in (one.labels, one.probabilities):
            written = nibabel.load(path)
            np.testing.assert_array_equal(written.affine, given.affine)
            assert written.shape[:3] == given.shape and written.header.get_xyzt_units()[0] == "mm"
            for field in ("qform_code", "sform_code"):
                assert written.header[field] == given.header[field]


def test_what_is_finished_is_kept_and_other_trials_or_images_are_not(
    finished: Finished, tmp_path: Path
) -> None:
    images = shutil.copytree(finished.images, tmp_path / "images")
    first, second, _ = sorted(images.iterdir())
    said: list[str] = []

    def kept(trial: int = 0, **options: Any) -> list[bool]:
        found = harness.predict(
            finished.trials[trial].id,
            images,
            tmp_path / "out",
            results=finished.results,
            say=said.append,
            **options,
        )
        return [one.kept for one in found.cases]

    harness.predict(finished.trials[0].id, [first], tmp_path / "out", results=finished.results)
    assert kept() == [True, False, False]
    assert [line.partition(":")[0] for line in said] == [
        "kept, as the same trials have predicted it", "predicted", "predicted",
    ]  # fmt: skip
    assert kept() == [True] * 3
    image = nibabel.load(second)
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj)[::-1].copy(), image.affine), second)
    assert kept() == [True, False, True]
    assert kept(probabilities=True) == [False] * 3 and kept(probabilities=True) == [True] * 3
    assert kept(role="teacher") == [False] * 3 and kept(trial=1) == [False] * 3


def test_a_killed_call_leaves_no_half_of_a_file(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = nibabel.save

    def die(image: Any, path: Path) -> None:
        saved(image, path)
        os.truncate(path, 100)
        raise KeyboardInterrupt

    def predict() -> Any:
        return harness.predict(finished.trials[0].id, finished.images, tmp_path, results=finished.results)

    with monkeypatch.context() as context:
        context.setattr(outputs.nibabel, "save", die)
        with pytest.raises(KeyboardInterrupt):
            predict()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]
    assert len(predict().cases) == 3


def test_an_image_that_cannot_be_read_stops_no_other(
    finished: Finished, tmp_path: Path, medctx: Callable[..., Any]
) -> None:
    images = shutil.copytree(finished.images, tmp_path / "images")
    (images / "broken.nii.gz").write_bytes(b"no gzip")
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 1), np.float32), np.eye(4)), images / "flat.nii.gz")
    ended = medctx(
        "predict", finished.trials[1].id, "--input", images, "--output", tmp_path / "out",
        "--results", finished.results, "--device", "cpu",
    )  # fmt: skip
    assert ended.code == 1, ended.err
    told = " ".join(ended.out.split())
    assert "not predicted: broken:" in told and "not predicted: flat:" in told and "one slice" in told
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3


def test_files_of_others_are_not_overwritten(finished: Finished, tmp_path: Path) -> None:
    images = shutil.copytree(finished.images, tmp_path / "images")
    before = {path: path.read_bytes() for path in images.iterdir()}
    with pytest.raises(harness.UserError, match="a file that 'medctx predict' has not written"):
        harness.predict(finished.trials[0].id, images, images, results=finished.results)
    assert {path: path.read_bytes() for path in images.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("", {"trials": "nothing"}, "0 trials in"),
        ("", {"trials": []}, "one trial or more"),
        ("", {"role": "teacher"}, "no teacher: method supervised has student"),
        ("", {"device": "cuda:77"}, "--device: found cuda:77"),
        ("weights", {}, "checkpoint.pt: found no weights: .*keep: scores.*medctx run STUDY --results NEW"),
        ("damage", {}, "is damaged"),
        ("failed", {}, "a failed train"),
    ],
)
def test_mistakes(
    finished: Finished, tmp_path: Path, change: str, options: dict[str, Any], message: str
) -> None:
    record = finished.trials[1]
    results = shutil.copytree(finished.results, tmp_path / "results")
    folder = results / "trials" / record.id
    if change == "weights":
        (folder / "checkpoint.pt").unlink()
    if change == "damage":
        os.truncate(folder / "checkpoint.pt", 1000)
    if change == "failed":
        path = folder / "trial.json"
        path.write_text(path.read_text().replace('"complete"', '"failed"'))
        (folder / "SHA256SUMS").unlink(missing_ok=True)
    given = {"trials": record.id, **options}
    with pytest.raises(harness.UserError, match=message):
        harness.predict(inputs=finished.images, output=tmp_path / "out", results=results, **given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("architecture", "preset"), [("dynunet", "paper"), ("unetr_pp", "acdc")])
def test_a_version_that_depends_on_options_is_the_trials_own(
    finished: Finished, architecture: str, preset: str
) -> None:
    settings = {"architecture": architecture, "architecture.preset": preset, "method": "supervised"}
    spec = Resolver("test").trial(
        {
            "dataset": "acdc",
            "shots": "all",
            "subset": 0,
            "seed": 0,
            "recipe.patch": [160, 160, 16],
            **settings,
        }
    )
    assert not isinstance(spec, str), spec
    assert changed_since(finished.trials[0].model_copy(update={"spec": spec})) == []
