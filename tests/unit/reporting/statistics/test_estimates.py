import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from fake_results import case_row

from harness.reporting.statistics.estimates import (
    arm_costs,
    arm_means,
    best_two,
    bin_by_step,
    cases_by_dice,
    paired_gains,
    trial_scores,
)
from harness.reporting.tables.cost import COSTS
from harness.reporting.wording import UNSET
from harness.study.file import Cost

KEYS = ["shots", "method"]


def frame(*trials: tuple[str, dict, list[dict]]) -> pd.DataFrame:
    return pd.DataFrame([{"id": id, **factors, **row} for id, factors, rows in trials for row in rows])


def scores_of(cases: pd.DataFrame, factors: list[str]) -> pd.DataFrame:
    """Return the scores of rows that carry their factors."""
    return trial_scores(cases.drop(columns=factors), cases[["id", *factors]].drop_duplicates())


def two_seeds() -> pd.DataFrame:
    """Seed 0: region a (0.8 + 0.6)/2 = 0.7, b (0.5 + 0.1)/2 = 0.3; seed 1: a 0.9 (one not counted), b 0.5."""
    factors = {"method": "supervised", "shots": 5}
    return frame(
        ("t0", {**factors, "seed": 0}, [case_row("1", "a", 0.8), case_row("2", "a", 0.6),
                                        case_row("1", "b", 0.5), case_row("2", "b", 0.1)]),
        ("t1", {**factors, "seed": 1}, [case_row("1", "a", 0.9), case_row("2", "a", math.nan, empty="both"),
                                        case_row("1", "b", 1.0), case_row("2", "b", 0.0, empty="prediction")]),
    )  # fmt: skip


def row_of(data: pd.DataFrame, **wanted: object) -> pd.Series:
    for key, value in wanted.items():
        data = data[data[key] == value]
    assert len(data) == 1
    return data.iloc[0]


def test_cases_then_regions_then_seeds() -> None:
    scores = scores_of(two_seeds(), ["method", "shots", "seed"])
    assert row_of(scores, id="t0", region="a").value == pytest.approx(0.7)
    assert row_of(scores, id="t0", region="mean").value == pytest.approx(0.5)
    assert row_of(scores, id="t1", region="mean").value == pytest.approx((0.9 + 0.5) / 2)
    summary = row_of(arm_means(scores, KEYS), region="mean")
    assert summary["mean"] == pytest.approx(0.6)
    assert summary["sd"] == pytest.approx(np.std([0.5, 0.7], ddof=1))
    assert (summary["seeds"], summary["cases"]) == (2, 2)


def test_both_empty_is_not_counted_and_one_empty_is_a_miss() -> None:
    scores = scores_of(two_seeds(), ["method", "shots", "seed"])
    a, b = row_of(scores, id="t1", region="a"), row_of(scores, id="t1", region="b")
    assert (a.value, a.uncounted, a.misses, a.cases) == (0.9, 1, 0, 2)
    assert (b.value, b.uncounted, b.misses) == (0.5, 0, 1)
    summary = row_of(arm_means(scores, KEYS), region="mean")
    assert (summary.misses, summary.uncounted) == (1, 1)


def test_region_without_any_value_leaves_the_mean_to_the_others() -> None:
    rows = [case_row("1", "a", 0.4), case_row("1", "b", math.nan, empty="both")]
    scores = scores_of(frame(("t", {"method": "m"}, rows)), ["method"])
    assert math.isnan(row_of(scores, region="b").value)
    assert row_of(scores, region="mean").value == pytest.approx(0.4)


def test_one_seed_has_no_deviation() -> None:
    scores = scores_of(two_seeds().query("id == 't0'"), ["method", "shots", "seed"])
    summary = row_of(arm_means(scores, KEYS), region="mean")
    assert summary.seeds == 1
    assert math.isnan(summary.sd)


def arm(id: str, value: float, role: str = "student", **factors: object) -> tuple[str, dict, list[dict]]:
    return id, factors, [case_row("1", "a", value, role=role)]


