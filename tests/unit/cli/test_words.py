"""How help and a plan look: as wide as the terminal, one name for one thing, a dash for what is not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

STUDY = """
question: Does it go on?
base: {dataset: phantom, architecture: unet, shots: 2, recipe: {steps: 4}}
grid: {method: [supervised]}
also:
  - {method: medcontext, method.masking.ratio: [0.2, 0.4]}
"""


@pytest.mark.parametrize("width", [60, 150])
def test_help_is_as_wide_as_the_terminal(
    medctx: Callable, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    widest = max(map(len, medctx("run", "--help").out.splitlines()))
    assert 0.7 * width < widest <= width


def test_a_plan_names_a_thing_once_and_shows_a_dash_where_a_trial_has_no_such_setting(
    medctx: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "words.yaml"
    path.write_text(STUDY)
    shown = medctx("plan", path, "--results", tmp_path / "results").out.splitlines()
    head = next(line for line in shown if line.startswith("id "))
    assert head.split() == [
        "id",
        "method",
        "architecture",
        "dataset",
        "shots",
        "seed",
        "method.masking.ratio",
    ]
    ratios = {line.split()[1]: line.split()[-1] for line in shown if " phantom " in line and "unet" in line}
    assert ratios["supervised"] == "–" and ratios["medcontext"] == "0.4"

    path.write_text(STUDY.replace("also:", "methods: {mine: {name: medcontext}}\nalso:\n  - {method: mine}"))
    named = medctx("plan", path, "--results", tmp_path / "results").out
    assert "id                method      arm " in named  # where a study has a name of its own for a method
