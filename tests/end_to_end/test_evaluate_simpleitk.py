"""``medctx evaluate``: files that SimpleITK reads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from folders_to_score import SPACING, labels_of, save, value
from medpy.metric import binary
from numpy.typing import NDArray


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
