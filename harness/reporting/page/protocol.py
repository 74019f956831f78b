"""The protocol as the page shows it: once for each dataset, what differs from the dataset's default in front."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pydantic import ValidationError

from harness import registry
from harness.errors import UserError
from harness.records.schema import INFERENCE_FIELDS, TRAINING_FIELDS
from harness.reporting.provenance import of_folds, protocol_words, short_text
from harness.reporting.report_data import ReportData
from harness.spec import Recipe, plain

_UNITS = {"spacing": " mm", "tolerances": " mm"}
_TITLES = {
    "ignore": "Ignored label",
    "tolerances": "Tolerance of NSD by region",
}  # where the key in words does not say what it is


@dataclass(frozen=True)
class ProtocolRow:
    """A field of the protocol; ``default`` is the dataset's own value where trials have another."""

    field: str
    value: str
    default: str = ""


def protocol_tables(data: ReportData) -> list[tuple[str, list[ProtocolRow]]]:
    """Return the name of each dataset with complete trials, and the fields of its protocol."""
    return [
        (data.names.value("dataset", dataset), _rows(str(dataset), rows, data))
        for dataset, rows in data.complete.groupby("dataset", sort=False)
    ]


def _rows(dataset: str, rows: pd.DataFrame, data: ReportData) -> list[ProtocolRow]:
    defaults, words = default_protocol(dataset), protocol_words(rows, data.names)
    words["test_cases"] += of_folds(rows)
    found = [
        ProtocolRow(_TITLES.get(field) or field.replace("_", " ").capitalize(), text + _UNITS.get(field, "") * (text != "none"), _default_text(defaults, field, rows[field]))
        for field, text in words.items()
    ]  # fmt: skip
    return sorted(found, key=lambda row: not row.default)


def default_protocol(dataset: str) -> dict[str, Any]:
    """Return the fields of the protocol as the default recipe of a dataset has them; none where its files decide."""
    try:
        recipe = Recipe.model_validate(registry.load("dataset", dataset).recipe)
    except (UserError, ValidationError):
        return {}
    settings = plain(recipe)
    shared = (
        "spacing",
        "patch",
        "intensity",
        "crop",
        "resampling",
        "label_resampling",
        "steps",
        "batch",
        "selection",
    )
    found: dict[str, Any] = {name: getattr(recipe, name) for name in shared}
    found["augmentation"] = plain(recipe.augmentation)
    found["training"] = {name: getattr(recipe, name) for name in TRAINING_FIELDS}
    found["inference"] = {name: settings[name] for name in INFERENCE_FIELDS if name in settings}
    return found


def _default_text(defaults: dict[str, Any], field: str, values: pd.Series) -> str:
    """Return the default of a field, or of those of its settings that some trial has otherwise; else nothing."""
    if field not in defaults:
        return ""
    default, distinct = defaults[field], list(dict.fromkeys(values.dropna()))
    if not isinstance(default, dict):
        return "" if all(value == default for value in distinct) else short_text(default)
    default = json.loads(json.dumps(default))
    own = [json.loads(value) for value in distinct]
    other = {
        key: default.get(key, "none")
        for key in dict.fromkeys([*default, *(key for one in own for key in one)])
        if any(one.get(key, default.get(key)) != default.get(key) for one in own)
    }
    return short_text(json.dumps(other)) if other else ""
