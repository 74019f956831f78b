"""What a study detects before it has run, with variances of its own trials or of another study's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_results import Fake, case_row, make_cell, make_record, make_study, write_trial

from harness.commands.power import power_so_far, report_data
from harness.reporting.planned_power import PlannedPower, planned_powers, power_notes, power_rows
from harness.reporting.statistics.mean_variance import components, two_way
from harness.reporting.statistics.power import expected_variance, smallest_difference
from harness.study.file import ReportSpec
from harness.study.study import Study

CASES = [f"case_{n:02d}" for n in range(14)]
DICE = ReportSpec(metrics=("dice",))


def cells_of(seeds: int, architecture: str = "unet") -> Study:
    cells = [
        make_cell(architecture=architecture, method=method, seed=seed)
        for method in ("supervised", "medcontext")
        for seed in range(seeds)
    ]
    return make_study(cells, report=DICE)


def write(study: Study, results: Path, done: int) -> dict[tuple[str, int], np.ndarray]:
    """Write the first ``done`` seeds of each arm; return their scores of cases."""
    rng, scores = np.random.default_rng(0), {}
    for cell in study.cells:
        method, seed = cell.factors["method"], cell.factors["seed"]
        if seed < done:
            values = 0.8 + 0.02 * rng.normal() + 0.03 * rng.normal(size=len(CASES))
            scores[method, seed] = values
            rows = [case_row(case, "lobe", float(value)) for case, value in zip(CASES, values, strict=True)]
            write_trial(results, make_record(cell, test_cases=CASES), rows, [])
    return scores


@pytest.fixture
def half_done(tmp_path: Path) -> tuple[Fake, np.ndarray]:
    """A study of six seeds of which three are complete, and the differences of its two arms."""
    study = cells_of(6)
    scores = write(study, tmp_path, 3)
    table = np.stack([scores["medcontext", seed] - scores["supervised", seed] for seed in range(3)])
    return Fake(study, tmp_path), table


def test_it_is_the_power_of_the_planned_seeds_with_the_variances_of_those_complete(
    half_done: tuple[Fake, np.ndarray],
) -> None:
    fake, table = half_done
    (found,) = power_so_far(*fake)
    assert (found.seeds, found.patients, found.known_from, found.typical) == (6, 14, 3, False)
    expected = smallest_difference(expected_variance(components(table), 6, 14))
    assert found.smallest == pytest.approx(100 * expected)
    assert found.smallest < 100 * smallest_difference(two_way(table))
    assert found.wanted == 0.5


def test_a_wanted_difference_takes_more_seeds_the_smaller_it_is(half_done: tuple[Fake, np.ndarray]) -> None:
    data = report_data(*half_done[0])
    needed = [planned_powers(data, data, 400, {"dice": wanted})[0].seeds_needed for wanted in (8.0, 2.0, 1.0)]
    assert needed[0] == 3 and needed[0] < needed[1] < needed[2]
    (found,) = planned_powers(data, data, 400, {"dice": 0.01})
    assert found.seeds_needed is None and "over 100 seeds" in power_rows([found])[0]["takes"]


def test_another_study_lends_the_same_contrast_or_what_is_typical_of_it(
    half_done: tuple[Fake, np.ndarray],
) -> None:
    source = report_data(*half_done[0])
    same = report_data(cells_of(4), half_done[0].results / "elsewhere")
    (found,) = planned_powers(same, source)
    assert not found.typical and found.seeds == 4
    both = [*cells_of(4).cells, *cells_of(4, "unetr").cells]
    other = report_data(make_study(both, report=DICE), half_done[0].results / "elsewhere")
    found_of = planned_powers(other, source)
    assert [one.typical for one in found_of] == [True, True]
    assert found_of[0].smallest > found.smallest  # corrected for two contrasts


def test_one_seed_tells_no_variance(tmp_path: Path) -> None:
    study = cells_of(4)
    write(study, tmp_path, 1)
    (found,) = power_so_far(study, tmp_path)
    assert math.isnan(found.smallest) and found.as_json()["smallest"] is None
    assert not power_rows([found])
    assert "not known before two seeds" in " ".join(power_notes([found]))


def test_one_arm_has_no_contrast(tmp_path: Path) -> None:
    study = cells_of(3)
    alone = make_study([cell for cell in study.cells if cell.factors["method"] == "supervised"], report=DICE)
    assert [*power_notes(power_so_far(alone, tmp_path))] == [
        "power: no primary contrast, since no arm is compared with another"
    ]


def test_too_few_planned_seeds_detect_nothing() -> None:
    one = PlannedPower("a against b", "dice", 2, 14, math.nan, 0.5, 9, None, 2, False)
    assert power_rows([one])[0]["detects"] == "–"
    assert "Settle the number of seeds" in " ".join(power_notes([one]))


def test_the_commands_print_it(medctx: Callable, tmp_path: Path) -> None:
    options = ["--results", str(tmp_path), "--power-from", "quickstart", "--json"]
    found = json.loads(medctx("plan", "quickstart", *options).out)["power"]
    assert found and all(one["smallest"] is None for one in found)
    wrong = medctx("plan", "quickstart", "--power", "--difference", "dcie=1")
    assert wrong.code == 2 and "METRIC=NUMBER" in wrong.err
