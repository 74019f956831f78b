"""Whom a case belongs to. The patient is the unit of tests, intervals and ranks: cases of one patient are not independent.

A record says whom its test cases belong to, or that nobody knows. One of an earlier version does not: then the dataset's class does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

import pandas as pd

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.errors import UserError
from harness.reporting.wording import count
from harness.study.study import Study

ONE_EACH, NOT_KNOWN = "one for each case", "not known"


def patient_means(case_means: pd.DataFrame, trials: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Return the mean over a patient's cases, of all that is told apart by other columns.

    Args:
        case_means: of ``estimates.case_scores``: ``id``, ``case``, ``value``, and what else tells rows apart.
        trials: of ``trial_frame``.
        study: whose datasets know the patients.

    Returns:
        the same with ``patient`` for ``case``; ``cases``, how many have a value.
    """
    frame = case_means.rename(columns={"case": "patient"}).assign(
        cases=case_means["value"].notna().astype(int)
    )
    grouped = dict(_groupings(trials, study))
    if not grouped:
        return frame
    datasets = frame["id"].astype(object).map(dict(zip(trials["id"], trials["dataset"], strict=True)))
    cases = frame["patient"].astype(object)
    for name, patient in grouped.items():
        own = datasets == name
        cases = cases.mask(own, cases[own].map({case: patient(str(case)) for case in cases[own].unique()}))
    frame = frame.assign(patient=pd.Categorical(cases), cases=frame["value"].notna())
    by = [key for key in frame if key not in ("value", "cases")]
    return frame.groupby(by, sort=False, observed=True).agg({"value": "mean", "cases": "sum"}).reset_index()


def _groupings(trials: pd.DataFrame, study: Study) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Yield each dataset some of whose cases are of one patient, and whom each belongs to."""
    registered = {str(cell.factors["dataset"]): cell.spec.dataset.name for cell in study.cells}
    for name, own in trials.groupby("dataset", sort=False):
        recorded = _recorded(own)
        if recorded:
            yield str(name), lambda case, recorded=recorded: recorded.get(case, case)  # type: ignore[misc]
        elif (
            found := _class_of(registered.get(str(name), str(name)))
        ) and found.patient is not Dataset.patient:
            yield str(name), found().patient


def _recorded(trials: pd.DataFrame) -> dict[str, str]:
    """Return whom test cases belong to, as the records of one dataset have it; nothing where none has patients of several."""
    texts = [text for text in trials["patients"].dropna().unique() if text.startswith("{")]
    return {case: patient for text in texts for case, patient in json.loads(text).items()}


def _class_of(registered: str) -> type[Dataset] | None:
    """Return the class of a dataset; None where it is not here any more."""
    try:
        return registry.load("dataset", registered)
    except UserError:
        return None


def patients_text(trials: pd.DataFrame) -> str:
    """Return how many patients the test cases of a dataset are of, one for each case, or that it is not known.

    Args:
        trials: complete rows of ``trial_frame``, of one dataset.
    """
    if recorded := _recorded(trials):
        return _counted(recorded)
    texts = list(trials["patients"].dropna().unique())
    if texts:
        return " / ".join(texts)
    found = _class_of(str(trials["dataset"].iloc[0]))
    if found is None or not found().knows_patients(()):
        return NOT_KNOWN
    cases = {case for own in trials["test_cases"].dropna() for case in own}
    return (
        ONE_EACH
        if found.patient is Dataset.patient
        else _counted({case: found().patient(case) for case in cases})
    )


def _counted(patients: Mapping[str, str]) -> str:
    return f"{count(len({*patients.values()}), 'patient')} of {count(len(patients), 'test case')}"


def patients_note(trials: pd.DataFrame) -> str:
    """Return a sentence for a dataset of which it is not known whose the cases are; empty for others."""
    if NOT_KNOWN not in patients_text(trials):
        return ""
    return " Which cases are of one patient is not known: each counts as one, and where some are, intervals are too narrow."
