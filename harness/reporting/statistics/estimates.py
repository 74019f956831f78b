"""Pure estimators on tidy frames: no files, no formatting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from harness.reporting.wording import UNSET
from harness.study.axes import MEAN_REGION

MEAN = MEAN_REGION
"""The region that stands for the mean over all regions."""
STUDENT = "student"


def trial_scores(cases: pd.DataFrame, factors: pd.DataFrame) -> pd.DataFrame:
    """Return one row per trial, role, metric and region, and one of region :data:`MEAN`.

    ``value`` is the mean over cases, for :data:`MEAN` the mean over the regions' values. NaN values (both masks empty) do
    not count.

    Args:
        cases: ``id``, ``case``, ``region``, ``role``, ``metric``, ``value``, ``unit``, ``empty``.
        factors: ``id`` and its factors.

    Returns:
        the columns of ``factors``, ``role``, ``metric``, ``unit``, ``region``; ``value``; ``cases`` that were
        tested; ``misses``, rows with one empty mask; ``uncounted``, rows without a value.
    """
    by = ["id", "role", "metric", "unit"]
    rows = cases.assign(
        value=cases["value"].astype(float),
        cases=1,
        misses=cases["empty"].isin(("prediction", "reference")),
        uncounted=cases["value"].isna(),
    )
    how = {"value": "mean", "cases": "sum", "misses": "sum", "uncounted": "sum"}
    regions = rows.groupby([*by, "region"], sort=False, observed=True).agg(how).reset_index()
    means = regions.groupby(by, sort=False, observed=True).agg({**how, "cases": "max"}).reset_index()
    regions = regions.astype({"region": object})
    scores = pd.concat([regions, means.assign(region=MEAN)[regions.columns]], ignore_index=True)
    return factors.merge(scores.astype(dict.fromkeys(by, object)), on="id")


def case_scores(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over regions of each trial, role, metric and case: ``id``, ``role``, ``metric``, ``case``, ``value``.

    NaN values (both masks empty) do not count.
    """
    values = cases.assign(value=cases["value"].astype(float))
    by = ["id", "role", "metric", "case"]
    return values.groupby(by, sort=False, observed=True)["value"].mean().reset_index()


