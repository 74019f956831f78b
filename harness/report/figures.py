"""Figures of a study, from plain series. The only module that imports matplotlib and seaborn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any, TypeVar

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from harness.report.estimates import binned
from harness.report.qualitative import CaseRow, Gallery, Panel
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
"""Trials of one arm that are drawn one by one; of more, mean and deviation say enough."""
ORGANS = (
    "#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#0072B2", "#D55E00", "#999999", "#882255",
    "#44AA99", "#DDCC77", "#AA4499", "#88CCEE", "#117733", "#CC6677", "#332288",
)  # fmt: skip
"""Colours of label values 1, 2, …: Okabe and Ito's, then Tol's."""

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


@styled
def dice_bars(scores: pd.DataFrame) -> Figure:
    """Return bars of mean Dice by architecture and arm: a panel per dataset and shots, a point per seed.

    Args:
        scores: one row per trial: ``dataset``, ``shots``, ``architecture``, ``arm``, ``seed``, ``value`` (%).
    """
    arms, architectures = _values(scores["arm"]), _values(scores["architecture"])
    panels = scores.groupby(["dataset", "shots"], sort=False)
    figure, axes = _grid(len(panels), width=0.7 + 0.28 * len(arms) * len(architectures), height=2.2)
    palette, width = colours(arms), 0.8 / len(arms)
    for axis, ((dataset, shots), rows) in zip(axes, panels, strict=False):
        for i, arm in enumerate(arms):
            for j, architecture in enumerate(architectures):
                values = rows.loc[(rows["arm"] == arm) & (rows["architecture"] == architecture), "value"]
                if len(values):
                    _bar(axis, j + (i - (len(arms) - 1) / 2) * width, width, values, palette[arm])
        axis.set_xticks(range(len(architectures)), architectures)
        axis.tick_params(axis="x", length=0)
        axis.set_xlim(-0.5, len(architectures) - 0.5)
        axis.set_ylim(0, 100)
        axis.set_title(_panel_title(scores, dataset=dataset, shots=shots))
    _label_left(axes, "Dice (%)")
    _legend(figure, {arm: Patch(facecolor=palette[arm], alpha=0.8) for arm in arms})
    return figure


def _bar(axis: Axes, x: float, width: float, values: pd.Series, colour: Any) -> None:
    mean, sd = values.mean(), values.std()
    axis.bar(x, mean, width * 0.9, color=colour, alpha=0.8, linewidth=0)
    top = max(values.max(), mean + (0 if np.isnan(sd) else sd))
    if not np.isnan(sd):
        axis.errorbar(x, mean, sd, color="black", elinewidth=0.8, capsize=2, capthick=0.8)
    if len(values) <= MOST_POINTS:
        spread = np.linspace(-0.18, 0.18, len(values)) * width if len(values) > 1 else [0.0]
        axis.plot(x + np.asarray(spread), values, "o", markersize=2.4, markerfacecolor="white",
                  markeredgecolor="black", markeredgewidth=0.5)  # fmt: skip
    axis.annotate(f"{mean:.1f}", (x, top), (0, 3), textcoords="offset points", ha="center", fontsize=6)


@styled
def few_shot_curves(scores: pd.DataFrame) -> Figure:
    """Return mean Dice against the number of training cases: a panel per dataset and architecture.

    Args:
        scores: as of :func:`dice_bars`, with ``training``, the number of training cases.
    """
    arms = _values(scores["arm"])
    palette = colours(arms)
    panels = scores.groupby(["dataset", "architecture"], sort=False)
    figure, axes = _grid(len(panels), width=2.2, height=2.2)
    for axis, ((dataset, architecture), rows) in zip(axes, panels, strict=False):
        counts = sorted(rows["training"].unique())
        apart = (counts[-1] / counts[0]) ** 0.02  # so that arms of one number lie side by side
        for i, arm in enumerate(arms):
            own = rows[rows["arm"] == arm]
            summary = own.groupby("training")["value"].agg(["mean", "std"])
            nudge = apart ** (i - (len(arms) - 1) / 2)
            x = summary.index.to_numpy(float) * nudge
            axis.errorbar(x, summary["mean"], summary["std"].fillna(0), color=palette[arm], capsize=2,
                          marker="o", markersize=3.5, linewidth=1.2, elinewidth=0.8)  # fmt: skip
            if own.groupby("training").size().max() <= MOST_POINTS:
                axis.plot(own["training"].astype(float) * nudge, own["value"], "o", markerfacecolor="white",
                          markeredgecolor=palette[arm], markeredgewidth=0.6, markersize=2.2, zorder=3)  # fmt: skip
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(counts))
        axis.xaxis.set_minor_locator(NullLocator())
        every = {n: shots == "all" for n, shots in zip(rows["training"], rows["shots"], strict=True)}
        axis.set_xticklabels([f"all ({n})" if every[n] else str(n) for n in counts])
        axis.set_xlim(counts[0] / apart**6, counts[-1] * apart**6)
        axis.set_xlabel("Training cases")
        axis.set_title(_panel_title(scores, dataset=dataset, architecture=architecture))
    _label_left(axes, "Dice (%)")
    _legend(figure, {arm: Line2D([], [], color=palette[arm], marker="o", markersize=3.5) for arm in arms})
    return figure


@styled
def training_curves(history: pd.DataFrame) -> Figure:
    """Return total loss by step, and below it validation Dice where there is any.

    A column per dataset, architecture and shots; a thick line is the mean over seeds, thin ones are seeds.

    Args:
        history: ``dataset``, ``architecture``, ``shots``, ``arm``, ``id``, ``step``, ``kind`` (``loss`` or
            ``dice``), ``value``.
    """
    arms = _values(history["arm"])
    palette = colours(arms)
    panels = history.groupby(["dataset", "architecture", "shots"], sort=False)
    kinds = [kind for kind in ("loss", "dice") if (history["kind"] == kind).any()]
    columns = min(len(panels), 4)
    blocks = -(-len(panels) // columns)
    figure = Figure(
        figsize=(min(PAGE, 1.2 + 1.9 * columns), 0.4 + 1.6 * blocks * len(kinds)), layout="constrained"
    )
    axes = np.atleast_2d(figure.subplots(blocks * len(kinds), columns, squeeze=False, sharey="row"))
    for axis in axes.flat:
        axis.set_visible(False)
    for index, (names, rows) in enumerate(panels):
        block, column = divmod(index, columns)
        for k, kind in enumerate(kinds):
            axis = axes[block * len(kinds) + k, column]
            axis.set_visible(True)
            _curves(axis, rows[rows["kind"] == kind], palette)
            if k == 0:
                titles = dict(zip(("dataset", "architecture", "shots"), names, strict=True))
                axis.set_title(_panel_title(history, **titles).replace(", ", "\n"))
            if k == len(kinds) - 1:
                axis.set_xlabel("Step")
            if column == 0:
                axis.set_ylabel({"loss": "Total loss", "dice": "Validation Dice (%)"}[kind])
    _legend(figure, {arm: Line2D([], [], color=palette[arm]) for arm in arms})
    return figure


def _curves(axis: Axes, rows: pd.DataFrame, palette: Mapping[str, Any]) -> None:
    scale = 100.0 if (rows["kind"] == "dice").any() else 1.0
    for arm, own in rows.groupby("arm", sort=False):
        thin = binned(own, ["id"])
        for _, one in list(thin.groupby("id", sort=False, observed=True))[:MOST_POINTS]:
            axis.plot(one["step"], one["value"] * scale, color=palette[str(arm)], linewidth=0.5, alpha=0.4)
        mean = thin.groupby("step")["value"].mean()
        marker = "o" if scale > 1 and len(mean) < 30 else ""
        axis.plot(
            mean.index, mean * scale, color=palette[str(arm)], linewidth=1.3, marker=marker, markersize=2.5
        )


@styled
def qualitative(gallery: Gallery) -> Figure:
    """Return pictures: a row per case; image, reference, and each arm's prediction as an overlay."""
    columns = len(gallery.columns)
    side = min(1.7, PAGE / columns)
    heights = [_height(row) for row in gallery.rows]
    figure = Figure(
        figsize=(side * columns, side * sum(heights) + 0.3 * len(heights) + 0.5), layout="constrained"
    )
    axes = figure.subplots(len(gallery.rows), columns, squeeze=False, height_ratios=heights)
    present = sorted({int(v) for row in gallery.rows for p in row.panels if p.label is not None
                      for v in np.unique(p.label) if v})  # fmt: skip
    for i, row in enumerate(gallery.rows):
        for j, panel in enumerate(row.panels):
            _picture(axes[i, j], panel, row.aspect)
            if i == 0:
                axes[i, j].set_title(_wrapped(gallery.columns[j], side), fontsize=7)
        axes[i, 0].set_ylabel(row.title.replace(": ", "\n"), fontsize=7)
    names = {gallery.labels.get(v, f"label {v}"): Patch(facecolor=_organ(v)) for v in present}
    _legend(figure, names)
    return figure


