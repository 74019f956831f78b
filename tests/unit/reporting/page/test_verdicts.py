"""The lines that the page begins with, and its table of the protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial
from fake_tables import loaded, tables_of

from harness.reporting.page.protocol import default_protocol, protocol_tables
from harness.reporting.page.verdicts import Verdict, Verdicts, verdicts
from harness.study.file import ReportSpec
from harness.study.study import Study

GAINS = {"supervised": 0.0, "medcontext": 0.05, "mean_teacher": -0.05, "masked_supervised": 0.0}


def write_arms(
    results: Path, seeds: int = 3, cases: int = 14, metric: str = "dice", scale: float = 1.0
) -> Study:
    """Write arms whose gains over the baseline are plain, or plainly nothing."""
    cells, level = [], np.random.default_rng(0).normal(0.6, 0.05, cases)
    for index, (method, gain) in enumerate(GAINS.items()):
        for seed in range(seeds):
            cells.append(make_cell(architecture="unet", method=method, seed=seed, shots=5))
            noise = np.random.default_rng([seed, index]).normal(0, 0.002, cases)
            rows = [
                case_row(f"{c:02d}", "lobe", float(v) * scale, metric)
                for c, v in enumerate(level + gain + noise)
            ]
            write_trial(results, make_record(cells[-1]), rows, [])
    return make_study(cells, report=ReportSpec(metrics=(metric,)))  # type: ignore[arg-type]


def found_in(study: Study, results: Path) -> tuple[Verdicts, dict[str, Verdict]]:
    found = verdicts(*loaded(study, results))
    assert found is not None
    (group,) = found.groups
    return found, {one.arm: one for one in group[1]}


def test_a_verdict_is_what_the_test_says_and_its_place_what_the_number_says(tmp_path: Path) -> None:
    found, by_arm = found_in(write_arms(tmp_path), tmp_path)
    assert {arm: one.word for arm, one in by_arm.items()} == {
        "MedContext": "gain", "Mean Teacher": "loss", "Masked supervised": "equivalent",
    }  # fmt: skip
    assert [by_arm[arm].tone for arm in by_arm] == ["good", "bad", ""]
    better, worse = by_arm["MedContext"], by_arm["Mean Teacher"]
    assert better.text.startswith("+5.") or better.text.startswith("+4.")
    limit = float(found.limit)
    assert better.at == pytest.approx(50 + 48 * float(better.text.split()[0]) / limit, abs=1.5)
    assert worse.at < 50 and all(one.low <= one.at <= one.high for one in by_arm.values())  # type: ignore[operator]
    assert all(one.low > 0 and one.high < 100 and one.new_seeds for one in by_arm.values())  # type: ignore[operator]
    assert found.title == "Dice: difference to Supervised in points" and "for retraining" in found.note


def test_lower_is_better_where_it_is(tmp_path: Path) -> None:
    found, by_arm = found_in(write_arms(tmp_path, metric="hd95", scale=10.0), tmp_path)
    assert by_arm["MedContext"].word == "loss" and by_arm["Mean Teacher"].word == "gain"
    assert "below zero is better" in found.title


def test_too_few_seeds_leave_the_interval_of_these_networks_and_too_few_cases_none(tmp_path: Path) -> None:
    found, by_arm = found_in(write_arms(tmp_path / "a", seeds=1), tmp_path / "a")
    assert not any(one.new_seeds for one in by_arm.values()) and by_arm["MedContext"].low is not None
    assert "these networks on new cases" in found.note
    found, by_arm = found_in(write_arms(tmp_path / "b", seeds=1, cases=2), tmp_path / "b")
    assert {(one.word, one.low) for one in by_arm.values()} == {("not tested", None)}
    assert found.note == "Too few seeds and cases for any test."


def test_one_reason_for_all_tests_is_a_note_and_no_column(tmp_path: Path) -> None:
    table = tables_of(write_arms(tmp_path, seeds=2), tmp_path)["comparisons"]
    assert table.footnotes[0] == "No test for retraining: 2 seeds, 3 needed."
    assert "No test because" not in [column.heading for column in table.columns]
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_the_protocol_has_what_differs_from_the_default_first(tmp_path: Path) -> None:
    cell = make_cell(dataset="hippocampus", architecture="unet", method="supervised")
    default = default_protocol("hippocampus")
    same = {name: default[name] for name in ("patch", "spacing", "intensity", "batch", "crop", "resampling")}
    training = {**default["training"], "learning_rate": 0.123}
    record = make_record(cell, **{**same, "training": training, "steps": 7})
    write_trial(tmp_path, record, [case_row("a", "anterior", 0.5)], [])
    ((name, rows),) = protocol_tables(loaded(make_study([cell]), tmp_path)[0])
    assert name == "Hippocampus"
    fields = {row.field: row for row in rows}
    assert fields["Steps"].default == str(default["steps"]) and fields["Steps"].value == "7"
    assert fields["Training"].default == f"learning_rate {default['training']['learning_rate']:g}"
    assert not any(fields[name].default for name in ("Patch", "Spacing", "Batch", "Split hash", "Convention"))
    marked = [bool(row.default) for row in rows]
    assert marked == sorted(marked, reverse=True)
    assert fields["Test cases"].value == str(len(record.protocol.test_cases))  # type: ignore[union-attr]
