"""What a study will take: time, device-hours and disk, from its own records and from what was probed."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from harness.console import counted
from harness.evaluation.workers import usable_cores
from harness.progress.missing import Standing
from harness.records.schema import TrialRecord
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.cells import Cell
from harness.sweep.gpus import count_gpus
from harness.sweep.packing import Need, arm_key, loaders_for, read_needs, starvation, trials_at_a_time

_SAMPLE = 3  # records of one arm that are read
_GIB = 2**30


@dataclass(frozen=True)
class ArmForecast:
    """Trials that take the same, and what one of them takes, if that is known.

    Attributes:
        spec: of one of them.
        trials: all that the study plans; ``missing`` of them are neither complete nor published.
        need: None where neither a record nor a probe tells.
        cores_per_gpu: of this machine; 0 without a GPU.
    """

    spec: TrialSpec
    trials: int
    missing: int
    need: Need | None
    cores_per_gpu: float = 0.0

    @property
    def loaders(self) -> int:
        """How many draw for one trial on a GPU, if only a thread; 0 on a CPU, where it draws before each step."""
        if not self.cores_per_gpu:
            return 0
        threads = self.spec.recipe.threads
        return max(1, loaders_for(self.need, _share(self), self.cores_per_gpu, threads))

    @property
    def seconds(self) -> float:
        """Of one trial; 0 where it is unknown."""
        if self.need is None:
            return 0.0
        return self.need.seconds_with(self.loaders) * self.spec.recipe.steps + self.need.seconds_beside


def arms_of(
    cells: Sequence[Cell], store: Store, published: Container[str] = (), cores_per_gpu: float = 0.0
) -> list[ArmForecast]:
    """Return the arms of a study in its order; trials that are ``published`` need not be run."""
    groups: dict[str, list[TrialSpec]] = {}
    for cell in cells:
        groups.setdefault(arm_key(cell.spec), []).append(cell.spec)
    probed = read_needs(store.results)
    arms = []
    for key, specs in groups.items():
        complete = [spec for spec in specs if store.status(spec.id) == "complete"]
        need = probed.get(key) or _from_records(complete, store)
        missing = [spec for spec in specs if spec not in complete and spec.id not in published]
        arms.append(ArmForecast(specs[0], len(specs), len(missing), need, cores_per_gpu))
    return arms


def _from_records(specs: Sequence[TrialSpec], store: Store) -> Need | None:
    """Return the mean need of trials that have run."""
    found = [record for spec in specs[:_SAMPLE] if (record := store.record(spec.id)) and record.cost]
    if not found:
        return None
    return Need(
        device=found[0].environment.device if found[0].environment else "",
        memory=max(record.cost.peak_memory for record in found if record.cost),
        seconds_per_step=_mean(record.cost.seconds_per_step for record in found if record.cost),
        seconds_beside=_mean(record.cost.seconds_testing for record in found if record.cost),
        bytes_kept=int(_mean(_size(record, store) for record in found)),
    )


def _mean(values: Iterator[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _size(record: TrialRecord, store: Store) -> float:
    return sum(path.stat().st_size for path in (store.trials / record.id).rglob("*") if path.is_file())


@dataclass(frozen=True)
class Forecast:
    """What a study will take.

    Attributes:
        arms: those that its file declares.
        workers: trials at a time.
        gpus: of this machine.
        to_come: trials of searches, of which only the number is known: each suggestion is an arm of its own.
        published_note: what to say of published trials that are not here yet.
    """

    arms: Sequence[ArmForecast]
    workers: int
    gpus: int
    to_come: int = 0
    published_note: str = ""

    def rows(self) -> list[dict[str, str]]:
        """Return each arm and what it takes, as rows of a table; none where nothing is known of any."""
        return [_row(arm, self.gpus) for arm in self.arms] if any(arm.need for arm in self.arms) else []

    def lines(self) -> list[str]:
        """Return the whole in lines for people."""
        missing = sum(arm.missing for arm in self.arms)
        known = [arm for arm in self.arms if arm.need is not None]
        lines = [f"{counted(missing, 'trial')} to run"]
        if self.to_come:
            lines.append(f"and {self.to_come} to come of searches, which are not part of what follows")
        if not missing:
            return lines
        if not known:
            lines.append(
                "none of their kind has run here: 'medctx plan STUDY --probe' measures what they take"
            )
            return lines
        unknown = sum(arm.missing for arm in self.arms if arm.need is None)
        if unknown:
            lines.append(
                f"without {counted(unknown, 'trial')} of a kind that has not run here or been probed:"
            )
        return [*lines, *self._hours(known), self._disk(known), *self._starved(known)]

    def _hours(self, known: Sequence[ArmForecast]) -> list[str]:
        hours = sum(arm.missing * arm.seconds for arm in known) / 3600
        if self.gpus:
            device_hours = sum(arm.missing * arm.seconds * _share(arm) for arm in known) / 3600
            # trials at a time are bounded by workers and by what the GPUs hold
            wall = max(device_hours / self.gpus, hours / self.workers)
        else:
            device_hours = sum(arm.missing * arm.seconds * arm.spec.recipe.threads for arm in known) / 3600
            wall = hours / self.workers
        device = "GPU" if self.gpus else "core"
        return [
            f"about {device_hours:.2f} {device}-hours in {hours:.2f} trial-hours",
            f"about {wall:.2f} hours with {self.workers} workers",
        ]

    def _starved(self, known: Sequence[ArmForecast]) -> Iterator[str]:
        """Yield what to say of arms for whose batches a GPU waits."""
        for arm in known if self.gpus else ():
            if arm.need and (sentence := starvation(arm.spec, arm.need, arm.cores_per_gpu)):
                yield sentence

    def _disk(self, known: Sequence[ArmForecast]) -> str:
        kept = sum(arm.missing * arm.need.bytes_kept for arm in known if arm.need)
        running = self.workers * max((arm.need.bytes_running for arm in known if arm.need), default=0)
        return (
            f"disk: about {kept / _GIB:.2f} GiB of records and predictions, "
            f"{running / _GIB:.2f} GiB while trials run"
        )


def forecast_of(standing: Standing, store: Store, workers: int | None = None) -> Forecast:
    """Return what a study will take; ``workers`` are by default as many as the GPUs, or the cores, allow."""
    cells, gpus, cores = standing.declared_cells, count_gpus(), usable_cores()
    threads = max((cell.spec.recipe.threads for cell in cells), default=1)
    return Forecast(
        arms_of(cells, store, standing.published, cores / gpus if gpus else 0.0),
        workers or max(1, gpus or cores // threads),
        gpus,
        standing.to_come,
        standing.published_note(),
    )


def _share(arm: ArmForecast) -> float:
    return arm.need.share if arm.need else 1.0


def _row(arm: ArmForecast, gpus: int) -> dict[str, str]:
    """Return an arm and what it takes, as a row of a table."""
    spec, need = arm.spec, arm.need
    cells = {
        "method": spec.method.name + (" (pretraining)" if spec.kind == "pretrain" else ""),
        "architecture": spec.architecture.name,
        "trials": str(arm.trials),
        "to run": str(arm.missing),
    }
    if need is None:
        return cells | dict.fromkeys(("device", "memory", "s/step", "s/trial"), "not known")
    cells |= {
        "device": need.device,
        "memory": f"{need.memory / _GIB:.2f} GiB",
        "s/step": f"{need.seconds_per_step:.3g}",
        "s/trial": f"{arm.seconds:.3g}",
    }
    if need.seconds_per_batch:
        cells["s/batch"] = f"{need.seconds_per_batch:.3g}"
    if gpus and need.seconds_per_batch:
        cells["loaders"] = f"{need.loaders} needed, {arm.loaders} here"
    if gpus:
        cells["share"] = f"{need.share:.3g} GPU, {trials_at_a_time(need.share, 1)} at a time"
    return cells
