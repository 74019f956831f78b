"""Only Ray: spreads trials over workers, each exactly once.

Which trials, and in what state, is decided by the records on disk and not by Ray: Tune starts actors, keeps
them for the next trial of the same share and tells when one dies. What becomes of a trial that was put down
or lost is the rule of its fault (:mod:`harness.records.faults`).
"""

from __future__ import annotations

import gc
import logging
import math
import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from threading import Event, Thread
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # what is left of Tune after a stop starts no other Ray
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "600")  # we resume from our own records
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "8")  # actors that start at the same time
if os.path.expanduser("~") == "~":  # noqa: PTH111 - a user without an entry or HOME: Ray's modules ask when imported
    os.environ["HOME"] = str(Path(tempfile.gettempdir(), f"medctx-home-{os.getuid()}"))

import ray
from ray import tune
from ray.tune.result import NODE_IP
from ray.tune.search import Searcher
from ray.util.placement_group import NODE_ID_LABEL_KEY

from harness.errors import Interrupted, UserError
from harness.evaluation.workers import usable_cores
from harness.records import preemption
from harness.records.faults import cause_of
from harness.records.preemption import StopFile
from harness.records.schema import Cause
from harness.records.store import Store
from harness.spec import TrialSpec, canonical_json, plain
from harness.sweep.address import reachable_address
from harness.sweep.agenda import Agenda, Work
from harness.sweep.dispatch import Dispatcher
from harness.sweep.gpus import count_gpus
from harness.trial.settings import RunSettings

_RUN_TRIAL = "harness.trial.run:run_trial"
_STARTS = 3  # tries to start Ray here: on a busy machine its own 30 s may not be enough
_ADDRESS = "NodeManagerAddress"
_NODE_IN_MESSAGE = re.compile(r"\bip[:=] ?([0-9a-fA-F.:]+)")  # in what Ray says of an actor that died
_NODE_GONE = "its node has died"  # likewise; whoever is gone need not be kept off
_GRACE = 1.0  # seconds that Ray gets to end after all trials are put down
_PATIENCE = 60.0  # seconds until it is said that no worker has started
_NO_WORKER = (
    "no worker has started after a minute: look at the memory that the machine or its container has left, and at what "
    "'ray status' says of CPUs and GPUs"
)
LONGEST_FOLDER = 45  # letters of the folder of Ray's sockets, whose whole names have 107 at most
_LOOK = 0.2  # seconds between looks at a request to stop


