"""Contrasts over several datasets against arithmetic by hand: which are random, which are fixed, and what a line of each says."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_tables import load, loaded
from made_up_scores import CASES, draws, key, written
from scipy import stats

from harness.reporting.comparisons import comparison_frame
from harness.reporting.contrasts import contrast_frame
from harness.reporting.figures.planned import Drawing
from harness.reporting.figures.study_figures import plan_difference_figures
from harness.reporting.page.verdicts import PRIMARY, verdicts
from harness.reporting.planned_power import planned_powers
from harness.reporting.statistics.significance import mean_test
from harness.reporting.tables.contrasts import contrast_table
from harness.study.contrasts import ContrastSpec
from harness.study.study import Study


def study_of_datasets(results: Path, gains: list[float]) -> Study:
    """Return a study of two arms on as many datasets as gains, 13 patients each."""
    arms = {}
    for place, gain in enumerate(gains):
        base = draws(3, 13, seed=place)
        arms[key(method="supervised", dataset=f"set{place}")] = base
        arms[key(method="medcontext", dataset=f"set{place}")] = (
            base + gain + np.random.default_rng(place).normal(0, 0.01, (3, 13))
        )
    return written(results, arms, CASES)


def of_datasets(results: Path, gains: list[float]) -> pd.DataFrame:
    """Return its contrasts."""
    return contrast_frame(load(study_of_datasets(results, gains), results))


def test_few_datasets_are_fixed_and_have_a_line_each(tmp_path: Path) -> None:
    pooled, *own = of_datasets(tmp_path, [0.02, 0.04]).to_dict("records")
    assert [row["dataset"] for row in own] == ["set0", "set1"] and not any(row["primary"] for row in own)
    assert pooled["difference"] == pytest.approx(np.mean([row["difference"] for row in own]))
    assert pooled["random_datasets"] is not True and pooled["patients"] == 26
    assert pooled["high_retraining"] - pooled["low_retraining"] < 0.02  # of these two, not of others
    assert pooled["q"] > 3.84 and pooled["i_squared"] > 0.5


def test_five_datasets_are_random_and_their_disagreement_widens_the_interval(tmp_path: Path) -> None:
    gains = [0.01, 0.06, -0.02, 0.05, 0.0]
    pooled, *own = of_datasets(tmp_path, gains).to_dict("records")
    assert pooled["random_datasets"] is True and len(own) == 5
    test = stats.ttest_1samp([row["difference"] for row in own], 0)
    spread = test.confidence_interval(0.95)
    assert (pooled["low_retraining"], pooled["high_retraining"]) == pytest.approx((spread.low, spread.high))
    assert pooled["p_retraining"] == pytest.approx(test.pvalue)
    assert pooled["verdict"] == "undecided"


def variance_by_hand(table: np.ndarray) -> float:
    """Return the variance of the mean of a table ``(seeds, patients)`` that are crossed and random (Searle et al. 1992, chapter 4)."""
    k, n = table.shape
    left = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    residual = (left**2).sum() / ((k - 1) * (n - 1))
    seed, case = table.mean(1).var(ddof=1) - residual / n, table.mean(0).var(ddof=1) - residual / k
    return float(seed / k + case / n + residual / (k * n))


def on_two_datasets(results: Path, first_seed: int) -> tuple[Study, list[np.ndarray]]:
    """Write arms on two datasets, with seeds 0 to 4 and four from ``first_seed`` on, and return their differences too."""
    arms, differences = {}, []
    for place, (seeds, first) in enumerate([(5, 0), (4, first_seed)]):
        base, change = draws(seeds, 13, seed=place), draws(seeds, 13, seed=place + 7, level=0.02)
        differences.append(change)
        for method, table in (("supervised", base), ("medcontext", base + change)):
            arms[key(method=method, dataset=f"set{place}", first_seed=first)] = table
    return written(results, arms, CASES), differences


@pytest.mark.parametrize("first_seed", [3, 20])
def test_datasets_that_share_too_few_seeds_each_have_their_own(tmp_path: Path, first_seed: int) -> None:
    study, differences = on_two_datasets(tmp_path, first_seed)
    contrasts = contrast_frame(load(study, tmp_path))
    pooled, *own = contrasts.to_dict("records")
    assert [row["seeds"] for row in own] == [5, 4] and pooled["seeds"] == 4 and pooled["left_out"] == 0
    assert pooled["paired"] and not pooled["same_seeds"]
    assert pooled["difference"] == pytest.approx(np.mean([table.mean() for table in differences]))
    error = math.sqrt(sum(variance_by_hand(table / 2) for table in differences))
    half = (pooled["high_retraining"] - pooled["low_retraining"]) / 2
    least, most = 3, 4 + 3 + 12 + 12  # degrees of freedom: of the smallest part, and of all together
    assert stats.t.ppf(0.975, most) * error < half < stats.t.ppf(0.975, least) * error
    notes = contrast_table(load(study, tmp_path), contrasts).footnotes
    assert any(note.startswith("Datasets that share fewer than three seeds") for note in notes)


def test_datasets_that_share_seeds_are_paired_by_them(tmp_path: Path) -> None:
    study, differences = on_two_datasets(tmp_path, first_seed=2)
    pooled = contrast_frame(load(study, tmp_path)).to_dict("records")[0]
    assert pooled["same_seeds"] and pooled["seeds"] == 3 and pooled["left_out"] == 3
    shared = [differences[0][2:], differences[1][:3]]
    assert pooled["difference"] == pytest.approx(np.mean([table.mean() for table in shared]))


def contrasts_figure(study: Study, results: Path) -> Drawing | str:
    data = load(study, results)
    planned = plan_difference_figures(data, comparison_frame(data), contrast_frame(data))
    return next(figure for figure in planned if figure.name == "contrasts").find()


def test_a_figure_has_the_mean_each_dataset_and_how_much_they_disagree(tmp_path: Path) -> None:
    study = study_of_datasets(tmp_path, [0.02, 0.04])
    drawing = contrasts_figure(study, tmp_path)
    assert isinstance(drawing, Drawing) and "Squares: each dataset" in drawing.caption
    rows, margin, _ = drawing.series
    frame = contrast_frame(load(study, tmp_path)).query("metric == 'dice'")
    assert list(rows["of_dataset"]) == [False, True, True] and margin == pytest.approx(0.5)
    assert list(rows["low"]) == pytest.approx(list(100 * frame["low_retraining"]))
    assert rows["note"].iloc[0].startswith(f"I² {100 * frame['i_squared'].iloc[0]:.0f} %") and not any(
        rows["note"].iloc[1:]
    )
    assert drawing.plot(*drawing.series).axes[0].get_xlim()[1] > rows["high"].max()


def test_contrasts_that_are_gains_have_no_figure_of_their_own(tmp_path: Path) -> None:
    assert (
        contrasts_figure(study_of_datasets(tmp_path, [0.02]), tmp_path)
        == "each is one arm against the baseline: see the gains"
    )


NETWORKS, LEVELS = ("unet", "unetr"), (2, 4, 8)


def crossed(datasets: int) -> dict[Any, np.ndarray]:
    """Return scores of two methods, two networks and three numbers of cases on each dataset; no two differences are alike."""
    combinations = product(range(datasets), NETWORKS, LEVELS, ("supervised", "medcontext"))
    return {
        key(method=method, architecture=network, shots=shots, dataset=f"set{place}"): draws(
            3, 13, seed=number
        )
        for number, (place, network, shots, method) in enumerate(combinations)
    }


def gains(arms: dict[Any, np.ndarray], network: str, shots: int, place: int) -> np.ndarray:
    one, other = (
        arms[key(method=method, architecture=network, shots=shots, dataset=f"set{place}")]
        for method in ("medcontext", "supervised")
    )
    return one - other


def interaction(arms: dict[Any, np.ndarray], place: int) -> np.ndarray:
    """Return by hand, seeds by patients: the gain of one network minus that of the other, mean over numbers of cases."""
    return sum(gains(arms, "unet", n, place) - gains(arms, "unetr", n, place) for n in LEVELS) / len(LEVELS)


def slope(arms: dict[Any, np.ndarray], place: int) -> np.ndarray:
    """Return by hand: per doubling of the cases, 2 to 4 to 8, the least-squares slope of the gain, mean over networks."""
    return (
        sum((gains(arms, network, 8, place) - gains(arms, network, 2, place)) / 2 for network in NETWORKS) / 2
    )


SPECS = {
    "interaction": ContrastSpec(
        name="c", of="medcontext", between={"architecture": NETWORKS}, pool=("shots", "dataset"), primary=True
    ),
    "slope": ContrastSpec(
        name="c", of="medcontext", to="supervised", trend="shots", scale="log2", pool=("architecture", "dataset"), primary=True
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "by_hand"), [("interaction", interaction), ("slope", slope)])
@pytest.mark.parametrize("datasets", [2, 5])
def test_interactions_and_trends_follow_the_rule_of_all_contrasts(
    tmp_path: Path, kind: str, by_hand: Any, datasets: int
) -> None:
    """Pooled over five datasets they are random, over two they are fixed; each dataset has a line of its own."""
    arms = crossed(datasets)
    frame = contrast_frame(load(written(tmp_path, arms, CASES, contrasts=(SPECS[kind],)), tmp_path))
    pooled, *own = frame.to_dict("records")
    tables = [by_hand(arms, place) for place in range(datasets)]
    assert [row["difference"] for row in own] == pytest.approx([table.mean() for table in tables])
    for row, table in zip(own, tables, strict=True):
        test = mean_test(table)
        assert (row["p_retraining"], row["low_retraining"]) == pytest.approx((test.p, test.low))
    assert pooled["kind"] == kind and pooled["difference"] == pytest.approx(
        np.mean([t.mean() for t in tables])
    )
    assert pooled["random_datasets"] is (datasets == 5) and pooled["q"] > 0
    if datasets == 5:
        by_datasets = stats.ttest_1samp([table.mean() for table in tables], 0)
        assert pooled["p_retraining"] == pytest.approx(by_datasets.pvalue)
        assert pooled["low_retraining"] == pytest.approx(by_datasets.confidence_interval(0.95).low)
    else:
        errors = [
            mean_test(table).variance.variance for table in tables
        ]  # seeds and patients of these two alone
        half = (pooled["high_retraining"] - pooled["low_retraining"]) / 2
        assert half > 1.96 * np.sqrt(sum(errors)) / 2 * 0.8


def test_a_dataset_that_lacks_levels_still_weighs_as_much_as_another(tmp_path: Path) -> None:
    arms = crossed(5)
    for method, network in product(("supervised", "medcontext"), NETWORKS):
        del arms[key(method=method, architecture=network, shots=8, dataset="set4")]
    frame = contrast_frame(load(written(tmp_path, arms, CASES, contrasts=(SPECS["slope"],)), tmp_path))
    pooled, *own = frame.to_dict("records")
    last = sum(gains(arms, network, 4, 4) - gains(arms, network, 2, 4) for network in NETWORKS) / 2
    tables = [*(slope(arms, place) for place in range(4)), last]
    assert [row["difference"] for row in own] == pytest.approx([table.mean() for table in tables])
    assert pooled["difference"] == pytest.approx(np.mean([table.mean() for table in tables]))


def test_datasets_that_a_contrast_names_are_fixed_and_have_no_heterogeneity(tmp_path: Path) -> None:
    arms = crossed(5)
    specs = (
        ContrastSpec(name="two", of="medcontext", between={"dataset": ("set0", "set3")}, pool=("shots", "architecture")),
        ContrastSpec(name="one", of={"dataset": "set1"}, to={"dataset": "set2"}, pool=("shots", "architecture")),
    )  # fmt: skip
    study = written(tmp_path, arms, CASES, contrasts=specs)
    frame = contrast_frame(load(study, tmp_path))
    declared = frame[frame["contrast"].isin(["two", "one"])]
    assert len(declared) == 3 and declared["dataset"].isna().all()  # 'one' for each method
    assert not declared["random_datasets"].any() and declared["q"].isna().all()
    row = declared[declared["contrast"] == "two"].iloc[0]
    by_hand = [
        np.mean([gains(arms, network, n, place).mean() for network, n in product(NETWORKS, LEVELS)]) for place in (0, 3)
    ]  # fmt: skip
    assert row["difference"] == pytest.approx(by_hand[0] - by_hand[1])
    assert row["seeds"] == 3 and row["patients"] == 26 and row["p_retraining"] == row["p_retraining"]


def test_the_power_for_other_datasets_is_that_of_their_number(tmp_path: Path) -> None:
    """What varies between datasets stays however many seeds there are."""
    wide, narrow = [0.01, 0.06, -0.02, 0.05, 0.0], [0.02] * 5
    found = []
    for name, own in (("wide", wide), ("narrow", narrow)):
        data = load(study_of_datasets(tmp_path / name, own), tmp_path / name)
        (power,) = planned_powers(data, data)
        found.append(power)
    assert found[0].smallest > 3 * found[1].smallest and found[0].seeds_needed is None
    own = np.std(wide, ddof=1) / np.sqrt(5) * 100
    assert 3 * own < found[0].smallest < 5 * own  # t with 4 degrees of freedom: about 3.8 standard errors


def test_the_page_has_a_line_for_each_dataset_below_the_pooled_one_and_says_how_they_disagree(
    tmp_path: Path,
) -> None:
    study = study_of_datasets(tmp_path, [0.01, 0.06, -0.02, 0.05, 0.0])
    data, comparisons, contrasts = loaded(study, tmp_path)
    found = verdicts(data, comparisons, contrasts)
    assert found is not None
    panel, lines = found.groups[0]
    assert panel == PRIMARY and len(lines) == 6
    assert lines[0].arm.startswith("MedContext against Supervised") and lines[0].word == "undecided"
    assert [line.arm for line in lines[1:]] == [f"– set{place}" for place in range(5)]
    share = contrasts["i_squared"].dropna().iloc[0]
    assert f"I², how much these disagree beyond chance: {100 * share:.0f} %." in found.note
