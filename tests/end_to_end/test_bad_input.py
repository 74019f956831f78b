"""Bad input: one line that names the place, what was found, what was expected and what to do; exit status 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness.records.schema import read_history
from harness.study.expand import load_study

STUDY = """
question: Is bad input refused?
base: {dataset: DATASET, architecture: unet, method: supervised, recipe: {steps: 2}}
"""
CASE = "hippocampus_003.nii.gz"


def write_study(folder: Path, text: str = STUDY, dataset: str = "phantom") -> Path:
    path = folder / "bad.yaml"
    path.write_text(text.replace("DATASET", dataset))
    return path


@pytest.fixture
def refused(medctx: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that runs a command, checks that it was refused before training, and gives the line."""
    monkeypatch.setitem(sys.modules, "harness.sweep.ray_tune", None)  # whoever gets as far as Ray fails

    def run(*arguments: object, results: str = "results") -> str:
        outcome = medctx(*arguments, "--results", tmp_path / results)
        assert outcome.code == 2, outcome
        lines = outcome.err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("medctx: "), outcome.err
        assert "found" in lines[0] and "expected" in lines[0] and lines[0].rstrip().endswith((".", "?"))
        assert not list((tmp_path / "results").glob("trials/*")), "a trial was run"
        return lines[0]

    return run


def test_unknown_study(refused: Callable) -> None:
    assert "'quickstrat'" in (line := refused("run", "quickstrat")) and "Did you mean 'quickstart'?" in line


def test_study_file_that_is_not_there(refused: Callable, tmp_path: Path) -> None:
    assert "nowhere.yaml" in refused("run", tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("wrong", "right", "named"),
    [
        ("question:", "qestion:", "question"),
        ("steps:", "stpes:", "steps"),
        ("supervised", "supervized", "supervised"),
        ("architecture: unet", "architecture: unett", "unet"),
        ("dataset: DATASET", "dataset: phantum", "phantom"),
    ],
)
def test_unknown_key_or_name(refused: Callable, tmp_path: Path, wrong: str, right: str, named: str) -> None:
    line = refused("run", write_study(tmp_path, STUDY.replace(wrong, right)))
    assert right.split()[-1].rstrip(":") in line and f"'{named}'" in line


def test_broken_yaml(refused: Callable, tmp_path: Path) -> None:
    assert "bad.yaml" in refused("run", write_study(tmp_path, "question: [unclosed"))


def test_no_data_root(refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDCTX_DATA", raising=False)
    assert "--data" in refused("run", write_study(tmp_path, dataset="hippocampus"))


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("name", ["nnunet:D3ch", "msd:D3ch"])
def test_no_data_root_of_a_folder(
    refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.delenv("MEDCTX_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    line = refused(command, write_study(tmp_path, dataset=f"'{name}'"), *["--probe"] * (command == "plan"))
    assert "MEDCTX_DATA is set" in line and str(tmp_path) in line and name in line and "Fetch" not in line


@pytest.mark.parametrize("patch", ["[7, 16, 16]", "[16, 16, 4]", "[8, 8, 8]"])
def test_a_patch_that_no_trial_can_take_says_why(refused: Callable, tmp_path: Path, patch: str) -> None:
    study = write_study(tmp_path, STUDY.replace("steps: 2", f"steps: 2, patch: {patch}"))
    line = refused("run", study)
    assert f"patch {patch}" in line and "multiples of" in line
    assert f"patch {patch}" in refused("run", study, "--only", "seed=0")


def test_data_root_without_the_dataset(refused: Callable, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused("run", write_study(tmp_path, dataset="hippocampus"), "--data", tmp_path / "empty")
    assert str(tmp_path / "empty") in line and "Task04_Hippocampus" in line


def break_shape(folder: Path) -> None:
    path = folder / "labelsTr" / CASE
    label = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(label.dataobj)[:-1], label.affine), path)


def break_values(folder: Path) -> None:
    path = folder / "labelsTr" / CASE
    label = np.array(nibabel.load(path).dataobj)
    label[0, 0, 0] = 7
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), path)


def break_fraction(folder: Path) -> None:
    path = folder / "labelsTr" / CASE
    label = np.array(nibabel.load(path).dataobj).astype(np.float32)
    label[0, 0, 0] = 1.5
    nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), path)


def flip_a_bit(folder: Path) -> None:
    path = folder / "imagesTr" / CASE
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 1
    path.write_bytes(bytes(packed))


def break_gzip(folder: Path) -> None:
    path = folder / "imagesTr" / CASE
    path.write_bytes(path.read_bytes()[:2000])


def break_intensity(folder: Path) -> None:
    path = folder / "imagesTr" / CASE
    image = np.array(nibabel.load(path).dataobj)
    image[3, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), path)


def break_affine(folder: Path) -> None:
    path = folder / "labelsTr" / CASE
    label = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(label.dataobj), np.diag([-1, 1, 1, 1])), path)


