"""Whom a case belongs to. The patient is the unit of tests, intervals and ranks: cases of one patient are not independent."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.errors import UserError
from harness.study.study import Study


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
    named = {str(cell.factors["dataset"]): cell.spec.dataset.name for cell in study.cells}
    grouped = {name: patient for name, registered in named.items() if (patient := _grouping(registered))}
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


def _grouping(registered: str) -> Callable[[str], str] | None:
    """Return a dataset's rule for patients; None where each case is another one, or the dataset is not here any more."""
    try:
        found = registry.load("dataset", registered)
    except UserError:
        return None
    return None if found.patient is Dataset.patient else found().patient
