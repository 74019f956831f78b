"""A contrast in words: what it tells apart, where, and over what it is pooled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.reporting.report_data import ReportData
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.wording import UNSET, count, factor_text
from harness.study.contrasts import ROLE, Contrast
from harness.study.names import Names

DIFFERENCE, INTERACTION, SLOPE = "difference", "interaction", "slope"


def contrast_words(data: ReportData, contrast: Contrast) -> dict[str, str]:
    """Return ``contrast``, ``of``, ``to``, ``place``, ``pooled`` and ``kind`` of a contrast, in names for print.

    Args:
        data: of the report.
        contrast: of its study.
    """
    names, varying = data.names, data.keys
    kind = INTERACTION if contrast.between else SLOPE if contrast.trend else DIFFERENCE
    of, to = _selection(names, contrast.of), _selection(names, contrast.to or {})
    if contrast.trend:
        unit = "doubling" if contrast.scale == "log2" else "unit"
        of = f"{of}, per {unit} of {names.within(contrast.trend)}".removeprefix(", ")
    for key, (first, second) in contrast.between.items():
        of = f"{of}, {factor_text(names, key, first)} minus {factor_text(names, key, second)}".removeprefix(
            ", "
        )
    place = {key: value for key, value in contrast.place.items() if key in varying}
    return {
        "contrast": names.value("method", contrast.name), "of": of, "to": to, "kind": kind, "place": _selection(names, place),
        "pooled": _pooled(names, [key for key in contrast.pooled if key in varying], contrast.levels),
    }  # fmt: skip


def contrast_text(row: Mapping[str, Any]) -> str:
    """Return what a contrast tells apart, and where: ``MedContext against Supervised (U-Net, mean over 5 values of shots)``."""
    sides = " against ".join(text for text in (row["of"], row["to"]) if text)
    over = f"mean over {row['pooled']}" if row["pooled"] else ""
    where = ", ".join(text for text in (row["study"], row["place"], over) if text)
    return f"{sides or row['contrast']} ({where})" if where else sides or row["contrast"]


def line_name(names: Names, row: Mapping[str, Any]) -> str:
    """Return what stands beside a contrast in a forest plot; of a row of one dataset ``– Synapse``."""
    of_dataset = isinstance(row["dataset"], str)
    return f"{UNSET} {names.value('dataset', row['dataset'])}" if of_dataset else contrast_text(row)


def _selection(names: Names, values: Mapping[str, Any]) -> str:
    """Return values of factors: ``MedContext, mask ratio 0.4``, ``U-Net, 5 training cases``."""
    parts = []
    for key, value in values.items():
        if key in ("method", "architecture", "dataset", "shots"):
            parts.append(factor_text(names, key, value))
        elif key == ROLE:
            parts += [str(value)] if value != STUDENT else []
        else:
            parts.append(f"{names.within(key)} {names.value(key, value)}")
    if ROLE in values and not parts:
        parts = [str(values[ROLE])]
    return ", ".join(parts)


def _pooled(names: Names, keys: list[str], levels: int) -> str:
    """Return ``5 values of training cases``, ``8 values of network and training cases``; empty where nothing is pooled."""
    words = [names.within(key) for key in keys]
    listed = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
    return f"{count(levels, 'value')} of {listed}" if keys and levels > 1 else ""
