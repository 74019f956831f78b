"""Every figure of two published studies at both widths: no text is small, cut, or over another."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

import harness
from harness.reporting.figures import style
from harness.reporting.figures.planned import Drawing, PlannedFigure
from tests.unit.reporting.figures.texts import faults, laid_out

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


@pytest.mark.slow
@pytest.mark.parametrize("study", ["hippocampus_few_shot", "hippocampus_tuning"])
def test_texts_of_published_figures_lie_apart(
    study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PUBLISHED / study / "records", tmp_path / "published" / study / "records")
    drawings: dict[str, Drawing] = {}

    def caught(figures: Iterable[PlannedFigure]) -> list[object]:
        found = {figure.name: figure.find() for figure in figures}
        drawings.update({name: one for name, one in found.items() if isinstance(one, Drawing)})
        return []

    monkeypatch.setattr("harness.reporting.figures.drawing.drawing_in", lambda *_: nullcontext(caught))
    harness.report(study, results=tmp_path)
    assert len(drawings) > 10
    found = {
        (name, size): faults(laid_out(drawing, size), width)
        for name, drawing in drawings.items()
        for size, width in style.WIDTHS.items()
    }
    assert {key: said for key, said in found.items() if said} == {}
