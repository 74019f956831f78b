"""The doctor: everything that a study will rest on, looked at before it runs, on this machine or on every node."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.cluster.check_result import CheckResult, gpu_count
from harness.cluster.node import NodeReport, describe_node, versions
from harness.cluster.precisions import OTHER_PRECISION, half_precisions, slow_precision
from harness.cluster.storage import check_space, check_storage, held_lock_result
from harness.study.study import Study
from harness.sweep.packing import Need, arm_key, read_needs, starvation

if TYPE_CHECKING:
    from harness.cluster.connection import Reply
    from harness.cluster.shared_folders import FolderView

_SKEW = 5.0  # seconds between the clocks of two nodes
_NOTICE = 1.0  # seconds from which it is worth a word
_LOCK = ".doctor-lock"
_HANDED_OVER = 2 * 2**30  # bytes of shared memory: a trial's large batches, two of each loader


@dataclass(frozen=True)
class CheckedNode:
    """A node as the doctor sees it: what it says of itself and, in a cluster, what Ray says of it."""

    name: str
    report: NodeReport
    ray_gpus: float | None = None
    ahead: float = 0.0  # seconds of its clock before ours


def examine(
    study: Study | None, results: Path, data: Path | None, address: str | None
) -> Iterator[CheckResult]:
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
    precisions = half_precisions(study.cells) if study else []
    if address is None:
        nodes = [CheckedNode("", describe_node(datasets, data, precisions=precisions))]
        yield from _own_token()
        yield CheckResult("versions", "ok", _listed(versions()))
    else:
        nodes, findings = _ask_cluster(address, datasets, results if writable else None, data, precisions)
        yield from findings
        yield from check_versions(versions(), nodes)
        yield from check_clocks(nodes)
    for check in (check_gpus, check_precisions, check_cache, check_data):
        yield from check(nodes)
    yield from check_loaders(nodes, study, read_needs(results))


def _ask_cluster(
    address: str,
    datasets: Sequence[str],
    results: Path | None,
    data: Path | None,
    precisions: Sequence[str],
) -> tuple[list[CheckedNode], list[CheckResult]]:
    """Return the nodes that answered, and what was found in asking; ``results`` is None where it cannot be used."""
    from harness.cluster.connection import accepts_without_token, ask_each, connected, live_nodes
    from harness.cluster.shared_folders import marker_files, view_folders

    with connected(address):
        nodes = live_nodes()
        with _hold_lock(results) as lock:
            reports = ask_each(nodes, describe_node, datasets, data, lock, precisions)
        with marker_files([results] if results else []) as markers:
            views = ask_each(nodes, view_folders, markers, data)
    checked = [
        CheckedNode(reply.node.name, reply.answer, reply.node.gpus, reply.ahead)
        for reply in reports
        if reply.answer
    ]
    findings = [finding for reply in reports for finding in _check_answer(reply)]
    findings += [finding for reply in views for finding in _compare_folders(reply, data)]
    return checked, [*findings, _token_of_cluster(accepts_without_token(address))]


@contextmanager
def _hold_lock(results: Path | None) -> Iterator[Path | None]:
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


def _check_answer(reply: Reply[NodeReport]) -> Iterator[CheckResult]:
    name = reply.node.name
    if reply.answer is None:
        remedy = "Install the same environment on every node."
        yield CheckResult("node", "error", f"cannot run the harness: {reply.error}", remedy, name)
    elif reply.answer.lock_taken is not None:
        yield held_lock_result(name, reply.answer.lock_taken)


def _compare_folders(reply: Reply[list[FolderView]], data: Path | None) -> Iterator[CheckResult]:
    from harness.cluster.waiting import differing_views

    name, seen = reply.node.name, differing_views(reply, data)
    remedy = "Put results and data on storage that all nodes share, under one path."
    for one in seen:
        yield CheckResult("visible", "error", f"{one.folder}: {one.problem}", remedy, name)
    if not seen:
        yield CheckResult("visible", "ok", "results and data are those seen here", node=name)


def _token_of_cluster(open_to_all: bool) -> CheckResult:
    if open_to_all:
        remedy = "Start every node with RAY_AUTH_MODE=token; whoever reaches an open cluster runs code on it."
        return CheckResult("token", "error", "the cluster lets in clients without a token", remedy)
    from harness.cluster.connection import token_file

    path = token_file()
    if not os.environ.get("RAY_AUTH_TOKEN") and path.is_file() and path.stat().st_mode & 0o077:
        return CheckResult("token", "warning", f"{path} can be read by others", f"chmod 600 {path}")
    return CheckResult("token", "ok", "the cluster lets in nobody without its token")


def _own_token() -> Iterator[CheckResult]:
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode == "token":
        yield CheckResult("token", "ok", "Ray, when started here, asks for a token")
    else:
        yield CheckResult(
            "token", "error", f"RAY_AUTH_MODE={mode}", "Unset RAY_AUTH_MODE, or set it to token."
        )


def check_versions(here: Mapping[str, str], nodes: Sequence[CheckedNode]) -> Iterator[CheckResult]:
    """Yield the versions in which nodes differ from this process; numbers of one study have to share them."""
    same = True
    for node in nodes:
        theirs = node.report.versions
        other = [
            f"{name} {theirs.get(name)}, here {own}" for name, own in here.items() if theirs.get(name) != own
        ]
        if other:
            same = False
            remedy = "Install one environment on all nodes."
            yield CheckResult("versions", "error", "; ".join(other), remedy, node.name)
    if same:
        yield CheckResult("versions", "ok", f"{_listed(here)} on {len(nodes)} nodes")


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def check_clocks(nodes: Sequence[CheckedNode]) -> Iterator[CheckResult]:
    """Yield what was found about the clocks, each compared with that of this machine."""
    ahead = [0.0, *(node.ahead for node in nodes)]  # 0: this machine's own
    worst = max(ahead) - min(ahead)
    found = f"at most {worst:.2f} s apart"
    remedy = "Run a time service (chrony, ntpd) on every node."
    if worst >= _SKEW:
        late = ", ".join(f"{node.name} {node.ahead:+.1f} s" for node in nodes)
        yield CheckResult("clock", "error", f"{found}: {late}; claims are judged by times", remedy)
    elif worst >= _NOTICE:
        yield CheckResult("clock", "warning", found, remedy)
    else:
        yield CheckResult("clock", "ok", found)


def check_gpus(nodes: Sequence[CheckedNode]) -> Iterator[CheckResult]:
    """Yield the GPUs that torch can use, against those that Ray hands out."""
    for node in nodes:
        names = node.report.gpus
        usable = f"torch uses {gpu_count(len(names))}{f' ({names[0]})' if names else ''}"
        given = node.ray_gpus
        if node.report.gpu_problem:
            remedy = "Install the build of torch that fits the driver; see nvidia-smi."
            yield CheckResult("GPUs", "error", node.report.gpu_problem, remedy, node.name)
        elif given is not None and given > len(names):
            remedy = "See nvidia-smi and the build of torch there; or start that node with fewer GPUs."
            yield CheckResult(
                "GPUs", "error", f"Ray hands out {gpu_count(given)}, {usable}", remedy, node.name
            )
        elif given is not None and given < len(names):
            remedy = "Start that node with all of them, or leave the others to somebody else."
            yield CheckResult(
                "GPUs", "warning", f"Ray hands out {gpu_count(given)}, {usable}", remedy, node.name
            )
        elif names:
            yield CheckResult("GPUs", "ok", usable, node=node.name)
        else:
            yield CheckResult("GPUs", "ok", "none; trials run on the CPU", node=node.name)


def check_precisions(nodes: Sequence[CheckedNode]) -> Iterator[CheckResult]:
    """Yield what the precisions of the study's trials cost on each node."""
    for node in nodes:
        for name, cost in node.report.precisions.items():
            slow = slow_precision(name, cost)
            found = slow or f"{name} takes {cost:.1f} times as long as fp32"
            yield CheckResult(
                "precision", "warning" if slow else "ok", found, OTHER_PRECISION * bool(slow), node.name
            )


