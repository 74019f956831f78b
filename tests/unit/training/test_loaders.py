"""Loaders: the same bits for any number of them, and an end for each, however their trial ends."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from loader_draws import Draw, die, fail, stop

from harness.data.trial_data import load_trial_data
from harness.errors import TrialFailure
from harness.evaluation.workers import default_loaders
from harness.records.faults import cause_of, rule_of
from harness.seeding import clean_process
from harness.spec import TrialSpec
from harness.study.resolve import Resolver
from harness.training import loaders
from harness.training.batches import pretraining_batches, training_batches
from harness.training.loaders import drawn_ahead
from harness.training.loop import Trainer
from harness.training.method import Batch
from harness.trial.build import build_method

STEPS = 7


def spec_of(method: str, **settings: Any) -> TrialSpec:
    flat = {
        "dataset": "phantom",
        "architecture": "unet",
        "method": method,
        "shots": 2,
        "subset": 0,
        "seed": 0,
    }
    found = Resolver("test").trial({**flat, "recipe.steps": STEPS, **settings})
    assert isinstance(found, TrialSpec)
    return found


def kept(batches: Iterator[Batch]) -> list[Batch]:
    """Return copies of batches, each of which holds until the next one is taken."""
    return [Batch(one.image.clone(), one.label.clone(), _clone(one.unlabelled)) for one in batches]


def _clone(values: torch.Tensor | None) -> torch.Tensor | None:
    return None if values is None else values.clone()


def trainer_of(spec: TrialSpec, loaders: int) -> Trainer:
    clean_process(spec.recipe.threads)
    data = load_trial_data(spec, None)
    method = build_method(spec, data, torch.device("cpu"))
    draw = training_batches(data, method, spec.recipe, spec.seed)
    return Trainer(method, spec.recipe, spec.seed, torch.device("cpu"), draw, loaders)


@pytest.mark.parametrize("version", [1, 2])
def test_any_number_of_loaders_trains_to_the_same_bits_also_from_the_middle(version: int) -> None:
    spec = spec_of(
        "mean_teacher", **{"recipe.augmentation.version": version}
    )  # it takes unlabelled patches too
    plain = trainer_of(spec, 0)
    history, states = [], {}
    for result in plain.run_until(STEPS):
        history.append(result)
        if plain.step == 3:
            states = {"middle": pickle.loads(pickle.dumps(plain.state_dict()))}
    for count in (1, 2, 8):
        other = trainer_of(spec, count)
        assert [*other.run_until(STEPS)] == history
        assert all(
            torch.equal(value, other.method.state_dict()[key])
            for key, value in plain.method.state_dict().items()
        )
    resumed = trainer_of(spec, 2)
    resumed.load_state_dict(states["middle"])
    assert [*resumed.run_until(5)] == history[3:5]  # and once more in the middle of what was drawn ahead
    assert [*resumed.run_until(STEPS)] == history[5:]
    assert not active_children()


def test_batches_of_pretraining_and_with_two_threads_are_the_same_too() -> None:
    spec = spec_of(
        "supervised", **{"recipe.threads": 2, "recipe.patch": [64, 64, 32],
        "recipe.augmentation.gamma_probability": 1.0, "recipe.augmentation.blur_probability": 1.0},
    )  # fmt: skip
    clean_process(2)
    data = load_trial_data(spec, None)
    draw = pretraining_batches(data, spec.recipe, 0)
    expected = [draw(step) for step in range(3, 6)]
    found = kept(drawn_ahead(draw, range(3, 6), 2, 2, pin=False))
    clean_process(1)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.image, other.image) and len(other.label) == 0


def test_they_work_beside_each_other_in_order_and_without_loaders_one_thread_does() -> None:
    class Local(Draw):  # it cannot be pickled, and need not be
        pass

    batches = kept(drawn_ahead(Draw(1, time.sleep, 0.5), range(12), 2, 1, pin=False))
    assert [int(batch.image[0]) for batch in batches] == [*range(12)]
    drew = [int(batch.unlabelled[0]) for batch in batches if batch.unlabelled is not None]
    assert drew[0] == os.getpid() and len({*drew[1:]}) == 2 and os.getpid() not in drew[1:]
    assert [int(batch.image[0]) for batch in drawn_ahead(Local(), range(5), 0, 1, pin=False)] == [*range(5)]


def test_an_error_comes_as_it_was_raised_and_a_full_disk_keeps_its_rule() -> None:
    with pytest.raises(OSError) as caught:
        [*drawn_ahead(Draw(2, fail, OSError(errno.ENOSPC, "full")), range(6), 2, 1, pin=False)]
    assert cause_of(caught.value).kind == "disk_full"
    assert not active_children()


def test_a_death_is_told_also_where_the_next_batch_is_asked_for() -> None:
    batches = drawn_ahead(Draw(2, die), range(99), 1, 1, pin=False)
    next(batches)
    time.sleep(1.0)  # until the pool knows
    with pytest.raises(TrialFailure, match="a loader has died"):
        list(batches)


@pytest.mark.parametrize("end", [die, stop])
def test_a_loader_that_dies_or_hangs_is_a_fault_with_a_rule(
    end: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if end is stop:
        monkeypatch.setattr(loaders, "PATIENCE", 2.0)
    begun = time.monotonic()
    with pytest.raises(TrialFailure) as caught:
        [*drawn_ahead(Draw(3, end), range(9), 2, 1, pin=False)]
    assert time.monotonic() - begun < 30
    cause = cause_of(caught.value)
    assert cause.kind == "loader_lost" and rule_of(cause.kind).now == "again"
    assert "has died" in cause.message if end is die else "no batch for 2 s" in cause.message
    assert not active_children()


def test_pinned_batches_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = []

    def pin(batch: Batch) -> Batch:
        pinned.append(int(batch.image[0]))
        return Batch(batch.image + 100, batch.label)

    monkeypatch.setattr(Batch, "pin_memory", pin)
    for count in (0, 2):
        found = [int(batch.image[0]) for batch in drawn_ahead(Draw(), range(6), count, 1, pin=True)]
        assert found == [*range(100, 106)]
    assert sorted(pinned) == sorted([*range(6)] * 2)


def test_all_tensors_of_a_batch_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    batch = Batch(torch.zeros(1), torch.zeros(1), torch.zeros(1)).pin_memory()
    assert batch.unlabelled is not None
    assert float(batch.image + batch.label + batch.unlabelled) == 3
    assert Batch(torch.zeros(1), torch.zeros(1)).pin_memory().unlabelled is None


def test_no_process_is_left_after_the_trial_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"from loader_draws import own; own({str(tmp_path / 'pids')!r})"]
    owner = subprocess.Popen(command, cwd=Path(__file__).parent)
    end = time.monotonic() + 60
    while not (tmp_path / "pids").exists():
        assert time.monotonic() < end and owner.poll() is None
        time.sleep(0.05)
    family = [psutil.Process(int(pid)) for pid in (tmp_path / "pids").read_text().split()]
    assert len(family) >= 3  # a fork server and two loaders, both in the middle of a batch
    owner.kill()
    owner.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    for process in alive:
        process.kill()
    assert not alive


def test_a_memory_map_travels_as_the_name_of_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "large.npy", np.arange(100_000))
    mapped = np.load(tmp_path / "large.npy", mmap_mode="r")
    sent = bytes(ForkingPickler.dumps(mapped))
    found = pickle.loads(sent)
    assert len(sent) < 1000 and isinstance(found, np.memmap) and np.array_equal(found, mapped)
    part = pickle.loads(bytes(ForkingPickler.dumps(mapped[10:20])))
    assert np.array_equal(part, np.arange(10, 20))


def test_loaders_by_default_leave_the_trial_its_threads() -> None:
    assert [default_loaders(cores, 1) for cores in (0.5, 1, 4, 16)] == [0, 0, 3, 8]
    assert (
        default_loaders(8, 3) == 5
        and default_loaders(32, 1, needed=20) == 20
        and default_loaders(8, 1, 0) == 0
    )