def arm_means(scores: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return one row per arm, role, metric and region: mean and spread over seeds.

    Args:
        scores: of :func:`trial_scores`.
        keys: the factors that tell arms apart; trials that agree in them are seeds of one another.

    Returns:
        ``mean`` over seeds; ``sd``, their sample standard deviation (NaN for one seed); ``seeds``, how many
        have a value; ``cases`` tested; ``misses`` and ``uncounted``, added up over seeds.
    """
    return (
        scores.groupby([*keys, "role", "metric", "unit", "region"], sort=False)
        .agg(
            mean=("value", "mean"),
            sd=("value", "std"),
            seeds=("value", "count"),
            cases=("cases", "max"),
            misses=("misses", "sum"),
            uncounted=("uncounted", "sum"),
        )
        .reset_index()
    )


def paired_gains(scores: pd.DataFrame, keys: Sequence[str], baseline: str) -> pd.DataFrame:
    """Return the difference of every arm to the baseline arm's student, paired by seed.

    The baseline agrees with an arm in all keys but the method and its parameters.

    Args:
        scores: of :func:`trial_scores`; must have the columns ``method`` and ``seed``.
        keys: the factors that tell arms apart.
        baseline: value of ``method``.

    Returns:
        the keys, ``role``, ``metric``, ``region``; ``gain``, the mean of the differences; ``pairs``, of how
        many seeds. No row where there is nothing to pair.
    """
    own = [key for key in keys if key.startswith("method.")]
    shared = [key for key in keys if key != "method" and key not in own]
    chosen = (scores["method"] == baseline) & (scores["role"] == STUDENT)
    for key in own:
        chosen &= scores[key] == UNSET
    paired_by = [*shared, "seed", "metric", "region"]
    reference = scores.loc[chosen, [*paired_by, "value"]].drop_duplicates(paired_by)
    pairs = scores.merge(reference, on=paired_by, suffixes=("", "_baseline"))
    pairs = pairs.assign(gain=pairs["value"] - pairs["value_baseline"])
    return (
        pairs.groupby([*keys, "role", "metric", "region"], sort=False)
        .agg(gain=("gain", "mean"), pairs=("gain", "count"))
        .reset_index()
    )


def best_two(values: Sequence[float], decimals: int) -> list[int]:
    """Return 1 for the ``values`` that print as the largest one, 2 for the second largest, 0 for the rest and NaN.

    Ties share a place. None has one where fewer than two can be compared.
    """
    rounded = [round(value, decimals) for value in values]
    known = [value for value in rounded if not math.isnan(value)]
    if len(known) < 2:
        return [0] * len(rounded)
    best = sorted(set(known), reverse=True)[:2]
    return [best.index(value) + 1 if value in best else 0 for value in rounded]


def arm_costs(trials: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the cost of each arm over its complete trials.

    Args:
        trials: of ``trial_frame``.
        keys: the factors that tell arms apart.

    Returns:
        the keys; ``trials``; ``parameters``, ``multiply_accumulates``, ``seconds_per_step``, ``forward_passes_per_step`` and
        ``seconds``, means; ``device_hours``, the sum; ``peak_memory``, the largest, bytes; ``pretraining_seconds`` and
        ``pretraining_passes``, means, of what the trials start from; ``seconds_waiting_for_data`` and
        ``seconds_predicting``, means of the trials that know them, NaN where none does.
    """
    done = trials[(trials["status"] == "complete") & trials["seconds"].notna()]
    how = {
        "id": "count", "parameters": "mean", "multiply_accumulates": "mean", "seconds_per_step": "mean",
        "peak_memory": "max", "forward_passes_per_step": "mean", "seconds": "mean", "device_hours": "sum",
        "pretraining_seconds": "mean", "pretraining_passes": "mean", "seconds_waiting_for_data": "mean",
        "seconds_predicting": "mean",
    }  # fmt: skip
    numbers = done.assign(
        forward_passes_per_step=done["forward_passes"].astype(float) / done["steps"].astype(float),
        device_hours=done["seconds"].astype(float) / 3600,
        pretraining_passes=done["pretraining_forward_passes"],
    ).astype({name: float for name in how if name != "id"})
    return numbers.groupby(list(keys), sort=False).agg(how).rename(columns={"id": "trials"}).reset_index()


def train_and_test_seconds(trials: pd.DataFrame) -> pd.Series:
    """Return the time that each trial trained and tested for, NaN where it is not known; resumed trials count whole."""
    return trials["seconds_training"].astype(float) + trials["seconds_testing"].astype(float)


def largest_time_ratio(trials: pd.DataFrame, keys: Sequence[str]) -> float:
    """Return the largest ratio of times of equal updates; NaN where none is known.

    Args:
        trials: complete rows of ``trial_frame``.
        keys: the factors that tell arms apart; arms that differ in training cases or steps only have equal updates.
    """
    same = [key for key in keys if key not in ("shots", "subset", "recipe.steps")]
    seconds = trials["seconds_per_step"].astype(float)
    by_work = seconds[seconds > 0].groupby([trials[key] for key in same], sort=False)
    return float((by_work.max() / by_work.min()).max())


def bin_by_step(history: pd.DataFrame, by: Sequence[str], bins: int = 150) -> pd.DataFrame:
    """Return curves with at most ``bins`` points each: ``by``, ``step`` and ``value``, means of a bin.

    Args:
        history: the columns ``by``, ``step`` and ``value``; NaN values do not count.
        by: what tells curves apart.
        bins: of equal width, from step 0 to the last one.
    """
    width = max(1, math.ceil((int(history["step"].max()) + 1) / bins)) if len(history) else 1
    grouped = history.assign(bin=history["step"].astype(int) // width).groupby(
        [*by, "bin"], sort=False, observed=True
    )
    return grouped.agg(step=("step", "mean"), value=("value", "mean")).reset_index().drop(columns="bin")


def cases_by_dice(cases: pd.DataFrame, trial_id: str) -> pd.Series:
    """Return the mean Dice over regions of each case of a trial's student, lowest first, by case id.

    Cases without any value are left out; ties are ordered by case id.
    """
    chosen = (cases["id"] == trial_id) & (cases["role"] == STUDENT) & (cases["metric"] == "dice")
    rows = cases.loc[chosen]
    values = rows["value"].astype(float).groupby(rows["case"]).mean().dropna()
    return values.sort_index().sort_values(kind="stable")
