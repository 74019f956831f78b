"""Which nodes of a cluster fail again and again, by what came of the trials that they were given; knows nothing of Ray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from harness.spec import TrialSpec
from harness.sweep.packing import arm_key

_ENOUGH = 3  # failures in a row
_OF_THE_NODE = ("worker_lost", "loader_lost", "out_of_host_memory", "io")
_OF_EITHER = ("error", "input")


@dataclass(frozen=True)
class _Failure:
    spec: TrialSpec
    kind: str


class Nodes:
    """Keeps off, for the rest of a run, a node on which three trials in a row failed by no fault of their own.

    A dead worker, too little memory and storage that fails are a node's fault. An error, or an input that is wrong, is
    one where a trial of the same arm has completed on another node: a folder that is not mounted, a broken GPU. The
    last node that is left is never kept off.

    Args:
        known: returns the nodes that are there.
    """

    def __init__(self, known: Callable[[], Collection[str]]) -> None:
        self._known = known
        self._failures: defaultdict[str, list[_Failure]] = defaultdict(
            list
        )  # since the last success, by node
        self._completed: defaultdict[str, set[str]] = defaultdict(set)  # nodes, by arm
        self.kept_off: set[str] = set()

    def completed(self, node: str, spec: TrialSpec) -> None:
        """Take note that a trial has completed on a node."""
        self._completed[arm_key(spec)].add(node)
        self._failures[node].clear()

    def failed(self, node: str, spec: TrialSpec, kind: str) -> None:
        """Take note that a trial has failed on a node, empty where that is not known, with a kind of fault."""
        if node and kind in (*_OF_THE_NODE, *_OF_EITHER):
            self._failures[node].append(_Failure(spec, kind))

    def judge(self) -> dict[str, list[TrialSpec]]:
        """Return the nodes that are kept off from now on, each with the trials that failed there in a row."""
        found = {}
        for node, failures in self._failures.items():
            blamed = [failure for failure in failures if self._is_to_blame(node, failure)]
            if len(blamed) < _ENOUGH or node in self.kept_off:
                continue
            if set(self._known()) - self.kept_off - {node}:
                self.kept_off.add(node)
                found[node] = list({failure.spec.id: failure.spec for failure in blamed}.values())
        return found

    def _is_to_blame(self, node: str, failure: _Failure) -> bool:
        return failure.kind in _OF_THE_NODE or bool(self._completed[arm_key(failure.spec)] - {node})
