"""What a step consists of, as ``medctx trial --profile`` tells it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from harness.study.expand import load_study
from harness.training.loop import PHASES
from harness.trial import profile as module
from harness.trial.profile import covered
from harness.trial.settings import RunSettings


def test_operations_that_overlap_are_busy_once() -> None:
    assert covered([]) == 0
    assert covered([(0, 2), (5, 6)]) == 3
    assert covered([(5, 9), (0, 4), (1, 2), (3, 6)]) == 9  # in any order, one within another


def test_a_phase_within_another_counts_apart_and_all_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))
    teacher = nn.Identity()
    trainer: Any = SimpleNamespace(method=SimpleNamespace(modules=nn.ModuleDict({"teacher": teacher})))
    clock = module._Clock(torch.device("cpu"))
    with clock.marking(trainer):  # each turn of the clock takes a second
        with trainer.phase("forward"):
            teacher(torch.zeros(1))
        with trainer.phase("backward"):
            pass
    teacher(torch.zeros(1))  # no longer
    assert clock.total == 7
    shares = {name: round(7 * share) for name, share in clock.shares().items()}
    assert shares == {
        "data": 0,
        "forward": 2,
        "backward": 1,
        "update": 0,
        "teacher": 1,
        "logging": 0,
        "other": 3,
    }


def test_profile_prints_the_parts_and_writes_a_trace_but_no_record(
    medctx: Callable[..., Any], tmp_path: Path
) -> None:
    settings = ["--set", "recipe.steps=5", "--set", "recipe.patch=[16, 16, 16]", "--results", tmp_path]
    id = load_study("quickstart", ["recipe.steps=5", "recipe.patch=[16, 16, 16]"]).cells[4].spec.id
    done = medctx("trial", "quickstart", id, "--profile", *settings)
    assert done.code == 0, done.err
    lines = dict(
        line.split(maxsplit=1) for line in done.out.splitlines() if line.endswith("%  ") or "%" in line
    )
    assert {*PHASES, "other"} <= {*lines}
    assert sum(float(lines[name].split()[0]) for name in (*PHASES, "other")) == pytest.approx(100, abs=0.5)
    assert float(lines["teacher"].split()[0]) > 0 and "the CPU waited" in done.out
    trace = json.loads((tmp_path / "profiles" / f"{id}.json").read_text())
    names = [event["name"] for event in trace["traceEvents"] if event.get("cat") == "user_annotation"]
    assert {*PHASES} <= {*names} and names.count("forward") == 1
    assert not any((tmp_path / "trials").glob("*"))


def test_loaders_of_a_trial_are_those_asked_for_or_what_its_share_of_the_cores_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("harness.trial.settings.usable_cores", lambda: 16)
    assert RunSettings(tmp_path).loaders_on("cpu", 1) == 0
    assert RunSettings(tmp_path, loaders=3).loaders_on("cpu", 1) == 3
    assert RunSettings(tmp_path, loaders=0).loaders_on("cuda", 1) == 0
    assert [RunSettings(tmp_path, share=share).loaders_on("cuda", 1) for share in (1.0, 0.25)] == [8, 3]
