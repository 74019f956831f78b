"""Contrasts of made-up trials against arithmetic by hand: seeds, patients, datasets, verdicts."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from fake_tables import load, tables_of
from made_up_scores import CASES, draws, key, written
from scipy import stats

from harness.reporting.comparisons import comparison_frame
from harness.reporting.contrasts import contrast_frame
from harness.reporting.statistics.significance import mean_test
from harness.study.contrasts import ContrastSpec


def test_a_pooled_contrast_is_the_two_way_test_of_the_mean_difference(tmp_path: Path) -> None:
    arms = {
        key(method=method, shots=shots): draws(4, 13, seed=10 * i + shots)
        for (i, method), shots in product(enumerate(("supervised", "medcontext")), (2, 5))
    }
    found = contrast_frame(load(written(tmp_path, arms, CASES), tmp_path))
    (row,) = found.to_dict("records")
    table = (
        sum(arms[key(method="medcontext", shots=n)] - arms[key(method="supervised", shots=n)] for n in (2, 5))
        / 2
    )
    expected = mean_test(table)
    assert row["difference"] == pytest.approx(table.mean()) and row["p_retraining"] == pytest.approx(
        expected.p
    )
    assert (row["low_retraining"], row["high_retraining"]) == pytest.approx((expected.low, expected.high))
    assert (row["seeds"], row["patients"], row["levels"], row["primary"]) == (4, 13, 2, True)
    assert row["pooled"] == "2 values of shots" and (row["of"], row["to"]) == ("MedContext", "Supervised")


def test_seeds_pair_wherever_both_arms_have_them(tmp_path: Path) -> None:
    shared = np.random.default_rng(3).normal(0, 0.2, (5, 1))
    arms = {
        key(method="supervised"): draws(5, 13, seed=1) + shared,
        key(method="medcontext"): draws(5, 13, seed=2) + shared,
    }
    row = comparison_frame(load(written(tmp_path, arms, CASES), tmp_path)).iloc[0]
    expected = mean_test(arms[key(method="medcontext")] - arms[key(method="supervised")])
    assert row["paired"] and (row["low_retraining"], row["high_retraining"]) == pytest.approx(
        (expected.low, expected.high)
    )


@pytest.mark.parametrize(
    ("first_seed", "seeds", "left_out", "paired"), [(1, 3, 2, True), (2, 4, 0, False), (9, 4, 0, False)]
)
def test_seeds_of_one_arm_alone(
    tmp_path: Path, first_seed: int, seeds: int, left_out: int, paired: bool
) -> None:
    """Three or more common seeds are paired; with fewer both arms count whole, each with a variance of its own."""
    base, other = draws(4, 13, seed=1), draws(4, 13, seed=2)
    arms = {key(method="supervised"): base, key(method="medcontext", first_seed=first_seed): other}
    row = comparison_frame(load(written(tmp_path, arms, CASES), tmp_path)).iloc[0]
    groups = [other[:3] - base[1:]] if paired else [other, -base]
    expected = mean_test(*groups)
    assert (row["seeds"], row["left_out"], row["paired"]) == (seeds, left_out, paired)
    assert row["p_retraining"] == pytest.approx(expected.p) and row["low_retraining"] == pytest.approx(
        expected.low
    )


def test_frames_of_a_patient_are_one_value(tmp_path: Path) -> None:
    cases = [f"patient{p:03d}_frame{f:02d}" for p in range(12) for f in (1, 9)]
    arms = {
        key(method=m, dataset="acdc"): draws(3, 24, seed=i)
        for i, m in enumerate(("supervised", "medcontext"))
    }
    study = written(tmp_path, arms, cases)
    data = load(study, tmp_path)
    row = comparison_frame(data).iloc[0]
    table = arms[key(method="medcontext", dataset="acdc")] - arms[key(method="supervised", dataset="acdc")]
    by_patient = table.reshape(3, 12, 2).mean(axis=2)
    assert (row["patients"], row["cases"]) == (12, 24)
    assert row["p_retraining"] == pytest.approx(mean_test(by_patient).p)
    assert row["p_networks"] == pytest.approx(stats.wilcoxon(by_patient.mean(axis=0)).pvalue)
    tables = tables_of(study, tmp_path)
    for name in ("comparisons", "contrasts"):
        headings = [column.heading for column in tables[name].columns]
        texts = dict(zip(headings, [cell.text for cell in tables[name].rows[0]], strict=True))
        assert (texts["Patients"], texts["Cases"]) == ("12", "24")


def test_a_patient_that_one_network_has_no_value_for_is_left_out_and_counted(tmp_path: Path) -> None:
    base, other = draws(3, 13, seed=1), draws(3, 13, seed=2)
    other[1, 4] = np.nan
    arms = {key(method="supervised"): base, key(method="medcontext"): other}
    row = contrast_frame(load(written(tmp_path, arms, CASES), tmp_path)).iloc[0]
    kept = np.arange(13) != 4
    assert (row["patients"], row["dropped"]) == (12, 1)
    assert row["p_retraining"] == pytest.approx(mean_test((other - base)[:, kept]).p)


def test_verdicts_are_corrected_within_their_family(tmp_path: Path) -> None:
    """Two primary ones and two exploratory ones are corrected apart."""
    noise = [np.random.default_rng(place).normal(0, 0.002, (3, 13)) for place in range(6)]
    base = draws(3, 13)
    gains = {"supervised": 0.0, "a": 0.03, "b": 0.0, "c": -0.03}
    arms = {key(method=name): base + gain + noise[place] for place, (name, gain) in enumerate(gains.items())}
    primary = [ContrastSpec(name=name, of=name, primary=True) for name in "ab"]
    rest = [ContrastSpec(name="c against a", of="c", to="a"), ContrastSpec(name="c", of="c")]
    frame = contrast_frame(load(written(tmp_path, arms, CASES, contrasts=(*primary, *rest)), tmp_path))
    assert frame["verdict"].tolist() == ["gain", "equivalent", "loss", "loss"]
    assert frame["family_retraining"].tolist() == [2, 2, 2, 2]
    row = frame.iloc[0]
    assert row["holm_retraining"] == pytest.approx(min(1, 2 * row["p_retraining"]))
    assert row["detectable"] > 0 and row["margin"] == pytest.approx(0.005)
    wide = contrast_frame(
        load(
            written(tmp_path / "wide", arms, CASES, margin={"dice": 5.0}, contrasts=tuple(primary)),
            tmp_path / "wide",
        )
    )
    assert wide["verdict"].tolist() == ["gain", "equivalent"]  # what holds is a gain, also within the margin


def test_a_slope_over_a_factor_is_one_of_seeds_and_patients(tmp_path: Path) -> None:
    base = draws(3, 13)
    arms = {
        key(method="medcontext", shots=n): base
        - 0.01 * n
        + np.random.default_rng(n).normal(0, 0.002, (3, 13))
        for n in (2, 4, 6)
    }
    spec = ContrastSpec(name="slope", of="medcontext", trend="shots", primary=True)
    row = contrast_frame(load(written(tmp_path, arms, CASES, contrasts=(spec,)), tmp_path)).iloc[0]
    table = (arms[key(method="medcontext", shots=6)] - arms[key(method="medcontext", shots=2)]) / 4
    assert row["difference"] == pytest.approx(table.mean()) and row["p_retraining"] == pytest.approx(
        mean_test(table).p
    )
    assert row["verdict"] == "loss" and math.isnan(row["margin"]) and row["kind"] == "slope"
