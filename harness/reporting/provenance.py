"""Sentences on the protocol that the numbers of a table rest on, and on its differences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import pandas as pd

from harness.records.schema import INFERENCE_FIELDS, SPEED_FIELDS, TRAINING_FIELDS
from harness.reporting.folds import folds_text, tested_cases
from harness.reporting.frames import PROTOCOL_COLUMNS
from harness.reporting.patients import patients_note, patients_text
from harness.reporting.wording import UNSET, count, value_text
from harness.study.cells import FOLD, PER_SEED, SETTING
from harness.study.names import Names

# protocol field -> factors that declare it, beside 'dataset' and 'recipe.<field>'
_DECLARED_BY: dict[str, tuple[str, ...]] = {
    "content_hash": (
        "split.name",
        "split.exclude",
        "split.file",
        FOLD,
    ),  # of the cases that the split divides
    "training_cases": ("shots", "subset", "split."),
    "validation_cases": ("split.",),
    "test_cases": ("split.",),
    "patients": ("split.",),
    "split_hash": ("split.",),
    "split_rule": ("split.",),
    "inference": tuple(f"recipe.{name}" for name in INFERENCE_FIELDS),
    "augmentation": ("recipe.augmentation.",),
    "training": (*(f"recipe.{name}" for name in (*TRAINING_FIELDS, *SPEED_FIELDS)), SETTING),
    "extra_data": ("method", "method.", "shots", "subset"),
    "pretraining": ("method", "method.", "architecture", "architecture."),
}
_OF_PIPELINES = {
    "spacing", "patch", "intensity", "crop", "resampling", "label_resampling", "augmentation", "steps", "batch",
    "training", "selection", "inference",
}  # fmt: skip

_CASES = ("training_cases", "validation_cases", "test_cases")
_OFF_AT_ZERO = ("warmup_steps", "clip_norm", "validate_every")


def protocol_notes(trials: pd.DataFrame, names: Names) -> list[str]:
    """Return one note per dataset on data, preprocessing, training, selection and metrics.

    Args:
        trials: complete rows of ``trial_frame``.
        names: for print.
    """
    notes = []
    for dataset, rows in trials.groupby("dataset", sort=False):
        text = protocol_words(rows, names)
        notes.append(
            f"Dataset {names.value('dataset', dataset)} (version {text['dataset_version']}): {text['training_cases']} training, "
            f"{text['validation_cases']} validation and {_counted_cases(text['test_cases'], 'test')}{of_folds(rows)}; "
            f"data content {text['content_hash']}; split {text['split_hash']} ({text['split_rule']}). "
            f"Spacing {text['spacing']} mm, orientation {text['orientation']}, patch {text['patch']}, "
            f"intensity {text['intensity']}, crop {text['crop']}, resampling {text['resampling']} (labels "
            f"{text['label_resampling']}), augmentation: {text['augmentation']}. "
            f"Steps {text['steps']}, batch {text['batch']}, training: {text['training']}; "
            f"checkpoint selection: {text['selection']}; inference: {text['inference']}; "
            f"postprocessing: {text['postprocessing']}; extra data: {text['extra_data']}; "
            f"pretraining: {text['pretraining']}. Metric convention: {text['convention']}."
            + _ignored_note(rows)
            + _tolerance_note(rows, names)
            + patients_note(rows)
        )
    return notes


def protocol_words(rows: pd.DataFrame, names: Names) -> dict[str, str]:
    """Return each field of the protocol of one dataset's trials in words; lists of cases as their number."""
    told = [name for name in PROTOCOL_COLUMNS if name not in (*_CASES, "patients")]
    words = {name: _by_method(rows, name, names) for name in told}
    words["patients"] = patients_text(rows)
    for name in _CASES:
        words[name] = " / ".join(str(n) for n in dict.fromkeys(map(len, _distinct(rows[name]))))
    if drawn_by_seed(rows).any():
        words["training_cases"] += " (few cases are drawn anew for each seed)"
    return words


def of_folds(rows: pd.DataFrame) -> str:
    """Return how many cases the folds test together, where there are folds.

    Args:
        rows: complete rows of ``trial_frame``, of one dataset.
    """
    folds = folds_text(rows)
    return f" in each of {folds}, {tested_cases(rows)} tested in all" if folds else ""


def _counted_cases(numbers: str, kind: str) -> str:
    """Return ``1 test case`` or ``40 / 50 test cases``."""
    return f"{numbers} {kind} case{'' if numbers == '1' else 's'}"


