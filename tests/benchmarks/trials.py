"""Runs trials in this process and returns what they scored; shared by the benchmark scripts."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from harness.records.schema import TrialRecord
from harness.study.resolve import Resolver
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
