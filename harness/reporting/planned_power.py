"""What a study can find before it has run: the power of its primary contrasts, with variances that are known from elsewhere or so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harness.data.part_counts import FEWEST_TESTED_RETRAINING
from harness.reporting.arm_scores import ArmScores, Sample
from harness.reporting.contrast_words import contrast_words
from harness.reporting.contrasts import contrasts_of, is_pooled_over_datasets
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.datasets import LEAST_DATASETS, between_datasets
from harness.reporting.statistics.mean_variance import Components, MeanVariance, Part, components, together
from harness.reporting.statistics.power import (
    LEVEL,
    WANTED,
    expected_variance,
    fewest_needed,
    smallest_difference,
)
from harness.reporting.statistics.significance import LEAST_SEEDS
from harness.reporting.wording import UNSET, count, metric_of, number
from harness.study.contrasts import Contrast

MOST_SEEDS, MOST_PATIENTS = 100, 2000
"""More are called out of reach."""
_LEAST = 2  # seeds and patients that a variance can be estimated from
LOOKING = (
    "Settle the number of seeds before the first is tested. Who looks after each seed and stops at the first star finds too much: five "
    "looks at 5 % make 14 % false positives (Armitage, McPherson and Rowe, JRSS A 132, 1969)."
)


@dataclass(frozen=True)
class PlannedPower:
    """What a study can find of one primary contrast in one metric.

    Attributes:
        contrast: in words.
        metric: its name; differences are in the unit that is printed.
        seeds, patients: that are planned.
        smallest: the difference that is found with a power of 80 %; NaN where no variance is known.
        wanted: the difference that is asked for.
        seeds_needed: with so many patients; None where :data:`MOST_SEEDS` do not suffice.
        patients_needed: with so many seeds, likewise; of several datasets together it is not told.
        known_from: the seeds that variances come from.
        typical: whether they are the median of other contrasts, since this one has no scores.
    """

    contrast: str
    metric: str
    seeds: int
    patients: int
    smallest: float
    wanted: float
    seeds_needed: int | None
    patients_needed: int | None
    known_from: int
    typical: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data; null is what is not known."""
        return {**asdict(self), "smallest": None if math.isnan(self.smallest) else self.smallest}


@dataclass(frozen=True)
class _Known:
    """What is known of a contrast.

    Attributes:
        parts: variance components on each dataset, of its share in the contrast.
        patients: of each dataset.
        seeds: how many they come from, on the dataset that has fewest.
        between: the variance of the true difference between datasets, where these are random; else None.
    """

    parts: tuple[Components, ...]
    patients: tuple[int, ...]
    seeds: int
    between: float | None = None

    def variance(self, seeds: int, patients: Sequence[int]) -> MeanVariance:
        fixed = together(
            [expected_variance(own, seeds, n) for own, n in zip(self.parts, patients, strict=True)]
        )
        if self.between is None:
            return fixed
        number = len(self.parts)
        return MeanVariance((Part(self.between / number + float(fixed.variance), number - 1),), (), ())


def planned_powers(
    data: ReportData,
    source: ReportData,
    patients: int | None = None,
    wanted: Mapping[str, float] | None = None,
) -> list[PlannedPower]:
    """Return the power of each primary contrast of a study, in each metric of its report.

    The level is that of the first of Holm's steps: 5 % by the number of primary contrasts, which is what the clearest of them has to
    reach.

    Args:
        data: of the study.
        source: where variances come from: the same, or another study. A contrast of the same words has its own; others get the
            median of those that are there.
        patients: that will be tested; as many as in the source where that is not known.
        wanted: the difference that is asked for by metric, in its printed unit; by default the study's margin.
    """
    primary = [(contrast, terms) for contrast, terms in contrasts_of(data) if contrast.primary]
    trials = (
        data.trials.drop_duplicates([*data.keys, "seed"]).groupby([*data.keys], sort=False)["seed"].nunique()
    )
    planned = {(arm if isinstance(arm, tuple) else (arm,)): int(seeds) for arm, seeds in trials.items()}
    found = []
    for metric in data.study.report.metrics:
        known = dict(_known_of(source, metric))
        typical = _typical(list(known.values()))
        scale = metric_of(metric).scale
        asked = (wanted or {}).get(metric, data.study.report.margin_of(metric))
        for contrast, terms in primary:
            words = _words(data, contrast)
            own, seeds = known.get(words), min(planned.get(one.arm, 0) for one in terms)
            found.append(
                _power(
                    words, metric, seeds, own or typical, patients, asked, scale, own is None, len(primary)
                )
            )
    return found


