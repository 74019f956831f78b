"""The qualitative figure: image, reference and predictions of chosen cases, and where predictions are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle

from harness.reporting.figures import style
from harness.reporting.palette import ERROR_COLOURS
from harness.reporting.slices.galleries import CaseRow, Panel


@style.applied
def qualitative(titles: Sequence[str], rows: Sequence[CaseRow], labels: Mapping[int, str]) -> Figure:
    """Return two rows of pictures per case: labels over the slice, and below it the framed part with the errors.

    Args:
        titles: of the columns.
        rows: the cases, a panel per column.
        labels: names of the label values.
    """
    columns = len(titles)
    heights = [height for row in rows for height in (_relative_height(row), _relative_height(row))]
    side = min(
        1.6, (style.most_width() - 0.4) / columns, (style.MOST_HEIGHT - 1.2 - 0.17 * len(rows)) / sum(heights)
    )
    size = (side * columns + 0.4, side * sum(heights) + 0.17 * len(rows) + 0.2)
    close = ConstrainedLayoutEngine(compress=True, w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    figure = Figure(figsize=size, layout=close)
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    for i, row in enumerate(rows):
        for j, panel in enumerate(row.panels):
            whole, part = axes[2 * i, j], axes[2 * i + 1, j]
            _draw_labels(whole, panel, row)
            _draw_errors(part, panel, row)
            if i == 0:
                whole.set_title(style.wrap_text(titles[j], side), fontsize=7)
        _draw_scale(axes[2 * i, 0], row)
        axes[2 * i, 0].set_ylabel(row.title.replace(": ", "\n"), fontsize=7)
        axes[2 * i + 1, 0].set_ylabel("errors,\nenlarged", fontsize=7)
    present = sorted({int(v) for row in rows for p in row.panels if p.label is not None
                      for v in np.unique(p.label) if v})  # fmt: skip
    names = {labels.get(v, f"label {v}"): Patch(facecolor=style.label_colour(v)) for v in present}
    style.legend(
        figure, names, {f"error: {name}": Patch(facecolor=colour) for name, colour in ERROR_COLOURS.items()}
    )
    return figure


def _draw_labels(axis: Axes, panel: Panel, row: CaseRow) -> None:
    _draw_image(axis, panel, row)
    if panel.label is not None:
        palette = ListedColormap([style.label_colour(value) for value in range(256)])
        _draw_overlay(axis, panel.label, palette, row.aspect, 255)
        for value in np.unique(panel.label[panel.label > 0]):
            axis.contour(
                panel.label == value, levels=[0.5], colors=[style.label_colour(int(value))], linewidths=0.8
            )
    top, bottom, left, right = row.box
    axis.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False,
                             edgecolor="white", linewidth=0.8, linestyle=":"))  # fmt: skip


def _draw_scale(axis: Axes, row: CaseRow) -> None:
    """Draw a bar of whole millimetres at the lower left, a third of the picture at most."""
    width = row.panels[0].image.shape[1] * row.pixel
    length = next((mm for mm in (100, 50, 20, 10, 5, 2) if mm <= width / 3), 1)
    bar = Rectangle(
        (0.05, 0.06), length / width, 0.02, transform=axis.transAxes, facecolor="white", linewidth=0
    )
    axis.add_patch(bar)
    axis.text(0.05, 0.1, f"{length} mm", transform=axis.transAxes, color="white", fontsize=6, va="bottom")


def _draw_errors(axis: Axes, panel: Panel, row: CaseRow) -> None:
    _draw_image(axis, panel, row)
    if panel.errors is not None:
        palette = ListedColormap(["black", *ERROR_COLOURS.values()])
        _draw_overlay(axis, panel.errors, palette, row.aspect, 3)
    if panel.reference is not None:
        axis.contour(panel.reference > 0, levels=[0.5], colors=["white"], linewidths=0.6)
    axis.set_xlabel(panel.note, fontsize=6.5, labelpad=2)
    top, bottom, left, right = row.box
    axis.set_xlim(left - 0.5, right - 0.5)
    axis.set_ylim(bottom - 0.5, top - 0.5)


def _draw_image(axis: Axes, panel: Panel, row: CaseRow) -> None:
    axis.imshow(panel.image, cmap="gray", vmin=0, vmax=255, aspect=row.aspect, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _draw_overlay(axis: Axes, label: np.ndarray, palette: ListedColormap, aspect: float, most: int) -> None:
    masked = np.ma.masked_equal(label, 0)
    axis.imshow(masked, cmap=palette, vmin=0, vmax=most, aspect=aspect, alpha=0.5, interpolation="nearest")


def _relative_height(row: CaseRow) -> float:
    rows, columns = row.panels[0].image.shape
    return float(np.clip(rows * row.aspect / columns, 0.4, 2.0))
