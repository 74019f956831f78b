"""Curves beside the history: TensorBoard's own files, and stand-ins for packages that are not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness.records.schema import read_history
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.trial.trackers import Trackers, check_trackers

LINES = [
    {"step": 3, "losses": {"total": 1.5, "supervised": 1.0}, "learning_rate": 0.01},
    {"step": 4, "validation": {"left": 0.5}, "mean": 0.5},
    {"step": 4, "resumed": 2},
]
POINTS = {
    ("losses/total", 3, 1.5), ("losses/supervised", 3, 1.0), ("learning_rate", 3, 0.01),
    ("validation/left", 4, 0.5), ("validation/mean", 4, 0.5),
}  # fmt: skip


def events(folder: Path) -> set[tuple[str, int, float]]:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401 - the format that is read below

    found = set()
    for path in folder.rglob("events.*"):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + length])
            found |= {(v.tag, event.step, round(v.simple_value, 6)) for v in event.summary.value}
            data = data[16 + length :]
    return found


def track(name: str, spec: TrialSpec, folder: Path) -> None:
    trackers = Trackers([name], spec, folder)
    trackers.write(LINES)
    trackers.close()


def test_tensorboard_gets_every_number_of_the_history(spec: TrialSpec, tmp_path: Path) -> None:
    track("tensorboard", spec, tmp_path)
    assert events(tmp_path) == POINTS


class FakeMLflow(ModuleType):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: list[Any] = []
        self.points: set[tuple[str, int, float]] = set()
        self.params: dict[str, Any] = {}

    def set_experiment(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=name)

    def MlflowClient(self) -> Any:
        return self

    def search_runs(self, experiments: list[str], text: str) -> list[Any]:
        return [run for run in self.runs if f"'{run.tags['trial']}'" in text]

    def create_run(self, experiment: str, tags: dict[str, str]) -> Any:
        self.runs.append(SimpleNamespace(tags=tags, info=SimpleNamespace(run_id=len(self.runs))))
        return self.runs[-1]

    def log_param(self, run: int, key: str, value: Any) -> None:
        self.params[key] = value

    def log_metric(self, run: int, key: str, value: float, step: int) -> None:
        self.points.add((key, step, value))

    def set_terminated(self, run: int) -> None:
        self.ended = run


def test_mlflow_has_one_run_for_each_trial(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for _ in range(2):  # the second attempt goes on in the same run
        track("mlflow", spec, tmp_path)
    assert len(fake.runs) == 1 and fake.points == POINTS and fake.ended == 0
    assert fake.params["method.name"] == "supervised" and fake.params["seed"] == 0


def test_wandb_has_one_run_under_the_trials_id(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, points, started = ModuleType("wandb"), set(), {}

    def init(**options: Any) -> Any:
        started.update(options)
        log = lambda values, step: points.update((k, step, v) for k, v in values.items())  # noqa: E731
        return SimpleNamespace(log=log, finish=lambda: started.update(finished=True))

    fake.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    track("wandb", spec, tmp_path)
    assert points == POINTS and started["id"] == spec.id and started["finished"]
    assert started["config"]["recipe.steps"] == spec.recipe.steps


def test_a_tracker_that_fails_is_left_out(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    with pytest.warns(UserWarning, match="wandb is left out"):
        trackers = Trackers(["wandb", "tensorboard"], spec, tmp_path)
    trackers.write(LINES)
    trackers.close()
    assert events(tmp_path) == POINTS


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    name: str, medctx: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.trial.trackers.find_spec", lambda package: None if package == name else True)
    shown = medctx("run", "quickstart", "--results", tmp_path, f"--{name}")
    assert shown.code == 2 and f"medcontext-harness[{name}]" in shown.err
    check_trackers(["tensorboard"])


def test_a_trial_that_was_put_down_has_its_whole_course_in_its_events(tmp_path: Path) -> None:
    from harness.trial.run import run_trial
    from harness.trial.settings import RunSettings

    changes = ["recipe.steps=4", "recipe.validate_every=2", "recipe.overlap=0.0"]
    spec = load_study("quickstart", changes).cells[0].spec
    assert run_trial(spec, RunSettings(tmp_path, trackers=("tensorboard",), pause_at=2)) is None
    assert run_trial(spec, RunSettings(tmp_path, trackers=("tensorboard",)))
    folder = Store(tmp_path).trials / spec.id
    steps = [line["step"] for line in read_history(folder) if "losses" in line]
    found = events(folder)
    assert steps == [0, 1, 2, 3]
    assert sorted(step for name, step, _ in found if name == "losses/total") == steps
    assert sorted(step for name, step, _ in found if name == "validation/mean") == [2, 4]
