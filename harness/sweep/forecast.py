"""What a study will take: time, device-hours and disk, from its own records and from what was probed."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from harness.console import counted
from harness.records.schema import TrialRecord
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.cells import Cell
from harness.sweep.packing import Need, arm_key, read_needs, trials_at_a_time

_SAMPLE = 3  # records of one arm that are read
_GIB = 2**30


@dataclass(frozen=True)
class ArmForecast:
    """Trials that take the same, and what one of them takes, if that is known.

    Attributes:
        spec: of one of them.
        trials: all that the study plans; ``missing`` of them are neither complete nor published.
        need: None where neither a record nor a probe tells.
    """

    spec: TrialSpec
    trials: int
    missing: int
    need: Need | None

    @property
    def seconds(self) -> float:
        """Of one trial; 0 where it is unknown."""
        if self.need is None:
            return 0.0
        return self.need.seconds_per_step * self.spec.recipe.steps + self.need.seconds_beside


def arms_of(cells: Sequence[Cell], store: Store, published: Container[str] = ()) -> list[ArmForecast]:
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
        arms.append(ArmForecast(specs[0], len(specs), len(missing), need))
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


def summary(arms: Sequence[ArmForecast], workers: int, gpus: int, to_come: int = 0) -> list[str]:
    """Return the forecast in lines for people; of the trials of searches that are ``to_come`` only the number is known."""
    missing = sum(arm.missing for arm in arms)
    known = [arm for arm in arms if arm.need is not None]
    lines = [f"{counted(missing, 'trial')} to run, in {counted(len(arms), 'arm')}"]
    if to_come:
        lines.append(f"and {to_come} to come of searches, which are not part of what follows")
    if not missing:
        return lines
    if not known:
        return [*lines, "no arm has run or been probed: 'medctx plan STUDY --probe' measures what they take"]
    unknown = sum(arm.missing for arm in arms if arm.need is None)
    if unknown:
        lines.append(f"without {counted(unknown, 'trial')} of arms that have not run or been probed:")
    hours = sum(arm.missing * arm.seconds for arm in known) / 3600
    if gpus:
        device_hours = sum(arm.missing * arm.seconds * _share(arm) for arm in known) / 3600
        # trials at a time are bounded by workers and by what the GPUs hold
        wall = max(device_hours / gpus, hours / workers)
        lines.append(f"about {device_hours:.2f} GPU-hours in {hours:.2f} trial-hours")
    else:
        device_hours = sum(arm.missing * arm.seconds * arm.spec.recipe.threads for arm in known) / 3600
        wall = hours / workers
        lines.append(f"about {device_hours:.2f} core-hours in {hours:.2f} trial-hours")
    lines.append(f"about {wall:.2f} hours with {workers} workers")
    kept = sum(arm.missing * arm.need.bytes_kept for arm in known if arm.need)
    running = workers * max((arm.need.bytes_running for arm in known if arm.need), default=0)
    lines.append(
        f"disk: about {kept / _GIB:.2f} GiB of records and predictions, {running / _GIB:.2f} GiB while trials run"
    )
    return lines


def _share(arm: ArmForecast) -> float:
    return arm.need.share if arm.need else 1.0


def row(arm: ArmForecast, gpus: int) -> dict[str, str]:
    """Return an arm and what it takes, as a row of a table."""
    spec, need = arm.spec, arm.need
    cells = {
        "method": spec.method.name + (" (pretraining)" if spec.kind == "pretrain" else ""),
        "architecture": spec.architecture.name,
        "trials": str(arm.trials),
        "missing": str(arm.missing),
    }
    if need is None:
        return cells | dict.fromkeys(("device", "memory", "s/step", "s/trial"), "?")
    cells |= {
        "device": need.device,
        "memory": f"{need.memory / _GIB:.2f} GiB",
        "s/step": f"{need.seconds_per_step:.3g}",
        "s/trial": f"{arm.seconds:.3g}",
    }
    if gpus:
        cells["share"] = f"{need.share:.3g} GPU, {trials_at_a_time(need.share, 1)} at a time"
    return cells
