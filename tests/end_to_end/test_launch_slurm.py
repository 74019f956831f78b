"""A study launched on SLURM, as a user launches it: sbatch, srun and scontrol are stand-ins, Ray and the trials are real.

Two Ray nodes start on this machine, each with one CPU and one logical GPU.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from standins import NODES, SBATCH, SCONTROL, SRUN, environment, install

pytestmark = pytest.mark.whole_machine

STUDY = """
question: Do two trials run on two nodes?
base: {dataset: phantom, architecture: unet, method: supervised, shots: 2, recipe: {overlap: 0.0, steps: 2}}
grid: {seed: [0, 1]}
keep: none
"""


JOB = str(os.getpid())  # Ray's port and scratch folder follow from it
SCRATCH = Path(f"/tmp/medctx-{JOB}")


class Launched:
    """A job that stand-ins run on this machine."""

    def __init__(self, folder: Path, *options: str, **values: str) -> None:
        self.folder, self.bin = folder, folder / "bin"
        install(self.bin, sbatch=SBATCH, srun=SRUN, scontrol=SCONTROL)
        (folder / "two.yaml").write_text(STUDY)
        logical = {"RAY_OVERRIDE_RESOURCES": json.dumps({"GPU": 1}), "STANDIN_JOB": JOB}
        command = [sys.executable, "-m", "harness", "launch", "slurm", "--nodes", "2", "--gpus-per-node", "1"]
        self.submitted = subprocess.run(
            [*command, *options, "two.yaml", "--results", "results"],
            cwd=folder, env=environment(self.bin, **logical, **values), capture_output=True, text=True, check=True,
        )  # fmt: skip

    def status(self, seconds: float) -> int:
        """Return the job's exit status, once it has ended."""
        until = time.monotonic() + seconds
        path = self.bin / "job.rc"
        while not (path.exists() and path.read_text()):
            assert time.monotonic() < until, f"the job goes on:\n{self.log()}"
            time.sleep(0.2)
        return int(path.read_text())

    def log(self) -> str:
        return (self.folder / "results" / "launch" / f"two-{JOB}.log").read_text()

    def processes(self) -> list[psutil.Process]:
        """Return the living processes that the job has started."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("STANDINS") == str(self.bin):
                    mine.append(process)
            except psutil.Error:
                continue
        return mine

    def left(self, seconds: float) -> list[list[str]]:
        """Return the commands that still run after so many seconds, or earlier where none does."""
        until = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        return [process.cmdline() for process in left]

    def end(self) -> None:
        """Stop what still runs."""
        for process in self.processes():
            process.send_signal(signal.SIGKILL)
        shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.mark.slow
def test_a_study_runs_on_two_nodes(tmp_path: Path) -> None:
    job = Launched(tmp_path, "--join-seconds", "90", "--workers", "2")
    try:
        assert f"Submitted batch job {JOB}" in job.submitted.stdout
        assert job.status(240) == 0, job.log()
        assert job.left(2) == []
        assert not SCRATCH.exists()
    finally:
        job.end()
    log = job.log()
    assert "2 of 2 nodes, 2 of 2 GPUs" in log and "report:" in log
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").glob("trials/*/trial.json")]
    assert [record["status"] for record in records] == ["complete", "complete"], log
    assert not list((tmp_path / "results" / "launch").glob("token-*"))


@pytest.mark.slow
def test_a_missing_node_ends_the_job_with_expected_and_seen(tmp_path: Path) -> None:
    job = Launched(tmp_path, "--join-seconds", "20", STANDIN_MISSING=NODES[1])
    try:
        assert job.status(120) == 1, job.log()
        assert job.left(2) == []
    finally:
        job.end()
    table = [line.split() for line in job.log().splitlines() if line.startswith("  ")]
    assert "not complete after 20 s: 1 of 2 nodes, 1 of 2 GPUs" in job.log()
    assert ["127.0.0.2", "1", "GPU", "1", "GPU", "127.0.0.2"] in table, job.log()
    assert ["127.0.0.3", "1", "GPU", "nothing", "-"] in table, job.log()
    assert not list((tmp_path / "results").glob("trials/*")), "a trial was run"
