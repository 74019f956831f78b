"""The doctor: everything that a study will rest on, looked at before it runs, on this machine or on every node."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.cluster.findings import Finding, gpu_count
from harness.cluster.node import NodeReport, describe, versions
from harness.cluster.storage import check_space, check_storage, foreign_lock
from harness.study.study import Study

if TYPE_CHECKING:
    from harness.cluster.connection import Reply
    from harness.cluster.folders import Sight

_SKEW = 5.0  # seconds between the clocks of two nodes
_NOTICE = 1.0  # seconds from which it is worth a word
_LOCK = ".doctor-lock"


@dataclass(frozen=True)
class Member:
    """A node as the doctor sees it: what it says of itself and, in a cluster, what Ray says of it."""

    name: str
    report: NodeReport
    ray_gpus: float | None = None
    ahead: float = 0.0  # seconds of its clock before ours


def examine(study: Study | None, results: Path, data: Path | None, address: str | None) -> Iterator[Finding]:
    """Yield what was found, in the order of looking.

    Args:
        study: whose data and room are looked at too.
        results: folder of the records.
        data: folder of the datasets.
        address: of a running Ray cluster, whose nodes are all asked; by default this machine alone.

    Raises:
        UserError: there is no cluster at the address.
    """
    storage = check_storage(results, alone=address is None)
    yield from storage
    writable = all(finding.grade != "error" or finding.check != "results" for finding in storage)
    if writable:
        yield check_space(results, (*study.nodes, *study.cells) if study else None)
    datasets = list(dict.fromkeys(cell.spec.dataset.name for cell in study.cells)) if study else []
    if address is None:
        members = [Member("", describe(datasets, data))]
        yield from _own_token()
        yield Finding("versions", "ok", _listed(versions()))
    else:
        members, findings = _ask_cluster(address, datasets, results if writable else None, data)
        yield from findings
        yield from check_versions(versions(), members)
        yield from check_clocks(members)
    for check in (check_gpus, check_cache, check_data):
        yield from check(members)


def _ask_cluster(
    address: str, datasets: Sequence[str], results: Path | None, data: Path | None
) -> tuple[list[Member], list[Finding]]:
    """Return the nodes that answered, and what was found in asking; ``results`` is None where it cannot be used."""
    from harness.cluster.connection import admits_strangers, ask_each, connected, live_nodes
    from harness.cluster.folders import look_for, mark

    with connected(address):
        nodes = live_nodes()
        with _held(results) as lock:
            reports = ask_each(nodes, describe, datasets, data, lock)
        with mark([results] if results else []) as marks:
            sights = ask_each(nodes, look_for, marks, data)
    members = [
        Member(reply.node.name, reply.answer, reply.node.gpus, reply.ahead)
        for reply in reports
        if reply.answer
    ]
    findings = [finding for reply in reports for finding in _answer(reply)]
    findings += [finding for reply in sights for finding in _sight(reply, data)]
    return members, [*findings, _token_of_cluster(admits_strangers(address))]


@contextmanager
def _held(results: Path | None) -> Iterator[Path | None]:
    """Hold a lock in the results folder as long as this context lasts."""
    if results is None:
        yield None
        return
    path = results / _LOCK
    try:
        with FileLock(path, timeout=60):
            yield path
    finally:
        path.unlink(missing_ok=True)


def _answer(reply: Reply[NodeReport]) -> Iterator[Finding]:
    name = reply.node.name
    if reply.answer is None:
        remedy = "Install the same environment on every node."
        yield Finding("node", "error", f"cannot run the harness: {reply.error}", remedy, name)
    elif reply.answer.lock_taken is not None:
        yield foreign_lock(name, reply.answer.lock_taken)


def _sight(reply: Reply[list[Sight]], data: Path | None) -> Iterator[Finding]:
    from harness.cluster.waiting import problems

    name, seen = reply.node.name, problems(reply, data)
    remedy = "Put results and data on storage that all nodes share, under one path."
    for one in seen:
        yield Finding("visible", "error", f"{one.folder}: {one.problem}", remedy, name)
    if not seen:
        yield Finding("visible", "ok", "results and data are those seen here", node=name)


def _token_of_cluster(open_to_all: bool) -> Finding:
    if open_to_all:
        remedy = "Start every node with RAY_AUTH_MODE=token; whoever reaches an open cluster runs code on it."
        return Finding("token", "error", "the cluster lets in clients without a token", remedy)
    from harness.cluster.connection import token_file

    path = token_file()
    if not os.environ.get("RAY_AUTH_TOKEN") and path.is_file() and path.stat().st_mode & 0o077:
        return Finding("token", "warning", f"{path} can be read by others", f"chmod 600 {path}")
    return Finding("token", "ok", "the cluster lets in nobody without its token")


def _own_token() -> Iterator[Finding]:
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode == "token":
        yield Finding("token", "ok", "Ray, when started here, asks for a token")
    else:
        yield Finding("token", "error", f"RAY_AUTH_MODE={mode}", "Unset RAY_AUTH_MODE, or set it to token.")


def check_versions(here: Mapping[str, str], members: Sequence[Member]) -> Iterator[Finding]:
    """Yield the versions in which nodes differ from this process; numbers of one study have to share them."""
    same = True
    for member in members:
        theirs = member.report.versions
        other = [
            f"{name} {theirs.get(name)}, here {own}" for name, own in here.items() if theirs.get(name) != own
        ]
        if other:
            same = False
            remedy = "Install one environment on all nodes."
            yield Finding("versions", "error", "; ".join(other), remedy, member.name)
    if same:
        yield Finding("versions", "ok", f"{_listed(here)} on {len(members)} nodes")


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def check_clocks(members: Sequence[Member]) -> Iterator[Finding]:
    """Yield what was found about the clocks, each compared with that of this machine."""
    apart = max((member.ahead for member in members), default=0.0) - min(
        (member.ahead for member in members), default=0.0
    )
    worst = max(apart, *(abs(member.ahead) for member in members), 0.0)
    found = f"at most {worst:.2f} s apart"
    remedy = "Run a time service (chrony, ntpd) on every node."
    if worst >= _SKEW:
        late = ", ".join(f"{member.name} {member.ahead:+.1f} s" for member in members)
        yield Finding("clock", "error", f"{found}: {late}; claims are judged by times", remedy)
    elif worst >= _NOTICE:
        yield Finding("clock", "warning", found, remedy)
    else:
        yield Finding("clock", "ok", found)


def check_gpus(members: Sequence[Member]) -> Iterator[Finding]:
    """Yield the GPUs that torch can use, against those that Ray hands out."""
    for member in members:
        names = member.report.gpus
        usable = f"torch uses {gpu_count(len(names))}{f' ({names[0]})' if names else ''}"
        given = member.ray_gpus
        if member.report.gpu_problem:
            remedy = "Install the build of torch that fits the driver; see nvidia-smi."
            yield Finding("GPUs", "error", member.report.gpu_problem, remedy, member.name)
        elif given is not None and given > len(names):
            remedy = "See nvidia-smi and the build of torch there; or start that node with fewer GPUs."
            yield Finding("GPUs", "error", f"Ray hands out {gpu_count(given)}, {usable}", remedy, member.name)
        elif given is not None and given < len(names):
            remedy = "Start that node with all of them, or leave the others to somebody else."
            yield Finding(
                "GPUs", "warning", f"Ray hands out {gpu_count(given)}, {usable}", remedy, member.name
            )
        elif names:
            yield Finding("GPUs", "ok", usable, node=member.name)
        else:
            yield Finding("GPUs", "ok", "none; trials run on the CPU", node=member.name)


def check_cache(members: Sequence[Member]) -> Iterator[Finding]:
    """Yield whether preprocessed data can be kept."""
    for member in members:
        cache, problem = member.report.cache, member.report.cache_problem
        if problem:
            remedy = "Name another with the environment variable MEDCTX_CACHE."
            yield Finding("cache", "error", f"{cache} cannot be written ({problem})", remedy, member.name)
        else:
            yield Finding("cache", "ok", f"{cache} can be written", node=member.name)


def check_data(members: Sequence[Member]) -> Iterator[Finding]:
    """Yield what each node sees of the datasets; they have to agree on the number of cases."""
    most: dict[str, int] = {}
    for member in members:
        for one in member.report.data:
            most[one.dataset] = max(most.get(one.dataset, 0), one.cases)
    for member in members:
        for one in member.report.data:
            if one.problem:
                yield Finding("data", "error", f"{one.dataset}: {one.problem}", one.remedy, member.name)
            elif one.cases < most[one.dataset]:
                found = f"{one.dataset}: {one.cases} cases, another node sees {most[one.dataset]}"
                yield Finding(
                    "data", "error", found, "Put the data on storage that all nodes share.", member.name
                )
            else:
                yield Finding("data", "ok", f"{one.dataset}: {one.cases} cases", node=member.name)
