"""Figures for the gallery that no published study has, drawn from made-up numbers when the site is built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from harness.reporting.figures.dots import role_dots
from harness.reporting.figures.parallel import search_parallel
from harness.reporting.figures.planned import Drawing
from harness.reporting.figures.search_plots import Axis, search_importances
from harness.reporting.figures.writing import write_figure

_ARMS = ("Supervised", "MedContext")
_SEARCHED = [
    Axis("rate", "Learning rate", log=True),
    Axis("ratio", "Mask ratio"),
    Axis("momentum", "1 − EMA momentum", log=True),
]


def write_examples(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Draw the figures; yield the title, the file, the command that makes such a figure, and a caption of each."""
    for name, title, command, drawing in _examples():
        folder.mkdir(parents=True, exist_ok=True)
        write_figure(drawing, name, folder, "page")
        yield title, f"{name}.png", command, drawing.caption


def _examples() -> Iterator[tuple[str, str, str, Drawing]]:
    search = "medctx run tune_medcontext"
    yield (
        "search_parallel", "Parallel coordinates", search,
        Drawing(search_parallel, (_suggestions(), _SEARCHED), "Each suggestion is a line through its parameters to its Dice. Better "
                "ones are darker, the best is thick. It takes ten complete suggestions."),
    )  # fmt: skip
    yield (
        "search_importances", "What the searched parameters matter", search,
        Drawing(search_importances, (_shares(), _ARMS), "How much each parameter decides whether a suggestion is among the "
                "better ones (PED-ANOVA), shares of 1. It takes ten complete suggestions."),
    )  # fmt: skip
    yield (
        "ensembles", "Ensembles beside their members", "medctx ensemble quickstart",
        Drawing(role_dots, (_members(),), "Mean Dice (%) of each network, and of the mean of their probabilities."),
    )  # fmt: skip


def _suggestions() -> pd.DataFrame:
    draws = np.random.default_rng(0)
    rate, ratio, momentum = 10 ** draws.uniform(-3.3, -1.7, 24), draws.uniform(0.1, 0.9, 24), 10 ** draws.uniform(-4, -1, 24)  # fmt: skip
    dice = 80 - 6 * (np.log10(rate) + 2.4) ** 2 - 9 * (ratio - 0.4) ** 2 + draws.normal(0, 0.3, 24)
    return pd.DataFrame({"rate": rate, "ratio": ratio, "momentum": momentum, "value": dice})


def _shares() -> pd.DataFrame:
    shares = [("MedContext", "Learning rate", 0.62), ("MedContext", "Mask ratio", 0.27), ("MedContext", "EMA momentum", 0.11),
              ("Supervised", "Learning rate", 0.81), ("Supervised", "Weight decay", 0.19)]  # fmt: skip
    return pd.DataFrame(shares, columns=["arm", "label", "share"])


def _members() -> pd.DataFrame:
    students = [(arm, "student", value) for arm, middle in zip(_ARMS, (78.0, 79.5), strict=True) for value in (middle - 0.6, middle, middle + 0.8)]  # fmt: skip
    means = [("Supervised", "ensemble over seeds", 79.4), ("MedContext", "ensemble over seeds", 80.6)]
    frame = pd.DataFrame([*students, *means], columns=["arm", "role", "value"])
    return frame.assign(dataset="Phantom", shots="2", architecture="U-Net", seed=0)
