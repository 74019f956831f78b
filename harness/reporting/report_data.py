"""The data that all tables and figures of a report are made from, and the arms that they show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import pandas as pd

from harness.reporting.absent_regions import with_false_positives
from harness.reporting.folds import Folds, fold_notes, folds_of_seeds, is_folded, pooled_cases, whole_seeds
from harness.reporting.patients import patient_means
from harness.reporting.provenance import drawn_by_seed, protocol_notes, undeclared_differences
from harness.reporting.statistics import estimates
from harness.reporting.wording import UNSET, factor_value, is_number
from harness.study.axes import REPEATED, is_shared, row_keys
from harness.study.names import Names
from harness.study.study import Study

Arm = tuple[Any, ...]
"""An arm of a study: its values of the factors that tell the rows of a table apart."""
FIGURE_FACTORS = ("method", "architecture", "dataset", "shots", "subset", *REPEATED)
"""Factors that are panels, axes, colours or points of a figure."""


@dataclass(frozen=True)
class ReportData:
    """What all tables and figures are made from.

    Where a study has folds, those of one seed stand as one in ``scores``, ``cases`` and ``ids_by_arm``, under the id of the
    first, and only where all are complete (:mod:`harness.reporting.folds`).

    Attributes:
        study: the study.
        keys: the factors that tell arms apart, of ``row_keys``.
        trials: of ``trial_frame``.
        scores: of ``estimates.trial_scores``.
        cases: of ``case_frame``.
        cases_of_trials: of ``case_frame``, each under the id of its own trial.
    """

    study: Study
    keys: tuple[str, ...]
    trials: pd.DataFrame
    scores: pd.DataFrame
    cases: pd.DataFrame
    cases_of_trials: pd.DataFrame

    def of_dataset(self, dataset: str) -> ReportData:
        """Return the part of one dataset."""
        trials = self.trials[self.trials["dataset"] == dataset]
        return replace(
            self,
            keys=tuple(key for key in self.keys if key != "dataset"),
            trials=trials,
            scores=self.scores[self.scores["dataset"] == dataset],
            cases=self.cases[self.cases["id"].isin(trials["id"])],
            cases_of_trials=self.cases_of_trials[self.cases_of_trials["id"].isin(trials["id"])],
        )

    @cached_property
    def parts(self) -> tuple[ReportData, ...]:
        """The data of each study that this one combines, told apart by its own factors; none where it is one study."""
        return tuple(self._part(study) for study in self.study.parts)

    def _part(self, study: Study) -> ReportData:
        own = pd.DataFrame([
            {"id": cell.spec.id, **{key: factor_value(cell.factors.get(key)) for key in study.factors}} for cell in study.cells
        ]).astype(object)  # fmt: skip
        others = self.trials.drop(columns=list(self.study.factors))
        trials = own.merge(others, on="id", how="left")
        cases = self.cases_of_trials
        return build_report_data(study, trials, cases[cases["id"].isin(own["id"])])

    @property
    def baseline(self) -> str:
        """The method that gains are measured against."""
        return self.study.report.baseline

    @property
    def names(self) -> Names:
        """What people read in place of arms, factors, values and regions."""
        return self.study.names

    @property
    def baseline_name(self) -> str:
        """What people read in place of the baseline."""
        return self.names.value("method", self.baseline)

    @cached_property
    def case_means(self) -> pd.DataFrame:
        """The means over regions of every case, of ``estimates.case_scores``."""
        return estimates.case_scores(self.cases)

    @cached_property
    def patient_means(self) -> pd.DataFrame:
        """The means over the cases of every patient, of ``patients.patient_means``."""
        return patient_means(self.case_means, self.trials, self.study)

    @cached_property
    def complete(self) -> pd.DataFrame:
        """The complete rows of the trials."""
        return self.trials[self.trials["status"] == "complete"]

    @cached_property
    def complete_arms(self) -> pd.DataFrame:
        """The complete rows of the trials, of :func:`with_arm_names`."""
        return with_arm_names(self.complete, self.study)

    @cached_property
    def undeclared_differences(self) -> list[str]:
        """What differs between the complete trials though no factor declares it."""
        return undeclared_differences(self.complete, self.study.factors)

    @property
    def conventions(self) -> list[str]:
        """The metric conventions of the complete trials."""
        return list(dict.fromkeys(self.complete["convention"].dropna()))

    @cached_property
    def is_folded(self) -> bool:
        """Whether trials of the study are folds of one another."""
        return is_folded(self.study)

    @cached_property
    def folds(self) -> Folds:
        """The planned trials of each seed of an arm, by the id of the first."""
        return folds_of_seeds(self.study, self.trials)

    @cached_property
    def whole_seeds(self) -> Folds:
        """Those of them that are all complete, and with all folds."""
        return whole_seeds(self.study, self.trials, self.folds)

    @cached_property
    def fold_notes(self) -> list[str]:
        """What readers have to know of folds; nothing without them."""
        return fold_notes(self.study, self.trials, self.folds, self.whole_seeds)

    @cached_property
    def ids_by_arm(self) -> dict[Arm, tuple[str, ...]]:
        """The ids of the complete trials of each arm, one for each seed."""
        found: dict[Arm, tuple[str, ...]] = {}
        for id, *values in self.complete[["id", *self.keys]].itertuples(index=False, name=None):
            if id in self.whole_seeds:
                arm = tuple(values)
                found[arm] = (*found.get(arm, ()), id)
        return found

    def trials_of(self, arm: Arm) -> tuple[str, ...]:
        """Return the ids of all trials that an arm's numbers rest on."""
        return self._trials_by_arm[arm]

    @cached_property
    def _trials_by_arm(self) -> dict[Arm, tuple[str, ...]]:
        seeds = self.whole_seeds
        return {arm: tuple(one for id in ids for one in seeds[id]) for arm, ids in self.ids_by_arm.items()}

    @cached_property
    def protocol_notes(self) -> tuple[str, ...]:
        """What all numbers rest on, of :func:`protocol_notes`; nothing while no trial is complete."""
        return tuple(protocol_notes(self.complete, self.names)) if len(self.complete) else ()

    @cached_property
    def seeds_of_drawn_cases(self) -> dict[str, int]:
        """The seeds of the complete trials whose few training cases their seed drew, by id."""
        chosen = self.complete[drawn_by_seed(self.complete)]
        return dict(zip(chosen["id"], chosen["seed"].astype(int), strict=True))

    @cached_property
    def planned_arms(self) -> dict[Arm, int]:
        """All planned arms in the order of rows, with their number of seeds."""
        places = [value_order(self.trials[key]) for key in self.keys]
        seeds = self.trials[self.trials["id"].isin(self.folds)]
        planned = Counter(seeds[list(self.keys)].itertuples(index=False, name=None))
        arms = sorted(
            planned, key=lambda arm: [place[value] for place, value in zip(places, arm, strict=True)]
        )
        return {arm: planned[arm] for arm in arms}

    @cached_property
    def folds_by_arm(self) -> dict[Arm, int]:
        """How many trials stand for one seed of each arm: the folds that are planned for it."""
        arms = {
            id: tuple(values)
            for id, *values in self.trials[["id", *self.keys]].itertuples(index=False, name=None)
        }
        found: dict[Arm, int] = {}
        for id, ids in self.folds.items():
            found[arms[id]] = max(found.get(arms[id], 0), len(ids))
        return found

    @cached_property
    def planned_trials(self) -> dict[Arm, int]:
        """The number of planned trials of each arm, all folds counted."""
        return dict(Counter(self.trials[list(self.keys)].itertuples(index=False, name=None)))

    def named(self, arm: Arm) -> dict[str, Any]:
        """Return the values of an arm by factor."""
        return dict(zip(self.keys, arm, strict=True))

    def arm_of(self, row: Mapping[str, Any]) -> Arm:
        """Return the arm of a row that has all factors."""
        return tuple(row[key] for key in self.keys)

    def baseline_arm(self, arm: Arm) -> Arm:
        """Return the arm that ``arm`` is compared with: the baseline method without parameters of its own."""
        return tuple(
            self.baseline if key == "method" else UNSET if key.startswith("method.") else value
            for key, value in self.named(arm).items()
        )

    def comparison_group(self, arm: Arm) -> Arm:
        """Return the values of an arm in which rows must agree to be compared."""
        return tuple(value for key, value in self.named(arm).items() if is_shared(key))

    @cached_property
    def rival_keys(self) -> tuple[str, ...]:
        """The factors in which rows agree of which the best is marked: the network too, unless networks alone are compared."""
        others = [key for key in self.keys if key != "architecture" and not is_shared(key)]
        return tuple(key for key in self.keys if is_shared(key) or (key == "architecture" and others))

    def rivals(self, arm: Arm) -> Arm:
        """Return the values of an arm in :attr:`rival_keys`."""
        named = self.named(arm)
        return tuple(named[key] for key in self.rival_keys)


