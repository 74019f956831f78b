"""What the tables and figures of a study are made from, and which rows they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import pandas as pd

from harness.reporting.provenance import drawn_by_seed, undeclared_differences
from harness.reporting.statistics import estimates
from harness.reporting.wording import UNSET, arm_label
from harness.study.axes import is_shared, row_keys
from harness.study.study import Study

Key = tuple[Any, ...]
FIGURE_FACTORS = ("method", "architecture", "dataset", "shots", "subset", "seed")


@dataclass(frozen=True)
class ReportData:
    """What all tables are made from.

    Attributes:
        study: the study.
        keys: of ``row_keys``.
        trials: of ``trial_frame``.
        scores: of ``estimates.trial_scores``.
        cases: of ``case_frame``.
    """

    study: Study
    keys: tuple[str, ...]
    trials: pd.DataFrame
    scores: pd.DataFrame
    cases: pd.DataFrame

    def of(self, dataset: str) -> ReportData:
        """Return the part of one dataset."""
        trials, scores = self.trials, self.scores
        own = trials[trials["dataset"] == dataset]
        return ReportData(
            self.study,
            tuple(key for key in self.keys if key != "dataset"),
            own,
            scores[scores["dataset"] == dataset],
            self.cases[self.cases["id"].isin(own["id"])],
        )

    @cached_property
    def by_case(self) -> pd.DataFrame:
        """The means over regions of every case, of ``estimates.case_scores``."""
        return estimates.case_scores(self.cases)

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The complete rows of the trials."""
        return self.trials[self.trials["status"] == "complete"]

    @cached_property
    def differences(self) -> list[str]:
        """What differs between the complete trials though no factor declares it, of ``undeclared_differences``."""
        return undeclared_differences(self.complete, self.study.factors)

    @property
    def conventions(self) -> list[str]:
        """The metric conventions of the complete trials."""
        return list(dict.fromkeys(self.complete["convention"].dropna()))

    @cached_property
    def networks(self) -> dict[Key, tuple[str, ...]]:
        """The ids of the complete trials of each arm."""
        found: dict[Key, list[str]] = {}
        for id, *arm in self.complete[["id", *self.keys]].itertuples(index=False, name=None):
            found.setdefault(tuple(arm), []).append(id)
        return {arm: tuple(ids) for arm, ids in found.items()}

    @cached_property
    def drawn_by_seed(self) -> dict[str, int]:
        """The seeds of the complete trials whose few training cases their seed drew, by id."""
        chosen = self.complete[drawn_by_seed(self.complete)]
        return dict(zip(chosen["id"], chosen["seed"].astype(int), strict=True))

    def arms(self) -> dict[Key, int]:
        """Return the keys of all planned arms with their number of seeds, in the order of rows."""
        ranks = [value_order(self.trials[key].tolist()) for key in self.keys]
        planned: dict[Key, int] = {}
        for values in zip(*(self.trials[key] for key in self.keys), strict=True):
            planned[values] = planned.get(values, 0) + 1

        def rank(item: tuple[Key, int]) -> list[int]:
            return [ranks[i][value] for i, value in enumerate(item[0])]

        return dict(sorted(planned.items(), key=rank))


def build_report_data(study: Study, trials: pd.DataFrame, cases: pd.DataFrame) -> ReportData:
    """Return what a study found.

    Args:
        study: what was declared.
        trials: of ``trial_frame``.
        cases: of ``case_frame``.
    """
    scores = estimates.trial_scores(cases, trials[["id", *study.factors]])
    return ReportData(study, row_keys(study.report, study.varying()), trials, scores, cases)


def value_order(values: Iterable[Any]) -> dict[Any, int]:
    """Return the place of each value: the absence of a setting, numbers by size, and words as they come."""
    distinct = list(dict.fromkeys(values))
    numbers = [value for value in distinct if isinstance(value, Real) and not isinstance(value, bool)]
    words = [value for value in distinct if value not in numbers and value != UNSET]
    absent = [value for value in distinct if value == UNSET]
    return {value: place for place, value in enumerate([*absent, *sorted(numbers), *words])}


def comparable(keys: Sequence[str], arm: Key) -> Key:
    """Return the values in which rows must agree to be compared."""
    return tuple(value for key, value in zip(keys, arm, strict=True) if is_shared(key))


def with_arm_names(frame: pd.DataFrame, study: Study, without: str = "") -> pd.DataFrame:
    """Return ``frame`` with the column ``arm``: the method and all else that varies and has no axis of a figure.

    Architecture, dataset and shots have panels or axes of their own, and so has the factor ``without``; subsets and
    seeds are points. What all arms of a method have in common is not named.
    """
    others = [key for key in study.varying() if key not in (*FIGURE_FACTORS, without)]
    seen: dict[tuple[Any, str], set[Any]] = {}
    for cell in study.cells:
        for key in others:
            seen.setdefault((cell.factors["method"], key), set()).add(repr(cell.factors.get(key)))
    labels = {}
    for values in frame[["method", *others]].drop_duplicates().itertuples(index=False, name=None):
        own = [(key, v) for key, v in zip(others, values[1:], strict=True) if len(seen[values[0], key]) > 1]
        labels[values] = arm_label(str(values[0]), own)
    arms = [labels[values] for values in frame[["method", *others]].itertuples(index=False, name=None)]
    return frame.assign(arm=pd.Series(arms, index=frame.index, dtype=object))
