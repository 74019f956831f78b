"""The contrasts of a study, estimated: those that it declares, and each network's difference of each method to the baseline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from harness.reporting.arm_scores import ArmScores, Sample, WeightedArm, merged
from harness.reporting.contrast_words import contrast_words
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.datasets import LEAST_DATASETS, heterogeneity, mean_of_datasets
from harness.reporting.statistics.significance import Significance, student_test
from harness.reporting.statistics.verdicts import decided, with_verdicts
from harness.reporting.wording import UNSET, metric_of
from harness.study.cells import SETTING
from harness.study.contrast_checks import planned_arms
from harness.study.contrasts import DATASET, Contrast, default_contrasts, expand

COLUMNS = (
    "study", "contrast", "of", "to", "place", "pooled", "kind", "primary", "dataset", "metric", "difference", "low_retraining", "high_retraining",
    "p_retraining", "margin", "p_equivalent", "detectable", "seeds", "seeds_to", "left_out", "patients", "cases", "dropped", "levels",
    "paired", "same_seeds", "random_datasets", "q", "p_q", "i_squared", "reason",
)  # fmt: skip


def contrasts_of(data: ReportData) -> list[tuple[Contrast, list[WeightedArm]]]:
    """Return the contrasts of a study, each with its arms as the report tells them apart.

    Where no declared one is primary, each network's contrast of each method with the baseline is, pooled over all else.
    """
    arms, report = planned_arms(data.study), data.study.report
    specs = list(report.contrasts)
    if not any(spec.primary for spec in specs):
        specs = [*default_contrasts(arms, report.baseline, (SETTING,)), *specs]
    return [
        (contrast, merged([
            WeightedArm(term.weight, tuple(term.arm.get(key, UNSET) for key in data.keys), term.role) for term in contrast.terms
        ]))
        for spec in specs
        for contrast in expand(spec, arms, report.baseline)
    ]  # fmt: skip


def studies_with_contrasts(data: ReportData) -> tuple[ReportData, ...]:
    """Return the studies that a report combines, where one of them declares contrasts; else the report itself.

    What a study declares is of its own arms. So its contrasts are estimated from its own trials, against its own baseline,
    and are corrected among themselves, as in a report of its own. Where none declares any, all trials are one study.
    """
    return data.parts if any(one.study.report.contrasts for one in data.parts) else (data,)


def contrast_frame(data: ReportData) -> pd.DataFrame:
    """Return one row per contrast and metric of the report, and below one of several datasets one for each of them.

    Returns:
        ``study`` (of :func:`studies_with_contrasts`, empty where there is one); ``contrast`` (its name), ``of``, ``to``, ``place``,
        ``pooled`` (in words), ``kind`` (difference, interaction or slope), ``primary``, ``dataset`` (of a row of one dataset);
        ``metric``; ``difference`` with its interval and p for retraining; ``margin``, ``p_equivalent``, ``detectable``; how many
        seeds, patients, cases and levels it rests on, ``left_out`` seeds and ``dropped`` patients; of several datasets
        ``same_seeds`` and ``random_datasets``, and ``q``, ``p_q`` and ``i_squared`` where it is pooled over them; ``reason`` for no
        test; what ``with_verdicts`` adds.
    """
    studies = studies_with_contrasts(data)
    rows = [
        {**row, "study": one.study.name if len(studies) > 1 else ""}
        for one in studies
        for row in _rows_of_study(one)
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    better = frame["metric"].map(lambda name: metric_of(name).higher_is_better)
    return with_verdicts(frame, [frame["metric"], frame["primary"], frame["study"]], better)


def _rows_of_study(data: ReportData) -> Iterator[dict[str, Any]]:
    scores = ArmScores(data)
    for contrast, terms in contrasts_of(data):
        for metric in data.study.report.metrics:
            yield from _rows(data, scores, contrast, terms, metric)


def _rows(
    data: ReportData, scores: ArmScores, contrast: Contrast, terms: Sequence[WeightedArm], metric: str
) -> Iterator[dict[str, Any]]:
    """Yield the row of a contrast, and those of its datasets where it is pooled over several."""
    named = {
        **contrast_words(data, contrast),
        "metric": metric,
        "primary": contrast.primary,
        "levels": contrast.levels,
    }
    scale = metric_of(metric).scale
    margin = math.nan if contrast.trend else data.study.report.margin_of(metric) / scale
    lacking = [one for one in terms if not scores.has(one.arm, one.role, metric)]
    if lacking:
        if len(lacking) < len(terms):
            reason = f"{len(lacking)} of {len(terms)} arms have no complete trial"
            yield {**named, "reason": reason, "margin": margin}
        return
    sample = scores.sample(terms, metric)
    test, more = sample.test(), {}
    parts = (
        list(_by_dataset(scores, sample, terms, metric)) if is_pooled_over_datasets(contrast, sample) else []
    )
    if len(sample.datasets) > 1:
        more = {
            "same_seeds": sample.same_seeds,
            "random_datasets": len(parts) >= LEAST_DATASETS,
            **_disagreement(parts),
        }
    difference = sample.estimate
    if len(parts) >= LEAST_DATASETS and not test.reason:
        difference, variance = mean_of_datasets([own.estimate for _, own, _ in parts])
        test = student_test(difference, variance)
    yield {**named, **_numbers(sample, test, difference, margin), **more}
    for dataset, own, own_test in parts:
        yield {**named, **_numbers(own, own_test, own.estimate, margin), "primary": False, "dataset": dataset}


def is_pooled_over_datasets(contrast: Contrast, sample: Sample) -> bool:
    """Return whether a contrast is a mean over several datasets; of those that it names itself it is none."""
    return DATASET in contrast.pooled and len(sample.datasets) > 1


def _by_dataset(
    scores: ArmScores, whole: Sample, terms: Sequence[WeightedArm], metric: str
) -> Iterator[tuple[str, Sample, Significance]]:
    """Yield the same contrast on each dataset alone: all have the same share in the mean."""
    for name, own in of_each_dataset(scores, whole, terms):
        sample = scores.sample(own, metric)
        yield name, sample, sample.test()


def of_each_dataset(
    scores: ArmScores, whole: Sample, terms: Sequence[WeightedArm]
) -> Iterator[tuple[str, list[WeightedArm]]]:
    """Yield each dataset of a mean over datasets, and the terms of its own contrast."""
    for name in whole.datasets:
        own = [one for one in terms if scores.dataset(one.arm) == name]
        yield name, [WeightedArm(one.weight * len(whole.datasets), one.arm, one.role) for one in own]


def _disagreement(parts: Sequence[tuple[str, Sample, Significance]]) -> dict[str, float]:
    """Return how much datasets disagree, where all have a variance."""
    variances = [float(own.variance.variance) for *_, own in parts if own.variance is not None]
    if not parts or len(variances) < len(parts):
        return {}
    found = heterogeneity([own.estimate for _, own, _ in parts], variances)
    return {"q": found.q, "p_q": found.p, "i_squared": found.i_squared}


def _numbers(sample: Sample, test: Significance, difference: float, margin: float) -> dict[str, Any]:
    return {
        "difference": difference, "low_retraining": test.low, "high_retraining": test.high, "p_retraining": test.p, "reason": test.reason,
        **decided(test, difference, margin), "seeds": sample.seeds[0], "seeds_to": sample.seeds[1], "left_out": sample.left_out,
        "patients": sample.patients, "cases": sample.cases, "dropped": sample.dropped, "paired": sample.paired,
    }  # fmt: skip