def lose_file(folder: Path) -> None:
    (folder / "labelsTr" / CASE).unlink()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_shape, "(19, 24, 20)"),
        (break_values, "[7]"),
        (break_fraction, "[1.5]"),
        (break_gzip, "cannot be read"),
        (flip_a_bit, "cannot be read"),
        (break_intensity, "NaN"),
        (break_affine, "mm away from its place"),
        (lose_file, "no such file"),
    ],
)
def test_broken_files_are_named(
    refused: Callable, small_msd: Path, tmp_path: Path, damage: Callable, said: str
) -> None:
    damage(small_msd / "Task04_Hippocampus")
    line = refused("run", write_study(tmp_path, dataset="hippocampus"), "--data", small_msd)
    assert CASE in line and said in line


def test_broken_listing(refused: Callable, small_msd: Path, tmp_path: Path) -> None:
    (small_msd / "Task04_Hippocampus" / "dataset.json").write_text("{")
    assert "dataset.json" in refused("run", write_study(tmp_path, dataset="hippocampus"), "--data", small_msd)


def test_the_small_data_are_good_when_nothing_is_broken(
    medctx: Callable, small_msd: Path, tmp_path: Path
) -> None:
    study = write_study(tmp_path, dataset="hippocampus")
    id = load_study(str(study)).cells[0].spec.id
    outcome = medctx("trial", study, id, "--data", small_msd, "--results", tmp_path / "results")
    assert outcome.code == 0, outcome
    predictions = list((tmp_path / "results" / "trials" / id / "predictions").iterdir())
    assert len(predictions) == 2
    assert nibabel.load(predictions[0]).shape == (20, 24, 20)


@pytest.mark.parametrize(
    ("shots", "said"), [("0", "from 1"), ("-2", "from 1"), ("33", "1 to 32"), ("some", "'all'")]
)
def test_shots_that_cannot_be(refused: Callable, tmp_path: Path, shots: str, said: str) -> None:
    line = refused("run", write_study(tmp_path), "--set", f"shots={shots}")
    assert "shots" in line and shots in line and said in line


@pytest.mark.parametrize("results", ["file", "file/results"])
def test_results_folder_that_cannot_be_written(refused: Callable, tmp_path: Path, results: str) -> None:
    (tmp_path / "file").touch()
    line = refused("run", write_study(tmp_path), results=results)
    assert str(tmp_path / results) in line and "--results" in line


def test_cache_that_cannot_be_written(
    refused: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "file" / "cache"))
    line = refused("run", write_study(tmp_path))
    assert str(tmp_path / "file") in line and "MEDCTX_CACHE" in line


def test_a_trial_that_the_study_does_not_have(refused: Callable, tmp_path: Path) -> None:
    assert "'zzzz'" in (line := refused("trial", write_study(tmp_path), "zzzz")) and "medctx plan" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--only", "seed=9"), "seed=9"),
        (("--only", "sed=0"), "Did you mean 'seed'?"),
        (("--only", "seed"), "KEY=VALUE"),
        (("--set", "recipe.steps"), "PATH=VALUE"),
        (("--set", "recipe.steps=many"), "recipe"),
        (("--set", "recipe.patch=[1,2"), "YAML"),
        (("--set", "recipe.flips=[3]"), "flips"),
        (("--set", "recipe.selection=best_validation"), "validate_every"),
        (("--set", "stps=3"), "unknown key"),
    ],
)
def test_options_that_cannot_be(refused: Callable, tmp_path: Path, arguments: tuple, said: str) -> None:
    assert said in refused("run", write_study(tmp_path), *arguments)


def test_setting_a_factor_of_the_grid_is_refused(refused: Callable) -> None:
    assert "--only" in refused("run", "quickstart", "--set", "seed=3")


NAN_METHOD = '''
from harness.training.method import Losses
from methods.supervised import Supervised


class NaNMethod(Supervised):
    """Supervised training whose loss is not a number from step 3."""

    def step(self, batch, progress):
        losses = super().step(batch, progress)
        return Losses(losses.total * float("nan"), losses.terms) if progress.step >= 3 else losses
'''


def test_a_loss_that_becomes_nan_fails_the_trial_and_keeps_its_history(
    medctx: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nan_method.py").write_text(NAN_METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    text = STUDY.replace("method: supervised", 'method: "nan_method:NaNMethod"').replace(
        "steps: 2", "steps: 9"
    )
    study = write_study(tmp_path, text)
    results = tmp_path / "results"
    id = load_study(str(study)).cells[0].spec.id
    outcome = medctx("trial", study, id, "--results", results)
    assert outcome.code == 1 and "nan" in outcome.out
    record = json.loads((results / "trials" / id / "trial.json").read_text())
    assert record["status"] == "failed" and record["cause"]["kind"] == "nan"
    assert [line["step"] for line in read_history(results / "trials" / id)] == [0, 1, 2, 3]
    counts = json.loads(medctx("status", study, "--results", results, "--json").out)
    assert counts["failed"] == 1 and counts["pending"] == 0
    again = medctx("run", study, "--results", results)
    assert again.code == 1 and "0 to run" in again.out and "report:" in again.out