def _picture(axis: Axes, panel: Panel, aspect: float) -> None:
    axis.imshow(panel.image, cmap="gray", vmin=0, vmax=255, aspect=aspect, interpolation="nearest")
    if panel.label is not None:
        masked = np.ma.masked_equal(panel.label, 0)
        palette = ListedColormap([_organ(value) for value in range(256)])
        axis.imshow(masked, cmap=palette, vmin=0, vmax=255, aspect=aspect, alpha=0.4, interpolation="nearest")
        for value in np.unique(panel.label[panel.label > 0]):
            axis.contour(panel.label == value, levels=[0.5], colors=[_organ(int(value))], linewidths=0.8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_xlabel(panel.note, fontsize=6.5, labelpad=2)


def _height(row: CaseRow) -> float:
    rows, columns = row.panels[0].image.shape
    return float(np.clip(rows * row.aspect / columns, 0.4, 2.0))


def _organ(value: int) -> tuple[float, float, float]:
    return to_rgb(ORGANS[(value - 1) % len(ORGANS)])


def _grid(panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with room for ``panels`` of about ``width`` by ``height`` inches, and their axes."""
    columns = max(1, min(panels, int(PAGE // min(width, PAGE))))
    rows = -(-panels // columns)
    size = (min(PAGE, max(COLUMN, width * columns + 0.3)), height * rows + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for axis in axes[panels:]:
        axis.set_visible(False)
    return figure, axes[:panels]


def _values(column: pd.Series) -> list[str]:
    return [str(value) for value in dict.fromkeys(column)]


def _wrapped(text: str, width: float) -> str:
    """Return text at 7 pt in lines of at most ``width`` inches."""
    return "\n".join(fill(line, max(8, int(width / 0.065))) for line in text.split("\n"))


def _panel_title(frame: pd.DataFrame, **values: Any) -> str:
    """Return what tells a panel from the others; all of its values where nothing varies."""
    varying = {key: v for key, v in values.items() if frame[key].nunique() > 1} or values
    words = [
        f"{value_text(v)} training cases" if key == "shots" else value_text(v) for key, v in varying.items()
    ]
    return ", ".join(words)


def _label_left(axes: Sequence[Axes], text: str) -> None:
    for axis in axes:
        if axis.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axis.set_ylabel(text)


def _legend(figure: Figure, handles: Mapping[str, Any]) -> None:
    widest = 0.5 + 0.065 * max((len(name) for name in handles), default=0)  # inches, of an entry
    columns = max(1, min(len(handles), int(figure.get_figwidth() // widest)))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)
