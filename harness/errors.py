"""Errors that a user can act on: where, what was found, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in input that its author can correct; the command line prints it in one line and exits 2.

    Args:
        where: the file, key or name that is wrong.
        found: what stands there.
        expected: what may stand there.
        remedy: what to do, as an imperative sentence.
    """

    def __init__(self, where: object, found: str, expected: str, remedy: str) -> None:
        self.where, self.found, self.expected, self.remedy = str(where), found, expected, remedy
        super().__init__(f"{where}: found {found}; expected {expected}. {remedy}")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str, str]]:
        return type(self), (self.where, self.found, self.expected, self.remedy)


class TrialFailure(Exception):
    """A trial that cannot go on for a reason that has a name.

    Args:
        cause: the class of failure as it stands in the record, such as ``nan``.
        message: one sentence with the figures.
    """

    def __init__(self, cause: str, message: str) -> None:
        self.cause, self.message = cause, message
        super().__init__(message)


class Paused(Exception):
    """A trial that stopped at ``step`` since it was asked to; whoever claims it goes on from its checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__(f"paused at step {step}")


class Interrupted(Exception):
    """A trial that was put down for a reason outside of it; it goes on from its checkpoint, later or elsewhere.

    Args:
        cause: the kind of fault, a key of :data:`harness.records.faults.RULES`.
        message: one sentence.
        traceback: the end of the traceback, where there is one.
    """

    def __init__(self, cause: str, message: str, traceback: str = "") -> None:
        self.cause, self.message, self.traceback = cause, message, traceback
        super().__init__(message)

    def __reduce__(self) -> tuple[type[Interrupted], tuple[str, str, str]]:
        return type(self), (self.cause, self.message, self.traceback)


class ClaimLost(Exception):
    """Another process owns the trial now; whoever gets this must stop and publish nothing."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return the remedy for an unknown ``name``: the nearest option, or the list of all."""
    options = sorted(options)
    near = nearest(name, options)
    return f"Did you mean {near!r}?" if near else f"Choose one of: {', '.join(options) or 'none'}."


def nearest(name: str, options: Iterable[str]) -> str | None:
    """Return the option that is most like ``name``, first of all one that only lacks what stands before its last dot."""
    options = sorted(options)
    ends = [option for option in options if option.rpartition(".")[2] == name]
    near = ends or difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    return near[0] if near else None
