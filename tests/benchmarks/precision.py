"""Speed and Dice of each precision and memory format on this machine, one thread.

python tests/benchmarks/precision.py [--steps N] [--dataset NAME] [--architecture NAME] [--data DIR]
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

from trials import organ_dice, run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--dataset", default="phantom")
    parser.add_argument("--architecture", default="unet")
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    print(f"{'precision':12}{'memory format':16}{'ms/step':>10}{'relative':>10}{'mean Dice':>12}")
    first = None
    for precision, layout in product(("fp32", "bf16"), ("contiguous", "channels_last")):
        record, rows = run(
            options.data,
            dataset=options.dataset,
            architecture=options.architecture,
            recipe__steps=options.steps,
            recipe__precision=precision,
            recipe__memory_format=layout,
        )
        assert record.cost is not None
        value = record.cost.seconds_per_step * 1000
        first = first or value
        dice = organ_dice(rows).mean()
        print(f"{precision:12}{layout:16}{value:10.1f}{value / first:10.2f}{dice:12.3f}", flush=True)


if __name__ == "__main__":
    main()
