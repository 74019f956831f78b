"""One trial from its spec to its record: data, method, training, selection, one test."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from harness import registry
from harness.data.trial_data import TrialData, load_trial_data
from harness.data.volume import Volume
from harness.errors import ClaimLost, Interrupted, Paused, TrialFailure, UserError
from harness.evaluation.prediction import class_probabilities
from harness.records.contents import CONTENTS, keep_contents
from harness.records.faults import cause_of, rule_of
from harness.records.schema import (
    Cost,
    Times,
    TransferRecord,
    TrialRecord,
    write_cases,
)
from harness.records.store import CHECKPOINT, Attempt, Store
from harness.records.weights import kept_weights
from harness.seeding import clean_process
from harness.spec import TrialSpec
from harness.training.batches import validation_images
from harness.training.checkpoint import DamagedCheckpointError, load_checkpoint
from harness.training.memory import limit_memory, peak_bytes, reset_peak
from harness.training.method import Method
from harness.training.pretraining import Pretrained
from harness.training.weights import check_fit, hash_of, load_into, read_weights
from harness.trial.build import build_method, build_trainer
from harness.trial.environment import environment_of, pick_device
from harness.trial.fitting import Fitting
from harness.trial.operations import multiply_accumulates
from harness.trial.protocol import protocol_of
from harness.trial.scoring import Beside, Tested, beside, scored_rows
from harness.trial.settings import RunSettings
from harness.trial.trackers import Trackers


def run_trial(spec: TrialSpec, settings: RunSettings) -> TrialRecord | None:
    """Run one trial, or go on with it, and publish its record.

    Returns:
        The record, complete or failed; None where another live process owns the trial, or where it paused.

    Raises:
        Interrupted: it was put down for a reason outside of it, and can go on from its checkpoint.
    """
    registry.look_in(*settings.plugin_folders)
    store = Store(settings.results)
    attempt = store.claim(spec.id, settings.driver)
    if attempt is None:
        return store.record(spec.id)
    try:
        return _publish_outcome(spec, settings, attempt)
    except Paused as pause:
        attempt.pause(pause.step)
    except ClaimLost:
        pass
    except KeyboardInterrupt:
        with suppress(ClaimLost):
            attempt.release()
        raise
    except Exception as error:
        cause = cause_of(error)
        with suppress(ClaimLost):
            attempt.release(cause)
        raise Interrupted(cause.kind, cause.message, cause.traceback) from error
    return None


def _publish_outcome(spec: TrialSpec, settings: RunSettings, attempt: Attempt) -> TrialRecord:
    """Run an attempt to its end and publish the record, a failure's too; raises what is no fault of the trial."""
    try:
        record = _TrialRun(spec, settings, attempt).complete()
    except (Paused, ClaimLost):
        raise
    except Exception as error:
        cause = cause_of(error)
        rule = rule_of(cause.kind).now
        if rule != "fail" and not (rule == "grow" and settings.share >= 1):
            raise
        record = TrialRecord(
            id=spec.id,
            status="failed",
            kind=spec.kind,
            spec=spec,
            environment=environment_of(pick_device()),
            cause=cause,
            attempts=attempt.number,
        )
    return attempt.publish(record, weights=settings.keep != "scores" or spec.kind == "pretrain")


