"""How much of a device a trial takes, so that several fit on one: measured for each arm, kept with the results."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.console import counted
from harness.evaluation.workers import default_loaders
from harness.files.whole import write_text
from harness.spec import TrialSpec, digest, plain

_FILE = "shares.json"
_MARGIN = 1.15  # of the measured peak: fragments, and cases larger than the probed one
_CONTEXT = 0.6 * 2**30  # bytes that a process takes on a GPU before it allocates anything
_WORTH_A_WORD = 0.05  # of the time that a device waits
_PARTS = (8, 6, 5, 4, 3, 2, 1)  # a GPU is divided into equal parts


@dataclass(frozen=True)
class Need:
    """What a trial of one arm takes on one kind of device.

    Attributes:
        device: where it was measured.
        memory: peak bytes on the device, or of the process on a CPU.
        seconds_per_step: of training; without its batch, where that was timed.
        share: of one GPU; 1 where there is none.
        seconds_beside: of a whole trial outside of its steps: preparation, test.
        bytes_running: on disk while a trial runs: its checkpoints.
        bytes_kept: on disk of a finished trial.
        seconds_per_batch: that one core takes to draw one; 0 where it was not timed apart.
    """

    device: str
    memory: int
    seconds_per_step: float
    share: float = 1.0
    seconds_beside: float = 0.0
    bytes_running: int = 0
    bytes_kept: int = 0
    seconds_per_batch: float = 0.0

    @property
    def loaders(self) -> int:
        """How many keep a device from waiting: the seconds of a batch over those of a step."""
        return math.ceil(self.seconds_per_batch / self.seconds_per_step - 1e-9)

    def seconds_with(self, loaders: int) -> float:
        """Return the seconds from one update to the next with batches drawn by ``loaders``, or with 0 before each step."""
        if not loaders:
            return self.seconds_per_step + self.seconds_per_batch
        return max(self.seconds_per_step, self.seconds_per_batch / loaders)

    def waiting(self, loaders: int) -> float:
        """Return the share of time for which the device then has no batch to compute on."""
        return 1 - self.seconds_per_step / self.seconds_with(loaders)


def arm_key(spec: TrialSpec) -> str:
    """Return what trials have in common that take the same: all but seed, cases and length."""
    recipe = {key: value for key, value in plain(spec.recipe).items() if key != "steps"}
    return digest([spec.kind, spec.dataset.name, plain(spec.architecture), plain(spec.method), recipe])


def share_for(memory: float, capacity: float) -> float:
    """Return the smallest equal part of a GPU of ``capacity`` bytes that holds a peak of ``memory`` bytes."""
    needed = memory * _MARGIN + _CONTEXT
    return next((1 / parts for parts in _PARTS if needed <= capacity / parts), 1.0)


def loaders_for(need: Need | None, share: float, cores_per_gpu: float, threads: int) -> int:
    """Return how many loaders a trial gets that has a share of a GPU and, of its cores, the same."""
    needed = need.loaders if need and need.seconds_per_batch else None
    return default_loaders(cores_per_gpu * share, threads, needed)


def starvation(spec: TrialSpec, need: Need, cores_per_gpu: float) -> str:
    """Return in a sentence how long a GPU waits for the batches of an arm; empty where that is next to nothing."""
    found = max(
        1, loaders_for(need, need.share, cores_per_gpu, spec.recipe.threads)
    )  # without loaders, a thread
    waiting = need.waiting(found)
    if waiting <= _WORTH_A_WORD:
        return ""
    return (
        f"{spec.method.name} on {spec.architecture.name} needs {counted(need.loaders, 'loader')} "
        f"({need.seconds_per_batch:.2g} s a batch, {need.seconds_per_step:.2g} s a step), and its part of "
        f"{cores_per_gpu:g} cores a GPU allows {found}: the GPU waits {100 * waiting:.0f} % of the time"
    )


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
