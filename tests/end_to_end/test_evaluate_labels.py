"""``medctx evaluate``: labels of another numbering, ignored ones, single slices, and tolerances by region."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from folders_to_score import SPACING, labels_of, save, value
from medpy.metric import binary
from numpy.typing import NDArray


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


def test_tolerances_by_region_are_scored_beside_the_rest(evaluate: Callable, tmp_path: Path) -> None:
    options = ("--labels", "1=near,2=far", "--metrics", "nsd@1,nsd@2")
    outcome, rows = evaluate(*options, "--tolerances", "near=1,far=2")
    assert outcome.code == 0
    for number in range(4):
        for region, same in (("near", "nsd@1"), ("far", "nsd@2")):
            case = f"case_{number}"
            assert value(rows, case, region, "nsd@region") == value(rows, case, region, same)
    assert any(
        value(rows, "case_2", r, "nsd@1") != value(rows, "case_2", r, "nsd@2") for r in ("near", "far")
    )
    card = json.loads((tmp_path / "scores.json").read_text())
    assert card["tolerances"] == {"near": 1.0, "far": 2.0} and card["metrics"][-1] == "nsd@region"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--metrics", "nsd@region"], "nsd@region, without --tolerances"),
        (["--tolerances", "one=2"], "none for two; expected one for each region"),
        (["--tolerances", "one=2,two=1,too=1"], "unknown region 'too'; expected one of one, two"),
        (["--tolerances", "one=0,two=1"], "one=0; expected a length above 0"),
        (["--tolerances", "one=inf,two=1"], "one=inf; expected a length above 0"),
        (["--tolerances", "one=wide,two=1"], "'one=wide'; expected a number, as in liver=2"),
        (["--tolerances", "one"], "each one once, as in liver=2"),
    ],
)
def test_tolerances_that_do_not_fit_are_one_line(evaluate: Callable, options: list[str], named: str) -> None:
    outcome, rows = evaluate("--labels", "1=one,2=two", *options)
    assert outcome.code == 2 and named in outcome.err and not rows
    assert len(outcome.err.strip().splitlines()) == 1
