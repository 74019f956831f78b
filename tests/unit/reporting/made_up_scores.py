"""Trials of made-up scores, one for each row of a table, for contrasts that are known by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fake_results import case_row, make_cell, make_record, make_study, write_trial

from harness.study.file import ReportSpec
from harness.study.study import Study

CASES = [f"{c:02d}" for c in range(13)]


def written(
    results: Path, scores: Mapping[tuple[tuple[str, Any], ...], np.ndarray], cases: list[str], **report: Any
) -> Study:
    """Write a trial for each row of the scores ``(seeds, cases)`` of arms, told by their factors."""
    cells = []
    for arm, table in scores.items():
        factors = {"architecture": "unet", "shots": 5, **dict(arm)}
        first = factors.pop("first_seed", 0)
        for seed, row in enumerate(table, first):
            cells.append(make_cell(**factors, seed=seed))
            rows = [case_row(case, "lobe", float(value)) for case, value in zip(cases, row, strict=True)]
            write_trial(results, make_record(cells[-1], test_cases=cases), rows, [])
    return make_study(cells, report=ReportSpec(metrics=("dice",), **report))


def key(**factors: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(factors.items())


def draws(*shape: int, seed: int = 0, level: float = 0.7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        level
        + rng.normal(0, 0.03, shape)
        + rng.normal(0, 0.02, (*shape[:-1], 1))
        + rng.normal(0, 0.05, shape[-1])
    )
