"""How much of a device a trial takes, so that several fit on one: measured for each arm, kept with the results."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.files.whole import write_text
from harness.spec import TrialSpec, digest, plain

_FILE = "shares.json"
_MARGIN = 1.15  # of the measured peak: fragments, and cases larger than the probed one
_CONTEXT = 0.6 * 2**30  # bytes that a process takes on a GPU before it allocates anything
_PARTS = (8, 6, 5, 4, 3, 2, 1)  # a GPU is divided into equal parts


@dataclass(frozen=True)
class Need:
    """What a trial of one arm takes on one kind of device.

    Attributes:
        device: where it was measured.
        memory: peak bytes on the device, or of the process on a CPU.
        seconds_per_step: of training.
        share: of one GPU; 1 where there is none.
        seconds_beside: of a whole trial outside of its steps: preparation, test.
        bytes_running: on disk while a trial runs: its checkpoints.
        bytes_kept: on disk of a finished trial.
    """

    device: str
    memory: int
    seconds_per_step: float
    share: float = 1.0
    seconds_beside: float = 0.0
    bytes_running: int = 0
    bytes_kept: int = 0


def arm_key(spec: TrialSpec) -> str:
    """Return what trials have in common that take the same: all but seed, cases and length."""
    recipe = {key: value for key, value in plain(spec.recipe).items() if key != "steps"}
    return digest([spec.kind, spec.dataset.name, plain(spec.architecture), plain(spec.method), recipe])


def share_for(memory: float, capacity: float) -> float:
    """Return the smallest equal part of a GPU of ``capacity`` bytes that holds a peak of ``memory`` bytes."""
    needed = memory * _MARGIN + _CONTEXT
    return next((1 / parts for parts in _PARTS if needed <= capacity / parts), 1.0)


def larger_share(share: float) -> float:
    """Return the share to try after one was too small: twice as much, up to a whole GPU."""
    return min(1.0, 2 * share)


def read_needs(results: Path) -> dict[str, Need]:
    """Return the measured needs by arm, as far as they are known."""
    path = results / _FILE
    if not path.is_file():
        return {}
    return {key: Need(**value) for key, value in json.loads(path.read_text()).items()}


def write_needs(results: Path, needs: dict[str, Need]) -> None:
    """Add needs to those that are known."""
    results.mkdir(parents=True, exist_ok=True)
    known = read_needs(results) | needs
    write_text(results / _FILE, json.dumps({key: asdict(need) for key, need in known.items()}, indent=1))


def trials_at_a_time(share: float, gpus: int) -> int:
    """Return how many trials of one share run on a number of GPUs."""
    return gpus * math.floor(1 / share + 1e-9)
