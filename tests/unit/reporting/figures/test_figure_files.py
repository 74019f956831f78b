"""The files of figures are the same whichever process writes them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from harness.reporting.figures import boxes
from harness.reporting.figures.writing import figure_writer, write_figure
from tests.unit.reporting.figures.test_figures import FIGURES, SHORT, values


@pytest.mark.slow
def test_many_figures_are_written_by_two_processes_as_by_one(tmp_path: Path) -> None:
    with figure_writer(tmp_path / "many", 100) as show:
        for name, draw in FIGURES.items():
            show(draw(SHORT), name)
    for name, draw in FIGURES.items():
        write_figure(draw(SHORT), name, tmp_path / "one")
    written = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(written) == 3 * len(FIGURES)
    assert sorted(path.name for path in (tmp_path / "many").iterdir()) == written
    for name in written:
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name


def test_a_second_process_that_fails_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((RuntimeError, OSError)), figure_writer(tmp_path / "file", 100) as show:
        show(Figure(), "a")  # goes to the second process, which finds no folder


def test_boxes_share_an_axis_that_holds_every_whisker() -> None:
    low = values(SHORT)
    high = low.assign(architecture="nnformer", value=low["value"] + 300)
    figure = boxes.region_boxes(pd.concat([low, high]), "HD95 (mm)", SHORT)
    for axis in figure.axes:
        bottom, top = axis.get_ylim()
        assert bottom <= axis.dataLim.y0 and axis.dataLim.y1 <= top
    assert figure.axes[0].get_ylim()[1] > 300
