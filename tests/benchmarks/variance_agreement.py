"""Variance components and intervals of published studies, beside an independent package: statsmodels.

For each primary contrast of balanced published studies (every seed of its arms on every patient): the components and the 95 % interval
of ``harness.reporting.statistics.mean_variance``, those of statsmodels' analysis of variance (the same estimate, so
that they have to agree to a millionth), and those of statsmodels' mixed model by restricted maximum likelihood with crossed random
effects. Where every component is above zero REML gives the same; it is iterative, so that a ten-thousandth is asked for. A model
that does not converge is said to, and its numbers are not printed.

Run: ``python tests/benchmarks/variance_agreement.py [--results results]``. The exit status is 1 where one differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.formula.api import mixedlm, ols
from statsmodels.stats.anova import anova_lm

from harness.commands.power import report_data
from harness.progress.adoption import adopt_published
from harness.records.store import Store
from harness.reporting.arm_scores import ArmScores
from harness.reporting.contrasts import contrasts_of
from harness.reporting.statistics.mean_variance import Components, components, two_way
from harness.study.expand import load_study

STUDIES = (
    "hippocampus_few_shot",
    "hippocampus_ema",
    "hippocampus_consistency_norm",
    "hippocampus_mask_ratio",
)
# of each pair the later ones are tried where the earlier do not converge; the better end counts
OPTIMISERS: tuple[tuple[list[str], dict[str, float]], ...] = (
    (["bfgs", "lbfgs", "cg"], {}),
    (["lbfgs"], {"gtol": 1e-10}),
)
EXACT, ITERATED = 1e-6, 1e-4  # relative to the variance of a single difference


def tables(study: str, results: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each primary contrast in Dice (%) as a table ``(seeds, patients)``, where its arms have the same seeds."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "published").symlink_to((results / "published").resolve())
        adopted = adopt_published(load_study(study), Store(Path(scratch)))
        data = report_data(adopted.known.study, Path(scratch))
        scores = ArmScores(data)
        for contrast, terms in contrasts_of(data):
            sample = scores.sample(terms, "dice")
            if contrast.primary and sample.paired and min(sample.seeds) >= 3:
                place = ", ".join(str(value) for value in contrast.place.values())
                yield f"{contrast.name} {place}".strip(), 100 * sample.sets[0][0]


def long(table: np.ndarray) -> pd.DataFrame:
    """Return a row for each seed and patient."""
    seed, case = np.indices(table.shape)
    return pd.DataFrame({"value": table.ravel(), "seed": seed.ravel(), "case": case.ravel(), "all": 1})


def by_anova(table: np.ndarray) -> tuple[Components, float]:
    """Return the components and the variance of the mean, from the mean squares of statsmodels' analysis of variance."""
    k, n = table.shape
    squares = anova_lm(ols("value ~ C(seed) + C(case)", long(table)).fit())["sum_sq"]
    of_seed, of_case, of_rest = squares / np.array([k - 1, n - 1, (k - 1) * (n - 1)])
    parts = Components((of_seed - of_rest) / n, (of_case - of_rest) / k, of_rest)
    return parts, parts.seed / k + max(parts.case, 0.0) / n + parts.residual / (k * n)


def by_reml(table: np.ndarray) -> tuple[Components, float] | str:
    """Return the same of a mixed model, or why there is none."""
    random = {"seed": "0 + C(seed)", "case": "0 + C(case)"}
    model = mixedlm("value ~ 1", long(table), groups="all", vc_formula=random, re_formula="0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is asked for below
        fits = [model.fit(reml=True, method=method, maxiter=500, **more) for method, more in OPTIMISERS]
    converged = [one for one in fits if one.converged]
    if not converged:
        return "REML did not converge"
    found = max(converged, key=lambda one: one.llf)
    parts = dict(zip(model.exog_vc.names, found.vcomp, strict=True))
    return Components(parts["seed"], parts["case"], float(found.scale)), float(found.bse_fe.iloc[0] ** 2)


def largest_gap(ours: Components, other: Components) -> float:
    """Return the largest difference of a component, as a share of the variance of a single difference."""
    total = ours.seed + ours.case + ours.residual
    return max(
        abs(getattr(ours, name) - getattr(other, name)) / total for name in ("seed", "case", "residual")
    )


def main() -> int:
    """Print the table and return 1 where a number is off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    results, off = parser.parse_args().results, 0
    print(
        f"{'study':30s} {'contrast':38s} seeds patients   seed   case  resid.  95 % interval       ANOVA gap  REML gap"
    )
    for study in STUDIES:
        for name, table in tables(study, results):
            ours, variance = components(table), two_way(table)
            anova, of_mean = by_anova(table)
            quantile = stats.t.ppf(0.975, variance.freedom())
            half, other = float(variance.half_width()), quantile * np.sqrt(of_mean)
            gap = max(largest_gap(ours, anova), abs(half - other) / half)
            below = min(ours.seed, ours.case) < 0
            reml = "a component below zero, where REML is another estimate" if below else by_reml(table)
            told = reml if isinstance(reml, str) else f"{largest_gap(ours, reml[0]):.1e}"
            off += gap > EXACT or (not isinstance(reml, str) and largest_gap(ours, reml[0]) > ITERATED)
            middle = table.mean()
            print(f"{study:30s} {name:38s} {table.shape[0]:5d} {table.shape[1]:8d} {ours.seed:6.3f} {ours.case:6.3f} {ours.residual:7.3f}"
                  f"  {middle - half:+7.3f} to {middle + half:+7.3f}  {gap:9.1e}  {told}", flush=True)  # fmt: skip
    print("all agree" if not off else f"{off} differ")
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
