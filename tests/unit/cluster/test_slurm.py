"""The batch script: its options, its shell, and what it does with signals; Ray and the driver are stand-ins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from standins import SBATCH, SCONTROL, SRUN, environment, install

from harness.cluster.slurm import SlurmJob, slurm_script, submit
from harness.errors import UserError

RAY = """#!/usr/bin/env bash
echo "$SLURMD_NODENAME $*" >>"$STANDINS/ray.called"
stat -c %a "$RAY_AUTH_TOKEN_PATH" >>"$STANDINS/token.mode"
exec sleep 300
"""
MEDCTX = """#!/usr/bin/env bash
echo "$*" >>"$STANDINS/medctx.called"
case $1 in
  cluster-wait)
    until [ "$(cat "$STANDINS/token.mode" 2>/dev/null | wc -l)" -ge 2 ]; do sleep 0.05; done
    exit "${WAIT_STATUS:-0}" ;;
  run) printf '%s\\n' "$@" >"$STANDINS/run.arguments"; printf '%s|%s|%s' "$RAY_AUTH_MODE" "$MEDCTX_CACHE" "$PWD" >"$STANDINS/run.environment" ;;
esac
[ -z "${PATIENT:-}" ] && exit "${RUN_STATUS:-0}"
trap 'kill $!; exit 75' USR1 TERM
sleep 300 &
touch "$STANDINS/running"
wait
"""


@pytest.fixture
def job(tmp_path: Path) -> SlurmJob:
    return SlurmJob(
        study="few",
        run_arguments=("few.yaml", "--set", "recipe.patch=[16, 16, 16]", "--only", "method=$(rm -rf x) 'y'"),
        nodes=2,
        gpus_per_node=4,
        results=tmp_path / "re sults",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        folder=tmp_path,
        setup=":",
        join_seconds=30,
        cpus_per_node=8,
        time="1-12:00:00",
        partition="gpu",
        account="lab",
        extra=("--qos=high",),
    )


@pytest.fixture
def bin(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    install(folder, sbatch=SBATCH, srun=SRUN, scontrol=SCONTROL, ray=RAY, medctx=MEDCTX)
    return folder


def ended(bin: Path) -> int:
    return int(appeared(bin / "job.rc").read_text())


def appeared(path: Path, seconds: float = 20) -> Path:
    until = time.monotonic() + seconds
    while not (path.exists() and (path.stat().st_size or path.name == "running")):
        assert time.monotonic() < until, f"no {path.name}"
        time.sleep(0.05)
    return path


def launch(job: SlurmJob, bin: Path, monkeypatch: pytest.MonkeyPatch, **values: str) -> str:
    for name, value in environment(bin, **values).items():
        monkeypatch.setenv(name, value)
    return submit(job)


@pytest.mark.parametrize(
    "changes", [{}, {"nodes": 1, "gpus_per_node": 0, "data": None, "cpus_per_node": None}]
)
def test_shellcheck_has_nothing_to_say(job: SlurmJob, tmp_path: Path, changes: dict[str, Any]) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    path = tmp_path / "job.sh"
    path.write_text(slurm_script(replace(job, **changes)))
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_options_of_sbatch(job: SlurmJob) -> None:
    lines = slurm_script(job).splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert options == [
        "--job-name=medctx-few", "--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=4", "--cpus-per-task=8",
        "--time=1-12:00:00", "--partition=gpu", "--account=lab", f'--output="{job.log}"',
        "--signal=B:USR1@120", "--open-mode=append", "--requeue", "--no-kill", "--qos=high",
    ]  # fmt: skip
    first = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:]), "SLURM reads none after a command"
    assert "gpus" not in "".join(
        line for line in slurm_script(replace(job, gpus_per_node=0)).splitlines() if "#SBATCH" in line
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"time": "tomorrow"}, "--time"),
        ({"partition": "a\nb"}, "--partition"),
        ({"account": 'a"b'}, "--account"),
        ({"extra": ("qos=high",)}, "--extra-sbatch"),
        ({"extra": ("--qos=high\nrm -rf /",)}, "--extra-sbatch"),
    ],
)
def test_values_that_slurm_would_not_take(job: SlurmJob, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        slurm_script(replace(job, **changes))


def test_a_whole_job(job: SlurmJob, bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch(job, bin, monkeypatch) == "Submitted batch job 4242"
    assert ended(bin) == 0
    head, worker = sorted((bin / "ray.called").read_text().splitlines())
    assert head.startswith(
        "127.0.0.2 start --head --port=28484 --dashboard-host=127.0.0.1 --dashboard-port=28485"
    )
    assert (
        worker.startswith("127.0.0.3 start --address=127.0.0.2:28484")
        and "--node-ip-address=127.0.0.3" in worker
    )
    assert (bin / "token.mode").read_text().split() == ["600", "600"]
    results = str(job.results)
    given = (bin / "run.arguments").read_text().splitlines()
    expected = [
        "run",
        *job.run_arguments,
        "--results",
        results,
        "--data",
        str(job.data),
        "--address",
        "127.0.0.2:28484",
    ]
    assert given == expected
    assert (bin / "run.environment").read_text() == f"token|{job.cache}|{job.folder}"
    wait = (bin / "medctx.called").read_text().splitlines()[0]
    assert "--nodes 2 --gpus 8 --names 127.0.0.2,127.0.0.3 --timeout 30" in wait
    assert not list((job.results / "launch").glob("token-*")) and not (bin / "requeued").exists()
    assert not left_over(bin)


@pytest.mark.parametrize(("values", "status"), [({"WAIT_STATUS": "1"}, 1), ({"RUN_STATUS": "1"}, 1)])
def test_a_job_that_fails(
    job: SlurmJob, bin: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], status: int
) -> None:
    launch(job, bin, monkeypatch, **values)
    assert ended(bin) == status
    assert (bin / "run.arguments").exists() == ("RUN_STATUS" in values)
    assert not (bin / "requeued").exists() and not left_over(bin)


@pytest.mark.parametrize(("number", "queued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_a_paused_job(
    job: SlurmJob, bin: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, queued: bool
) -> None:
    launch(job, bin, monkeypatch, PATIENT="1")
    appeared(bin / "running")
    os.kill(int(appeared(bin / "job.pid").read_text()), number)
    assert ended(bin) == 75
    assert (bin / "requeued").exists() == queued
    if queued:
        assert (bin / "requeued").read_text().strip() == "4242"
    assert not left_over(bin)


def left_over(bin: Path) -> list[str]:
    """Return processes that a job has left behind."""
    environment = f"STANDINS={bin}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name != str(os.getpid()) and environment in (process / "environ").read_bytes().split(
                b"\0"
            ):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_no_sbatch(medctx: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    arguments = (
        "launch",
        "slurm",
        "--nodes",
        1,
        "--gpus-per-node",
        0,
        "quickstart",
        "--results",
        tmp_path / "r",
    )
    outcome = medctx(*arguments)
    assert outcome.code == 2 and "sbatch" in outcome.err and "--dry-run" in outcome.err
    assert not (tmp_path / "r").exists()
    outcome = medctx(*arguments, "--dry-run", "--set", "recipe.steps=3")
    assert outcome.code == 0 and "run_arguments=(quickstart --set recipe.steps=3)" in outcome.out
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--nodes", 0, "quickstart"), "--nodes"),
        (("--nodes", 1, "quickstrat"), "Did you mean 'quickstart'?"),
        (("--nodes", 1, "quickstart", "--gpu-per-node", 3), "--gpu-per-node"),
        (("--nodes", 1, "quickstart", "--workers", 0), "--workers"),
        (("--nodes", 1, "quickstart", "--set", "recipe.stps=1"), "Did you mean 'steps'?"),
        (("--nodes", 1, "quickstart", "--only", "seed=9"), "no trial"),
        (("--nodes", 1, "quickstart", "--address", "x:1"), "its own cluster"),
        (("--nodes", 1), "STUDY"),
    ],
)
def test_mistakes_show_before_anything_is_submitted(
    medctx: Callable, arguments: tuple[object, ...], named: str
) -> None:
    outcome = medctx("launch", "slurm", "--gpus-per-node", 1, "--dry-run", *arguments)
    assert outcome.code == 2 and named in outcome.err and outcome.out == ""
