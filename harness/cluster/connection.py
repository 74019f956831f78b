"""Only Ray: a running cluster, its nodes, and a question put to each of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from harness.errors import UserError
from harness.sweep.address import reachable_address, resolved

Answer = TypeVar("Answer")
_EXCHANGE = 5.0  # seconds to wait for a node's clock
_CLIENT_WITHOUT_TOKEN = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
print("connected")
"""


@dataclass(frozen=True)
class RayNode:
    """A live node of a Ray cluster, and the GPUs that Ray was told of."""

    id: str
    name: str
    address: str
    gpus: float


@dataclass(frozen=True)
class Reply(Generic[Answer]):
    """A node's answer, or why there is none, and how far its clock is ahead of ours, in seconds."""

    node: RayNode
    answer: Answer | None
    error: str = ""
    ahead: float = 0.0


def token() -> str:
    """Return Ray's token as this process would present it, or an empty text.

    Ray looks into ``RAY_AUTH_TOKEN``, then into the file of ``RAY_AUTH_TOKEN_PATH``, then of the home folder.
    """
    if direct := os.environ.get("RAY_AUTH_TOKEN"):
        return direct
    try:
        return token_file().read_text().strip()
    except OSError:
        return ""


def token_file() -> Path:
    """Return the file that Ray reads its token from."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named or os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH111 - Path.home() may fail


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Be connected to a running cluster as long as this context lasts.

    Args:
        address: ``HOST:PORT`` of its head, or ``auto``: the cluster of ``RAY_ADDRESS``, or of this machine.

    Raises:
        UserError: there is none, or it does not take our token.
    """
    address = reachable_address(address)
    if not token():
        raise UserError(
            "RAY_AUTH_TOKEN_PATH", "no token", "the token of the cluster",
            "Name the file of the token that the cluster was started with.",
        )  # fmt: skip
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except Exception as error:
        raise UserError(
            f"--address {address}", f"no connection ({error})", "the address of a running Ray cluster",
            "Set RAY_AUTH_TOKEN_PATH to the token that the cluster was started with.",
        ) from error  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def live_nodes() -> list[RayNode]:
    """Return the live nodes of the cluster that this process is connected to, by name."""
    nodes = [
        RayNode(
            id=node["NodeID"],
            name=node["NodeName"],
            address=node["NodeManagerAddress"],
            gpus=node["Resources"].get("GPU", 0.0),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return sorted(nodes, key=lambda node: (node.name, node.id))


class _NodeActor:
    """An actor that answers for the node it runs on."""

    def answer(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        return function(*arguments)

    def clock(self) -> float:
        return time.time()


def ask_each(
    nodes: Sequence[RayNode], function: Callable[..., Answer], *arguments: object, timeout: float = 120.0
) -> list[Reply[Answer]]:
    """Call a function on every node at once, in a process that takes none of the node's CPUs and GPUs.

    Args:
        nodes: of the cluster that this process is connected to.
        function: of a module that every node can import.
        arguments: of the function.
        timeout: seconds for all answers together.
    """
    actor = ray.remote(num_cpus=0)(_NodeActor)
    asked = []
    for node in nodes:
        place = NodeAffinitySchedulingStrategy(node_id=node.id, soft=False)
        respondent = actor.options(scheduling_strategy=place).remote()
        asked.append((node, respondent, respondent.answer.remote(function, arguments)))
    until = time.monotonic() + timeout
    replies = []
    for node, respondent, pending in asked:
        try:
            answer = ray.get(pending, timeout=max(until - time.monotonic(), 0.1))
            replies.append(Reply(node, answer, ahead=_clock_ahead(respondent)))
        except Exception as error:  # whatever the node answers with is a finding about it
            replies.append(Reply(node, None, error=_reason(error)))
        ray.kill(respondent)
    return replies


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error  # of Ray's wrapper
    return f"{type(cause).__name__}: {cause}".strip().splitlines()[0][:300]


def _clock_ahead(respondent: Any) -> float:
    """Return how far a node's clock is ahead of ours: the quickest of three exchanges tells it best."""
    exchanges = []
    for _ in range(3):
        sent = time.time()
        theirs = ray.get(respondent.clock.remote(), timeout=_EXCHANGE)
        received = time.time()
        exchanges.append((received - sent, theirs - (sent + received) / 2))
    return min(exchanges)[1]


def accepts_without_token(address: str) -> bool:
    """Return whether a running cluster lets a client in that shows no token."""
    hidden = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_NUM_REDIS_GET_RETRIES": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CLIENT_WITHOUT_TOKEN, resolved(address)],
            env=environment, capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return "connected" in done.stdout
