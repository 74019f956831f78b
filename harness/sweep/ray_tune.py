"""Only Ray: spreads trials over workers, each exactly once.

Which trials, and in what state, is decided by the records on disk and not by Ray: Tune starts actors, keeps
them for the next trial of the same share and tells when one dies. What becomes of a trial that was put down
or lost is the rule of its fault (:mod:`harness.records.faults`).
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "600")  # we resume from our own records
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "8")  # actors that start at the same time

import ray
from ray import tune
from ray.tune.search import Searcher

from harness.errors import Interrupted, UserError
from harness.evaluation.workers import usable_cores
from harness.records import preemption
from harness.records.claims import Process
from harness.records.faults import LOSSES, cause_of, is_out_of_room, rule_of
from harness.records.schema import Cause
from harness.records.store import Store
from harness.spec import TrialSpec, canonical_json, plain
from harness.sweep.address import reachable_address
from harness.sweep.agenda import Agenda, Work, publish_failure
from harness.sweep.disk import DiskRoom
from harness.sweep.packing import arm_key, larger_share, read_needs
from harness.trial.settings import RunSettings

_RUN_TRIAL = "harness.trial.run:run_trial"
_LOW_ON_MEMORY = "low on memory"  # in what Ray says of a worker that it has killed for that
_SAID = 20  # lines of Ray's message that are kept
_STARTS = 3  # tries to start Ray here: on a busy machine its own 30 s may not be enough
_GRACE = 10.0  # seconds that Ray gets to end after all trials are put down
_LOOK = 0.2  # seconds between looks at a request to stop


class _Handout(Searcher):
    """Passes on what the agenda says, with the resources for it, and applies the rule of each fault."""

    def __init__(
        self,
        agenda: Agenda,
        store: Store,
        *,
        workers: int | None,
        gpus: bool,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(metric="done", mode="max")
        self._agenda, self._store, self._workers, self._say = agenda, store, workers, say
        self._shares = {key: need.share for key, need in read_needs(store.results).items()} if gpus else {}
        self._gpus = gpus
        self._grown: dict[str, float] = {}
        self.handed: dict[str, TrialSpec] = {}  # by Tune's name
        self._losses: dict[str, int] = {}
        self._forgiven: dict[str, str] = {}  # a release already seen of a trial whose worker died
        self._failures: list[tuple[TrialSpec, Cause]] = []  # to be published
        self._room = DiskRoom(store, say)
        self._driver = Process.this()
        self.stopping = False
        self.error: Exception | None = None

    def suggest(self, trial_id: str) -> Any:
        if self.stopping:
            return Searcher.FINISHED
        if len(self.handed) == self._workers or not self._room.has_room():
            return None
        try:
            self._publish_failures()
            task = self._agenda.next()
        except OSError as error:
            self._wait_for_room(error)
            return None
        except Exception as error:  # a search that cannot go on; Tune would wrap it
            self.error = error
            raise
        if task is None:
            return Searcher.FINISHED if self._agenda.finished else None
        self.handed[trial_id] = task.spec
        return {
            "spec": canonical_json(plain(task.spec)),
            "pause_at": task.pause_at,
            "cpu": task.spec.recipe.threads,
            "gpu": self._share(task.spec),
        }

    def _share(self, spec: TrialSpec) -> float:
        """Return the share of a GPU for a trial, 0 where there is none."""
        if not self._gpus:
            return 0.0
        return self._grown.get(spec.id) or self._shares.get(arm_key(spec), 1.0)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        if error:
            return  # on_lost follows, and knows more
        spec = self.handed.pop(trial_id)
        cause = (result or {}).get("cause")
        if cause is None:
            self._agenda.returned(spec.id)
            return
        self._store.drop_claim(spec.id, self._driver)
        self._apply(spec, Cause.model_validate_json(cause))

    def on_lost(self, trial_id: str, message: str) -> None:
        """Apply the rule for a trial whose worker died, after having put it down or without."""
        spec = self.handed.pop(trial_id)
        lost = self._store.drop_claim(spec.id, self._driver)
        released = None if lost else self._store.released(spec.id)
        if released and self._forgiven.get(spec.id) != released.where:
            self._forgiven[spec.id] = released.where
            self._apply(spec, released.cause())
            return
        kind, text = "worker_lost", "its worker or node died"
        if _LOW_ON_MEMORY in message:
            kind, text = "out_of_host_memory", "Ray killed its worker since the node ran low on memory"
        said = "\n".join(message.splitlines()[1:_SAID])  # the first line is Tune's own
        self._apply(spec, Cause(kind=kind, message=text, traceback=said))

    def _apply(self, spec: TrialSpec, cause: Cause) -> None:
        rule, share = rule_of(cause.kind).now, self._share(spec)
        if rule == "again":
            self._losses[spec.id] = times = self._losses.get(spec.id, 0) + 1
            cause = cause.model_copy(update={"message": f"{times} times: {cause.message}"})
            rule = "fail" if times >= LOSSES else rule
        if rule == "fail" or (rule == "grow" and share in (0.0, 1.0)):
            self._failures.append((spec, cause))  # published before anything else is handed out
            return
        if rule == "grow":
            self._grown[spec.id] = larger_share(share)
            self._say(f"out of GPU memory: {spec.id} again with {larger_share(share):.2f} of a GPU")
        if rule == "wait":
            self._room.note_full(cause.message)
        self._agenda.retry(spec.id)  # "stop" too: its worker was asked to, and the run may go on elsewhere

    def _publish_failures(self) -> None:
        while self._failures:
            spec, cause = self._failures[0]
            publish_failure(spec, self._store, cause)
            self._failures.pop(0)
            self._agenda.returned(spec.id)

    def _wait_for_room(self, error: OSError) -> None:
        if not is_out_of_room(error):
            raise error
        self._room.note_full(str(error))

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return {}  # nothing to go on from: that is what the records are for


class _Losses(tune.Callback):
    """Tells the handout what Ray says about the loss of a worker."""

    def __init__(self, handout: _Handout) -> None:
        self._handout = handout

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._handout.on_lost(trial.trial_id, Path(trial.error_file).read_text())

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Worker(tune.Trainable):
    """An actor that runs one trial after another, and pays for imports once."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return what one trial takes: its threads, and its share of a GPU."""
        return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]}])

    def setup(self, config: dict[str, Any], shared: dict[str, Any]) -> None:
        self._shared = shared
        module, _, name = shared["run"].partition(":")
        self._run = getattr(import_module(module), name)
        preemption.listen()  # over Ray's own handler, which would end the process at once

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        if preemption.is_signalled():
            ray.actor.exit_actor()
        shared = self._shared
        settings = RunSettings(
            results=Path(shared["results"]),
            data_root=Path(shared["data_root"]) if shared["data_root"] else None,
            keep=shared["keep"],
            checkpoint_minutes=shared["checkpoint_minutes"],
            driver=Process(**shared["driver"]),
            pause_at=self.config["pause_at"],
            share=self.config["gpu"] or 1.0,
            trackers=tuple(shared["trackers"]),
        )
        try:
            self._run(TrialSpec.model_validate_json(self.config["spec"]), settings)
        except Exception as error:  # what a trial does not answer for, such as a full disk
            if preemption.is_signalled():
                ray.actor.exit_actor()  # the trial is put down; this process takes no other
            return {"done": True, "cause": cause_of(error).model_dump_json()}  # Tune flattens mappings
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
    gpus: int | None = None,
    checkpoint_minutes: float = 5.0,
    trackers: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
    run: str = _RUN_TRIAL,
) -> None:
    """Run ``work`` until each of its trials has ended.

    Args:
        work: trials that are not complete; drawn one after the other.
        store: where records go.
        data_root: folder of the datasets, the same on all nodes.
        keep: what is kept of a finished trial, ``all``, ``none`` or ``scores``.
        workers: trials at a time; by default as many as the GPUs, or the CPU cores, allow.
        threads: the largest number of CPU threads that a trial takes.
        address: of a running Ray cluster; by default Ray is started on this machine.
        gpus: of this machine that Ray may use; by default all that it finds.
        checkpoint_minutes: between a trial's checkpoints.
        trackers: where the curves go beside the history: ``tensorboard``, ``mlflow``, ``wandb``.
        say: told in a sentence when the run waits, or gives a trial more.
        run: module and name of the function that runs a trial.

    Raises:
        Interrupted: it was asked to stop by SIGTERM, SIGUSR1 or Ctrl-C; all trials have been put down with a
            checkpoint, and the same call goes on.
    """
    driver = Process.this()
    stop_file = store.stop_file(driver)
    stop_file.create()
    preemption.listen(signal.SIGINT)
    try:
        _start_ray(workers, threads, gpus, address)
        preemption.listen(signal.SIGINT)  # Ray has put its own handlers in their place
        shared = {
            "results": str(store.results),
            "data_root": str(data_root.resolve()) if data_root else None,
            "keep": keep,
            "checkpoint_minutes": checkpoint_minutes,
            "driver": asdict(driver),
            "trackers": list(trackers),
            "run": run,
        }
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        handout = _Handout(Agenda(work, store), store, workers=workers, gpus=has_gpus, say=say)
        tuning = _Tuning(handout, shared)
        while not tuning.ended.wait(_LOOK):
            if preemption.is_signalled() and not handout.stopping:
                say("asked to stop: each running trial saves a checkpoint")
                handout.stopping = True
                stop_file.ask_to_stop()
            running = (spec.id for spec in list(handout.handed.values()))
            if handout.stopping and not any(store.status(id) == "running" for id in running):
                tuning.ended.wait(_GRACE)
                break
        tuning.raise_error()
        if handout.stopping:
            raise Interrupted("preempted", "stopped on request; the same command goes on")
    finally:
        gc.collect()  # what Tune has left: an object of Ray's that is freed after the shutdown ends the process
        ray.shutdown()
        stop_file.remove()


