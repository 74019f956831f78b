"""Trials that take no time, for tests and benchmarks of what surrounds a trial; the records are real."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from harness.errors import Interrupted
from harness.records.schema import TrialRecord
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.trial.settings import RunSettings


def publish(spec: TrialSpec, settings: RunSettings, wait: Callable[[], None] = lambda: None) -> None:
    """Claim a trial, wait and publish it as complete."""
    attempt = Store(settings.results, writable=False).claim(spec.id, settings.driver)
    if attempt is not None:
        wait()
        attempt.publish(
            TrialRecord(
                id=spec.id,
                status="complete",
                kind=spec.kind,
                spec=spec.model_copy(update={"tested": False}),
                attempts=attempt.number,
            )
        )


def crowd(spec: TrialSpec, settings: RunSettings) -> None:
    """Publish after a while, and leave word of when it ran, with which share."""
    begun = time.time()
    time.sleep(1.5)
    _note(settings.results, spec, begun=begun, ended=time.time(), share=settings.share)
    publish(spec, settings)


def hungry(spec: TrialSpec, settings: RunSettings) -> None:
    """Run out of GPU memory with less than a whole GPU where the seed is 0."""
    _note(settings.results, spec, share=settings.share)
    if spec.seed == 0 and settings.share < 1:
        raise Interrupted("out_of_gpu_memory", "CUDA out of memory")
    publish(spec, settings)


def patient(spec: TrialSpec, settings: RunSettings) -> None:
    """Leave word of where it runs, and take a while, longer while there is a file ``hold``."""
    _note(settings.results, spec, node=_node())

    def wait() -> None:
        time.sleep(0.5)
        while (settings.results / "hold").exists():
            time.sleep(0.05)

    publish(spec, settings, wait)


def _node() -> str:
    import ray

    return ray.get_runtime_context().get_node_id()


def notes(results: Path) -> list[dict]:
    """Return what trials have noted, in order."""
    return [json.loads(line) for line in (results / "notes.jsonl").read_text().splitlines()]


def _note(results: Path, spec: TrialSpec, **values: object) -> None:
    with (results / "notes.jsonl").open("a") as file:
        file.write(json.dumps({"id": spec.id, "pid": os.getpid(), **values}) + "\n")


def fragile(spec: TrialSpec, settings: RunSettings) -> None:
    """Die at once on the node whose address a file ``broken`` names; publish elsewhere, once that happened three times."""
    import ray

    node, broken = ray.util.get_node_ip_address(), (settings.results / "broken").read_text()
    _note(settings.results, spec, node=node)
    if node == broken:
        os.kill(os.getpid(), signal.SIGKILL)

    def wait() -> None:
        while sum(note["node"] == broken for note in notes(settings.results)) < 3:
            time.sleep(0.1)

    publish(spec, settings, wait)
