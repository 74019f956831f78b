"""A batch script for SLURM that starts Ray on its nodes, waits for all of them, and runs a study."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join, quote

from harness.cluster import PAUSE_SECONDS
from harness.errors import UserError

# minutes, minutes:seconds, [days-]hours:minutes:seconds
_TIME = re.compile(r"\d+|\d+:\d+(:\d+)?|\d+-\d+(:\d+){0,2}")


@dataclass(frozen=True)
class SlurmJob:
    """What is asked of SLURM, and what runs there.

    Attributes:
        study: name of the study.
        run_arguments: of ``medctx run``, the study among them.
        nodes: number of nodes.
        gpus_per_node: 0 for none.
        results, data, cache: absolute folders, the same on all nodes.
        folder: where the driver runs; names of the study's own modules are looked up there.
        setup: a line of shell that makes ``medctx`` and ``ray`` known.
        join_seconds: how long nodes may take to join.
        cpus_per_node, time, partition, account: None leaves them to SLURM.
        extra: more options of sbatch.
    """

    study: str
    run_arguments: tuple[str, ...]
    nodes: int
    gpus_per_node: int
    results: Path
    data: Path | None
    cache: Path
    folder: Path
    setup: str
    join_seconds: int
    cpus_per_node: int | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    extra: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Where the script is written."""
        return self.results / "launch" / f"{self.study}.sh"

    @property
    def log(self) -> Path:
        """Where SLURM writes what the job says; ``%j`` is the job's number."""
        return self.results / "launch" / f"{self.study}-%j.log"


def slurm_script(job: SlurmJob) -> str:
    """Return the batch script.

    Raises:
        UserError: a value that SLURM would not understand.
    """
    if job.time and not _TIME.fullmatch(job.time):
        raise UserError("--time", repr(job.time), "a time as SLURM has it", "Write for example 24:00:00.")
    head = ["#!/usr/bin/env bash", *(f"#SBATCH {option}" for option in _options(job))]
    head += ["", "# Written by 'medctx launch slurm'; the same command goes on where this job was stopped."]
    head += ["set -eo pipefail", f"cd {quote(str(job.folder))}"]
    head += ["# shellcheck disable=SC1090,SC1091", job.setup, *_variables(job)]
    return "\n".join(head) + "\n" + (Path(__file__).parent / "slurm.sh").read_text()


def _options(job: SlurmJob) -> Iterator[str]:
    yield _option("job-name", f"medctx-{job.study}")
    yield _option("nodes", str(job.nodes))
    yield "--ntasks-per-node=1"
    if job.gpus_per_node:
        yield _option("gpus-per-node", str(job.gpus_per_node))
    if job.cpus_per_node:
        yield _option("cpus-per-task", str(job.cpus_per_node))
    for name in ("time", "partition", "account"):
        if value := getattr(job, name):
            yield _option(name, value)
    yield _option("output", str(job.log))
    yield f"--signal=B:USR1@{PAUSE_SECONDS}"  # to the script alone, this long before the time limit
    yield from ("--open-mode=append", "--requeue", "--no-kill")  # a lost node costs its trials, not the job
    for option in job.extra:
        if not option.startswith("-") or "\n" in option:
            raise UserError(
                "--extra-sbatch", repr(option), "an option of sbatch", "Write for example '--qos=high'."
            )
        yield option


def _option(name: str, value: str) -> str:
    if "\n" in value or '"' in value:
        raise UserError(f"--{name}", repr(value), "a value without quotes and line breaks", "Choose another.")
    return f'--{name}="{value}"' if re.search(r"\s", value) else f"--{name}={value}"


def _variables(job: SlurmJob) -> Iterator[str]:
    step = [f"--gpus-per-node={job.gpus_per_node}"] if job.gpus_per_node else []
    step += [f"--cpus-per-task={job.cpus_per_node}"] if job.cpus_per_node else []
    yield f"nodes={job.nodes} gpus={job.nodes * job.gpus_per_node} join_seconds={job.join_seconds}"
    yield f"results={quote(str(job.results))}"
    yield f"cache={quote(str(job.cache))}"
    yield f"data_options=({join(['--data', str(job.data)] if job.data else [])})"
    yield f"step_options=({join(step)})"
    yield "# shellcheck disable=SC2016 # an argument is taken as it stands"
    yield f"run_arguments=({join(job.run_arguments)})"


def submit(job: SlurmJob) -> str:
    """Write the script, submit it, and return what sbatch says.

    Raises:
        UserError: there is no sbatch, or it refuses the script.
    """
    require("sbatch", "SLURM's command", "Log in to a node of the cluster, or see the script with --dry-run.")
    script = slurm_script(job)
    job.path.parent.mkdir(parents=True, exist_ok=True)
    job.path.write_text(script)
    return run_tool(["sbatch", str(job.path)])


def require(command: str, what: str, remedy: str) -> None:
    """Raise UserError where a command is not on PATH."""
    if shutil.which(command) is None:
        raise UserError(command, "no such command on PATH", what, remedy)


def run_tool(command: Sequence[str], text: str | None = None) -> str:
    """Return what a scheduler's command prints.

    Raises:
        UserError: it fails.
    """
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UserError(
            join(command), f"status {done.returncode}: {(done.stderr or done.stdout).strip()}", "status 0",
            "Correct what it names; --dry-run shows what was given to it.",
        )  # fmt: skip
    return done.stdout.strip()