def _power(
    words: str, metric: str, seeds: int, known: _Known | None, patients: int | None, wanted: float, scale: float, typical: bool,
    family: int,
) -> PlannedPower:  # fmt: skip
    if known is None:
        return PlannedPower(words, metric, seeds, patients or 0, math.nan, wanted, None, None, 0, typical)
    counts = known.patients if patients is None or len(known.parts) > 1 else (patients,)
    level = LEVEL / family
    smallest = smallest_difference(known.variance(seeds, counts), level) if seeds >= LEAST_SEEDS else math.nan
    return PlannedPower(
        words, metric, seeds, sum(counts), smallest * scale, wanted,
        fewest_needed(lambda k: known.variance(k, counts), wanted / scale, LEAST_SEEDS, MOST_SEEDS, level),
        fewest_needed(lambda n: known.variance(seeds, (n,)), wanted / scale, FEWEST_TESTED_RETRAINING, MOST_PATIENTS, level)
        if len(known.parts) == 1 and seeds >= LEAST_SEEDS else None,
        known.seeds, typical,
    )  # fmt: skip


def _known_of(source: ReportData, metric: str) -> Iterator[tuple[str, _Known]]:
    """Yield the variances of each primary contrast that has scores of two seeds and two patients, by its words."""
    scores = ArmScores(source)
    for contrast, terms in contrasts_of(source):
        if contrast.primary and all(scores.has(one.arm, one.role, metric) for one in terms):
            sample = scores.sample(terms, metric)
            pooled = is_pooled_over_datasets(contrast, sample)
            if (known := _known(sample, pooled and len(sample.sets) >= LEAST_DATASETS)) is not None:
                yield _words(source, contrast), known


def _known(sample: Sample, random_datasets: bool) -> _Known | None:
    """Return the variances of a sample; arms with seeds of their own are set beside each other as they come."""
    parts, patients, means, variances = [], [], [], []
    for groups in sample.sets:
        fewest = min(len(group) for group in groups)
        table = np.sum([group[:fewest] for group in groups], axis=0)
        if min(table.shape) < _LEAST:
            return None
        parts.append(components(table))
        patients.append(table.shape[1])
        means.append(float(table.mean()))
        variances.append(float(expected_variance(parts[-1], *table.shape).variance))
    number = len(parts)  # of datasets; each has its share in the contrast
    between = (
        between_datasets([number * mean for mean in means], [number**2 * own for own in variances])
        if random_datasets
        else None
    )
    return _Known(tuple(parts), tuple(patients), min(sample.seeds), between)


def _typical(known: Sequence[_Known]) -> _Known | None:
    """Return the median of what is known of contrasts on one dataset; None where there is none."""
    alone = [one for one in known if len(one.parts) == 1]
    if not alone:
        return None
    seed, case, residual = (
        float(np.median([getattr(one.parts[0], name) for one in alone]))
        for name in ("seed", "case", "residual")
    )
    patients = int(np.median([one.patients[0] for one in alone]))
    return _Known((Components(seed, case, residual),), (patients,), min(one.seeds for one in alone))


def _words(data: ReportData, contrast: Contrast) -> str:
    """Return a contrast in words: ``MedContext against supervised, U-Net (mean of 5 values of training cases)``."""
    told = contrast_words(data, contrast)
    text = f"{told['of']} against {told['to']}" if told["to"] else told["of"]
    text = f"{text}, {told['place']}" if told["place"] else text
    return f"{text} ({told['pooled']})" if told["pooled"] else text


def power_rows(powers: Sequence[PlannedPower]) -> list[dict[str, str]]:
    """Return what to print of each power that is known, by the heads of a table."""
    return [_row(one) for one in powers if one.known_from]


def _row(one: PlannedPower) -> dict[str, str]:
    metric = metric_of(one.metric)
    unit = "points" if metric.unit == "%" else metric.unit
    finds = UNSET if math.isnan(one.smallest) else f"{number(one.smallest)} {unit}"
    needs = [f"{one.seeds_needed} seeds" if one.seeds_needed else f"over {MOST_SEEDS} seeds"]
    needs += [f"{one.patients_needed} patients"] if one.patients_needed else []
    return {
        "primary contrast": one.contrast,
        "metric": metric.label,
        "planned": f"{count(one.seeds, 'seed')}, {count(one.patients, 'patient')}",
        "detects": finds,
        "wanted": f"{number(one.wanted)} {unit}",
        "takes": " or ".join(needs),
        "variances": f"{count(one.known_from, 'seed')}{', typical' if one.typical else ''}",
    }


def power_notes(powers: Sequence[PlannedPower]) -> Iterator[str]:
    """Yield what has to be said of powers, and of how many no variance is known."""
    if not powers:
        yield "power: no primary contrast, since no arm is compared with another"
    known = [one for one in powers if one.known_from]
    family = len({one.contrast for one in powers})
    if known:
        yield (
            f"detects: the true difference that is found with a power of {WANTED:.0%}".replace("%", " %")
            + f" at the level {LEVEL / family:.2g}, 5 % by {count(family, 'primary contrast')}. It is as uncertain as the variances"
            + (", typical: the median of other contrasts." if any(one.typical for one in known) else ".")
        )
        yield LOOKING
    if len(known) < len(powers):
        unknown = len({one.contrast for one in powers} - {one.contrast for one in known})
        yield (
            f"power of {count(unknown, 'primary contrast')}: not known before two seeds of all its arms are complete; "
            "medctx plan --power-from STUDY takes the variances of another study"
        )
