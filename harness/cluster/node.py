"""What one node says of itself: versions, GPUs, folders, data. Runs on every node; imports neither torch nor Ray."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from harness import registry
from harness.data.caches import cache_root
from harness.errors import UserError
from harness.evaluation.workers import usable_cores

_PACKAGES = ("medcontext-harness", "ray", "torch", "monai", "numpy", "scipy", "nibabel", "optuna")
_GPUS = "import json, torch; print(json.dumps([torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]))"
_SHARED = Path("/dev/shm")
_TORCH_SECONDS = 100.0  # to import torch from a cold network file system


@dataclass(frozen=True)
class DataReport:
    """What a node sees of a dataset: its number of cases, or what is wrong and what to do."""

    dataset: str
    cases: int = 0
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself.

    Attributes:
        versions: of Python and the packages that can change a number.
        gpus: names of those that torch can use.
        gpu_problem: why torch uses none, where the machine has some.
        cache: its folder of preprocessed data.
        cache_problem: why that cannot be used.
        data: of each dataset.
        lock_taken: whether it could take the lock that the asking process holds; None where there is none.
        cores: that its processes may use.
        shared_memory: free bytes of ``/dev/shm``; None where there is none.
        precisions: how many times as long as in fp32 a convolution takes, by the precision that was asked for.
    """

    versions: dict[str, str]
    gpus: tuple[str, ...]
    gpu_problem: str
    cache: Path
    cache_problem: str
    data: tuple[DataReport, ...]
    lock_taken: bool | None = None
    cores: int = 0
    shared_memory: int | None = None
    precisions: Mapping[str, float] = field(default_factory=dict)


def describe_node(
    datasets: Sequence[str],
    data_root: Path | None,
    held_lock: Path | None = None,
    precisions: Sequence[str] = (),
) -> NodeReport:
    """Return what this node says of itself.

    Args:
        datasets: names, as in a study.
        data_root: folder of the datasets.
        held_lock: a lock that a process on another node holds.
        precisions: other than fp32, in which trials are to compute.
    """
    gpus, gpu_problem = usable_gpus()
    cache = cache_root()
    return NodeReport(
        versions=versions(),
        gpus=gpus,
        gpu_problem=gpu_problem,
        cache=cache,
        cache_problem=_cache_problem(cache),
        data=tuple(_report_data(name, data_root) for name in datasets),
        lock_taken=_can_take(held_lock) if held_lock else None,
        cores=usable_cores(),
        shared_memory=shutil.disk_usage(_SHARED).free if _SHARED.is_dir() else None,
        precisions=cost_of_precisions(precisions),
    )


def versions() -> dict[str, str]:
    """Return the versions that records of one study have to share."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def usable_gpus() -> tuple[tuple[str, ...], str]:
    """Return the names of the GPUs that torch can use on this node, and what is wrong where it can use none."""
    done = _apart("-c", _GPUS)
    if done.returncode != 0:
        return (), f"torch fails: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    names = tuple(json.loads(done.stdout.strip().splitlines()[-1]))
    present = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
    hidden = _environment().get("CUDA_VISIBLE_DEVICES") == ""
    unused = present and not names and not hidden
    return names, "the machine has NVIDIA's driver, torch uses no GPU" if unused else ""


def cost_of_precisions(names: Sequence[str]) -> dict[str, float]:
    """Return how many times as long as in fp32 a convolution takes on this node; none where torch cannot tell."""
    if not names:
        return {}
    try:
        done = _apart("-m", "harness.training.precision", *names)
    except subprocess.TimeoutExpired:  # no reason to end a run
        return {}
    return json.loads(done.stdout) if done.returncode == 0 else {}


def _apart(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with the GPUs of this node: what imports torch shall not stay."""
    return subprocess.run(
        [sys.executable, *arguments], env=_environment(), capture_output=True, text=True,
        timeout=_TORCH_SECONDS, check=False,
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """Return this process's environment with the GPUs of its node.

    Ray hides all GPUs from an actor that asked for none, but not from the raylet that started it.
    """
    environment = dict(os.environ)
    raylet = os.environ.get("RAY_RAYLET_PID")
    if raylet:
        theirs = psutil.Process(int(raylet)).environ()
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if "CUDA_VISIBLE_DEVICES" in theirs:
            environment["CUDA_VISIBLE_DEVICES"] = theirs["CUDA_VISIBLE_DEVICES"]
    return environment


def _cache_problem(cache: Path) -> str:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        probe = cache / f".probe-{socket.gethostname()}-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return str(error.strerror)
    return ""


def _report_data(name: str, root: Path | None) -> DataReport:
    try:
        cases = registry.load("dataset", name)().cases(root)
    except UserError as error:
        return DataReport(name, problem=f"{error.where}: {error.found}", remedy=error.remedy)
    missing = [path for case in cases for path in case.files if not path.is_file()]
    if missing:
        problem = f"{missing[0]}: no such file" + (f", and {len(missing) - 1} more" if missing[1:] else "")
        return DataReport(name, problem=problem, remedy=f"Restore it; 'medctx data check {name}' names all.")
    return DataReport(name, len(cases))


def _can_take(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return True
    except Timeout:
        return False