class _Tuning:
    """Tune in a thread of its own, so that this one hears signals, which Tune would take for itself."""

    def __init__(self, handout: _Handout, shared: dict[str, Any]) -> None:
        self._handout, self._shared = handout, shared
        self._error: BaseException | None = None
        self.ended = Event()
        Thread(target=self._fit, daemon=True).start()

    def _fit(self) -> None:
        try:
            self._tune()
        except BaseException as error:
            self._error = error
        finally:
            self.ended.set()

    def _tune(self) -> None:
        scratch = tempfile.mkdtemp(prefix="medctx-tune-")  # Tune's own files are of no use later
        try:
            tuner = tune.Tuner(
                tune.with_parameters(_Worker, shared=self._shared),
                tune_config=tune.TuneConfig(
                    search_alg=self._handout,
                    num_samples=-1,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[_Losses(self._handout)],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            tuner.fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def raise_error(self) -> None:
        """Raise what ended Tune before its time, if anything did."""
        error = self._handout.error or self._error
        if error is not None and not self._handout.stopping:
            raise error


def _start_ray(workers: int | None, threads: int, gpus: int | None, address: str | None) -> None:
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the records tell what went wrong
    start: dict[str, Any] = {"address": address and reachable_address(address)}
    if address is None:
        cores = (workers or usable_cores() // threads or 1) * threads
        start = {"address": "local", "num_cpus": cores, "num_gpus": gpus, "include_dashboard": False}
        start["object_store_memory"] = 100 * 2**20
    for more in reversed(range(_STARTS)):
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **start)
            return
        except Exception as error:
            ray.shutdown()
            if address is not None:
                raise UserError(
                    f"--address {address}", f"no connection ({error})", "the address of a running Ray cluster",
                    "Start it, and set RAY_AUTH_TOKEN or its token file as the cluster has it.",
                ) from error  # fmt: skip
            if not more:
                raise
