"""Scoring beside predicting: cases are scored by processes on the loaders' cores while the next case is predicted.

Without loaders each case is scored when it has been predicted. Scores and their order are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.data.nifti import write_label
from harness.data.volume import Volume
from harness.evaluation.conventions import RECORDED_METRICS, REGION_NSD, Regions
from harness.evaluation.metrics import dice_by_region, score_case, without_ignored
from harness.training.processes import deaths_told, processes

T = TypeVar("T")
R = TypeVar("R")
_AT_MOST = 4  # processes, each with a case, however many loaders there are


class Beside(Protocol):
    """What works as ``map`` does."""

    def __call__(self, function: Callable[[T], R], arguments: Iterable[T], /) -> Iterator[R]:
        """Return the results in order of a function of some module; arguments are made one after another."""


@contextmanager
def beside(loaders: int, threads: int) -> Iterator[Beside]:
    """Yield a ``map`` that makes the next argument while ``loaders`` processes, four at most, work on those before it.

    As many arguments wait or are worked on as there are processes. With 0 loaders it is ``map`` itself. The processes start
    with the first argument, and are gone when this context ends.

    Args:
        loaders: of the trial.
        threads: of PyTorch in each.

    Raises:
        TrialFailure: ``loader_lost``: a process has died.
    """
    if not loaders:
        yield map
        return
    count = min(loaders, _AT_MOST)
    with processes(count, [__name__], threads) as submit:

        def mapped(function: Callable[[T], R], arguments: Iterable[T]) -> Iterator[R]:
            asked = deque[Any]()
            with deaths_told():
                for argument in arguments:
                    asked.append(submit(function, argument))
                    if len(asked) > count:
                        yield asked.popleft().result()
                while asked:
                    yield asked.popleft().result()

        yield mapped


@dataclass(frozen=True)
class Predicted:
    """A case whose labels are predicted.

    Attributes:
        case: its id.
        labels: predicted ``(X, Y, Z)``, training numbers.
        reference: of the same grid; a file that is mapped reaches a process as its name.
        regions: region -> label values.
        ignore: the label of what nobody has labelled; None where there is none.
    """

    case: str
    labels: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    regions: Regions
    ignore: int | None


@dataclass(frozen=True)
class Tested(Predicted):
    """A test case on the grid of its file.

    Attributes:
        role: of the network.
        spacing: along each axis, mm.
        tolerances: region -> tolerance of ``nsd@region``, mm; empty where the dataset declares none.
        kept: file of the prediction and what it holds; None where predictions are not kept.
    """

    role: str
    spacing: tuple[float, float, float]
    tolerances: Mapping[str, float]
    kept: tuple[Path, Volume] | None


def scored_rows(given: Tested) -> list[dict[str, Any]]:
    """Return the rows of a test case, and write its prediction where that is kept."""
    metrics = (*RECORDED_METRICS, REGION_NSD) if given.tolerances else RECORDED_METRICS
    with _named(given.case):
        counted = without_ignored(given.labels, given.reference, given.ignore)
        scored = score_case(*counted, given.spacing, given.regions, metrics, tolerances=given.tolerances)
        if given.kept is not None:
            path, volume = given.kept
            write_label(path, volume.array, volume.affine)
    return [{"case": given.case, "role": given.role, **row} for row in scored]


def validation_dice(given: Predicted) -> dict[str, float]:
    """Return the Dice of each region of a validation case, NaN where both masks are empty."""
    with _named(given.case):
        counted = without_ignored(given.labels, given.reference, given.ignore)
        return dice_by_region(*counted, given.regions)


@contextmanager
def _named(case: str) -> Iterator[None]:
    """Add the case to what goes wrong."""
    try:
        yield
    except Exception as error:
        error.add_note(f"while case {case} was scored")
        raise
