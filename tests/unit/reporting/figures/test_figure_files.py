"""The files of figures are the same whichever process writes them, and are written again only where they would differ."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.reporting.figures import boxes, dots
from harness.reporting.figures.drawing import drawing_in
from harness.reporting.figures.fingerprint import fingerprint
from harness.reporting.figures.planned import Drawing, PlannedFigure
from harness.reporting.figures.style import COLUMN, DPI, MOST_HEIGHT, WIDTHS
from harness.reporting.figures.writing import write_figure
from harness.reporting.helpers import helpers
from tests.unit.reporting.figures.test_figures import SERIES, SHORT, drawing, scores, values

DRAWINGS = {name: drawing(name, SHORT) for name in SERIES}
PLANNED = [PlannedFigure(name, name, partial(DRAWINGS.__getitem__, name)) for name in DRAWINGS]


@pytest.mark.slow
def test_figures_are_written_by_two_processes_as_by_one(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with helpers(1) as share, drawing_in(tmp_path / "many", "page", share) as draw:
        draw(PLANNED)
    for name, one in DRAWINGS.items():
        write_figure(one, name, tmp_path / "one", "page")
    written = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(written) == 3 * len(DRAWINGS)
    assert {path.name for path in (tmp_path / "many").iterdir()} == {*written, "drawn.json"}
    for name in written:
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name


@pytest.mark.parametrize("processes", [0, 1])
def test_a_figure_that_cannot_be_written_is_not_passed_over_and_the_others_are_kept(
    processes: int, tmp_path: Path
) -> None:
    with drawing_in(tmp_path) as draw:
        draw(PLANNED)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    (tmp_path / "broken.png").mkdir()
    broken = PlannedFigure("broken", "Broken", PLANNED[0].find)
    with pytest.raises(OSError), helpers(processes) as share, drawing_in(tmp_path, "page", share) as draw:
        draw([broken] * 4)
        draw(PLANNED)
    (tmp_path / "broken.png").rmdir()
    with drawing_in(tmp_path) as draw:
        draw(PLANNED)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")} == before


def changed(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Drawing:
    return Drawing(dots.score_dots, (change(scores(SHORT)),), "caption")


def test_whatever_shows_changes_the_fingerprint() -> None:
    same = changed(lambda rows: rows)
    assert fingerprint(same, "page") == fingerprint(changed(pd.DataFrame.copy), "page")
    others = [
        changed(lambda rows: rows.assign(value=rows["value"].where(rows.index > 0, 1.0))),
        changed(lambda rows: rows.replace("unetr", "unetr2")),
        changed(lambda rows: rows.rename(columns={"minutes": "hours"})),
        changed(lambda rows: rows.iloc[::-1]),
        changed(lambda rows: rows.assign(arm=pd.Categorical(rows["arm"], SHORT))),
        changed(lambda rows: rows.assign(arm=pd.Categorical(rows["arm"], SHORT[::-1]))),
        Drawing(dots.role_dots, same.series, "caption"),
        Drawing(dots.score_dots, same.series, "another"),
        Drawing(dots.score_dots, (*same.series, np.zeros(2)), "caption"),
        Drawing(dots.score_dots, (*same.series, np.ones(2)), "caption"),
        Drawing(dots.score_dots, (*same.series, {"a": 1}), "caption"),
        Drawing(dots.score_dots, (*same.series, {"a": 1.0}), "caption"),
    ]
    prints = [fingerprint(one, "page") for one in (same, *others)] + [fingerprint(same, "column")]
    assert len(set(prints)) == len(prints)


def test_a_figure_is_drawn_again_only_where_it_shows_something_else(tmp_path: Path) -> None:
    def draw(first: Drawing | str, style: str = "page") -> dict[str, int]:
        planned = [PlannedFigure("first", "First", lambda: first), PlannedFigure("second", "Second", lambda: DRAWINGS["cost_scatter"])]  # fmt: skip
        with drawing_in(tmp_path, style) as ask:
            entries = ask(planned)
        assert [entry.name for entry in entries] == ["first", "second"]
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.suffix != ".json"}

    def redrawn(before: dict[str, int], after: dict[str, int]) -> set[str]:
        return {name.partition(".")[0] for name in after if after[name] != before.get(name)}

    begun = draw(DRAWINGS["dice_dots"])
    assert len(begun) == 6
    assert redrawn(begun, again := draw(DRAWINGS["dice_dots"])) == set()
    assert redrawn(again, other := draw(DRAWINGS["role_dots"])) == {"first"}
    (tmp_path / "second.pdf").unlink()
    assert redrawn(other, mended := draw(DRAWINGS["role_dots"])) == {"second"}
    (tmp_path / "first.png").write_bytes(b"")
    assert redrawn(mended, mended := draw(DRAWINGS["role_dots"])) == {"first"}
    assert redrawn(mended, narrow := draw(DRAWINGS["role_dots"], "column")) == {"first", "second"}
    assert set(draw("no trial")) == {name for name in narrow if name.startswith("second")}


def test_boxes_share_an_axis_that_holds_every_whisker() -> None:
    low = values(SHORT)
    high = low.assign(architecture="nnformer", value=low["value"] + 300)
    figure = boxes.region_boxes(pd.concat([low, high]), "HD95 (mm)", SHORT)
    for axis in figure.axes:
        bottom, top = axis.get_ylim()
        assert bottom <= axis.dataLim.y0 and axis.dataLim.y1 <= top
    assert figure.axes[0].get_ylim()[1] > 300


def test_a_figure_for_a_column_that_would_be_longer_than_a_page_takes_its_width(tmp_path: Path) -> None:
    few = scores(SHORT)
    many = pd.concat([few.assign(shots=str(shots)) for shots in range(12)])
    for name, rows in (("few", few), ("many", many)):
        write_figure(Drawing(dots.role_dots, (rows.assign(role="student"),), ""), name, tmp_path, "column")
    sizes = {name: np.divide(Image.open(tmp_path / f"{name}.png").size, DPI) for name in ("few", "many")}
    assert sizes["few"][0] == pytest.approx(COLUMN, abs=0.01)
    assert COLUMN < sizes["many"][0] <= WIDTHS["page"] + 0.01 and sizes["many"][1] < MOST_HEIGHT + 1


def test_a_logarithmic_axis_of_boxes_is_said() -> None:
    assert boxes.axis_note(pd.Series([1.0, 2, 3])) == ""
    assert "logarithmic." in boxes.axis_note(pd.Series([1.0, 2, 60]))
    assert "linear up to the median" in boxes.axis_note(pd.Series([0.0, 2, 60]))
