"""Cross-validation in a report: the networks of one seed, a fold each, stand as one, whose cases are scored together.

Everything here is a pure function on frames. A seed counts where all its folds are complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from harness.reporting.wording import UNSET, count
from harness.study.cells import FOLD
from harness.study.study import Study

LACKING = ("Caution: ", "Incomplete, and in no mean and no test until all folds are there: ")
"""How the notes begin that say what is missing."""
_MOST_LISTED = 5
Folds = dict[str, tuple[str, ...]]
"""Trials that stand for one seed of an arm, by the id of the first of them: one for each fold, or one alone."""


def is_folded(study: Study) -> bool:
    """Return whether trials of a study are folds of one another."""
    return FOLD in study.varying()


def folds_of_seeds(study: Study, trials: pd.DataFrame) -> Folds:
    """Return the planned trials of each seed of an arm, in their order; without folds each stands alone.

    Args:
        study: which factors there are.
        trials: of ``trial_frame``.
    """
    if not is_folded(study):
        return {id: (id,) for id in trials["id"]}
    others = [key for key in study.factors if key != FOLD]
    groups: dict[tuple[object, ...], list[str]] = {}
    for id, *values in trials[["id", *others]].itertuples(index=False, name=None):
        groups.setdefault(tuple(values), []).append(id)
    return {ids[0]: tuple(ids) for ids in groups.values()}


def whole_seeds(study: Study, trials: pd.DataFrame, folds: Folds) -> Folds:
    """Return the seeds that have all folds, each complete: those that any arm of their split has."""
    status = dict(zip(trials["id"], trials["status"], strict=True))
    if not is_folded(study):
        return {id: ids for id, ids in folds.items() if status[id] == "complete"}
    own, wanted = _fold_sets(study, trials, folds)
    return {
        id: ids
        for id, ids in folds.items()
        if own[id] == wanted[id] and all(status[one] == "complete" for one in ids)
    }


def _fold_sets(
    study: Study, trials: pd.DataFrame, folds: Folds
) -> tuple[dict[str, set[object]], dict[str, set[object]]]:
    """Return the folds that each seed plans, and those that any seed of the same dataset and split plans."""
    shared = [key for key in study.factors if key == "dataset" or (key.startswith("split.") and key != FOLD)]
    columns = trials[["id", FOLD, *shared]].itertuples(index=False, name=None)
    placed = {id: (fold, tuple(split)) for id, fold, *split in columns}
    own = {id: {placed[one][0] for one in ids} for id, ids in folds.items()}
    by_split: dict[tuple[object, ...], set[object]] = {}
    for id, numbers in own.items():
        by_split.setdefault(placed[id][1], set()).update(numbers - {UNSET})
    return own, {id: own[id] if own[id] == {UNSET} else by_split[placed[id][1]] for id in folds}


def pooled_cases(cases: pd.DataFrame, whole: Folds) -> pd.DataFrame:
    """Return the rows of seeds that count, those of all folds under the id of the first.

    Where folds test the same cases (a folder's own), a case's value is the mean over them.

    Args:
        cases: of ``case_frame``.
        whole: of :func:`whole_seeds`.
    """
    if all(ids == (id,) for id, ids in whole.items()):
        return cases[cases["id"].isin(whole)] if set(cases["id"].unique()) - set(whole) else cases
    first = {one: id for id, ids in whole.items() for one in ids}
    rows = cases[cases["id"].isin(first)]
    rows = rows.assign(id=pd.Categorical(rows["id"].astype(object).map(first)))
    by = ["id", "case", "region", "role", "metric", "unit"]
    if not rows.duplicated(by).any():
        return rows
    means = rows.assign(value=rows["value"].astype(float), empty=rows["empty"].astype(object))
    found = (
        means.groupby(by, sort=False, observed=True).agg({"value": "mean", "empty": _missed}).reset_index()
    )
    return found[list(rows.columns)]


def _missed(empty: pd.Series) -> str:
    """Return which mask was empty in any fold; ``none`` where that was so in no fold."""
    return next((word for word in empty if word != "none"), "none")


def tested_cases(trials: pd.DataFrame) -> str:
    """Return how many cases are tested, those of all folds together: ``20``, or of several splits ``40 / 50``.

    Args:
        trials: complete rows of ``trial_frame``.
    """
    tested = [cases for cases in dict.fromkeys(trials["test_cases"]) if isinstance(cases, tuple)]
    if FOLD in trials and trials[FOLD].nunique() > 1:
        return str(len({case for cases in tested for case in cases}))
    return " / ".join(dict.fromkeys(str(len(cases)) for cases in tested))


def folds_text(trials: pd.DataFrame) -> str:
    """Return ``5 folds``; empty where trials are not folds of one another."""
    number = trials[FOLD].nunique() if FOLD in trials else 1
    return count(number, "fold") if number > 1 else ""


def fold_notes(study: Study, trials: pd.DataFrame, folds: Folds, whole: Folds) -> list[str]:
    """Return what readers have to know of folds: how scores are pooled, what is tested, which seeds lack a fold.

    Args:
        study: of the report.
        trials: of ``trial_frame``.
        folds: of :func:`folds_of_seeds`.
        whole: of :func:`whole_seeds`.
    """
    if not is_folded(study):
        return []
    notes = [_pooling_note(trials, whole)] if any(len(ids) > 1 for ids in whole.values()) else []
    declared = {cell.spec.dataset.split_folds or 1 for cell in study.cells}
    planned = {len(ids) for ids in folds.values()} - {1}
    if planned and max(planned) < max(declared):
        notes.append(
            f"{LACKING[0]}{max(planned)} of {max(declared)} folds are planned, so that not every case is tested."
        )
    status = dict(zip(trials["id"], trials["status"], strict=True))
    wanted = _fold_sets(study, trials, folds)[1]
    lacking = [
        f"{_seed_text(study, trials, id)} ({len(done)} of {len(wanted[id])} folds)"
        for id, ids in folds.items()
        if id not in whole and (done := [one for one in ids if status[one] == "complete"])
    ]
    if lacking:
        more = f" and {len(lacking) - _MOST_LISTED} more" if len(lacking) > _MOST_LISTED else ""
        listed = "; ".join(lacking[:_MOST_LISTED]) + more
        notes.append(f"{LACKING[1]}{listed}.")
    return notes


def _pooling_note(trials: pd.DataFrame, whole: Folds) -> str:
    tested = dict(zip(trials["id"], trials["test_cases"], strict=True))
    folds = {len(ids) for ids in whole.values()} - {1}
    number = str(max(folds)) if len(folds) == 1 else f"{min(folds)} to {max(folds)}"
    note = f"Each seed of an arm is {number} networks, one for each fold; the scores of all their cases are pooled before any mean. "
    ids = next(ids for ids in whole.values() if len(ids) > 1)
    sizes = [len(tested[id]) for id in ids if isinstance(tested[id], tuple)]
    every = {case for id in ids if isinstance(tested[id], tuple) for case in tested[id]}
    if sum(sizes) == len(every):
        return note + (
            f"Each of {len(every)} cases is tested once, by the network that did not train on it. Folds share training cases: tests "
            "and intervals are for new seeds and cases with these folds, and too narrow for other training cases."
        )
    return note + f"All folds test the same {len(every)} cases; a case's score is the mean over folds."


def _seed_text(study: Study, trials: pd.DataFrame, id: str) -> str:
    row: Mapping[str, object] = trials[trials["id"] == id].iloc[0].to_dict()
    varying: Sequence[str] = [key for key in study.varying() if key not in (FOLD, "seed", "method")]
    parts = [str(row["method"]), *(f"{key} {row[key]}" for key in varying if row[key] != UNSET)]
    return f"{', '.join(parts)}, seed {row['seed']}"
