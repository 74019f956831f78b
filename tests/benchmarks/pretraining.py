"""Each pretraining on the phantom and, with data, on the hippocampus against random initialisation.

Prints how far the held-out loss falls, the share of parameters that is transferred, and test Dice after
fine-tuning on two cases beside the same training from random weights. With --data, on the hippocampus.

    python tests/benchmarks/pretraining.py [--data DIR] [--architecture NAME] [--pretrain N] [--steps N] [--seeds N]
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import pandas as pd

from harness import registry
from harness.records.schema import read_history
from harness.study.resolve import Resolver
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

warnings.filterwarnings("ignore")
LEAST_FALL = 0.2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--architecture", default="unet")
    parser.add_argument("--pretrain", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    methods = [
        name for name in registry.names("method") if "pretrain" in registry.load("method", name).stages
    ]
    fell = True
    print(f"{'method':18}{'seed':>5}{'held-out loss':>20}{'fall':>7}{'share':>8}{'Dice':>8}")
    with tempfile.TemporaryDirectory() as folder:
        settings = RunSettings(Path(folder), options.data, keep="none")
        for seed in range(options.seeds):
            print(
                f"{'random weights':18}{seed:5}{'':35}{dice(settings, options, 'supervised', seed):8.3f}",
                flush=True,
            )
            for method in methods:
                score = dice(settings, options, method, seed)
                if score is None:
                    continue
                spec, node = specs(options, method, seed)
                lines = read_history(settings.results / "trials" / node.id)
                losses = [line["held_out"]["total"] for line in lines if "held_out" in line]
                fall = 1 - losses[-1] / losses[0]
                fell &= fall >= LEAST_FALL
                record = run_trial(spec, settings)
                share = record.transfer.share
                text = f"{losses[0]:.3f} -> {losses[-1]:.3f}"
                print(f"{method:18}{seed:5}{text:>20}{fall:7.0%}{share:8.0%}{score:8.3f}", flush=True)
    if not fell:
        raise SystemExit(f"a held-out loss fell by less than {LEAST_FALL:.0%}")


def specs(options, method: str, seed: int):
    """Return the trial and its pretraining, or the reason why there is none."""
    flat = {
        "dataset": "hippocampus" if options.data else "phantom", "architecture": options.architecture,
        "method": method, "shots": 2, "subset": 0, "seed": seed, "recipe.steps": options.steps,
    }  # fmt: skip
    if options.data:
        flat |= {"recipe.patch": [32, 48, 32], "recipe.learning_rate": 0.005}
    if options.architecture != "unet":
        flat["recipe.patch"] = [64, 64, 32] if options.architecture == "swin_unetr" else [32, 32, 32]
    if method != "supervised":
        flat["method.pretrain.steps"] = options.pretrain
    return Resolver("benchmark").resolve(flat)[:2]


def dice(settings: RunSettings, options, method: str, seed: int) -> float | None:
    """Return the mean test Dice of a trial after its pretraining, or None where it cannot be."""
    found = specs(options, method, seed)
    if isinstance(found, str):
        print(f"{method:18}{found}")
        return None
    spec, node = found
    for one in filter(None, (node, spec)):
        record = run_trial(one, settings)
        if record is None or record.status != "complete":
            raise SystemExit(str(record and record.cause))
    rows = pd.read_parquet(settings.results / "trials" / spec.id / "cases.parquet")
    return float(rows[rows.metric == "dice"].value.mean())


if __name__ == "__main__":
    main()
