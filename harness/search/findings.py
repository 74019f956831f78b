"""What a search has suggested so far, and what came of it. Nothing here knows Optuna or the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.study.cells import Cell, Trials
from harness.study.searches import SearchedArm

JOURNAL = "optuna.journal"
"""File of a study that holds what its searches remember."""

State = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Suggestion:
    """What a sampler chose, and what came of it.

    Attributes:
        number: from 0 on, in the order in which they were drawn.
        values: by dimension.
        state: pruned at its rung, failed where a trial failed or there cannot be one, or running until all is known.
        objective: mean validation Dice over the seeds at the selected steps; of a pruned one, at its rung.
        reason: why it failed or was pruned.
    """

    number: int
    values: Mapping[str, Any]
    state: State
    objective: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Findings:
    """The suggestions of an arm so far, in order of their numbers, and the share of each dimension in the better ones."""

    arm: SearchedArm
    suggestions: tuple[Suggestion, ...] = ()
    importances: Mapping[str, float] = field(default_factory=dict)

    @property
    def to_come(self) -> int:
        """How many suggestions are not drawn yet."""
        return max(0, self.arm.planned - len(self.suggestions))

    @property
    def trials_to_come(self) -> int:
        """How many trials are not known yet: of suggestions to draw, and of the best ones before they are known."""
        spec = self.arm.spec
        confirming = 0 if self.is_over else spec.confirm.best * len(spec.confirm.seeds)
        return self.to_come * len(spec.seeds) + confirming

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to draw or to run."""
        return not self.to_come and all(one.state != "running" for one in self.suggestions)

    def summary(self) -> str:
        """Return how many suggestions there are, by what came of them."""
        states = [one.state for one in self.suggestions]
        told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none yet"
        drawn = f"{len(states)} of {self.arm.planned}" if self.to_come else str(len(states))
        return f"{drawn} suggestions ({told})"

    def best(self) -> list[Suggestion]:
        """Return the best complete suggestions, of equals the earlier ones, that the study confirms; no values twice."""
        complete = [one for one in self.suggestions if one.objective is not None and one.state == "complete"]
        found: list[Suggestion] = []
        for one in sorted(complete, key=lambda one: (-(one.objective or 0.0), one.number)):
            if all(one.values != other.values for other in found):
                found.append(one)
        return found[: self.arm.spec.confirm.best]

    def suggested(self) -> list[Trials]:
        """Return the trials of all suggestions so far."""
        found = (self.arm.suggested(one.values) for one in self.suggestions)
        return [trials for trials in found if isinstance(trials, Trials)]

    def cells(self) -> tuple[Cell, ...]:
        """Return the trials of all suggestions so far, without pretrainings, none twice."""
        return tuple({cell.spec.id: cell for trials in self.suggested() for cell in trials.cells}.values())

    def confirming(self) -> list[Trials]:
        """Return the trials that confirm the best suggestions; none before the search is over."""
        if not self.is_over:
            return []
        chosen = [
            self.arm.confirming(f"best {place}", one.values) for place, one in enumerate(self.best(), 1)
        ]
        return [trials for trials in chosen if isinstance(trials, Trials)]
