"""A trial whose study declares tolerances: what it records, and what its report says of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.records.store import Store
from harness.spec import TrialSpec
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

TOLERANCES = {"lobe": 1.0, "duct": 2.0, "node": 1.0, "twin": 2.0}


def test_a_trial_records_normalised_surface_dice_at_the_tolerance_of_each_region(
    spec: TrialSpec, tmp_path: Path
) -> None:
    changes = {"steps": 1, "overlap": 0.0}
    plain = spec.model_copy(update={"recipe": spec.recipe.model_copy(update=changes)})
    told = plain.model_copy(update={"tolerances": TOLERANCES})
    assert told.id != plain.id
    tables = []
    for one in (plain, told):
        record = run_trial(one, RunSettings(tmp_path, keep="none"))
        assert record and record.status == "complete" and record.protocol, record
        assert record.protocol.tolerances == (TOLERANCES if one is told else "none")
        assert record.protocol.patients == "one for each case"
        tables.append(pd.read_parquet(Store(tmp_path).trials / one.id / "cases.parquet"))
    without, scores = tables
    assert "nsd@region" not in set(without["metric"])
    wide = scores.pivot(index=["case", "role", "region"], columns="metric", values="value").reset_index()
    for region, mm in TOLERANCES.items():
        own = wide[wide["region"] == region]
        assert len(own) and own["nsd@region"].equals(own[f"nsd@{mm:g}"].rename("nsd@region"))
    assert (wide["nsd@1"] != wide["nsd@2"]).any()
    same = scores[scores["metric"] != "nsd@region"].reset_index(drop=True)
    assert same.equals(without)  # nothing else depends on it
