"""How factors, metrics and numbers are worded in tables, figures and the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from harness.spec import as_tuples
from harness.study.names import Names, value_text

UNSET = "–"
"""Stands for a factor that a cell does not set, and for a value that does not exist."""


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: ``scale`` takes the recorded value to ``unit``."""

    name: str
    label: str
    unit: str
    scale: float
    higher_is_better: bool
    recorded_unit: str
    definition: str

    @property
    def difference(self) -> str:
        """What a difference to the baseline is called: above zero it is no gain where lower is better."""
        return "Gain" if self.higher_is_better else "Difference"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", "%", 100.0, True, "fraction", "2|A∩B| / (|A|+|B|)"),
        Metric("hd95", "HD95", "mm", 1.0, False, "mm", "95th percentile of the pooled surface distances"),
        Metric("assd", "ASSD", "mm", 1.0, False, "mm", "average symmetric surface distance"),
        Metric(
            "false_positives",
            "False positives",
            "%",
            100.0,
            False,
            "fraction",
            "absent regions that are predicted",
        ),
    )
}


def metric_of(name: str, unit: str = "") -> Metric:
    """Return how a metric is shown; an unknown one is shown as recorded, higher taken as better."""
    kind, _, tolerance = name.partition("@")
    if kind == "nsd" and tolerance:
        within = "the region's tolerance" if tolerance == "region" else f"{tolerance} mm"
        told = f"share of both surfaces within {within} of the other"
        return Metric(name, f"NSD at {within}", "%", 100.0, True, "fraction", told)
    return METRICS.get(name) or Metric(name, name, unit or "1", 1.0, True, unit or "1", "as recorded")


def factor_value(value: Any) -> Any:
    """Return the value of a factor as frames have it: a list as a tuple, :data:`UNSET` where there is none."""
    return UNSET if value is None else as_tuples(value)


def is_number(value: Any) -> bool:
    """Return whether a factor's value is a number."""
    return isinstance(value, Real) and not isinstance(value, bool)


def number(value: float | None, decimals: int = 2) -> str:
    """Return a number with fixed decimals, or a dash where there is none."""
    return UNSET if value is None or math.isnan(value) else f"{value:.{decimals}f}"


def signed(value: float, decimals: int = 2) -> str:
    """Return a difference with its sign; the minus is U+2212."""
    if math.isnan(value):
        return UNSET
    rounded = round(value, decimals) + 0.0
    return f"{rounded:+.{decimals}f}".replace("-", "−")


def mean_sd(mean: float, sd: float, decimals: int = 2) -> str:
    """Return ``mean ± sd``; the mean alone where one value has no sd."""
    if math.isnan(mean) or math.isnan(sd):
        return number(mean, decimals)
    return f"{mean:.{decimals}f} ± {sd:.{decimals}f}"


def mean_with_interval(mean: float, low: float, high: float, decimals: int = 2) -> str:
    """Return ``mean [low, high]``; the mean alone where there is no interval."""
    if math.isnan(mean) or math.isnan(low):
        return number(mean, decimals)
    return f"{mean:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def p_text(p: float) -> str:
    """Return a p value to two digits, ``<0.001`` below that."""
    return UNSET if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.2g}"


def count(number_of: int, noun: str, nouns: str = "") -> str:
    """Return ``1 case``, ``2 cases``; ``nouns`` where the plural has another form."""
    return f"{number_of} {noun if number_of == 1 else nouns or f'{noun}s'}"


def factor_text(names: Names, key: str, value: Any) -> str:
    """Return a factor's value where its name does not stand beside it."""
    return shots_text(value) if key == "shots" else names.value(key, value)


def shots_text(shots: Any) -> str:
    """Return ``1 training case``, ``5 training cases`` or ``all training cases``."""
    return f"{value_text(shots)} training case{'' if shots == 1 else 's'}"
