"""Stand-ins for a scheduler's commands, as programs on PATH that do on this machine what the real ones do on many."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

NODES = ("127.0.0.2", "127.0.0.3")  # a node's name is its address: both are this machine

# Returns at once, as sbatch does; the job's status lies in job.rc when it has ended.
SBATCH = """#!/usr/bin/env bash
echo "$@" >"$STANDINS/sbatch.called"
log=$(sed -n 's/^#SBATCH --output="\\{0,1\\}\\([^"]*\\)"\\{0,1\\}$/\\1/p' "$1")
export SLURM_JOB_ID=$STANDIN_JOB SLURM_JOB_NODELIST=all SLURM_CPUS_ON_NODE=1
( bash "$1" >"${log//%j/$STANDIN_JOB}" 2>&1 & echo $! >"$STANDINS/job.pid"; wait $!; echo $? >"$STANDINS/job.rc" ) \\
  >/dev/null 2>&1 </dev/null &
echo "Submitted batch job $STANDIN_JOB"
"""
# Runs the command once for each node that is not excluded and is not missing.
SRUN = """#!/usr/bin/env bash
excluded=
while [[ $1 == --* ]]; do
  case $1 in --exclude=*) excluded=${1#*=} ;; esac
  shift
done
trap 'kill $(jobs -p) 2>/dev/null' TERM
for node in $STANDIN_NODES; do
  case " $excluded $STANDIN_MISSING " in *" $node "*) continue ;; esac
  SLURMD_NODENAME=$node "$@" &
done
wait
wait
"""
SCONTROL = """#!/usr/bin/env bash
case $1 in
  show) for node in $STANDIN_NODES; do echo "$node"; done ;;
  requeue) echo "$2" >"$STANDINS/requeued" ;;
esac
"""


def install(folder: Path, **programs: str) -> None:
    """Write programs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in programs.items():
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)


def environment(folder: Path, **values: str) -> Mapping[str, str]:
    """Return an environment in which the programs of a folder are found first."""
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    known = {"STANDINS": str(folder), "STANDIN_NODES": " ".join(NODES), "STANDIN_JOB": "4242"}
    return {**os.environ, "PATH": path, **known, **values}
