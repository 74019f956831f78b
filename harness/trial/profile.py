"""What a step consists of: some steps of a trial, timed by phase, with a trace of every operation; nothing is recorded."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from harness.data.trial_data import load_trial_data
from harness.files.whole import whole
from harness.seeding import clean_process
from harness.spec import TrialSpec
from harness.training.loop import PHASES, Trainer
from harness.trial.build import build_method, build_trainer
from harness.trial.environment import pick_device
from harness.trial.settings import RunSettings

_WARM_UP, _MOST = 3, 20  # steps
_FOLDER = "profiles"


@dataclass(frozen=True)
class Profile:
    """What the steps of a trial consist of.

    Attributes:
        device: where they ran.
        steps: that were timed.
        seconds_per_step: with all phases one after the other.
        shares: of the time, by phase, ``other`` included; they add up to 1.
        waiting: share of the time for which the device had nothing to do. On a GPU that is what the trace leaves between its
            operations; on the CPU, which does it all itself, the phase ``data``.
        trace: file for ``chrome://tracing`` or ui.perfetto.dev.
    """

    device: torch.device
    steps: int
    seconds_per_step: float
    shares: dict[str, float]
    waiting: float
    trace: Path


def profile_trial(spec: TrialSpec, settings: RunSettings) -> Profile:
    """Run some steps of a trial from its start, twice: once traced as they come, once with a clock that waits for the device.

    Args:
        spec: of the trial; one that starts from a pretraining starts from random weights here, which take the same time.
        settings: where data are, where the trace goes, and how many loaders draw its batches.

    Raises:
        UserError: its data are missing or broken.
    """
    device = pick_device()
    clean_process(spec.recipe.threads, spec.recipe.kernels, spec.recipe.precision)
    steps = min(_MOST, max(1, (spec.recipe.steps - _WARM_UP) // 2))
    long_enough = {"steps": max(spec.recipe.steps, _WARM_UP + 2 * steps)}
    spec = spec.model_copy(update={"recipe": spec.recipe.model_copy(update=long_enough)})
    data = load_trial_data(spec, settings.data_root)
    method = build_method(spec, data, device)
    loaders = settings.loaders_on(device.type, spec.recipe.threads)
    trainer = build_trainer(spec, data, method, device, loaders)
    trace = settings.results / _FOLDER / f"{spec.id}.json"
    with closing(trainer.run_until(_WARM_UP + 2 * steps)) as results:
        _take(results, _WARM_UP)
        idle = _traced(trainer, results, steps, trace)
        clock = _Clock(device)
        with clock.marking(trainer):
            _take(results, steps)
    shares = clock.shares()
    waiting = shares["data"] if idle is None else idle
    return Profile(device, steps, clock.total / steps, shares, waiting, trace)


def _take(results: Iterator[Any], steps: int) -> None:
    for _ in islice(results, steps):
        pass


def _traced(trainer: Trainer, results: Iterator[Any], steps: int, trace: Path) -> float | None:
    """Write a trace of the next steps; return the share of time for which a GPU had nothing to do, None on the CPU."""
    on_gpu = trainer.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    trainer.phase = record_function
    with profile(activities=activities) as profiler:
        begun = time.perf_counter()
        _take(results, steps)
        _wait_for(trainer.device)
        seconds = time.perf_counter() - begun
    trace.parent.mkdir(parents=True, exist_ok=True)
    with whole(trace) as partial:
        profiler.export_chrome_trace(str(partial))
    if not on_gpu:
        return None
    ran = [event.time_range for event in profiler.events() if event.device_type == DeviceType.CUDA]
    return max(0.0, 1 - covered([(one.start, one.end) for one in ran]) / 1e6 / seconds)


def covered(intervals: Iterable[Sequence[float]]) -> float:
    """Return the length of the union of intervals ``(start, end)``."""
    length, reached = 0.0, float("-inf")
    for start, end in sorted((first, last) for first, last in intervals):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


class _Clock:
    """Seconds by phase, each until the device has done what it was given; a phase within another counts apart."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._open = device, ["other"]
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = self.total = 0.0

    @contextmanager
    def marking(self, trainer: Trainer) -> Iterator[None]:
        """Time the phases of a trainer, and what its teacher predicts, as long as this context lasts."""
        teacher = dict(trainer.method.modules.named_children()).get("teacher", nn.Identity())
        hooks = [
            teacher.register_forward_pre_hook(lambda *_: self._enter("teacher")),
            teacher.register_forward_hook(lambda *_: self._leave()),
        ]
        trainer.phase = self._phase
        self._since = self._now()
        begun = self._since
        try:
            yield
        finally:
            self._turn()
            self.total = self._since - begun
            for hook in hooks:
                hook.remove()

    def shares(self) -> dict[str, float]:
        """Return the share of each phase."""
        return {name: self._seconds[name] / self.total for name in (*PHASES, "other")}

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, name: str) -> None:
        self._turn()
        self._open.append(name)

    def _leave(self) -> None:
        self._turn()
        self._open.pop()

    def _turn(self) -> None:
        now = self._now()
        self._seconds[self._open[-1]] += now - self._since
        self._since = now

    def _now(self) -> float:
        _wait_for(self._device)
        return time.perf_counter()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