def build_report_data(study: Study, trials: pd.DataFrame, cases: pd.DataFrame) -> ReportData:
    """Return the data of a report.

    Args:
        study: what was declared.
        trials: of ``trial_frame``.
        cases: of ``case_frame``.
    """
    scored = with_false_positives(cases)
    pooled = pooled_cases(scored, whole_seeds(study, trials, folds_of_seeds(study, trials)))
    scores = estimates.trial_scores(pooled, trials[["id", *study.factors]])
    return ReportData(study, row_keys(study.report, study.varying()), trials, scores, pooled, cases)


def value_order(values: Iterable[Any]) -> dict[Any, int]:
    """Return the place of each value: first the absence of a setting, then numbers by size, then words as they come."""
    distinct = list(dict.fromkeys(values))
    numbers = [value for value in distinct if is_number(value)]
    words = [value for value in distinct if value not in numbers and value != UNSET]
    absent = [value for value in distinct if value == UNSET]
    return {value: place for place, value in enumerate([*absent, *sorted(numbers), *words])}


def with_print_names(frame: pd.DataFrame, names: Names) -> pd.DataFrame:
    """Return ``frame`` with the names for print of datasets, architectures, regions and all that is no number."""
    shown = {
        key: frame[key].map(lru_cache(maxsize=None, typed=True)(partial(names.value, key)))
        for key in names.values
        if key in frame and key not in ("method", "shots")
    }
    if "region" in frame:
        shown["region"] = frame["region"].map(names.region)
    return frame.assign(**shown)


