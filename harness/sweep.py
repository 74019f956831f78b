"""Only Ray: spreads trials over workers, each exactly once.

Which trials, and in what state, is decided by the records on disk and not by Ray: Tune starts actors, keeps
them for the next trial and tells when one dies. A trial whose worker died is handed out again and goes on
from its checkpoint; after three losses it is published as failed.
"""

from __future__ import annotations

import logging
import os
import shutil
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")  # we resume from our own records
os.environ.setdefault("RAY_TUNE_DISABLE_SIGINT_HANDLER", "1")

import ray
from ray import tune
from ray.tune.search import Searcher

from harness.agenda import Agenda, Work, publish_failure
from harness.errors import UserError
from harness.record import Cause
from harness.spec import TrialSpec
from harness.store import Process, Store

_LOSSES = 3  # of a trial's worker, before the trial counts as failed


class _Handout(Searcher):
    """Passes on what the agenda says; a trial whose worker died goes to the front again."""

    def __init__(self, agenda: Agenda, shared: dict[str, Any], store: Store) -> None:
        super().__init__(metric="done", mode="max")
        self._agenda, self._shared, self._store = agenda, shared, store
        self._handed: dict[str, TrialSpec] = {}
        self._lost: dict[str, int] = {}
        self._driver = Process.this()

    def suggest(self, trial_id: str) -> Any:
        task = self._agenda.next()
        if task is None:
            return Searcher.FINISHED if self._agenda.finished else None
        self._handed[trial_id] = task.spec
        return {"spec": task.spec.model_dump(mode="json"), "pause_at": task.pause_at, **self._shared}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        spec = self._handed.pop(trial_id)
        if error or (result and result.get("error")):
            self._store.drop_claim(spec.id, self._driver)
        if result and result.get("error"):
            publish_failure(spec, self._store, Cause(kind="error", **result["error"]))
        if not error:
            self._agenda.returned(spec.id)
            return
        self._lost[spec.id] = self._lost.get(spec.id, 0) + 1
        if self._lost[spec.id] >= _LOSSES:
            times = self._lost[spec.id]
            message = f"its worker died {times} times (killed, out of host memory, or its node was lost)"
            publish_failure(spec, self._store, Cause(kind="worker_lost", message=message))
        self._agenda.again(spec.id)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restart of its own; a generator of work has no pickle, and we need none

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Worker(tune.Trainable):
    """An actor that runs one trial after another, and pays for imports once."""

    def setup(self, config: dict[str, Any]) -> None:
        from harness.trial import run_trial  # noqa: F401 - the imports are the point

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        from harness.trial import RunSettings, run_trial

        config = self.config
        root = config["data_root"]
        settings = RunSettings(
            results=Path(config["results"]),
            data_root=Path(root) if root else None,
            keep=config["keep"],
            checkpoint_minutes=config["checkpoint_minutes"],
            driver=Process(**config["driver"]),
            pause_at=config["pause_at"],
        )
        try:
            run_trial(TrialSpec.model_validate(config["spec"]), settings)
        except (
            Exception
        ) as error:  # outside of what a trial answers for, such as an unwritable results folder
            text = traceback.format_exc()[-4000:]
            return {"done": True, "error": {"message": f"{error}"[:500], "traceback": text}}
        return {"done": True}


def sweep(
    work: Iterator[Work],
    store: Store,
    *,
    data_root: Path | None,
    keep: str,
    workers: int | None,
    threads: int = 1,
    address: str | None = None,
    checkpoint_minutes: float = 5.0,
) -> None:
    """Run ``work`` until each of its trials has ended.

    Args:
        work: trials that are not complete; drawn one after the other.
        store: where records go.
        data_root: folder of the datasets, the same on all nodes.
        keep: predictions to keep, ``all`` or ``none``.
        workers: trials at a time; by default as many as the GPUs, or the CPU cores, allow.
        threads: the largest number of CPU threads that a trial takes.
        address: of a running Ray cluster; by default Ray is started on this machine.
        checkpoint_minutes: between a trial's checkpoints.
    """
    shared = {
        "results": str(store.results),
        "data_root": str(data_root.resolve()) if data_root else None,
        "keep": keep,
        "checkpoint_minutes": checkpoint_minutes,
        "driver": asdict(Process.this()),
    }
    _run_on_ray(_Handout(Agenda(work, store), shared, store), store, threads, workers, address)


def _run_on_ray(
    handout: _Handout, store: Store, threads: int, workers: int | None, address: str | None
) -> None:
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    start: dict[str, Any] = {"address": address}
    if address is None:
        cores = (workers or _cores() // threads or 1) * threads
        start = {"address": "local", "num_cpus": cores, "include_dashboard": False}
        start["object_store_memory"] = 100 * 2**20
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **start)
    except Exception as error:
        if address is None:
            raise
        raise UserError(
            f"--address {address}", f"no connection ({error})", "the address of a running Ray cluster",
            "Start it, and set RAY_AUTH_TOKEN or its token file as the cluster has it.",
        ) from error  # fmt: skip
    scratch = store.results / "running" / f".tune-{uuid.uuid4().hex[:8]}"
    try:
        gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
        tuner = tune.Tuner(
            tune.with_resources(_Worker, {"cpu": threads, "gpu": gpus}),
            tune_config=tune.TuneConfig(
                search_alg=handout,
                num_samples=-1,
                max_concurrent_trials=workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()
    finally:
        ray.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
