"""Which arms are ranked together, on which seeds and patients, and what the table says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_results import case_row, make_cell, make_record, make_study, write_trial

from harness.commands.power import report_data
from harness.reporting.rank_groups import rank_groups
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.robust import interquartile_mean, probability_of_improvement
from harness.reporting.tables.ranks import rank_frame, rank_table

CASES = [f"case_{n:02d}" for n in range(14)]
LEVELS = {"supervised": 0.80, "medcontext": 0.85, "mean_teacher": 0.801}


def written(results: Path, seeds: dict[str, range]) -> tuple[ReportData, dict[str, np.ndarray]]:
    """Write trials of three methods, some of whose seeds another has not; return the data and the scores."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 0.03, len(CASES))
    cells = [
        make_cell(architecture="unet", method=name, seed=seed) for name in LEVELS for seed in seeds[name]
    ]
    scores: dict[str, list[np.ndarray]] = {name: [] for name in LEVELS}
    for cell in cells:
        method = cell.factors["method"]
        values = LEVELS[method] + difficulty + rng.normal(0, 0.005, len(CASES))
        scores[method].append(values)
        rows = [case_row(case, "lobe", float(value)) for case, value in zip(CASES, values, strict=True)]
        write_trial(results, make_record(cell, test_cases=CASES), rows, [])
    return report_data(make_study(cells), results), {name: np.stack(own) for name, own in scores.items()}


def test_arms_with_the_same_seeds_are_ranked_by_mean_and_by_test(tmp_path: Path) -> None:
    data, scores = written(tmp_path, dict.fromkeys(LEVELS, range(4)))
    (group,) = rank_groups(data)
    assert group.shared and group.baseline == 0 and not group.reason
    for found, expected in zip(group.scores, scores.values(), strict=True):
        assert found == pytest.approx(expected)
    assert group.by_mean[1] == 1 and group.by_test.tolist() == [2, 1, 2]  # two are alike to the test
    assert 0.8 < group.tau < 1
    assert (group.drawn[:, 1] == 1).mean() == 1
    frame = rank_frame([group]).set_index("arm")
    best = frame.iloc[1]
    assert best["iqm"] == pytest.approx(100 * interquartile_mean(scores["medcontext"]).value)
    gain = probability_of_improvement(scores["medcontext"], scores["supervised"], True)
    assert (best["improvement"], best["first"]) == pytest.approx((gain.value, 1.0))
    assert np.isnan(frame.iloc[0]["improvement"])
    text = [[cell.text for cell in row] for row in rank_table(data, [group]).rows]
    assert text[1][4:6] == ["1", "1"] and "[" in text[1][2]


def test_an_arm_with_more_seeds_gives_those_that_all_have(tmp_path: Path) -> None:
    data, scores = written(tmp_path, {**dict.fromkeys(LEVELS, range(3)), "medcontext": range(5)})
    (group,) = rank_groups(data)
    assert group.shared and [len(one) for one in group.scores] == [3, 3, 3]
    assert group.scores[1] == pytest.approx(scores["medcontext"][:3])


def test_arms_without_common_seeds_have_their_own(tmp_path: Path) -> None:
    data, _ = written(tmp_path, {"supervised": range(3), "medcontext": range(3, 7), "mean_teacher": range(3)})
    (group,) = rank_groups(data)
    assert not group.shared and [len(one) for one in group.scores] == [3, 4, 3]
    assert group.by_test[1] == 1


def test_two_seeds_give_ranks_by_mean_and_a_reason(tmp_path: Path) -> None:
    data, _ = written(tmp_path, dict.fromkeys(LEVELS, range(2)))
    (group,) = rank_groups(data)
    assert group.reason == "2 seeds, 3 needed" and np.isnan(group.by_test).all()
    frame = rank_frame([group])
    assert frame["iqm"].notna().all() and frame["iqm_low"].isna().all()
    assert any("No rank by test: 2 seeds" in note for note in rank_table(data, [group]).footnotes)