class _Searcher(Searcher):
    """Gives Tune the jobs of a dispatcher."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(metric="done", mode="max")
        self._dispatcher = dispatcher

    def suggest(self, trial_id: str) -> Any:
        job = self._dispatcher.next(trial_id)
        if job is None:
            return Searcher.FINISHED if self._dispatcher.finished else None
        return {
            "spec": canonical_json(plain(job.spec)),
            "pause_at": job.pause_at,
            "cpu": job.spec.recipe.threads + job.loaders,
            "loaders": job.loaders,
            "gpu": job.share,
            "avoid": _labels_of(job.avoided),
        }

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        if error:
            return  # the callback below follows, and knows more
        found = result or {}
        cause = found.get("cause")
        node = str(found.get(NODE_IP, ""))
        self._dispatcher.returned(trial_id, Cause.model_validate_json(cause) if cause else None, node)

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return {}  # nothing to go on from: that is what the records are for


class _LossCallback(tune.Callback):
    """Tells the dispatcher what Ray says about the loss of a worker."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        message = Path(trial.error_file).read_text()
        named = None if _NODE_GONE in message else _NODE_IN_MESSAGE.search(message)
        self._dispatcher.lost(trial.trial_id, message, named[1] if named else "")

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Worker(tune.Trainable):
    """An actor that runs one trial after another, and pays for imports once."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return what one trial takes: cores for its threads and loaders, and its share of a GPU, not on nodes to avoid."""
        place = {"bundle_label_selector": [{NODE_ID_LABEL_KEY: config["avoid"]}]} if config["avoid"] else {}
        return tune.PlacementGroupFactory([{"CPU": config["cpu"], "GPU": config["gpu"]}], **place)

    def setup(self, config: dict[str, Any], settings: RunSettings, run: str) -> None:
        self._settings, self._run = settings, resolve_name(run)
        preemption.listen()  # over Ray's own handler, which would end the process at once

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        if preemption.is_signalled():
            ray.actor.exit_actor()
        own = {"pause_at": self.config["pause_at"], "share": self.config["gpu"] or 1.0}
        settings = replace(self._settings, **own, loaders=self.config["loaders"])
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
    loaders: int | None = None,
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
        loaders: processes that draw the batches of a trial; by default on a GPU as many as the cores allow, on the CPU none.
        checkpoint_minutes: between a trial's checkpoints.
        trackers: where the curves go beside the history: ``tensorboard``, ``mlflow``, ``wandb``.
        say: told in a sentence when the run waits, or gives a trial more.
        run: module and name of the function that runs a trial.

    Raises:
        UserError: no node has as many cores as one trial takes.
        Interrupted: it was asked to stop by SIGTERM, SIGUSR1 or Ctrl-C; all trials have been put down with a
            checkpoint, and the same call goes on.
    """
    root = data_root.resolve() if data_root else None
    settings = RunSettings(store.results, root, keep, checkpoint_minutes, trackers=tuple(trackers))
    stop_file = store.stop_file(settings.driver)
    stop_file.create()
    preemption.listen()  # Ctrl-C ends at once while Ray starts: nothing runs that could be lost
    try:
        if preemption.is_signalled():
            raise KeyboardInterrupt
        _start_ray(workers, threads, loaders, gpus, address)
        preemption.listen(signal.SIGINT)  # Ray has put its own handlers in their place
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        dispatcher = Dispatcher(
            Agenda(work, store, say), store, workers=workers, gpus=has_gpus, say=say, nodes=_addresses,
            loaders=loaders, cores_per_gpu=_cores_per_gpu(),
        )  # fmt: skip
        _run_tune(dispatcher, _Tuning(dispatcher, settings, run), store, stop_file, say)
    finally:
        gc.collect()  # what Tune has left: an object of Ray's that is freed after the shutdown ends the process
        ray.shutdown()
        stop_file.remove()


def _run_tune(
    dispatcher: Dispatcher,
    tuning: _Tuning,
    store: Store,
    stop_file: StopFile,
    say: Callable[[str], None],
) -> None:
    """Wait for Tune, and put all trials down where a signal asks for it."""
    look_for_workers = time.monotonic() + _PATIENCE
    while not tuning.ended.wait(_LOOK):
        if time.monotonic() > look_for_workers:
            look_for_workers = math.inf
            if dispatcher.running and not any(
                store.owner(spec.id) for spec in list(dispatcher.running.values())
            ):
                say(_NO_WORKER)
        if preemption.is_signalled() and not dispatcher.stopping:
            dispatcher.stopping = True
            stop_file.ask_to_stop()  # before a word is said: nobody may be listening any more
            say("asked to stop: each running trial saves a checkpoint")
        running = (spec.id for spec in list(dispatcher.running.values()))
        if dispatcher.stopping and not any(store.status(id) == "running" for id in running):
            tuning.ended.wait(_GRACE)
            break
    tuning.raise_error()
    if dispatcher.stopping:
        raise Interrupted("preempted", "stopped on request; the same command goes on")


class _Tuning:
    """Tune in a thread of its own, so that this one hears signals, which Tune would take for itself."""

    def __init__(self, dispatcher: Dispatcher, settings: RunSettings, run: str) -> None:
        self._dispatcher, self._settings, self._run = dispatcher, settings, run
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
                tune.with_parameters(_Worker, settings=self._settings, run=self._run),
                tune_config=tune.TuneConfig(
                    search_alg=_Searcher(self._dispatcher),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: trial.trial_id,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    verbose=0,
                    callbacks=[_LossCallback(self._dispatcher)],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            tuner.fit()
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def raise_error(self) -> None:
        """Raise what ended Tune before its time, if anything did."""
        error = self._dispatcher.error or self._error
        if error is not None and not self._dispatcher.stopping:
            raise error


def _addresses() -> list[str]:
    """Return the addresses of the nodes that are there and have CPUs to give."""
    return [node[_ADDRESS] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def _labels_of(addresses: Collection[str]) -> str:
    """Return what a label of a node's id must not be, in Ray's words, so that the node is none of these; empty for none."""
    ids = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"] and node[_ADDRESS] in addresses)
    return f"!in({','.join(ids)})" if ids else ""


def _cores_per_gpu() -> float:
    """Return the CPU cores for each GPU, of the node that has the fewest; 0 where there is no GPU."""
    found = (node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU"))
    return min((node.get("CPU", 0) / node["GPU"] for node in found), default=0.0)


def _refuse_too_many(loaders: int, threads: int) -> None:
    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
    if loaders and loaders + threads > most:
        raise UserError(
            f"--loaders {loaders}", f"no node with {loaders + threads} cores, of which a trial takes {threads} itself",
            f"at most {max(0, int(most) - threads)}", "Give fewer, or leave it out.",
        )  # fmt: skip


def _start_ray(
    workers: int | None, threads: int, loaders: int | None, gpus: int | None, address: str | None
) -> None:
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the records tell what went wrong
    start: dict[str, Any] = {"address": address and reachable_address(address)}
    if address is None:
        taken = threads + (loaders or 0)
        cores = (workers or usable_cores() // taken or 1) * taken
        if gpus != 0 and count_gpus():
            cores = max(cores, usable_cores())
        start = {"address": "local", "num_cpus": cores, "num_gpus": gpus, "include_dashboard": False}
        start["object_store_memory"] = 100 * 2**20
        _give_token()
        start |= {"_temp_dir": short} if (short := _short_folder()) else {}
    for more in reversed(range(_STARTS)):
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, **start)
            break
        except Exception as error:
            ray.shutdown()
            if address is not None:
                raise UserError(
                    f"--address {address}", f"no connection ({error})", "the address of a running Ray cluster",
                    "Start it, and set RAY_AUTH_TOKEN or its token file as the cluster has it.",
                ) from error  # fmt: skip
            if not more:
                raise
    _refuse_too_many(loaders or 0, threads)


def _give_token() -> None:
    """Set a token for the Ray that is started here, where Ray could not keep one: it writes its own below HOME."""
    named = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if not named and not os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111 - Path.home() may fail
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _short_folder() -> str | None:
    """Return a folder for Ray where the usual one is too deep for the names of its sockets; None where it is not.

    Raises:
        UserError: there is none.
    """
    usual = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(usual) <= LONGEST_FOLDER:
        return None
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        if os.access(folder, os.W_OK):
            return f"{folder}/ray-{os.getuid()}"
    raise UserError(
        "TMPDIR", f"a path of {len(usual)} letters", f"at most {LONGEST_FOLDER}: Ray's sockets lie below it",
        "Set RAY_TMPDIR to a short path that you can write.",
    )  # fmt: skip
