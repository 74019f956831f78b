"""The one style of all figures: sizes, fonts, colours, panels and legends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from harness.reporting.figures.fonts import FAMILY, use_font
from harness.reporting.figures.planned import Style
from harness.reporting.palette import ARM_COLOURS, LABEL_COLOURS
from harness.reporting.wording import shots_text
from harness.study.names import value_text

COLUMN = 3.4  # inches, of a paper with two
WIDTHS: Mapping[Style, float] = {"column": COLUMN, "page": 7.0}
MOST_HEIGHT = 9.0  # inches of a page; a figure for a column that is longer takes the width of the page
SUFFIXES = ("pdf", "svg", "png")
DPI = 220  # of the PNG
STYLE: Any = {
    "font.family": "sans-serif", "font.sans-serif": [FAMILY, "DejaVu Sans"], "font.size": 7.5,
    "axes.titlesize": 8, "axes.labelsize": 8, "legend.fontsize": 7.5, "xtick.labelsize": 7,
    "ytick.labelsize": 7, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6,
    "xtick.major.size": 2.5, "ytick.major.size": 2.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#d9d9d9", "grid.linewidth": 0.5,
    "axes.axisbelow": True, "legend.frameon": False, "legend.columnspacing": 1.2, "legend.handletextpad": 0.6,
    "pdf.fonttype": 42, "svg.hashsalt": "medctx", "figure.facecolor": "white",
    "axes.titley": 1.0,  # where it is found to be anyway: nothing stands above an axis, and to look takes a tenth of drawing
}  # fmt: skip
MOST_POINTS = 20
"""Trials of one arm that are drawn one by one; of more, mean and spread say enough."""
MOST_PANELS = 12
"""Panels of a figure that fits a page; the tables have the rest."""
_LETTER = 0.065  # inches, of a letter at 7 to 7.5 pt
_MANY_DECADES = 300
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")

DASHES = (
    "-", (0, (5, 2)), (0, (1.5, 1)), (0, (7, 2, 1.5, 2)), (0, (3, 3)), (0, (7, 1, 1.5, 1, 1.5, 1)), (0, (1, 2)),
)  # fmt: skip
"""Of lines: with ten colours they make seventy looks, and a line exactly under another is seen in its gaps."""

Draw = TypeVar("Draw", bound=Callable[..., Any])

_width = ContextVar("_width", default=WIDTHS["page"])


@contextmanager
def fitting(style: Style) -> Iterator[None]:
    """Let figures that are drawn meanwhile fit a column or the page."""
    token = _width.set(WIDTHS[style])
    try:
        yield
    finally:
        _width.reset(token)


def most_width() -> float:
    """Return the inches that a figure may be wide; sizes are those of print, so that its letters are as large as said."""
    return _width.get()


def applied(function: Draw) -> Draw:
    """Make a function draw in the one style, and leave matplotlib's settings as they were."""

    @wraps(function)
    def wrapper(*arguments: Any, **options: Any) -> Any:
        use_font()
        with matplotlib.rc_context(STYLE):
            return function(*arguments, **options)

    return wrapper  # type: ignore[return-value]


@dataclass(frozen=True)
class PlotStyle:
    """How an arm is drawn: ``marker``, ``line``, and whether markers are ``hollow``, tell arms apart without colour too."""

    colour: Any
    line: Any = "-"
    marker: str = "o"
    hollow: bool = False

    @property
    def face(self) -> Any:
        """What its markers are filled with."""
        return "white" if self.hollow else self.colour


def arm_styles(arms: Sequence[str]) -> dict[str, PlotStyle]:
    """Return a style for each arm: ten colours that colour-blind readers can tell apart, each with a marker and dashes.

    From the eleventh on colours come again, with hollow markers and other dashes.
    """
    return {
        arm: PlotStyle(
            to_rgb(ARM_COLOURS[i % 10]), DASHES[i % len(DASHES)], MARKERS[i % 10], i // 10 % 2 == 1
        )
        for i, arm in enumerate(dict.fromkeys(arms))
    }


