"""Where a trial's curves go beside its history: TensorBoard's event files, MLflow, Weights & Biases.

The history is the record; these are copies for tools that people know. One that fails is left out from then on, and
never costs a trial.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from harness.errors import UserError
from harness.spec import TrialSpec, plain

EVENTS = "tensorboard"
_PROJECT = "medctx"


class Tracker(Protocol):
    """One place for curves."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve."""

    def close(self) -> None:
        """Write out what is buffered."""


class TensorBoard:
    """Event files in the trial's folder; ``tensorboard --logdir results`` finds them."""

    def __init__(self, spec: TrialSpec, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder / EVENTS))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is buffered."""
        self._writer.close()


class MLflow:
    """A run of experiment ``medctx`` for each trial, found again by the trial's id."""

    def __init__(self, spec: TrialSpec, folder: Path) -> None:
        import mlflow

        self._client = mlflow.MlflowClient()
        experiment = mlflow.set_experiment(_PROJECT).experiment_id
        found = self._client.search_runs([experiment], f"tags.trial = '{spec.id}'")
        run = found[0] if found else self._client.create_run(experiment, tags={"trial": spec.id})
        self._run = run.info.run_id
        if not found:
            for key, value in _settings(spec).items():
                self._client.log_param(self._run, key, value)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._run)


class WandB:
    """A run of project ``medctx`` for each trial, under the trial's id."""

    def __init__(self, spec: TrialSpec, folder: Path) -> None:
        import wandb

        self._run = wandb.init(
            project=_PROJECT, id=spec.id, resume="allow", config=_settings(spec), dir=str(folder)
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each named curve."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


_TRACKERS: dict[str, tuple[str, Callable[[TrialSpec, Path], Tracker]]] = {
    "tensorboard": ("tensorboardX", TensorBoard),
    "mlflow": ("mlflow", MLflow),
    "wandb": ("wandb", WandB),
}


def check_trackers(names: Iterable[str]) -> None:
    """Refuse trackers whose package is not installed.

    Raises:
        UserError: names the extra to install.
    """
    for name in names:
        package, _ = _TRACKERS[name]
        if find_spec(package) is None:
            raise UserError(
                f"--{name}", f"no package {package}", "it to be installed",
                f"Run 'pip install medcontext-harness[{name}]', or leave the option out.",
            )  # fmt: skip


class Trackers:
    """All trackers of one trial; given the lines of its history."""

    def __init__(self, names: Sequence[str], spec: TrialSpec, folder: Path) -> None:
        self._open: dict[str, Tracker] = {}
        for name in names:
            self._guard(name, lambda name=name: self._open.update({name: _TRACKERS[name][1](spec, folder)}))  # type: ignore[misc]

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add the values of history lines."""
        points = [(line["step"], dict(_values(line))) for line in lines]
        for name, tracker in list(self._open.items()):
            self._guard(name, lambda tracker=tracker: [tracker.write(*point) for point in points])  # type: ignore[misc]

    def close(self) -> None:
        """Write out what is buffered."""
        for name, tracker in list(self._open.items()):
            self._guard(name, tracker.close)
        self._open.clear()

    def _guard(self, name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            self._open.pop(name, None)
            warnings.warn(f"{name} is left out: {error}", stacklevel=2)


def _values(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the named numbers of a history line: losses/total, validation/liver, learning_rate, mean."""
    for key, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}/{name}", float(part)) for name, part in value.items())
        elif key not in ("step", "resumed"):
            yield ("validation/mean" if key == "mean" else key), float(value)


def _settings(spec: TrialSpec) -> dict[str, Any]:
    """Return a spec as flat, dotted settings."""

    def flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            if isinstance(value, Mapping):
                yield from flat(f"{prefix}{key}.", value)
            else:
                yield f"{prefix}{key}", value

    return dict(flat("", plain(spec)))
