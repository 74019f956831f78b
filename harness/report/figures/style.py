"""The one style of all figures: sizes, fonts, colours, panels, legends, and how they are saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

import matplotlib
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from harness.report.palette import ORGANS
from harness.report.wording import safe_name, value_text

PAGE = 7.0  # inches: the text width of a two-column paper
COLUMN = 3.4
SUFFIXES = ("pdf", "svg", "png")
STYLE: Any = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 7.5,
    "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7.5, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#d9d9d9", "grid.linewidth": 0.5,
    "axes.axisbelow": True, "legend.frameon": False, "figure.dpi": 100, "savefig.dpi": 220,
    "pdf.fonttype": 42, "svg.hashsalt": "medctx", "figure.facecolor": "white",
}  # fmt: skip
MOST_POINTS = 20
"""Trials of one arm that are drawn one by one; of more, mean and spread say enough."""
MOST_PANELS = 9
"""Panels of a figure that fits a page; the tables have the rest."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

Draw = TypeVar("Draw", bound=Callable[..., Any])


def styled(function: Draw) -> Draw:
    """Make a function draw in the one style, and leave matplotlib's settings as they were."""

    @wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        with matplotlib.rc_context(STYLE):
            return function(*arguments, **options)

    return wrapper  # type: ignore[return-value]


@styled
def save(figure: Figure, folder: Path, name: str) -> float:
    """Write ``<folder>/<name>.{pdf,svg,png}``, each whole or not at all, without dates; return the width, inches."""
    folder.mkdir(parents=True, exist_ok=True)
    undated: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not for every format
    for suffix in SUFFIXES:
        buffer = BytesIO()
        figure.savefig(buffer, format=suffix, metadata=undated[suffix])
        partial = folder / f".{safe_name(name)}.{suffix}"
        partial.write_bytes(buffer.getvalue())
        partial.replace(folder / f"{safe_name(name)}.{suffix}")
    return float(figure.get_figwidth())


def colours(arms: Sequence[str]) -> dict[str, Any]:
    """Return a colour for each arm that colour-blind readers can tell apart (up to ten)."""
    palette = "colorblind" if len(arms) <= 10 else "viridis"
    return dict(zip(arms, seaborn.color_palette(palette, len(arms)), strict=True))


def organ_colour(value: int) -> tuple[float, float, float]:
    """Return the colour of a label value."""
    return to_rgb(ORGANS[(value - 1) % len(ORGANS)])


def panels(frame: pd.DataFrame, keys: Sequence[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return the first :data:`MOST_PANELS` groups of rows that agree in ``keys``, with their values."""
    groups = frame.groupby(list(keys), sort=False, observed=True)
    found = [(dict(zip(keys, values, strict=True)), rows) for values, rows in groups]
    return found[:MOST_PANELS]


def grid(number: int, width: float, height: float, share_y: bool = True) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for ``number`` panels of about ``width`` by ``height`` inches, and their axes."""
    columns = max(1, min(number, int(PAGE // min(width, PAGE))))
    rows = -(-number // columns)
    size = (min(PAGE, max(COLUMN, width * columns + 0.3)), height * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat)
    for axis in axes[number:]:
        axis.set_visible(False)
    return figure, axes[:number]


def distinct(column: pd.Series) -> list[str]:
    """Return the values of a column as text, in order of appearance."""
    return [str(value) for value in dict.fromkeys(column)]


def wrapped(text: str, width: float) -> str:
    """Return text at 7 pt in lines of at most ``width`` inches, broken after commas first."""
    letters = max(8, int(width / 0.065))
    lines = [part for line in text.split("\n") for part in _at_commas(line, letters)]
    return "\n".join(fill(line, letters) for line in lines)


def _at_commas(line: str, letters: int) -> list[str]:
    return line.replace(", ", ",\n").split("\n") if len(line) > letters else [line]


def panel_title(frame: pd.DataFrame, values: Mapping[str, Any]) -> str:
    """Return what tells a panel from the others; all of its values where nothing varies."""
    varying = {key: v for key, v in values.items() if frame[key].nunique() > 1} or values
    words = [
        f"{value_text(v)} training cases" if key == "shots" else value_text(v) for key, v in varying.items()
    ]
    return ", ".join(words)


def label_left(axes: Sequence[Axes], text: str) -> None:
    """Label the vertical axis of the panels on the left."""
    for axis in axes:
        if axis.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axis.set_ylabel(text)


def legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    """Write the legend below the panels, in as many columns as fit."""
    if not handles:
        return
    widest = 0.5 + 0.065 * max(len(name) for name in handles)  # inches, of an entry
    columns = max(1, min(len(handles), int(figure.get_figwidth() // widest)))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