def with_arm_names(frame: pd.DataFrame, study: Study, without: str = "") -> pd.DataFrame:
    """Return ``frame`` with the column ``arm``: the method and all else that varies and has no axis of a figure.

    Architecture, dataset and shots have panels or axes of their own, and so has the factor ``without``; subsets and
    seeds are points. What all arms of a method have in common on a dataset and network is not named, nor is what most arms
    have there of the recipe.
    """
    places = [key for key in ("dataset", "architecture") if key in study.varying()]
    others = [key for key in study.varying() if key not in (*FIGURE_FACTORS, without)]
    columns = [*places, "method", *others]

    def parts(arm: tuple[Any, ...]) -> tuple[tuple[Any, ...], str, list[tuple[str, Any]]]:
        *place, method = arm[: len(places) + 1]
        return tuple(place), method, list(zip(others, arm[len(places) + 1 :], strict=True))

    of_method: dict[Any, set[Any]] = {}
    of_place: dict[Any, Counter[Any]] = {}
    for arm in {tuple(factor_value(cell.factors.get(key)) for key in columns) for cell in study.cells}:
        place, method, settings = parts(arm)
        for key, value in settings:
            of_method.setdefault((place, method, key), set()).add(value)
            of_place.setdefault((place, key), Counter())[value] += 1
    labels = {}
    for arm in frame[columns].drop_duplicates().itertuples(index=False, name=None):
        place, method, settings = parts(arm)
        told = [
            (key, value)
            for key, value in settings
            if value != UNSET
            and len(of_method[place, method, key]) > 1
            and not (key.startswith("recipe.") and _is_usual(value, of_place[place, key]))
        ]
        labels[arm] = study.names.arm(method, told)
    names = [labels[arm] for arm in frame[columns].itertuples(index=False, name=None)]
    return frame.assign(arm=pd.Series(names, index=frame.index, dtype=object))


def _is_usual(value: Any, counts: Counter[Any]) -> bool:
    return 2 * counts[value] > counts.total()
