"""Runs trials in this process, or prepares them; shared by the benchmark scripts."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

import harness
from harness.data.trial_data import TrialData, load_trial_data
from harness.records.schema import TrialRecord
from harness.seeding import clean_process
from harness.spec import TrialSpec
from harness.study.resolve import Resolver
from harness.training.batches import training_batches
from harness.training.loop import Trainer
from harness.trial.build import build_method
from harness.trial.environment import pick_device
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

warnings.filterwarnings("ignore")


def run(data_root: Path | None = None, **settings: Any) -> tuple[TrialRecord, pd.DataFrame]:
    """Return the record and the case rows of one trial; keys are a study's, with ``__`` for a dot."""
    flat = {"method": "supervised", "architecture": "unet", "shots": "all", "subset": 0, "seed": 0}
    flat |= {key.replace("__", "."): value for key, value in settings.items()}
    spec = Resolver("benchmark").trial(flat)
    if isinstance(spec, str):
        raise SystemExit(spec)
    with tempfile.TemporaryDirectory() as folder:
        record = run_trial(spec, RunSettings(Path(folder), data_root, keep="none"))
        if record is None or record.status != "complete":
            raise SystemExit(str(record and record.cause))
        return record, pd.read_parquet(Path(folder) / "trials" / record.id / "cases.parquet")


def organ_dice(rows: pd.DataFrame, role: str = "student") -> pd.Series:
    """Return the mean Dice of each region over cases."""
    chosen = rows[(rows.role == role) & (rows.metric == "dice")]
    return chosen.groupby("region").value.mean()


def planned(study: str, wanted: Mapping[str, str]) -> TrialSpec:
    """Return the one trial of a study that has the wanted values."""
    cells = [
        cell
        for cell in harness.load_study(study).cells
        if all(str(cell.factors.get(key)) == value for key, value in wanted.items())
    ]
    if len(cells) != 1:
        raise SystemExit(f"{len(cells)} trials of {study} have {dict(wanted)}: name one")
    return cells[0].spec


def untrained(spec: TrialSpec, data_root: Path | None = None) -> tuple[Trainer, TrialData]:
    """Return what trains a trial as the harness does, at step 0, and its data."""
    recipe = spec.recipe
    clean_process(recipe.threads, recipe.kernels, recipe.precision)
    data, device = load_trial_data(spec, data_root), pick_device()
    method = build_method(spec, data, device)
    draw = training_batches(data, method, recipe, spec.seed)
    return Trainer(method, recipe, spec.seed, device, draw), data