def check_loaders(
    nodes: Sequence[CheckedNode], study: Study | None, needs: Mapping[str, Need]
) -> Iterator[CheckResult]:
    """Yield whether the cores of each node with GPUs draw batches as fast as those take them, as far as arms were probed."""
    specs = {arm_key(cell.spec): cell.spec for cell in (*study.nodes, *study.cells)} if study else {}
    timed = [
        (spec, need) for key, spec in specs.items() if (need := needs.get(key)) and need.seconds_per_batch
    ]
    for node in nodes:
        report = node.report
        if not report.gpus:
            continue
        if report.shared_memory is not None and report.shared_memory < _HANDED_OVER:
            found = f"/dev/shm has {report.shared_memory / 2**20:.0f} MiB free, through which loaders hand over batches"
            remedy = "Give the container more (docker run --shm-size=8g), or run with --loaders 0."
            yield CheckResult("loaders", "warning", found, remedy, node.name)
        cores = report.cores / len(report.gpus)
        starved = [sentence for spec, need in timed if (sentence := starvation(spec, need, cores))]
        for sentence in starved:
            remedy = "Take a node with more cores for each GPU, fewer trials on one GPU, or a cheaper augmentation."
            yield CheckResult("loaders", "warning", sentence, remedy, node.name)
        if timed and not starved:
            found = (
                f"{cores:g} cores for each GPU draw batches as fast as the arms that were probed take them"
            )
            yield CheckResult("loaders", "ok", found, node=node.name)


def check_cache(nodes: Sequence[CheckedNode]) -> Iterator[CheckResult]:
    """Yield whether preprocessed data can be kept."""
    for node in nodes:
        cache, problem = node.report.cache, node.report.cache_problem
        if problem:
            remedy = "Name another with the environment variable MEDCTX_CACHE."
            yield CheckResult("cache", "error", f"{cache} cannot be written ({problem})", remedy, node.name)
        else:
            yield CheckResult("cache", "ok", f"{cache} can be written", node=node.name)


def check_data(nodes: Sequence[CheckedNode]) -> Iterator[CheckResult]:
    """Yield what each node sees of the datasets; they have to agree on the number of cases."""
    seen = [(node.name, one) for node in nodes for one in node.report.data]
    for name, one in seen:
        most = max(other.cases for _, other in seen if other.dataset == one.dataset)
        if one.problem:
            yield CheckResult("data", "error", f"{one.dataset}: {one.problem}", one.remedy, name)
        elif one.cases < most:
            found = f"{one.dataset}: {one.cases} cases, another node sees {most}"
            yield CheckResult("data", "error", found, "Put the data on storage that all nodes share.", name)
        else:
            yield CheckResult("data", "ok", f"{one.dataset}: {one.cases} cases", node=name)
