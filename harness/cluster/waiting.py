"""Waiting for the nodes of a cluster that is being started, and telling what is missing where it stays so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cluster.connection import (
    RayNode,
    Reply,
    admits_strangers,
    ask_each,
    connected,
    live_nodes,
    token,
)
from harness.cluster.findings import gpu_count
from harness.cluster.folders import Sight, look_for, mark
from harness.errors import UserError
from harness.sweep.address import is_reachable, resolved

_POLL = 1.0  # seconds between looks


class Incomplete(Exception):
    """The cluster is not what was asked for; the message is a table of what was expected and seen."""


@dataclass(frozen=True)
class Expected:
    """What has to join.

    Attributes:
        nodes: number of nodes, the head among them.
        gpus: of all nodes together.
        names: of the nodes, where the scheduler tells them.
    """

    nodes: int
    gpus: float = 0.0
    names: tuple[str, ...] = ()

    def met_by(self, seen: Sequence[RayNode]) -> bool:
        """Return whether enough has joined."""
        return len(seen) >= self.nodes and sum(node.gpus for node in seen) >= self.gpus


def wait_for_cluster(
    address: str,
    expected: Expected,
    timeout: float,
    shared: Sequence[Path],
    data: Path | None,
    say: Callable[[str], None],
    head_lives: Callable[[], bool] = lambda: True,
) -> None:
    """Wait until the expected nodes have joined and see the same folders.

    Args:
        address: ``HOST:PORT`` of the head, or ``auto``.
        expected: what has to join.
        timeout: seconds to wait.
        shared: folders that every node must see and write.
        data: folder that every node must see with the same content.
        say: takes a line on each change.
        head_lives: whether waiting can still help.

    Raises:
        Incomplete: what was expected did not join, or does not see the folders.
        UserError: there is no token, or the cluster lets in clients without one.
    """
    if not token():
        raise UserError(
            "RAY_AUTH_TOKEN_PATH",
            "no token",
            "a file with the token of the cluster",
            "Make it before Ray is started.",
        )
    address = resolved(address)
    until = time.monotonic() + timeout
    while not is_reachable(address):
        if time.monotonic() > until or not head_lives():
            state = f"did not answer within {timeout:.0f} s" if head_lives() else "has ended"
            raise Incomplete(f"Ray's head at {address} {state}\n{comparison(expected, [])}")
        time.sleep(_POLL)
    with connected(address):
        nodes = joined(expected, live_nodes, until, say)
        if not expected.met_by(nodes):
            raise Incomplete(
                f"the cluster is not complete after {timeout:.0f} s: {_counts(expected, nodes)}\n"
                f"{comparison(expected, nodes)}"
            )
        if admits_strangers(address):
            raise UserError(
                f"the cluster at {address}", "a client without a token let in", "token authentication",
                "Start every node with RAY_AUTH_MODE=token.",
            )  # fmt: skip
        check_folders(nodes, shared, data)


def joined(
    expected: Expected, look: Callable[[], list[RayNode]], until: float, say: Callable[[str], None]
) -> list[RayNode]:
    """Return the live nodes once they are what was expected, or when time is over."""
    said = ""
    while True:
        nodes = look()
        counts = _counts(expected, nodes)
        if counts != said:
            say(counts)
            said = counts
        if expected.met_by(nodes) or time.monotonic() > until:
            return nodes
        time.sleep(_POLL)


def _counts(expected: Expected, nodes: Sequence[RayNode]) -> str:
    gpus = sum(node.gpus for node in nodes)
    return f"{len(nodes)} of {expected.nodes} nodes, {gpus:g} of {expected.gpus:g} GPUs"


def comparison(expected: Expected, nodes: Sequence[RayNode]) -> str:
    """Return a table of the nodes that were expected or seen, with the GPUs of each."""
    if not (expected.names or nodes):
        return "  no node was seen"
    share = gpu_count(expected.gpus / len(expected.names)) if expected.names else "-"
    rows = [("node", "expected", "seen", "address")]
    by_name = {node.name: node for node in nodes}
    for name in expected.names:
        node = by_name.pop(name, None)
        rows.append((name, share, *((gpu_count(node.gpus), node.address) if node else ("nothing", "-"))))
    unnamed = "-" if expected.names else "any"
    rows += [(node.name, unnamed, gpu_count(node.gpus), node.address) for node in by_name.values()]
    return as_table(rows)


def as_table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def check_folders(nodes: Sequence[RayNode], shared: Sequence[Path], data: Path | None) -> None:
    """Check that every node sees the folders that this process sees.

    Raises:
        Incomplete: one does not; with a table of folders and nodes.
    """
    with mark(shared) as marks:
        replies = ask_each(nodes, look_for, marks, data)
    rows = [("node", "folder", "seen")]
    for reply in replies:
        rows += [(reply.node.name, str(sight.folder), sight.problem) for sight in problems(reply, data)]
    if len(rows) > 1:
        raise Incomplete(
            f"not every node sees the folders that this one sees; they have to lie on shared storage\n{as_table(rows)}"
        )


def problems(reply: Reply[list[Sight]], data: Path | None) -> list[Sight]:
    """Return what a node does not see as this process does."""
    if reply.answer is None:
        return [Sight(Path("-"), reply.error)]
    here = look_for([], data)
    seen = []
    for sight in reply.answer:
        own = next((one for one in here if one.folder == sight.folder), None)
        if sight.problem:
            seen.append(sight)
        elif own and own.listing != sight.listing:
            seen.append(Sight(sight.folder, f"other files: {len(sight.listing)}, here {len(own.listing)}"))
    return seen
