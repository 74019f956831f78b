"""``medctx evaluate``: folders of predictions, whole and broken."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from folders_to_score import AFFINE, SPACING, labels_of, save, value
from medpy.metric import binary

from harness.evaluation.conventions import convention_rows

GUIDE = Path(__file__).parents[2] / "docs" / "scoring.md"


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
