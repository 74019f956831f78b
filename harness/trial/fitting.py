"""Fitting: training to the last step with history, validation and checkpoints, and the choice of weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.trial_data import TrialData
from harness.errors import Interrupted, Paused, TrialFailure
from harness.evaluation.prediction import class_probabilities
from harness.records.schema import HISTORY, append_history, read_history
from harness.records.store import RESUME, RESUME_BEFORE, SELECTED, Attempt
from harness.training.checkpoint import DamagedCheckpointError, load_checkpoint, put_aside, save_checkpoint
from harness.training.loop import StepResult, Trainer
from harness.training.method import Batch
from harness.training.processes import LOST
from harness.trial.scoring import Beside, Predicted, validation_dice
from harness.trial.trackers import Trackers

_FLUSH = 2.0  # seconds between writes of the history
_BETWEEN_STEPS = ("validation", "held_out", "resumed")  # lines of a step that has not begun


class Fitting:
    """Training to the last step with checkpoints, validation and history; goes on where it was left.

    Args:
        trainer: at step 0.
        data: of the trial.
        attempt: where to write.
        checkpoint_minutes: between checkpoints.
        held_out: of a pretraining: batches whose loss stands for a validation, at the start too.
        pause_at: step at which to stop before the last one.
        trackers: given the lines of the history too.
        score: a ``map`` that scores validation cases while the next one is predicted.
    """

    def __init__(
        self,
        trainer: Trainer,
        data: TrialData,
        attempt: Attempt,
        checkpoint_minutes: float,
        held_out: Sequence[Batch] = (),
        pause_at: int | None = None,
        trackers: Trackers | None = None,
        score: Beside = map,
    ) -> None:
        self._held_out, self._pause_at, self._trackers = held_out, pause_at, trackers
        self.trainer, self.data, self.attempt, self._score = trainer, data, attempt, score
        self.folder = attempt.folder
        self.seconds = self.earlier_seconds = 0.0
        self._best: float | None = None
        self._kept: tuple[int, float | None] | None = None  # of the newest checkpoint: its step, and its best
        self._lines: list[dict[str, Any]] = []
        self._flushed = self._saved = time.perf_counter()
        self._interval = checkpoint_minutes * 60

    def run(self) -> None:
        """Train; on return the last checkpoint is on disk.

        Raises:
            TrialFailure: the loss is not finite, or a loader is lost; the history is on disk.
            Paused: it has reached ``pause_at``; its checkpoint is on disk.
            Interrupted: it was asked to stop; its checkpoint is on disk.
        """
        self._restore()
        trainer, recipe = self.trainer, self.trainer.recipe
        begun = time.perf_counter() - self.seconds
        if self._held_out and trainer.step == 0:
            self._validate()
        self._put_down_if_asked()
        try:
            with closing(trainer.run_until(recipe.steps)) as results:
                for result in results:
                    self._follow(result, begun)
        except TrialFailure as failure:
            if failure.cause == LOST:  # what asks a trial to stop may end its loaders at once
                self._put_down_if_asked()
            raise
        finally:
            self._flush()
        self._checkpoint()

    def _follow(self, result: StepResult | None, begun: float) -> None:
        """Do what is due after an update."""
        trainer, recipe = self.trainer, self.trainer.recipe
        if result is not None:
            self._lines.append(asdict(result))
        if recipe.validate_every and (
            trainer.step % recipe.validate_every == 0 or trainer.step == recipe.steps
        ):
            self._validate()
        now = time.perf_counter()
        self.seconds = now - begun
        if now - self._saved >= self._interval:
            self._checkpoint()
        elif now - self._flushed >= _FLUSH:
            self._flush()
        self.attempt.heartbeat()
        self._put_down_if_asked()

    def _put_down_if_asked(self) -> None:
        step = self.trainer.step
        if step >= self.trainer.recipe.steps:
            return
        if self._pause_at is not None and step >= self._pause_at:
            self._checkpoint()
            raise Paused(step)
        if self.attempt.is_asked_to_stop():
            self._checkpoint()
            raise Interrupted("preempted", f"asked to stop at step {step}")

    def select(self) -> int:
        """Write down the selected weights, load them, and return their step.

        ``last``: the weights after the last step. ``best_validation``: those with the highest mean Dice of
        the student over regions and validation cases; the earliest of equals. ``test_oracle``: the same on
        the test cases, for papers that did so.
        """
        path = self.folder / SELECTED
        if self.trainer.recipe.selection == "last":
            self._save_selected()
        state = load_checkpoint(path)
        self.trainer.method.load_state_dict(state["method"])
        return int(state["step"])

    def _restore(self) -> None:
        state = self._newest_state()
        if state is None or state["content"] != self.data.content:  # never mix two versions of the data
            (self.folder / HISTORY).unlink(missing_ok=True)
            return
        self.trainer.load_state_dict(state["trainer"])
        self._best = state["best"]
        self.seconds = self.earlier_seconds = state["seconds"]
        self.trainer.seconds_waiting = state.get("seconds_waiting", 0.0)
        step = self.trainer.step
        kept = [
            line
            for line in read_history(self.folder)
            if line["step"] < step or (line["step"] == step and not line.keys().isdisjoint(_BETWEEN_STEPS))
        ]
        (self.folder / HISTORY).unlink(missing_ok=True)
        append_history(self.folder, [*kept, {"step": step, "resumed": self.attempt.number}])
        self._track(kept)  # this attempt's files then tell the whole course

    def _newest_state(self) -> dict[str, Any] | None:
        """Return the newest checkpoint that is whole, with which the selected weights are whole too."""
        paths = [self.folder / name for name in (RESUME, RESUME_BEFORE)]
        selected = self.folder / SELECTED
        if selected.is_file() and self._read(selected) is None:
            for path in paths:  # what was best before them is lost
                path.unlink(missing_ok=True)
        return next((state for path in paths if path.is_file() and (state := self._read(path))), None)

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Return a checkpoint; one that is damaged is put aside, which the record will tell."""
        try:
            return load_checkpoint(path)
        except DamagedCheckpointError as error:
            self.attempt.note(f"{error}; it is kept as {put_aside(path).name}, and an earlier state is taken")
            return None

    def _checkpoint(self) -> None:
        self._flush()
        if (self.trainer.step, self._best) == self._kept:  # as when it is asked to stop just after one
            return
        state = {
            "trainer": self.trainer.state_dict(),
            "best": self._best,
            "seconds": self.seconds,
            "seconds_waiting": self.trainer.seconds_waiting,
            "content": self.data.content,
        }
        save_checkpoint(self.folder / RESUME, state, before=self.folder / RESUME_BEFORE)
        self._kept = (self.trainer.step, self._best)
        self._saved = time.perf_counter()

    def _flush(self) -> None:
        append_history(self.folder, self._lines)
        self._track(self._lines)
        self._lines = []
        self._flushed = time.perf_counter()

    def _track(self, lines: Sequence[dict[str, Any]]) -> None:
        if self._trackers and lines:
            self._trackers.write(lines)

    def _validate(self) -> None:
        """Score the student on the cases to select on, on the preprocessed grid; or take the held-out loss."""
        if self._held_out:
            losses = self.trainer.mean_losses(self._held_out)
            self._lines.append({"step": self.trainer.step, "held_out": losses})
            return
        trainer = self.trainer
        scores: dict[str, list[float]] = {region: [] for region in self.data.dataset.training_regions()}
        for of_case in self._score(validation_dice, self._predicted()):
            for region, value in of_case.items():
                scores[region].append(value)
            self.attempt.heartbeat()
        means = {region: _nanmean(values) for region, values in scores.items()}
        mean = _nanmean(list(means.values()))
        self._lines.append({"step": trainer.step, "validation": means, "mean": mean})
        if trainer.recipe.selection != "last" and (self._best is None or mean > self._best):
            self._best = mean
            self._save_selected()
            self._saved = -math.inf  # a checkpoint follows, so that both are of one course of training

    def _predicted(self) -> Iterator[Predicted]:
        """Yield the student's prediction of each case to select on, on the preprocessed grid."""
        trainer, data = self.trainer, self.data
        regions, ignore = dict(data.dataset.training_regions()), data.dataset.training_ignore()
        student = trainer.method.roles()["student"]
        for case in data.selection_cases:
            found = class_probabilities(student, data.image(case), trainer.recipe, trainer.device)
            yield Predicted(case, found.labels(), data.selection_label(case), regions, ignore)

    def _save_selected(self) -> None:
        state = {"step": self.trainer.step, "method": self.trainer.method.state_dict()}
        save_checkpoint(self.folder / SELECTED, state)


def _nanmean(values: list[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
