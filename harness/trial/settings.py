"""How and where trials run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness import registry
from harness.evaluation.workers import default_loaders, usable_cores
from harness.records.processes import Process


@dataclass(frozen=True)
class RunSettings:
    """How and where trials run; nothing here changes their numbers.

    Attributes:
        results: folder of the records.
        data_root: folder of the datasets.
        keep: of a finished trial: ``all``, ``none`` (no predictions) or ``scores`` (no weights either, but of a
            pretraining).
        checkpoint_minutes: between checkpoints.
        driver: the process that started the run.
        pause_at: step at which a trial stops with a checkpoint, to be gone on with later.
        share: of a GPU's memory that a trial may take, above 0 and up to 1.
        trackers: copies of the history, of ``tensorboard``, ``mlflow``, ``wandb``.
        plugin_folders: where modules that the study names may lie.
        loaders: processes that draw a trial's batches; None: on a GPU as many as the cores allow, on the CPU none.
    """

    results: Path
    data_root: Path | None = None
    keep: str = "all"
    checkpoint_minutes: float = 5.0
    driver: Process = field(default_factory=Process.this)
    pause_at: int | None = None
    share: float = 1.0
    trackers: tuple[str, ...] = ()
    plugin_folders: tuple[Path, ...] = field(default_factory=registry.plugin_folders)
    loaders: int | None = None

    def loaders_on(self, device: str, threads: int) -> int:
        """Return how many loaders a trial gets on a ``device``, ``cpu`` or ``cuda``, that itself takes so many threads."""
        if self.loaders is not None or device == "cpu":
            return self.loaders or 0
        return default_loaders(usable_cores() * self.share, threads)
