"""Waiting for the nodes of a cluster that is being started, and telling what is missing where it stays so."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cluster.check_result import gpu_count
from harness.cluster.connection import (
    RayNode,
    Reply,
    accepts_without_token,
    ask_each,
    connected,
    live_nodes,
    token,
)
from harness.cluster.shared_folders import FolderView, marker_files, view_folders
from harness.errors import UserError
from harness.sweep.address import is_reachable, resolved

_POLL = 1.0  # seconds between looks


class ClusterIncomplete(Exception):
    """The cluster is not what was asked for; the message is a table of what was expected and seen."""


@dataclass(frozen=True)
class ExpectedNodes:
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
    expected: ExpectedNodes,
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
            "RAY_AUTH_TOKEN_PATH", "no token", "a file with the token of the cluster",
            "Make it before Ray is started.",
        )  # fmt: skip
    address = resolved(address)
    until = time.monotonic() + timeout
    while not is_reachable(address):
        if time.monotonic() > until or not head_lives():
            state = f"did not answer within {timeout:.0f} s" if head_lives() else "has ended"
            raise ClusterIncomplete(f"Ray's head at {address} {state}\n{node_table(expected, [])}")
        time.sleep(_POLL)
    with connected(address):
        nodes = wait_for_nodes(expected, live_nodes, until, say)
        if not expected.met_by(nodes):
            raise ClusterIncomplete(
                f"the cluster is not complete after {timeout:.0f} s: {_counts(expected, nodes)}\n"
                f"{node_table(expected, nodes)}"
            )
        if accepts_without_token(address):
            raise UserError(
                f"the cluster at {address}", "a client without a token let in", "token authentication",
                "Start every node with RAY_AUTH_MODE=token.",
            )  # fmt: skip
        check_folders(nodes, shared, data)


def wait_for_nodes(
    expected: ExpectedNodes, look: Callable[[], list[RayNode]], until: float, say: Callable[[str], None]
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


def _counts(expected: ExpectedNodes, nodes: Sequence[RayNode]) -> str:
    gpus = sum(node.gpus for node in nodes)
    return f"{len(nodes)} of {expected.nodes} nodes, {gpus:g} of {expected.gpus:g} GPUs"


def node_table(expected: ExpectedNodes, nodes: Sequence[RayNode]) -> str:
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
    return aligned_table(rows)


def aligned_table(rows: Sequence[tuple[str, ...]]) -> str:
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
    with marker_files(shared) as markers:
        replies = ask_each(nodes, view_folders, markers, data)
    rows = [("node", "folder", "seen")]
    for reply in replies:
        rows += [(reply.node.name, str(view.folder), view.problem) for view in differing_views(reply, data)]
    if len(rows) > 1:
        raise ClusterIncomplete(
            f"not every node sees the folders that this one sees; they have to lie on shared storage\n{aligned_table(rows)}"
        )


def differing_views(reply: Reply[list[FolderView]], data: Path | None) -> list[FolderView]:
    """Return what a node does not see as this process does."""
    if reply.answer is None:
        return [FolderView(Path("-"), reply.error)]
    here = view_folders([], data)
    seen = []
    for view in reply.answer:
        own = next((one for one in here if one.folder == view.folder), None)
        if view.problem:
            seen.append(view)
        elif own and own.listing != view.listing:
            seen.append(FolderView(view.folder, f"other files: {len(view.listing)}, here {len(own.listing)}"))
    return seen
