"""Is the phantom hard enough that methods differ? Tiny unet, supervised, all cases and 2 cases, two seeds.

Prints Dice by organ and checks, with exit status 1 where one fails: mean at all cases 0.70 to 0.95, at 2 shots
at least 0.08 lower, easiest minus hardest organ at least 0.10.

    python tests/benchmarks/phantom_difficulty.py
"""

from __future__ import annotations

import sys

import pandas as pd
from trials import organ_dice, run


def main() -> None:
    scores = {
        (shots, seed): organ_dice(run(dataset="phantom", shots=shots, seed=seed)[1])
        for shots in ("all", 2)
        for seed in (0, 1)
    }
    table = pd.DataFrame(scores).T.rename_axis(["shots", "seed"])
    table["mean"] = table.mean(axis=1)
    print(table.round(3).to_string())
    full, few = table.loc["all"], table.loc[2]
    organs = full.drop(columns="mean").mean()
    checks = {
        f"mean at all cases {full['mean'].mean():.3f}, wanted 0.70 to 0.95": 0.70
        <= full["mean"].mean()
        <= 0.95,
        f"loss at 2 shots {full['mean'].mean() - few['mean'].mean():.3f}, wanted at least 0.08": full[
            "mean"
        ].mean()
        - few["mean"].mean()
        >= 0.08,
        f"easiest minus hardest organ {organs.max() - organs.min():.3f}, wanted at least 0.10": organs.max()
        - organs.min()
        >= 0.10,
    }
    for text, passed in checks.items():
        print("ok    " if passed else "MISSED", text)
    sys.exit(not all(checks.values()))


if __name__ == "__main__":
    main()
