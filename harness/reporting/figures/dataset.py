"""The overview figure of a dataset: slices with labels, shapes, spacings, intensities and volumes of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike

from harness.data.check_report import CaseFacts, CheckReport
from harness.data.datasets.contract import Dataset
from harness.errors import UserError
from harness.files.whole import whole
from harness.reporting.figures import style
from harness.reporting.slices.dataset import Slice, chosen_facts, flagged_cases, slices

_PLAIN, _FLAGGED = "#4d4d4d", "#D55E00"
_COLUMNS = 4
_MOST_IN_SWARMS = 1500  # points: room for each of 1,500 at one place is found in seconds


@style.applied
def write_overview(name: str, dataset: Dataset, check: CheckReport, path: Path) -> None:
    """Write the overview of a checked dataset, as the suffix of ``path`` says, whole or not at all.

    Raises:
        UserError: another suffix than pdf, svg or png.
    """
    if path.suffix[1:] not in style.SUFFIXES:
        raise UserError(
            "--figure", path.name, f"a name that ends in .{', .'.join(style.SUFFIXES)}", "Rename it."
        )
    buffer = BytesIO()
    overview(name, dataset, check).savefig(buffer, format=path.suffix[1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as partial:
        partial.write_bytes(buffer.getvalue())


@style.applied
def overview(name: str, dataset: Dataset, check: CheckReport) -> Figure:
    """Return the figure of a checked dataset with at least one readable case."""
    flagged, pictures = flagged_cases(check), slices(dataset, chosen_facts(check))
    names = {value: name for value, name in dataset.labels.items() if value}
    rows = -(-len(pictures) // _COLUMNS)
    low = max(1.9, 0.5 + 0.16 * len(names))
    figure = Figure(figsize=(style.most_width(), 1.75 * rows + low + 0.5), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.75 * rows, low])
    above, below = parts
    _draw_slices(above, rows, pictures, flagged)
    shape, spacing, level, volumes = below.subplots(1, 4, width_ratios=[1.2, 1.2, 0.7, 2.4])
    sides = {axis: [one.shape[i] for one in check.facts] for i, axis in enumerate("xyz")}
    sizes = {axis: [one.spacing[i] for one in check.facts] for i, axis in enumerate("xyz")}
    _draw_strips(shape, "Shape, voxels", check.facts, flagged, sides)
    _draw_strips(spacing, "Spacing, mm", check.facts, flagged, sizes)
    _draw_strips(
        level, "Intensity", check.facts, flagged, {"99th percentile": [one.level for one in check.facts]}
    )
    _draw_volumes(volumes, check.facts, names, _numbers(dataset))
    counts = [sum(one.level == kind for one in check.findings) for kind in ("error", "warning", "fixed")]
    figure.suptitle(
        f"{name}: {check.cases} cases; findings: {counts[0]} error, {counts[1]} warning, {counts[2]} fixed",
        fontsize=9,
    )
    if flagged:
        mark = Line2D([], [], marker="o", linestyle="", color=_FLAGGED, markersize=4)
        style.legend(figure, {"a case with an error or a warning": mark})
    return figure


def _draw_slices(figure: Any, rows: int, pictures: Sequence[Slice | str], flagged: set[str]) -> None:
    axes = list(figure.subplots(rows, _COLUMNS, squeeze=False).flat)
    palette = ListedColormap([style.label_colour(value) for value in range(256)])
    for axis in axes:
        axis.set_axis_off()
    for axis, picture in zip(axes, pictures, strict=False):
        if isinstance(picture, str):
            axis.text(
                0.5, 0.5, style.wrap_text(picture, 1.6), ha="center", va="center", fontsize=7, color=_FLAGGED
            )
            continue
        colour = _FLAGGED if picture.case in flagged else "black"
        axis.set_title(picture.case, fontsize=7, color=colour)
        place = {"aspect": picture.aspect, "interpolation": "nearest"}
        axis.imshow(picture.image, cmap="gray", vmin=0, vmax=255, **place)
        labelled = np.ma.masked_equal(picture.label, 0)
        axis.imshow(labelled, cmap=palette, vmin=0, vmax=255, alpha=0.45, **place)


def _draw_strips(
    axis: Axes,
    title: str,
    facts: Sequence[CaseFacts],
    flagged: set[str],
    columns: Mapping[str, Sequence[float]],
) -> None:
    """Draw a point for every case in each column, none over another where there is room, and a line at the median."""
    order = np.argsort([one.case.id in flagged for one in facts], kind="stable")  # the flagged ones on top
    colours = [_FLAGGED if facts[i].case.id in flagged else _PLAIN for i in order]
    values = [column[i] for column in columns.values() for i in order]
    _draw_cases(axis, "x", np.repeat(range(len(columns)), len(facts)), values, colours * len(columns))
    for place, column in enumerate(columns.values()):
        axis.hlines(np.median(column), place - 0.35, place + 0.35, color="black", linewidth=1, zorder=3)
    axis.set_title(title)
    axis.set_xticks(range(len(columns)), list(columns))
    axis.set_xlim(-0.6, len(columns) - 0.4)
    if 0 < 30 * min(values) < max(values):
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)


def _draw_cases(
    axis: Axes,
    across: Literal["x", "y"],
    places: ArrayLike,
    values: Sequence[float],
    colours: Sequence[Any],
) -> None:
    """Draw points at their values, about their places ``across``: each where it hides none, or so many at random."""
    many = len(values) > _MOST_IN_SWARMS
    aside = np.random.default_rng(0).uniform(-0.25, 0.25, len(values)) if many else 0
    about = np.asarray(places) + aside
    x, y = (about, values) if across == "x" else (values, about)
    if many:
        axis.scatter(x, y, s=4, c=colours, linewidths=0)
        return
    import seaborn  # takes longer to import than a figure to draw

    names = [to_hex(colour) for colour in colours]
    seaborn.swarmplot(
        x=x, y=y, hue=names, palette={name: name for name in names}, legend=False, size=2, linewidth=0,
        orient=across, native_scale=True, warn_thresh=1.0, ax=axis,
    )  # fmt: skip


def _numbers(dataset: Dataset) -> Mapping[int, int]:
    """Return label value -> training number, by which slices are coloured; none where labels cannot be numbered."""
    try:
        return dataset.numbering().values
    except UserError:
        return {}


def _draw_volumes(
    axis: Axes, facts: Sequence[CaseFacts], names: Mapping[int, str], numbers: Mapping[int, int]
) -> None:
    """Draw the volume of every label in each case where it occurs, one line a label."""
    points = [
        (place, one.volumes[value], style.label_colour(numbers.get(value, value)))
        for place, value in enumerate(names)
        for one in facts
        if value in one.volumes
    ]
    if points:
        _draw_cases(axis, "y", *zip(*points, strict=True))
    for place, value in enumerate(names):
        found = [one.volumes[value] for one in facts if value in one.volumes]
        if found:
            axis.vlines(
                float(np.median(found)), place - 0.4, place + 0.4, color="black", linewidth=1, zorder=3
            )
    axis.set_title("Volume of labels, ml")
    axis.set_yticks(range(len(names)), [style.wrap_text(name, 1.7) for name in names.values()])
    axis.set_ylim(len(names) - 0.4, -0.6)
    every = [volume for _, volume, _ in points]
    if every and max(every) > 10 * min(every):
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_xlim(left=0)
    axis.grid(True, axis="x")
    axis.grid(False, axis="y")
