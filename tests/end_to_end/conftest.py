"""Folders to score, and the command that does."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from folders_to_score import labels_of, save


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