class _TrialRun:
    """The phases of one attempt, and what they share."""

    def __init__(self, spec: TrialSpec, settings: RunSettings, attempt: Attempt) -> None:
        self.spec, self.settings, self.attempt = spec, settings, attempt
        self.recipe = spec.recipe
        self.device = pick_device()
        self.environment = environment_of(self.device)  # before training: it must not cost a trial
        self._transfer: TransferRecord | None = None
        self._predicting = 0.0
        self.started = time.time()
        clean_process(self.recipe.threads, self.recipe.kernels, self.recipe.precision)
        limit_memory(self.device, settings.share)
        reset_peak(self.device)

    def complete(self) -> TrialRecord:
        self.attempt.check_in()
        data = load_trial_data(self.spec, self.settings.data_root, self.attempt.check_in)
        keep_contents(self.settings.results / CONTENTS, data.contents)
        method = build_method(self.spec, data, self.device, self._given_weights())
        node = self._start_from(method, data) if self.spec.pretraining else None
        loaders = self.settings.loaders_on(self.device.type, self.recipe.threads)
        trained = time.time()
        with beside(loaders, self.recipe.threads) as score:
            fitting = self._fit(method, data, loaders, score)
            selected = fitting.select()
            tested = time.time()
            if self.spec.tested and self.spec.kind != "pretrain":
                data.freeze()
                write_cases(self.attempt.folder, self._test(method, data, score))
        return TrialRecord(
            id=self.spec.id,
            status="complete",
            kind=self.spec.kind,
            spec=self.spec,
            protocol=protocol_of(self.spec, data, method, node),
            selected_step=selected,
            cost=self._cost(method, data, fitting, time.time() - tested, node),
            times=Times(claimed=self.started, training=trained, testing=tested, finished=time.time()),
            environment=self.environment,
            attempts=self.attempt.number,
            transfer=self._transfer,
        )

    def _fit(self, method: Method[Any], data: TrialData, loaders: int, score: Beside) -> Fitting:
        """Return what has trained to the last step."""
        trainer = build_trainer(self.spec, data, method, self.device, loaders)
        held_out = validation_images(data, self.recipe) if self.spec.kind == "pretrain" else ()
        trackers = Trackers(self.settings.trackers, self.spec, self.attempt.folder)
        minutes, pause_at = self.settings.checkpoint_minutes, self.settings.pause_at
        fitting = Fitting(trainer, data, self.attempt, minutes, held_out, pause_at, trackers, score)
        try:
            fitting.run()
        finally:
            trackers.close()
        return fitting

    def _given_weights(self) -> Callable[[nn.Module], None]:
        """Return what loads the weights that the spec names into a network; the record tells of the first.

        Raises:
            UserError: they are not with the records, or are others.
        """
        spec = self.spec.weights
        if spec is None:
            return lambda network: None
        path = kept_weights(self.settings.results, spec.sha256)
        if hash_of(path) != spec.sha256:
            raise UserError(
                path,
                "another content than its hash says",
                "the copy that was made",
                "Remove it, and run again.",
            )
        state = read_weights(path, spec.key)

        def load(network: nn.Module) -> None:
            if self._transfer is not None:
                load_into(network, state, spec)
                return
            fit = check_fit(network, state, spec, f"weights {path.name}")
            source = f"{path.name}, sha256 {spec.sha256[:16]}"
            self._transfer = TransferRecord(source=source, **asdict(fit.transfer))

        return load

    def _start_from(self, method: Method[Any], data: TrialData) -> TrialRecord:
        """Load the weights of the trial's pretraining, and return its record.

        Raises:
            TrialFailure: it is not complete, it had other data, or too little fits.
        """
        store, id = Store(self.settings.results, writable=False), str(self.spec.pretraining)
        node = store.record(id)
        if node is None or node.status != "complete" or node.protocol is None:
            state = "failed" if node else "missing"
            raise TrialFailure("pretraining", f"pretraining {id} {state}")
        if node.protocol.content_hash != data.content:
            raise TrialFailure(
                "pretraining", f"pretraining {id} had other data: {node.protocol.content_hash}"
            )
        assert isinstance(method, Pretrained)
        try:
            state = load_checkpoint(store.trials / id / CHECKPOINT)["method"]
        except DamagedCheckpointError as error:
            remedy = f"remove {store.trials / id}, and it is trained again"
            raise TrialFailure("pretraining", f"{error}; {remedy}") from error
        self._transfer = TransferRecord(source=id, **asdict(method.load_pretrained(state)))
        return node

    def _test(self, method: Method[Any], data: TrialData, score: Beside) -> list[dict[str, Any]]:
        """Return the rows of all test cases and roles, each scored once, on native grids."""
        predictions = self.attempt.folder / "predictions"
        shutil.rmtree(predictions, ignore_errors=True)
        predictions.mkdir()
        rows: list[dict[str, Any]] = []
        for of_case in score(scored_rows, self._tested(method, data, predictions)):
            rows += of_case
            self.attempt.check_in()
        return rows

    def _tested(self, method: Method[Any], data: TrialData, predictions: Path) -> Iterator[Tested]:
        """Yield each role's prediction of each test case."""
        dataset = data.dataset
        regions, tolerances = dict(dataset.training_regions()), dict(dataset.tolerances)
        for role, network in method.roles().items():
            for case in data.split.test:
                begun = time.perf_counter()
                predicted = class_probabilities(network, data.image(case), self.recipe, self.device)
                volume = data.to_native(case, predicted)
                del predicted
                self._predicting += time.perf_counter() - begun
                reference, kept = data.test_reference(case).array, None
                if self.settings.keep == "all":
                    in_file = Volume(dataset.to_file(volume.array), volume.affine)
                    kept = predictions / f"{case}.{role}.nii.gz", in_file
                yield Tested(
                    case, volume.array, reference, regions, dataset.training_ignore(), role, volume.spacing, tolerances,
                    kept,
                )  # fmt: skip

    def _cost(
        self, method: Method[Any], data: TrialData, fitting: Fitting, testing: float, node: TrialRecord | None
    ) -> Cost:
        before = node.cost if node and node.cost else None
        student, channels = method.roles()["student"], len(data.dataset.channels)
        return Cost(
            seconds=fitting.earlier_seconds + time.time() - self.started,
            seconds_training=fitting.seconds,
            seconds_testing=testing,
            seconds_per_step=fitting.seconds / self.recipe.steps,
            peak_memory=peak_bytes(self.device),
            parameters=sum(p.numel() for p in student.parameters()),
            steps=self.recipe.steps,
            forward_passes=self.recipe.steps * method.forward_passes(),
            pretraining_seconds=before.seconds if before else 0.0,
            pretraining_steps=before.steps if before else 0,
            pretraining_forward_passes=before.forward_passes if before else 0,
            multiply_accumulates=multiply_accumulates(student, channels, self.recipe.patch),
            seconds_waiting_for_data=fitting.trainer.seconds_waiting,
            seconds_predicting=self._predicting,
        )
