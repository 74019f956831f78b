"""``medctx evaluate``: folders of predictions, whole and broken."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from medpy.metric import binary
from numpy.typing import NDArray

from harness.evaluation.conventions import convention_rows

SPACING = (1.0, 0.75, 2.5)  # the header has single precision
AFFINE = np.diag([*SPACING, 1.0])
GUIDE = Path(__file__).parents[2] / "docs" / "scoring.md"


def save(path: Path, labels: NDArray, affine: NDArray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels, affine), path)


def labels_of(seed: int, shift: int = 0) -> NDArray[np.uint8]:
    """Return two organs, shifted along x."""
    rng = np.random.default_rng(seed)
    volume = np.zeros((20, 18, 12), np.uint8)
    for value, size in ((1, 6), (2, 4)):
        x, y, z = rng.integers(2, 7, 3)
        volume[x + shift : x + shift + size, y : y + size, z : z + size] = value
    return volume


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return predictions and references of four cases; the sorted orders of the names are the same."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for number in range(4):
        save(predictions / f"case_{number}.nii.gz", labels_of(number, shift=number))
        save(references / f"case_{number}.nii.gz", labels_of(number))
    return predictions, references


@pytest.fixture
def evaluate(medctx: Callable, tmp_path: Path, folders: tuple[Path, Path]) -> Callable:
    """Return a function that runs ``medctx evaluate`` and gives its outcome and the rows of its file."""

    def run(*options: object) -> tuple:
        paths = ("--predictions", folders[0], "--references", folders[1], "--output", tmp_path / "scores.csv")
        outcome = medctx("evaluate", *paths, "--workers", "1", *options)
        file = tmp_path / "scores.csv"
        rows = list(csv.DictReader(file.read_text().splitlines())) if file.is_file() else []
        return outcome, rows

    return run


def value(rows: list[dict], case: str, region: str, metric: str) -> float:
    (row,) = (r for r in rows if (r["case"], r["region"], r["metric"]) == (case, region, metric))
    return float(row["value"])


def test_a_whole_folder_is_scored_as_medpy_scores_it(evaluate: Callable) -> None:
    outcome, rows = evaluate("--labels", "2=posterior", "--verify", "3")
    assert outcome.code == 0, outcome
    assert list(rows[0]) == ["case", "region", "metric", "value", "unit", "empty"]
    assert {row["metric"] for row in rows} == {"dice", "hd95", "assd", "nsd@1", "nsd@2"}
    assert len(rows) == 4 * 2 * 5 and {row["region"] for row in rows} == {"1", "posterior"}
    assert {(row["metric"], row["unit"]) for row in rows if row["metric"] in ("dice", "hd95")} == {
        ("dice", ""),
        ("hd95", "mm"),
    }
    for number in range(4):
        for label, region in ((1, "1"), (2, "posterior")):
            a, b = labels_of(number, shift=number) == label, labels_of(number) == label
            case = f"case_{number}"
            assert value(rows, case, region, "dice") == pytest.approx(binary.dc(a, b), abs=1e-9)
            assert value(rows, case, region, "hd95") == pytest.approx(binary.hd95(a, b, SPACING), abs=1e-9)
            assert value(rows, case, region, "assd") == pytest.approx(binary.assd(a, b, SPACING), abs=1e-9)
    assert "verified 3 cases: largest difference to medpy" in outcome.out
    assert "4 cases, convention harness" in outcome.out and "misses" in outcome.out
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("posterior"))
    assert line.count("±") == 5  # whole lines, whatever the width of the terminal


def test_every_broken_case_is_named_in_one_run_and_the_rest_is_scored(
    evaluate: Callable, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    predictions, references = folders
    for case in (
        "no_prediction",
        "shape",
        "affine",
        "label",
        "half",
        "corrupt",
        "corrupt_reference",
        "slice",
    ):
        save(references / f"{case}.nii.gz", labels_of(7))
        if case != "no_prediction":
            save(predictions / f"{case}.nii.gz", labels_of(7, shift=1))
    save(predictions / "no_reference.nii.gz", labels_of(7))
    save(predictions / "shape.nii.gz", labels_of(7)[1:])
    shifted = AFFINE.copy()
    shifted[0, 3] = 1.0
    save(predictions / "affine.nii.gz", labels_of(7), shifted)
    save(predictions / "label.nii.gz", np.where(labels_of(7) == 2, 9, labels_of(7)).astype(np.uint8))
    save(predictions / "half.nii.gz", labels_of(7).astype(np.float32) / 2)
    for path in (predictions / "corrupt.nii.gz", references / "corrupt_reference.nii.gz"):
        path.write_bytes(path.read_bytes()[:-40])
    for folder in folders:
        save(folder / "slice.nii.gz", labels_of(7)[:, :, 5:6])
    expected = {
        "no_prediction": "no prediction", "no_reference": "no reference", "shape": "(19, 18, 12)",
        "affine": "1 mm away", "label": "unknown labels [9]", "half": "whole numbers from 0 to 255", "corrupt": "cannot be read",
        "corrupt_reference": "cannot be read", "slice": "one slice",
    }  # fmt: skip
    for workers in (1, 2):
        outcome, rows = evaluate("--workers", workers, "--verify", "99")
        assert outcome.code == 1 and "verified 4 cases: largest difference" in outcome.out
        lines = {
            line.split(": ")[1]: line for line in outcome.out.splitlines() if line.startswith("not scored")
        }
        assert set(lines) == set(expected)
        for case, text in expected.items():
            assert text in lines[case]
        assert {row["case"] for row in rows} == {f"case_{number}" for number in range(4)}
    card = json.loads((tmp_path / "scores.json").read_text())
    assert card["convention"] == "harness" and card["cases"] == 4 and set(card["not_scored"]) == set(expected)


@pytest.mark.parametrize("axes", ["LPS", "SRA", "ILP"])
def test_a_prediction_whose_axes_are_stored_otherwise_is_turned(
    evaluate: Callable, folders: tuple[Path, Path], axes: str
) -> None:
    """Tools bring what they write to axes of their own; the voxels lie where they lay."""
    _, straight = evaluate()
    for path in folders[0].iterdir():
        image = nibabel.load(path)
        turn = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(axes)
        )
        nibabel.save(image.as_reoriented(turn), path)
    outcome, rows = evaluate("--verify", "4")
    assert outcome.code == 0 and rows == straight


def test_float_noise_in_an_affine_is_no_mismatch(evaluate: Callable, folders: tuple[Path, Path]) -> None:
    save(folders[0] / "case_0.nii.gz", labels_of(0), AFFINE * (1 + 1e-6))
    assert evaluate()[0].code == 0


def test_cases_are_paired_by_id_whatever_the_files_are_called(
    evaluate: Callable, folders: tuple[Path, Path]
) -> None:
    predictions, _ = folders
    for number in range(4):
        source = predictions / f"case_{number}.nii.gz"
        # the order of these names is the reverse of the references'
        source.rename(predictions / f"z{9 - number}_case_{number}.student.nii.gz")
    refused, _ = evaluate()
    assert refused.code == 2 and "--prediction-names" in refused.err
    for number in range(4):
        (predictions / f"z{9 - number}_case_{number}.student.nii.gz").rename(
            predictions / f"case_{number}.student.nii.gz"
        )
    save(predictions / "case_0.teacher.nii.gz", labels_of(0))
    outcome, rows = evaluate("--prediction-names", "{case}.student")
    assert outcome.code == 0 and value(rows, "case_0", "1", "dice") == 1.0
    assert value(rows, "case_3", "1", "dice") == pytest.approx(
        binary.dc(labels_of(3, 3) == 1, labels_of(3) == 1)
    )


def test_a_missed_organ_is_counted_as_a_miss_and_one_that_is_nowhere_is_not(
    evaluate: Callable, folders: tuple[Path, Path]
) -> None:
    predictions, references = folders
    save(predictions / "case_0.nii.gz", np.where(labels_of(0) == 2, 0, labels_of(0)).astype(np.uint8))
    save(predictions / "case_1.nii.gz", np.where(labels_of(1) == 2, 0, labels_of(1)).astype(np.uint8))
    save(references / "case_1.nii.gz", np.where(labels_of(1) == 2, 0, labels_of(1)).astype(np.uint8))
    outcome, rows = evaluate("--metrics", "dice,hd95")
    assert outcome.code == 0
    diagonal = math.hypot(20 * 1.0, 18 * 0.75, 12 * 2.5)
    assert value(rows, "case_0", "2", "hd95") == pytest.approx(diagonal)
    both = [row for row in rows if (row["case"], row["region"]) == ("case_1", "2")]
    assert [(row["value"], row["empty"]) for row in both] == [("", "both"), ("", "both")]
    (line,) = (line.split() for line in outcome.out.splitlines() if line.startswith("2 "))
    assert line[-3:] == ["3", "1", "1"]  # n, misses, in neither


def test_a_metric_that_is_counted_for_fewer_cases_says_so(
    evaluate: Callable, folders: tuple[Path, Path]
) -> None:
    save(folders[1] / "case_0.nii.gz", np.where(labels_of(0) == 2, 0, labels_of(0)).astype(np.uint8))
    outcome, _ = evaluate("--metrics", "dice,sensitivity")
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("2 "))
    assert "(n=3)" in line and line.split()[-3:] == ["4", "1", "0"]


def test_references_without_a_label_are_no_success(evaluate: Callable, folders: tuple[Path, Path]) -> None:
    for folder in folders:
        for path in folder.iterdir():
            save(path, np.zeros((20, 18, 12), np.uint8))
    outcome, _ = evaluate()
    assert outcome.code == 2 and "no label in any" in outcome.err
    outcome, rows = evaluate("--labels", "1=one")
    assert outcome.code == 0 and {row["empty"] for row in rows} == {"both"}


def test_nothing_to_verify_is_no_agreement(evaluate: Callable) -> None:
    outcome, rows = evaluate("--metrics", "volume", "--verify", "2")
    assert outcome.code == 1 and "verified 0 cases: nothing to compare" in outcome.out and rows


def test_a_released_convention_is_labelled_and_measures_in_voxels(evaluate: Callable, tmp_path: Path) -> None:
    outcome, rows = evaluate(
        "--convention", "released_synapse", "--labels", "1=one,2=two", "--metrics", "hd95"
    )
    assert outcome.code == 0
    assert "convention released_synapse" in outcome.out and "rewards a missed region" in outcome.out
    assert {row["unit"] for row in rows} == {"voxel"} and "(voxel)" in outcome.out
    assert value(rows, "case_3", "one", "hd95") == 3.0
    assert json.loads((tmp_path / "scores.json").read_text())["convention"] == "released_synapse"
    _, rows = evaluate("--convention", "released_synapse", "--allow-missing-labels")
    assert list(dict.fromkeys(row["region"] for row in rows)) == [
        "Spl", "RKid", "LKid", "Gal", "Liv", "Sto", "Aor", "Pan",
    ]  # fmt: skip


def test_regions_group_labels(evaluate: Callable) -> None:
    _, rows = evaluate("--regions", "whole=1+2,core=2", "--metrics", "dice")
    assert list(dict.fromkeys(row["region"] for row in rows)) == ["whole", "core"]
    a, b = labels_of(2, shift=2) > 0, labels_of(2) > 0
    assert value(rows, "case_2", "whole", "dice") == pytest.approx(binary.dc(a, b), abs=1e-12)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--convention", "released"], "released_"),
        (["--metrics", "dice,hd59"], "hd95"),
        (["--metrics", "dice,dice"], "each one once"),
        (["--labels", "1=a,x=b"], "'x'"),
        (["--labels", "1=a,1=b"], "--labels"),
        (["--labels", "1=a,2=a"], "different names"),
        (["--labels", "1=2"], "Name both"),
        (["--labels", "1=a", "--regions", "b=1"], "one of them"),
        (["--ignore", "0"], "--ignore: found 0; expected a label from 1 to 255"),
        (["--ignore", "hole"], "'hole'"),
        (["--ignore", "2", "--labels", "2=b"], "--ignore: found 2, which --labels has too"),
        (["--ignore", "2", "--regions", "a=1,b=1+2"], "2, which --regions has too"),
        (["--regions", "a=1+300"], "--regions: found 300; expected a label from 1 to 255"),
        (["--labels", "0=background,1=a"], "Leave out the background"),
        (["--references", "nowhere"], "nowhere: found no folder that can be read (No such file"),
        (["--references", "."], "no file named {case}"),
        (["--output", "nowhere/scores.csv"], "nowhere"),
        (["--prediction-names", "case"], "{case}"),
        (["--reference-names", "case_{case}"], "--reference-names"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    evaluate: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome, rows = evaluate(*options)
    assert outcome.code == 2 and named in outcome.err and not rows
    assert len(outcome.err.strip().splitlines()) == 1


def test_the_guide_has_the_conventions_of_the_code() -> None:
    """Where they change: MEDCTX_REGENERATE=1 pytest tests/end_to_end/test_evaluate.py"""
    rows = convention_rows()
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    begin, end = "<!-- conventions -->\n", "\n<!-- end of conventions -->"
    text = GUIDE.read_text()
    before, rest = text.split(begin)
    found, after = rest.split(end)
    if os.environ.get("MEDCTX_REGENERATE"):
        GUIDE.write_text(before + begin + table + end + after)
        found = table
    assert found == table


def organs(numbers: list[int], shift: int = 0) -> NDArray[np.uint8]:
    """Return a box for each number, in two rows."""
    volume = np.zeros((9 * ((len(numbers) + 1) // 2), 18, 8), np.uint8)
    for index, number in enumerate(numbers):
        x, y = index // 2 * 9 + 1, index % 2 * 9 + 1
        volume[x + shift : x + 6 + shift, y : y + 6 - index % 3, 2:6] = number
    return volume


def write_folders(folders: tuple[Path, Path], prediction: NDArray, reference: NDArray) -> None:
    """Write two cases in place of what is there."""
    for folder, labels in zip(folders, (prediction, reference), strict=True):
        for path in folder.glob("*"):
            path.unlink()
        for case in ("one", "two"):
            save(folder / f"{case}.nii.gz", labels)


FOREIGN = {
    "TransUNet's Synapse": (list(range(1, 9)), ["--convention", "released_synapse"], {"Liv": (5,), "Pan": (6,), "Spl": (7,)}),
    "the challenge's BraTS": ([1, 2, 4], ["--convention", "released_brats"], {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}),
    "the challenge's BraTS, by --regions": ([1, 2, 4], ["--regions", "ET=3,TC=2+3,WT=1+2+3"], {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}),
    "BTCV, by TransUNet's numbers": (list(range(1, 14)), ["--regions", "Liv=5,Aor=1"], {"Liv": (6,), "Aor": (8,)}),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_labels_of_another_numbering_are_refused_with_the_regions_that_fit(
    evaluate: Callable, folders: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    numbers, options, fitting = FOREIGN[name]
    prediction, reference = organs(numbers, 1), organs(numbers)
    write_folders(folders, prediction, reference)
    refused, rows = evaluate(*options, "--metrics", "dice")
    assert refused.code == 2 and not rows and len(refused.err.strip().splitlines()) == 1
    told = refused.err.partition("give ")[2].strip().removesuffix(".").split()
    convention = options if options[0] == "--convention" else []
    outcome, rows = evaluate(*convention, *told, "--metrics", "dice")
    assert outcome.code == 0, outcome
    for region, values in fitting.items():
        wanted = binary.dc(np.isin(prediction, values), np.isin(reference, values))
        assert value(rows, "two", region, "dice") == pytest.approx(wanted, abs=1e-12)
    allowed, rows = evaluate(*options, "--metrics", "dice", "--allow-missing-labels")
    assert allowed.code == 0 and rows and "allowed: label" in allowed.out
    card = json.loads((tmp_path / "scores.json").read_text())
    assert card["labels_in_no_region"] and card["ignored_label"] is None


def test_a_label_of_one_prediction_alone_is_named_and_may_be_allowed(
    evaluate: Callable, folders: tuple[Path, Path]
) -> None:
    odd = labels_of(2, shift=2)
    odd[0, 0, 0] = 7
    save(folders[0] / "case_2.nii.gz", odd)
    options = ("--regions", "a=1,b=2", "--metrics", "dice,hd95", "--verify", "4")
    refused, _ = evaluate(*options)
    assert refused.code == 2 and "label 7 (of predictions alone) in no region" in refused.err
    allowed, rows = evaluate(*options, "--allow-missing-labels")
    assert allowed.code == 0 and len(rows) == 4 * 2 * 2
    everything, rows = evaluate(
        "--metrics", "dice"
    )  # nothing was named: as ever, a mistake of that case alone
    assert everything.code == 1 and "case_2" in everything.out and len(rows) == 3 * 2


def test_healthy_references_have_no_region_and_are_scored(
    evaluate: Callable, folders: tuple[Path, Path]
) -> None:
    write_folders(folders, labels_of(0), np.zeros((20, 18, 12), np.uint8))
    outcome, rows = evaluate("--regions", "a=1,b=2", "--metrics", "dice")
    assert outcome.code == 0 and {(row["value"], row["empty"]) for row in rows} == {("0.0", "reference")}
    refused, _ = evaluate("--regions", "a=1,b=2,c=3")
    assert refused.code == 2 and "found region c=3 in no file" in refused.err


@pytest.mark.parametrize("label", [255, 3, 7])
@pytest.mark.parametrize("hole", ["half", "noise", "shell"])
def test_ignored_voxels_count_nowhere(
    evaluate: Callable, folders: tuple[Path, Path], tmp_path: Path, hole: str, label: int
) -> None:
    """The oracle is medpy on masks that are background there."""
    prediction, reference = labels_of(1, shift=2), labels_of(1)
    x, _, z = np.indices(reference.shape)
    noise = np.random.default_rng(0).random(reference.shape) < 0.2
    ignored = {"half": z > 5, "noise": noise, "shell": (x == 4) | (x == 9)}[hole]
    write_folders(folders, prediction, np.where(ignored, label, reference).astype(np.uint8))
    outcome, rows = evaluate("--ignore", label, "--metrics", "dice,hd95,assd", "--verify", "2")
    assert outcome.code == 0 and {row["region"] for row in rows} == {"1", "2"}, outcome
    assert f"ignored: label {label}, in 2 references" in outcome.out
    assert json.loads((tmp_path / "scores.json").read_text())["ignored_label"] == label
    for region in (1, 2):
        a, b = (prediction == region) & ~ignored, (reference == region) & ~ignored
        assert value(rows, "one", str(region), "dice") == pytest.approx(binary.dc(a, b), abs=1e-12)
        for metric, wanted in (("hd95", binary.hd95(a, b, SPACING)), ("assd", binary.assd(a, b, SPACING))):
            assert value(rows, "one", str(region), metric) == pytest.approx(wanted, abs=1e-9)


def test_what_is_predicted_in_ignored_voxels_is_no_label_of_the_files(
    evaluate: Callable, folders: tuple[Path, Path]
) -> None:
    reference, prediction = labels_of(0), labels_of(0)
    reference[:, :, 10:], prediction[:, :, 10:] = 255, 9
    write_folders(folders, prediction, reference)
    for options in ((), ("--regions", "a=1+2"), ("--labels", "1=a")):
        outcome, rows = evaluate("--ignore", "255", "--metrics", "dice", *options)
        assert outcome.code == 0 and {row["value"] for row in rows} == {"1.0"}
    prediction[0, 0, 0] = 255  # the ignored label where there is something to say
    write_folders(folders, prediction, reference)
    outcome, rows = evaluate("--ignore", "255", "--metrics", "dice")
    assert outcome.code == 1 and "unknown labels [255]" in outcome.out and not rows


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_scored_where_no_surface_is_wanted(
    evaluate: Callable, folders: tuple[Path, Path], axis: int
) -> None:
    prediction, reference = (np.moveaxis(labels_of(0, shift)[:, :, 5:6], 2, axis) for shift in (1, 0))
    write_folders(folders, prediction, reference)
    outcome, rows = evaluate("--metrics", "dice,precision,volume", "--verify", "2", "--labels", "1=a,2=b")
    assert outcome.code == 0, outcome
    for number, region in ((1, "a"), (2, "b")):
        a, b = prediction == number, reference == number
        if a.any() and b.any():
            assert value(rows, "one", region, "dice") == pytest.approx(binary.dc(a, b), abs=1e-12)
        assert value(rows, "one", region, "volume") == pytest.approx(a.sum() * np.prod(SPACING) / 1000)
    for metrics in ("dice,hd95", "assd", "nsd@2"):
        refused, rows = evaluate("--metrics", metrics)
        assert refused.code == 1 and not rows
        assert "one slice" in refused.out and "--metrics dice" in refused.out


def itk_folders(folders: tuple[Path, Path], suffix: str) -> NDArray[np.float64]:
    """Write predictions by SimpleITK, which reads the place of the oblique references by rules of its own."""
    itk = pytest.importorskip("SimpleITK")
    angle = np.radians(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * SPACING, (10, -20, 30)
    for folder, shift in zip(folders, (1, 0), strict=True):
        for path in folder.glob("*"):
            path.unlink()
        for number in range(2):
            path = folder / f"case_{number}.nii.gz"
            save(path, labels_of(number, shift), affine)
            if folder == folders[0]:
                itk.WriteImage(itk.ReadImage(str(path)), str(folder / f"case_{number}{suffix}"))
                path.unlink()
    return affine


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_what_simpleitk_writes_is_paired_and_scored(
    evaluate: Callable, folders: tuple[Path, Path], suffix: str
) -> None:
    itk_folders(folders, suffix)
    outcome, rows = evaluate("--verify", "2")
    assert outcome.code == 0, outcome
    for number in range(2):
        for label in (1, 2):
            a, b = labels_of(number, 1) == label, labels_of(number) == label
            assert value(rows, f"case_{number}", str(label), "dice") == pytest.approx(
                binary.dc(a, b), abs=1e-12
            )
            found = value(rows, f"case_{number}", str(label), "hd95")
            assert found == pytest.approx(binary.hd95(a, b, SPACING), abs=1e-6)


def test_both_folders_may_hold_them(evaluate: Callable, folders: tuple[Path, Path]) -> None:
    itk_folders(folders, ".mha")
    for path in folders[0].iterdir():
        (folders[1] / path.name.replace(".mha", ".nii.gz")).unlink()
        (folders[1] / path.name).write_bytes(path.read_bytes())
    outcome, rows = evaluate("--metrics", "dice,nsd@1")
    assert outcome.code == 0 and {row["value"] for row in rows} == {"1.0"}


def test_a_file_of_simpleitk_at_another_place_is_no_pair(
    evaluate: Callable, folders: tuple[Path, Path]
) -> None:
    itk = pytest.importorskip("SimpleITK")
    itk_folders(folders, ".nrrd")
    path = folders[0] / "case_1.nrrd"
    image = itk.ReadImage(str(path))
    image.SetOrigin([-value for value in image.GetOrigin()])
    itk.WriteImage(image, str(path))
    outcome, _ = evaluate()
    assert outcome.code == 1 and "mm away" in outcome.out


def test_without_simpleitk_one_line_says_what_to_do(
    evaluate: Callable, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    itk_folders(folders, ".mha")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    outcome, rows = evaluate()
    assert outcome.code == 2 and not rows and len(outcome.err.strip().splitlines()) == 1
    assert "pip install 'medcontext-harness[simpleitk]'" in outcome.err and "convert" in outcome.err
