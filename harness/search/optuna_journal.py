"""Only Optuna: what a search tries next, and what came of it.

Optuna's journal file is all that a search remembers. Suggestion ``i`` is a function of what the journal holds of
the suggestions before it and of a seed made from ``i``; no sampler lives longer than one draw. Suggestions are
drawn in batches, run, and told in order of their numbers, so that a killed search goes on as if nothing had
happened: what the journal has as running is run again under its number, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from harness.errors import UserError
from harness.files.locks import SharedLock
from harness.search.findings import JOURNAL, Findings, State, Suggestion
from harness.seeding import derive_seed
from harness.spec import canonical_json
from harness.study.cells import Trials
from harness.study.searches import Dimension, SearchedArm
from harness.study.study import Study

_LOCK = ".optuna.lock"  # of drivers, held while one draws or tells; Optuna's own guards single lines
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
_REASON = "reason"
_DIGITS = 4  # of a drawn number, so that it can be typed again

optuna.logging.set_verbosity(optuna.logging.WARNING)


def read_findings(study: Study, folder: Path) -> list[Findings]:
    """Return what the searches of a study have found so far, as the journal in ``folder`` tells; nothing is written."""
    return [Journal.read(folder, arm) for arm in study.search.arms] if study.search else []


def with_importances(findings: Findings) -> Findings:
    """Return findings with the share of each dimension."""
    return replace(findings, importances=importances(findings))


def importances(findings: Findings) -> dict[str, float]:
    """Return the share of each dimension in reaching the better complete suggestions (PED-ANOVA), largest first.

    Empty where fewer than two are complete, or all are equal.
    """
    names = {_name(one): one.key for one in findings.arm.dimensions}
    complete = [one for one in findings.suggestions if one.state == "complete"]
    if len({one.objective for one in complete}) < 2:
        return {}
    memory = optuna.create_study(direction="maximize")
    for one in complete:
        memory.add_trial(_frozen(findings.arm, one.values, TrialState.COMPLETE, value=one.objective))
    return {
        names[name]: float(share) for name, share in optuna.importance.get_param_importances(memory).items()
    }


class Journal:
    """The suggestions of one arm, in the journal file of its study.

    Args:
        folder: of the study's output.
        arm: searched; its identity is in the name of Optuna's study, so that an edited search begins anew.
    """

    def __init__(self, folder: Path, arm: SearchedArm) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.arm, self._folder = arm, folder
        with self._locked():
            _cut_torn_line(folder / JOURNAL)
            self._storage = _storage(folder)
            self._study = optuna.create_study(
                storage=self._storage, study_name=_study_name(arm), direction="maximize", load_if_exists=True
            )

    @classmethod
    def read(cls, folder: Path, arm: SearchedArm) -> Findings:
        """Return the suggestions of an arm so far, and write nothing."""
        if not (folder / JOURNAL).is_file():
            return Findings(arm)
        try:
            study = optuna.load_study(study_name=_study_name(arm), storage=_storage(folder))
        except KeyError:
            return Findings(arm)
        return Findings(arm, tuple(_suggestion(arm, trial) for trial in study.get_trials(deepcopy=False)))

    def _locked(self) -> SharedLock:
        return SharedLock(self._folder / _LOCK)

    def findings(self) -> Findings:
        """Return all suggestions so far."""
        trials = self._study.get_trials(deepcopy=False)
        return Findings(self.arm, tuple(_suggestion(self.arm, trial) for trial in trials))

    def batch(self) -> list[Suggestion]:
        """Return the suggestions that are not told yet; where all are, draw the next batch."""
        with self._locked():
            known = self._study.get_trials(deepcopy=False)
            running = any(trial.state == TrialState.RUNNING for trial in known)
            begun = len(known) % self.arm.spec.batch  # of a batch that was cut short, or the last one
            if begun or not running:
                end = min(len(known) - begun + self.arm.spec.batch, self.arm.planned)
                for number in range(len(known), end):
                    self._add(draw(self.arm, self._study.get_trials(deepcopy=False), number))
        return [one for one in self.findings().suggestions if one.state == "running"]

    def _add(self, values: Mapping[str, Any]) -> None:
        """Write a suggestion: one line of the journal, whole or not at all."""
        trials = self.arm.suggested(values)
        ids = [cell.spec.id for cell in trials.cells] if isinstance(trials, Trials) else []
        self._study.add_trial(_frozen(self.arm, values, TrialState.RUNNING, user_attrs={"trials": ids}))

    def rungs(self, before: int) -> list[float]:
        """Return what the suggestions up to number ``before`` had at their rung."""
        known = self._study.get_trials(deepcopy=False)[:before]
        return [value for trial in known for value in trial.intermediate_values.values()]

    def tell(self, outcome: Suggestion, rung: tuple[int, float] | None = None) -> None:
        """Write what came of a suggestion, unless another driver has done so.

        Args:
            outcome: not running.
            rung: the step at which it was judged, and its objective there.
        """
        with self._locked():
            if self.findings().suggestions[outcome.number].state != "running":
                return
            study_id = self._storage.get_study_id_from_name(_study_name(self.arm))
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, outcome.number)
            if rung:
                self._storage.set_trial_intermediate_value(trial_id, *rung)
            if outcome.reason:
                self._storage.set_trial_user_attr(trial_id, _REASON, outcome.reason)
            state = next(state for state, word in _STATES.items() if word == outcome.state)
            self._study.tell(
                outcome.number, outcome.objective if state == TrialState.COMPLETE else None, state
            )


def _storage(folder: Path) -> JournalStorage:
    path = str(folder / JOURNAL)
    try:
        return JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            path, f"a journal that Optuna cannot read ({error})", "what a search wrote",
            "Move it away: the search begins anew, and what it has trained is not trained again.",
        ) from error  # fmt: skip


def _cut_torn_line(path: Path) -> None:
    """Cut off the last line where a writer died within it: whatever came after would be unreadable."""
    if not path.is_file():
        return
    whole = path.read_bytes().rpartition(b"\n")
    if whole[2]:
        os.truncate(path, len(whole[0]) + len(whole[1]))


def _study_name(arm: SearchedArm) -> str:
    return f"{arm.name} ({arm.identity})"


def draw(arm: SearchedArm, earlier: Sequence[FrozenTrial], number: int) -> dict[str, Any]:
    """Return the values of suggestion ``number``: a function of what came of the earlier ones."""
    if arm.spec.sampler == "grid":
        points = next(islice(product(*(one.points() for one in arm.dimensions)), number, None))
        return dict(zip((one.key for one in arm.dimensions), points, strict=True))
    memory = optuna.create_study(direction="maximize", sampler=_sampler(arm, number))
    memory.add_trials(_as_the_sampler_sees_it(arm, trial) for trial in earlier)
    drawn = memory.ask({_name(one): _distribution(one) for one in arm.dimensions}).params
    return {one.key: _value(one, drawn[_name(one)]) for one in arm.dimensions}


def _as_the_sampler_sees_it(arm: SearchedArm, trial: FrozenTrial) -> FrozenTrial:
    """Return what a sampler learns from a suggestion: from a failed one as from a Dice of 0, so that it goes elsewhere."""
    if trial.state != TrialState.FAIL:
        return trial
    return _frozen(arm, _suggestion(arm, trial).values, TrialState.COMPLETE, value=0.0)


def _sampler(arm: SearchedArm, number: int) -> optuna.samplers.BaseSampler:
    seed = derive_seed(arm.spec.sampler_seed, "suggestion", number) % 2**32
    if arm.spec.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=arm.spec.startup)


def _name(dimension: Dimension) -> str:
    return f"1 - {dimension.key}" if dimension.range.complement else dimension.key


def _distribution(dimension: Dimension) -> BaseDistribution:
    searched = dimension.range
    if searched.choices:
        return CategoricalDistribution([_storable(choice) for choice in searched.choices])
    low, high = searched.low, searched.high
    assert low is not None and high is not None
    if searched.complement:
        low, high = round(1 - high, 12), round(1 - low, 12)
    if dimension.whole:
        return IntDistribution(int(low), int(high), log=searched.log, step=int(searched.step or 1))
    return FloatDistribution(low, high, log=searched.log, step=searched.step)


def _storable(choice: Any) -> Any:
    """Return a choice as Optuna can store it."""
    return (
        choice if choice is None or isinstance(choice, bool | int | float | str) else canonical_json(choice)
    )


def _value(dimension: Dimension, drawn: Any) -> Any:
    """Return the parameter's value for what Optuna drew."""
    searched = dimension.range
    if searched.choices:
        return next(choice for choice in searched.choices if _storable(choice) == drawn)
    if dimension.whole or searched.step:
        return drawn
    bounds = _distribution(dimension)
    assert isinstance(bounds, FloatDistribution)
    number = min(max(float(f"{drawn:.{_DIGITS}g}"), bounds.low), bounds.high)
    return round(1 - number, 12) if searched.complement else number


def _stored(dimension: Dimension, value: Any) -> Any:
    """Return what Optuna stores for a parameter's value: the inverse of :func:`_value`."""
    if dimension.range.choices:
        return _storable(value)
    return round(1 - value, 12) if dimension.range.complement else value


def _frozen(arm: SearchedArm, values: Mapping[str, Any], state: TrialState, **more: Any) -> FrozenTrial:
    return create_trial(
        state=state,
        params={_name(one): _stored(one, values[one.key]) for one in arm.dimensions},
        distributions={_name(one): _distribution(one) for one in arm.dimensions},
        **more,
    )


def _suggestion(arm: SearchedArm, trial: FrozenTrial) -> Suggestion:
    return Suggestion(
        number=trial.number,
        values={one.key: _value(one, trial.params[_name(one)]) for one in arm.dimensions},
        state=_STATES.get(trial.state, "running"),
        objective=trial.values[0] if trial.values else None,
        reason=trial.user_attrs.get(_REASON, ""),
    )
