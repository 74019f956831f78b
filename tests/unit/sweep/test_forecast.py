"""What a study will take, from records, from a probe, and from neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.records.processes import Process
from harness.records.schema import Cost, TrialRecord
from harness.records.store import Store
from harness.study.expand import load_study
from harness.sweep.forecast import Forecast, arms_of
from harness.sweep.packing import Need, arm_key, read_needs, write_needs

STUDY = load_study("quickstart")  # supervised and medcontext, 4 trials of 200 steps each
SUPERVISED, MEDCONTEXT = STUDY.cells[0].spec, STUDY.cells[4].spec
MIB, GIB = 2**20, 2**30


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def need(share: float = 1.0) -> Need:
    return Need(
        "a device", GIB, 0.5, share, seconds_beside=20.0, bytes_running=30 * MIB, bytes_kept=256 * MIB
    )


def test_trials_of_one_arm_differ_in_seed_cases_and_length_alone() -> None:
    keys = [arm_key(cell.spec) for cell in STUDY.cells]
    assert len(set(keys[:4])) == len(set(keys[4:])) == 1 and keys[0] != keys[4]
    longer = load_study("quickstart", ["recipe.steps=7"]).cells[0].spec
    wider = load_study("quickstart", ["recipe.batch=4"]).cells[0].spec
    assert arm_key(longer) == keys[0] != arm_key(wider)


def test_without_records_and_probe_only_the_count_is_known(store: Store) -> None:
    lines = Forecast(arms_of(STUDY.cells, store), workers=2, gpus=0).lines()
    assert lines[0] == "8 trials to run" and "--probe" in lines[1]


def test_a_probe_gives_hours_disk_and_time(store: Store) -> None:
    write_needs(store.results, {arm_key(SUPERVISED): need()})
    write_needs(store.results, {arm_key(MEDCONTEXT): need()})
    assert len(read_needs(store.results)) == 2
    lines = Forecast(arms_of(STUDY.cells, store), workers=4, gpus=0).lines()
    # 8 trials of 200 x 0.5 s + 20 s
    assert lines[1:] == [
        "about 0.27 core-hours in 0.27 trial-hours",
        "about 0.07 hours with 4 workers",
        "disk: about 2.00 GiB of records and predictions, 0.12 GiB while trials run",
    ]


def test_shares_of_a_gpu_count_as_such(store: Store) -> None:
    write_needs(store.results, {arm_key(spec): need(0.25) for spec in (SUPERVISED, MEDCONTEXT)})
    arms = arms_of(STUDY.cells, store)
    assert Forecast(arms, workers=4, gpus=1).lines()[1:3] == [
        "about 0.07 GPU-hours in 0.27 trial-hours",
        "about 0.07 hours with 4 workers",
    ]
    assert Forecast(arms, workers=2, gpus=1).lines()[2] == "about 0.13 hours with 2 workers"
    assert Forecast(arms, workers=4, gpus=1).rows()[0]["share"] == "0.25 GPU, 4 at a time"


def test_records_tell_of_their_own_arm(store: Store) -> None:
    attempt = store.claim(SUPERVISED.id, Process.this())
    assert attempt
    (attempt.folder / "selected.pt").write_bytes(bytes(MIB))
    cost = Cost(
        seconds=60, seconds_training=50, seconds_testing=10, seconds_per_step=0.25, peak_memory=GIB,
        parameters=1, steps=200, forward_passes=200,
    )  # fmt: skip
    attempt.publish(
        TrialRecord(
            id=SUPERVISED.id,
            status="complete",
            kind="train",
            spec=SUPERVISED.model_copy(update={"tested": False}),
            cost=cost,
        )
    )
    known, unknown = arms_of(STUDY.cells, store)
    assert (known.trials, known.missing, known.seconds) == (4, 3, 60.0) and unknown.need is None
    assert known.need and MIB < known.need.bytes_kept < 1.1 * MIB
    lines = Forecast([known, unknown], workers=1, gpus=0).lines()
    assert lines[:3] == [
        "7 trials to run",
        "without 4 trials of a kind that has not run here or been probed:",
        "about 0.05 core-hours in 0.05 trial-hours",
    ]


@pytest.mark.slow
def test_plan_probes_each_arm_and_says_what_the_study_takes(medctx: Callable, tmp_path: Path) -> None:
    changes = ("--set", "recipe.steps=8", "--set", "recipe.overlap=0.0")
    shown = medctx("plan", "quickstart", "--probe", "--results", tmp_path, "--workers", 3, *changes)
    assert shown.code == 0, shown.err
    needs = read_needs(tmp_path)
    assert set(needs) == {
        arm_key(load_study("quickstart", changes[1::2]).cells[number].spec) for number in (0, 4)
    }
    for one in needs.values():
        assert one.seconds_per_step > 0 and one.memory > 100 * MIB and one.bytes_kept > 10_000
        assert 0 < one.share <= 1 and one.bytes_running > one.bytes_kept / 10
    text = " ".join(shown.out.split())
    assert "8 trials to run" in text and "with 3 workers" in text and "disk: about" in text
    again = medctx("plan", "quickstart", "--results", tmp_path, *changes)
    assert "8 trials to run about" in " ".join(again.out.split())


def test_an_arm_that_cannot_run_is_named(medctx: Callable, tmp_path: Path) -> None:
    shown = medctx("plan", "hippocampus_first_look", "--probe", "--results", tmp_path, "--data", tmp_path)
    assert shown.code == 2 and "supervised on unet" in shown.err and "Task04_Hippocampus" in shown.err


def test_with_loaders_a_step_waits_for_the_slower_of_itself_and_its_batches() -> None:
    found = Need("a GPU", GIB, 0.1, seconds_per_batch=1.5)
    assert found.loaders == 15
    assert found.seconds_with(0) == pytest.approx(1.6)  # drawn before each step
    assert [found.seconds_with(count) for count in (1, 3, 15, 30)] == pytest.approx([1.5, 0.5, 0.1, 0.1])
    assert found.waiting(3) == pytest.approx(0.8) and found.waiting(15) == pytest.approx(0)
    assert Need("a GPU", GIB, 0.1).loaders == 0 and Need("a GPU", GIB, 0.1).seconds_with(4) == 0.1


def test_a_plan_says_for_which_arms_a_gpu_would_wait(store: Store) -> None:
    slow = Need("a GPU", GIB, 0.1, 0.5, seconds_per_batch=1.5)
    quick = Need("a GPU", GIB, 0.5, seconds_per_batch=1.0)
    write_needs(store.results, {arm_key(SUPERVISED): slow, arm_key(MEDCONTEXT): quick})
    found = Forecast(arms_of(STUDY.cells, store, cores_per_gpu=12), workers=1, gpus=1)
    assert [arm.seconds for arm in found.arms] == pytest.approx([200 * 0.3, 200 * 0.5])
    assert [row["loaders"] for row in found.rows()] == ["15 needed, 5 here", "2 needed, 2 here"]
    told = [line for line in found.lines() if "waits" in line]
    assert told == [
        "supervised on unet needs 15 loaders (1.5 s a batch, 0.1 s a step), and its part of 12 cores a GPU allows 5: "
        "the GPU waits 67 % of the time"
    ]
    on_cpu = Forecast(arms_of(STUDY.cells, store), workers=1, gpus=0)
    assert [arm.seconds for arm in on_cpu.arms] == pytest.approx([200 * 1.6, 200 * 1.5])
    assert not any("waits" in line for line in on_cpu.lines()) and on_cpu.rows()[0]["s/batch"] == "1.5"
