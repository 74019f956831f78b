"""Regions that a case does not have: a network that predicts one all the same has made a mistake that Dice hardly tells.

Where both masks are empty a case has no Dice, and where the prediction alone has voxels Dice is 0. Two networks of which one is right
would have no pair of values, so that the mistake would drop out of their comparison. Whether a region is absent is known from the
reference, and so alike for all networks: each gets a value here, 1 for a false positive and 0 for none, and these are compared as a
metric of their own. Source of the principle: Maier-Hein et al., Metrics reloaded, Nature Methods 21 (2024), on empty references.
"""

from __future__ import annotations

import pandas as pd

from harness.study.file import FALSE_POSITIVES


def with_false_positives(cases: pd.DataFrame) -> pd.DataFrame:
    """Return ``cases`` and a row of :data:`FALSE_POSITIVES` for each network, case and region that the reference does not have.

    Args:
        cases: of ``case_frame``. Rows of Dice tell which masks are empty.
    """
    absent = cases[(cases["metric"] == "dice") & cases["empty"].isin(("reference", "both"))]
    if not len(absent):
        return cases
    words = pd.CategoricalDtype([*cases["metric"].astype("category").cat.categories, FALSE_POSITIVES])
    rows = absent.assign(
        metric=pd.Categorical([FALSE_POSITIVES] * len(absent), dtype=words),
        value=(absent["empty"] == "reference").astype(float),
    )
    return pd.concat([cases.astype({"metric": words}), rows], ignore_index=True)