def _ignored_note(rows: pd.DataFrame) -> str:
    """Return a sentence on the label of voxels that are not counted; none where there is no such label."""
    labels = sorted({int(label) for label in rows["ignore"].dropna() if label != "none"})
    return f" Voxels labelled {' / '.join(map(str, labels))} are not counted." if labels else ""


def _tolerance_note(rows: pd.DataFrame, names: Names) -> str:
    """Return a sentence on the tolerances of normalised surface Dice by region; none where there are none."""
    found = [json.loads(value) for value in _distinct(rows["tolerances"]) if value != "none"]
    texts = [", ".join(f"{names.region(region)} {mm:g} mm" for region, mm in one.items()) for one in found]
    return f" NSD at the region's tolerance: {' / '.join(texts)}." if texts else ""


def _by_method(rows: pd.DataFrame, field: str, names: Names) -> str:
    """Return a field of the protocol in words: the value of most trials, and in brackets the methods with another one."""
    methods: dict[str, list[str]] = {}
    trials: dict[str, int] = {}
    for method, own in rows.groupby("method", sort=False)[field]:
        text = _joined_alternatives([_effective_settings(value) for value in _distinct(own)]) or "unknown"
        methods.setdefault(text, []).append(names.value("method", method))
        trials[text] = trials.get(text, 0) + len(own)
    most = max(trials, key=trials.__getitem__)
    others = [f"{', '.join(own)}: {text}" for text, own in methods.items() if text != most]
    return most + (f" ({'; '.join(others)})" if others else "")


def _joined_alternatives(texts: Sequence[str]) -> str:
    """Return ``2 / 5 cases`` where texts differ in one word, else all texts."""
    words = [text.split(" ") for text in texts]
    differing = [i for i, place in enumerate(zip(*words, strict=False)) if len(set(place)) > 1]
    if len({len(one) for one in words}) != 1 or len(differing) != 1:
        return " / ".join(texts)
    place = differing[0]
    return " ".join([*words[0][:place], " / ".join(one[place] for one in words), *words[0][place + 1 :]])


def _effective_settings(value: Any) -> str:
    """Return a field of the protocol as words, without settings that have no effect."""
    if not (isinstance(value, str) and value.startswith("{")):
        return short_text(value)
    settings = json.loads(value)
    off = {key for key in _OFF_AT_ZERO if settings.get(key) == 0}
    off |= {"momentum"} if settings.get("optimiser", "sgd") != "sgd" else set()
    return short_text(json.dumps({key: part for key, part in settings.items() if key not in off}))


def sample_note(trials: pd.DataFrame, seeds: Iterable[int]) -> str:
    """Return a sentence on the sample of a figure: seeds, test cases, selection, convention.

    Args:
        trials: complete rows of ``trial_frame``.
        seeds: how many each arm has.
    """
    numbers = sorted(set(seeds))
    several = f"{numbers[0]} to {numbers[-1]} seeds" if len(numbers) > 1 else count(numbers[0], "seed")
    cases, folds = tested_cases(trials), folds_text(trials)
    facts = {
        name: " / ".join(short_text(value) for value in _distinct(trials[name]))
        for name in ("selection", "convention")
    }
    return (
        f"{several}{f' of {folds}' if folds else ''} for each arm, {_counted_cases(cases, 'test')}; checkpoint selection {facts['selection']}, convention "
        f"{facts['convention']}."
    )


def undeclared_differences(trials: pd.DataFrame, factors: Iterable[str]) -> list[str]:
    """Return a sentence for each protocol field that differs between trials though no factor declares it.

    Numbers of such trials do not belong in one table.

    Args:
        trials: complete rows of ``trial_frame``.
        factors: the study's.
    """
    factors = tuple(factors)
    notes = []
    for field in PROTOCOL_COLUMNS:
        declared = [key for key in factors if _declares(key, field)]
        if "subset" in declared and drawn_by_seed(trials).any():
            declared.append("seed")
        if SETTING in declared and "method" not in declared:
            declared.append("method")  # each arm is tuned on its own
        compared = trials.assign(steps=_total_steps(trials)) if field == "steps" else trials
        groups = compared.groupby(declared, sort=False)[field] if declared else [((), compared[field])]
        for key, values in groups:
            tally = _counts_by_text(values)
            if len(tally) > 1:
                where = ", ".join(value_text(part) for part in key)
                found = "; ".join(f"{value} in {count(n, 'trial')}" for value, n in tally.items())
                notes.append(
                    f"{field.replace('_', ' ')} differs between trials that should share it"
                    f"{f' ({where})' if where else ''}: {found}."
                )
    return notes


