"""Points of the overview of a dataset: each case has one, at its value."""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import numpy as np
import pytest
from matplotlib.figure import Figure

from harness.reporting.figures.dataset import _draw_cases


@pytest.mark.parametrize("across", ["x", "y"])
@pytest.mark.parametrize("number", [40, 2000])
def test_each_case_has_a_point_at_its_value(across: Literal["x", "y"], number: int) -> None:
    figure = Figure(figsize=(4, 4))
    axis = figure.subplots()
    places, values = np.repeat([0, 1], number), [float(i % 10) for i in range(number)] * 2
    _draw_cases(axis, across, places, values, ["#4d4d4d"] * number + [(0.8, 0.4, 0.0)] * number)
    axis.set(xlim=(-1, 10), ylim=(-1, 10))
    figure.savefig(BytesIO())  # then the swarms find room
    drawn = np.concatenate([one.get_offsets() for one in axis.collections])
    about, found = drawn.T if across == "x" else drawn.T[::-1]
    np.testing.assert_allclose(np.sort(found), np.sort(values))
    assert np.abs(about - np.round(about)).max() < 0.5
    assert len(np.unique(drawn, axis=0)) == 2 * number