def label_colour(value: int) -> tuple[float, float, float]:
    """Return the colour of a label value."""
    return to_rgb(LABEL_COLOURS[(value - 1) % len(LABEL_COLOURS)])


def panel_groups(frame: pd.DataFrame, keys: Sequence[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Return the first :data:`MOST_PANELS` groups of rows that agree in ``keys``, with their values."""
    groups = frame.groupby(list(keys), sort=False, observed=True)
    found = [(dict(zip(keys, values, strict=True)), rows) for values, rows in groups]
    return found[:MOST_PANELS]


def panel_grid(
    number: int, width: float, height: float, share_y: bool = True, least: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for ``number`` panels of about ``width`` by ``height`` inches, and their axes.

    Where a page has no room for that they are lower, down to ``least`` inches; without it they stay as they are.
    """
    most = most_width()
    columns = max(1, min(number, int(most // min(width, most))))
    rows = -(-number // columns)
    height = max(min(height, (MOST_HEIGHT - 1) / rows), least or height)
    size = (min(most, max(COLUMN, width * columns + 0.3)), height * rows + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=share_y).flat)
    for axis in axes[number:]:
        axis.set_visible(False)
    return figure, axes[:number]


def distinct(column: pd.Series) -> list[str]:
    """Return the values of a column as text, in order of appearance."""
    return [str(value) for value in dict.fromkeys(column)]


def wrap_text(text: str, width: float) -> str:
    """Return text at 7 pt in lines of about ``width`` inches, broken after commas, else between words."""
    letters = max(8, int(width / _LETTER))
    parts = [part for line in text.split("\n") for part in [*_parts(line, letters), "\n"]]
    lines = [""]
    for part in parts[:-1]:
        if part == "\n" or (lines[-1] and len(lines[-1]) + len(part.rstrip()) > letters):
            lines.append("")
        lines[-1] += part.strip("\n")
    return "\n".join(line.rstrip() for line in lines)


def _parts(line: str, letters: int) -> list[str]:
    """Return the pieces of a line: its clauses, and the words of clauses that are too long for a line."""
    clauses = re.findall(r".+?(?:, |$)", line)
    return [
        part
        for clause in clauses
        for part in ([clause] if len(clause.rstrip()) <= letters else re.findall(r"[^ _]+[ _]?|[ _]", clause))
    ]


def names_below(names: Sequence[str], room: float) -> tuple[list[str], float]:
    """Return names as they stand below an axis, and by how many inches they make it longer where they stand upright.

    Args:
        names: of places side by side.
        room: inches of each.
    """
    across = [wrap_text(name, room) for name in names]
    if max(len(line) for name in across for line in name.split("\n")) * _LETTER <= max(room, 0.6):
        return across, 0.0
    lines, width = max(1, int(room / 0.14)), 0.6
    upright = [wrap_text(name, width) for name in names]
    while max(name.count("\n") for name in upright) >= lines:
        width += 0.1
        upright = [wrap_text(name, width) for name in names]
    return upright, max(len(line) for name in upright for line in name.split("\n")) * _LETTER


def panel_title(frame: pd.DataFrame, values: Mapping[str, Any]) -> str:
    """Return the values that distinguish a panel from the others; all of its values where nothing varies."""
    varying = {key: v for key, v in values.items() if frame[key].nunique() > 1} or values
    words = [shots_text(value) if key == "shots" else value_text(value) for key, value in varying.items()]
    return ", ".join(words)


def use_log_scale(axis: Axes, side: Literal["x", "y"], long: bool = False) -> None:
    """Make a side of a panel logarithmic, with plain numbers at 1, 2 and 5; at fewer places where numbers are ``long``."""
    axis.set(**{f"{side}scale": "log"})
    ticks = axis.xaxis if side == "x" else axis.yaxis
    low, high = axis.get_xlim() if side == "x" else axis.get_ylim()
    ratio = high / max(low, 1e-12)
    steps = (1.0, 3.0) if long and ratio > 10 else (1.0, 2.0, 5.0)
    wide = ratio > (_MANY_DECADES / 8 if long else _MANY_DECADES)  # others have no room between powers of ten
    ticks.set_major_locator(LogLocator(subs=(1.0,) if wide else steps))
    ticks.set_major_formatter(FuncFormatter(_plain))
    ticks.set_minor_locator(NullLocator())


def _plain(value: float, _: int) -> str:
    """Return the text of a tick."""
    return f"{value:g}"


def robust_limits(values: pd.Series) -> tuple[float, float] | None:
    """Return the limits of an axis without outliers, values beyond five box lengths of the box; None where there are none."""
    first, third = values.quantile([0.25, 0.75])
    reach = 5 * (third - first)
    near = values[values.between(first - reach, third + reach)]
    if not reach or len(near) == len(values):
        return None
    room = 0.06 * (near.max() - near.min())
    return float(near.min() - room), float(near.max() + room)


def mark_beyond(
    axis: Axes,
    x: float,
    values: Iterable[float],
    limits: tuple[float, float] | None,
    colour: Any,
    mean: float | None = None,
) -> None:
    """Limit the vertical axis, where there are limits, and mark what lies beyond them by an arrow and its numbers.

    Of values whose ``mean`` lies there, a large arrow tells the mean alone.
    """
    if limits is None:
        return
    axis.set_ylim(limits)
    low, high = limits
    is_mean = mean is not None and not low <= mean <= high
    told = [mean] if mean is not None and is_mean else list(values)
    ends = (
        ([one for one in told if one < low], low, "v", 4),
        ([one for one in told if one > high], high, "^", -4),
    )
    for beyond, end, arrow, up in ends:
        if beyond:
            axis.plot(x, end, arrow, color=colour, markersize=6 if is_mean else 4, clip_on=False, zorder=4)
            text = "\n".join(f"{value:.0f}" for value in dict.fromkeys(beyond))
            axis.annotate(text, (x, end), (3, up), textcoords="offset points", fontsize=6, color=colour,
                          va="bottom" if up > 0 else "top")  # fmt: skip


def reach_within(values: pd.Series, limits: tuple[float, float] | None) -> float:
    """Return the length of an error bar: the sample standard deviation; 0 where one value or one beyond ``limits`` makes it."""
    beyond = limits is not None and not values.between(*limits).all()
    return 0.0 if len(values) < 2 or beyond else float(values.std())


def label_left(axes: Sequence[Axes], text: str) -> None:
    """Label the vertical axis of the panels on the left."""
    for axis in axes:
        if axis.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axis.set_ylabel(text)


def legend(figure: Figure, *groups: Mapping[str, Any], title: str = "") -> None:
    """Write the legend below the panels and make room for it: in rows, each group of entries on a row of its own."""
    names = [name for group in groups for name in group]
    if not names:
        return
    room = float(figure.get_figwidth()) - 0.2
    if room < min(_entry_width(names), most_width() - 0.2):
        room = min(_entry_width(names), most_width() - 0.2)
        figure.set_figwidth(room + 0.2)
    columns = max(1, min(max(map(len, groups)), int(room // _entry_width(names))))
    rows: list[list[tuple[str, Any]]] = []
    for group in groups:
        entries = [(wrap_text(name, room - 0.42), handle) for name, handle in group.items()]
        rows += [entries[i : i + columns] for i in range(0, len(entries), columns)]
    blank = ("", Line2D([], [], linestyle=""))
    filled = [row + [blank] * (columns - len(row)) for row in rows]
    labels, handles = zip(*(entry for column in zip(*filled, strict=True) for entry in column), strict=True)
    lines = sum(max(name.count("\n") + 1 for name, _ in row) for row in rows)
    figure.set_figheight(figure.get_figheight() + 0.17 * (lines + bool(title)) + 0.05)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, title=title or None, title_fontsize=7.5
    )


def _entry_width(names: Sequence[str]) -> float:
    """Return the inches that the widest entry of a legend takes."""
    return 0.42 + _LETTER * max(len(name) for name in names)


def left_out_note(panels: int, most: int = MOST_PANELS, rest: str = "") -> str:
    """Return a sentence on the panels that had no room, if any; ``rest`` says where their numbers are."""
    return f" The first {most} of {panels} panels are shown{rest}." if panels > most else ""