def _total_steps(trials: pd.DataFrame) -> pd.Series:
    """Return the steps of each trial; where the study declares them with the pretraining, both together."""
    both = trials["steps"] + trials["pretraining_steps"].fillna(0)
    return trials["steps"].where(both != trials["declared_steps"], trials["declared_steps"])


def drawn_by_seed(trials: pd.DataFrame) -> pd.Series:
    """Return which trials have few training cases that their seed drew."""
    return (trials["subset"] == PER_SEED) & trials["shots"].map(lambda shots: isinstance(shots, Integral))


def selection_notes(trials: pd.DataFrame) -> list[str]:
    """Return a note where checkpoints were selected on the test cases."""
    chosen = trials[trials["selection"] == "test_oracle"]
    if not len(chosen):
        return []
    return [
        f"Caution: {count(len(chosen), 'trial')} of {len(trials)} selected the checkpoint on the test cases "
        "(selection: test_oracle). Such numbers are too good, and compare with nothing but their like."
    ]


def version_notes(trials: pd.DataFrame) -> list[str]:
    """Return a note for each part of the software or hardware that is not the same in all trials."""
    parts = {"commit": trials["commit"], "device": trials["device"]}
    known = [versions for versions in trials["versions"] if isinstance(versions, dict)]
    for package in dict.fromkeys(name for versions in known for name in versions):
        parts[package] = pd.Series([versions.get(package, "absent") for versions in known], dtype=object)
    notes = []
    for part, values in parts.items():
        tally = _counts_by_text(values)
        if len(tally) > 1:
            found = ", ".join(f"{value or 'unknown'} ({count(n, 'trial')})" for value, n in tally.items())
            notes.append(f"Caution: trials of different code or hardware are mixed: {part} {found}.")
    return notes


def environment_rows(trials: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what the trials ran on as pairs of part and value; several values are joined by a comma."""
    known = [versions for versions in trials["versions"] if isinstance(versions, dict)]
    parts = {
        package: dict.fromkeys(versions[package] for versions in known if package in versions)
        for package in dict.fromkeys(name for versions in known for name in versions)
    }
    rows = [(part, ", ".join(values)) for part, values in parts.items()]
    for part in ("commit", "device"):
        values = [str(value) for value in _distinct(trials[part]) if value]
        rows.append((part, ", ".join(values) or UNSET))
    return rows


def _declares(factor: str, field: str) -> bool:
    if factor in ("dataset", f"recipe.{field}") or (factor == "recipe.pipeline" and field in _OF_PIPELINES):
        return True
    return any(
        factor.startswith(name) if name.endswith(".") else factor == name
        for name in _DECLARED_BY.get(field, ())
    )


def _distinct(values: pd.Series) -> list[Any]:
    return list(dict.fromkeys(values.dropna()))


def _counts_by_text(values: pd.Series) -> dict[str, int]:
    """Return how often each value occurs, by a short text that distinguishes the values."""
    counts: dict[Any, int] = {}
    for value in values.dropna().tolist():
        counts[value] = counts.get(value, 0) + 1
    return {_distinguishing_text(value, list(counts)): n for value, n in counts.items()}


def _distinguishing_text(value: Any, among: Sequence[Any]) -> str:
    """Return a short text of ``value``; a long list or a mapping shows only what is not in all others."""
    if isinstance(value, str) and value.startswith("{"):
        own, others = (
            json.loads(value),
            [json.loads(other) if other.startswith("{") else {} for other in among],
        )
        telling = {key: part for key, part in own.items() if any(other.get(key) != part for other in others)}
        return ", ".join(f"{key} {_json(part)}" for key, part in telling.items()) or "nothing more"
    if not isinstance(value, tuple) or len(value) <= 4:
        return short_text(value)
    shared = set.intersection(*(set(other) for other in among))
    extra = [str(part) for part in value if part not in shared]
    listed = ", ".join(extra[:3]) + (", …" if len(extra) > 3 else "")
    return f"{len(value)} cases" + (f" (with {listed})" if extra else "")


def short_text(value: Any) -> str:
    """Return a field of the protocol as words; a mapping, which frames hold as JSON, as its keys and values."""
    if isinstance(value, str) and value.startswith("{"):
        return ", ".join(f"{key} {_json(part)}" for key, part in json.loads(value).items())
    return value_text(value)


def _json(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(str(part) for part in value) or "none"
    return value_text(value)