def test_gains_are_paired_by_seed_and_by_the_other_factors() -> None:
    cases = frame(
        arm("b0", 0.50, method="base", shots=5, seed=0),
        arm("b1", 0.60, method="base", shots=5, seed=1),
        arm("b2", 0.90, method="base", shots="all", seed=0),
        arm("n0", 0.55, method="new", shots=5, seed=0),
        arm("n1", 0.75, method="new", shots=5, seed=1),
        arm("n2", 0.99, method="new", shots=5, seed=2),
        arm("n3", 0.80, method="new", shots="all", seed=0),
    )
    found = paired_gains(scores_of(cases, ["method", "shots", "seed"]), KEYS, "base")
    few = row_of(found, method="new", shots=5, region="mean")
    assert few.gain == pytest.approx((0.05 + 0.15) / 2)  # seed 2 has no partner
    assert few.pairs == 2
    assert row_of(found, method="new", shots="all", region="mean").gain == pytest.approx(-0.1)
    assert row_of(found, method="base", shots=5, region="mean").gain == 0


def test_gains_ignore_the_parameters_of_the_method_itself() -> None:
    cases = frame(
        arm("b", 0.5, method="base", **{"method.ratio": UNSET}, seed=0),
        arm("n1", 0.6, method="new", **{"method.ratio": 0.2}, seed=0),
        arm("n2", 0.7, "teacher", method="new", **{"method.ratio": 0.8}, seed=0),
    )
    keys = ["method", "method.ratio"]
    found = paired_gains(scores_of(cases, [*keys, "seed"]), keys, "base")
    assert row_of(found, region="mean", **{"method.ratio": 0.2}).gain == pytest.approx(0.1)
    assert row_of(found, region="mean", **{"method.ratio": 0.8}).gain == pytest.approx(0.2)


def test_no_baseline_no_gains() -> None:
    scores = scores_of(two_seeds(), ["method", "shots", "seed"])
    assert paired_gains(scores, KEYS, "elsewhere").empty


def test_places_compare_printed_values() -> None:
    nan = float("nan")
    assert best_two([0.701, 0.699, 0.6, 0.5], 2) == [1, 1, 2, 0]
    assert best_two([-3.0, nan, -2.0, -4.0], 2) == [2, 0, 1, 0]
    assert best_two([1.0, 1.0], 2) == [1, 1]
    assert best_two([1.0, nan], 2) == [0, 0]


def test_costs() -> None:
    trials = pd.DataFrame(
        {"id": ["1", "2", "3"], "method": "m", "status": ["complete", "complete", "failed"],
         "parameters": [10, 10, None], "multiply_accumulates": [6, 6, None], "seconds": [100.0, 200.0, None], "seconds_per_step": [1.0, 3.0, None],
         "peak_memory": [5, 7, None], "forward_passes": [300, 300, None], "steps": [100, 100, None],
         "pretraining_seconds": [40.0, 60.0, None], "pretraining_forward_passes": [20, 20, None],
         "seconds_waiting_for_data": [8.0, None, None], "seconds_predicting": [None, None, None]}
    )  # fmt: skip
    row = arm_costs(trials, ["method"]).iloc[0]
    assert (row.trials, row.seconds, row.seconds_per_step) == (2, 150.0, 2.0)
    assert row.multiply_accumulates == 6
    assert (row.peak_memory, row.forward_passes_per_step) == (7, 3)
    assert (row.pretraining_seconds, row.pretraining_passes) == (50.0, 20.0)
    assert row.seconds_waiting_for_data == 8 and np.isnan(row.seconds_predicting)


def test_every_declared_cost_can_be_shown() -> None:
    assert set(get_args(Cost)) <= set(COSTS)


def test_binned_means() -> None:
    history = pd.DataFrame({"id": "t", "step": range(10), "value": [float(i) for i in range(10)]})
    found = bin_by_step(history, ["id"], bins=5)
    assert found["step"].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert found["value"].tolist() == found["step"].tolist()
    assert len(bin_by_step(history, ["id"], bins=100)) == 10


def test_ranked_cases() -> None:
    rows = [case_row(c, r, v) for c, v in (("x", 0.9), ("y", 0.1), ("z", 0.5)) for r in ("a", "b")]
    rows += [case_row("w", "a", math.nan, empty="both"), case_row("x", "a", 0.0, "hd95")]
    assert cases_by_dice(frame(("t", {}, rows)), "t").index.tolist() == ["y", "z", "x"]
