"""The table of conventions: gains are of the seeds that an arm and its baseline share."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fake_tables import load
from made_up_scores import CASES, draws, key, written

from harness.reporting.tables.conventions import convention_table


def test_gains_are_of_the_seeds_that_both_arms_have(tmp_path: Path) -> None:
    """The seeds that only the baseline has are much worse; those that both have gain two points."""
    shared = draws(2, len(CASES))
    arms = {key(method="supervised"): draws(4, len(CASES)), key(method="medcontext"): shared}
    data = load(written(tmp_path, arms, CASES), tmp_path)
    level = {"supervised": [0.70, 0.72, 0.30, 0.20], "medcontext": [0.73, 0.73]}
    rescored = pd.DataFrame(
        {"id": row.id, "role": "student", "variant": "harness", "metric": "dice", "value": level[row.method][row.seed], "misses": 0}
        for row in data.complete.itertuples()
    )  # fmt: skip
    table = convention_table(data, rescored)
    found = {
        row[[column.heading for column in table.columns].index("Method")].text: row[-3] for row in table.rows
    }
    assert found["MedContext"].value == pytest.approx(2.0) and found["Supervised"].text == "–"
    assert table.footnotes[-1] == "Gains and differences are of the seeds that both arms have."
    common = rescored[rescored["id"].map(data.complete.set_index("id")["seed"]) < 2]
    assert "both arms" not in convention_table(data, common).footnotes[-1]
