"""Four words for a difference: gain, loss, equivalent, or undecided; each after Holm's correction within its family."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from harness.reporting.statistics.power import smallest_difference
from harness.reporting.statistics.significance import LEVEL, Significance, equivalence_p, holm

GAIN, LOSS, EQUIVALENT, UNDECIDED = "gain", "loss", "equivalent", "undecided"
VERDICTS = (GAIN, LOSS, EQUIVALENT, UNDECIDED)
TONES = {GAIN: "good", LOSS: "bad"}
"""How a verdict is coloured; the others are not."""


def decided(test: Significance, difference: float, margin: float) -> dict[str, float]:
    """Return what a verdict needs beside the test: the p of equivalence, and the smallest difference that is detected.

    Args:
        test: for retraining.
        difference, margin: in the unit of the scores; the margin is NaN where no difference counts as none.
    """
    known = test.variance is not None
    return {
        "margin": margin,
        "p_equivalent": math.nan if math.isnan(margin) else equivalence_p(test, difference, margin),
        "detectable": smallest_difference(test.variance) if known and test.variance else math.nan,
    }


def with_verdicts(
    frame: pd.DataFrame, families: Sequence[pd.Series], higher_is_better: pd.Series
) -> pd.DataFrame:
    """Return a frame of tests with corrected p values and a verdict for each row that is tested.

    A difference that holds is a gain or a loss, also a small one. One that does not, and is shown to be within the
    margin, is equivalent. Both tests are corrected by Holm's rule within a family.

    Args:
        frame: ``difference``, ``p_retraining``, ``p_equivalent``.
        families: rows that agree in all of these are one.
        higher_is_better: of each row's metric.

    Returns:
        the frame and ``holm_retraining``, ``family_retraining``, ``holm_equivalent``, ``verdict`` (empty without a test).
    """
    frame = frame.assign(**{
        f"holm_{name}": frame.groupby([*families])[f"p_{name}"].transform(lambda p: holm(p.tolist())) if len(frame) else 0.0
        for name in ("retraining", "equivalent")
    })  # fmt: skip
    frame["family_retraining"] = frame.groupby([*families])["p_retraining"].transform("count")
    better = (frame["difference"] > 0) == higher_is_better
    holds, same = frame["holm_retraining"] < LEVEL, frame["holm_equivalent"] < LEVEL
    words = np.select([holds & better, holds, same], [GAIN, LOSS, EQUIVALENT], UNDECIDED)
    return frame.assign(verdict=np.where(frame["p_retraining"].notna(), words, ""))
