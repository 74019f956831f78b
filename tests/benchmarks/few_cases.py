"""A phantom of 12 cases, so that a benchmark of training does not mostly measure testing."""

from __future__ import annotations

from pathlib import Path

from harness.data.datasets.contract import Case, Fractions
from harness.data.datasets.phantom import Phantom


class FewCases(Phantom):
    """The first 12 cases: 9 to train, 1 to validate, 2 to test."""

    fractions = Fractions(train=0.75, validation=0.08)

    def cases(self, root: Path | None) -> list[Case]:
        return super().cases(root)[:12]
