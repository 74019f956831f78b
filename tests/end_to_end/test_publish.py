"""``medctx publish``, and a run that takes over what was published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

STUDY = """
question: Is what is published believed?
base: {dataset: phantom, architecture: unet, shots: 2, method: supervised, recipe: {steps: 2, overlap: 0.0}}
grid: {seed: [0]}
"""


def test_a_run_goes_on_from_what_was_published(medctx: Callable, tmp_path: Path) -> None:
    study, results = tmp_path / "believed.yaml", tmp_path / "results"
    study.write_text(STUDY)
    (entry,) = json.loads(medctx("plan", study, "--json").out)["trials"]
    assert medctx("trial", study, entry["id"], "--results", results).code == 0
    outcome = medctx("publish", study, "--results", results)
    assert outcome.code == 0 and "published/believed" in outcome.out
    table = (results / "published" / "believed" / "tables" / "dice.csv").read_text()
    shutil.rmtree(results / "trials")
    shutil.rmtree(results / "believed")

    outcome = medctx("run", study, "--results", results)
    assert outcome.code == 0, outcome.err
    assert "1 trials taken from" in outcome.out and "1 done, 0 to run" in outcome.out
    assert (results / "believed" / "tables" / "dice.csv").read_text() == table
    assert not (results / "trials" / entry["id"] / "checkpoint.pt").exists()
