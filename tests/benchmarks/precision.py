"""Speed and validation Dice of each precision and memory format on this machine, one thread.

Trains one planned trial as the harness does, once with each, and predicts its validation cases with the last weights. No test
label is read, and nothing is kept. Prints the processor time of a step (median), so that other processes disturb little.

    python tests/benchmarks/precision.py STUDY KEY=VALUE... [--steps N] [--steps-only] [--data DIR] [--only PRECISION,FORMAT]

Keys and values are those of one trial, as in ``medctx run --only``. With ``--steps-only`` nothing is predicted: on a processor
that emulates bf16 that takes an hour.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import product

import numpy as np
from trials import planned, untrained

from harness.data.caches import data_folder
from harness.evaluation.metrics import dice_by_region
from harness.evaluation.prediction import class_probabilities
from harness.spec import TrialSpec

CHOICES = tuple(product(("fp32", "bf16"), ("channels_last", "contiguous")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study")
    parser.add_argument("trial", nargs="+", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--steps-only", action="store_true")
    parser.add_argument("--data")
    parser.add_argument("--only", metavar="PRECISION,FORMAT")
    options = parser.parse_args()
    spec = planned(options.study, dict(pair.split("=", 1) for pair in options.trial))
    only = options.only and tuple(options.only.split(","))
    print(f"{'precision':12}{'memory format':16}{'ms/step':>10}{'relative':>10}{'Dice':>8}")
    first = None
    for choice in [one for one in CHOICES if only in (None, one)]:
        settings = dict(zip(("precision", "memory_format"), choice, strict=True))
        recipe = spec.recipe.model_copy(update=settings | {"steps": options.steps or spec.recipe.steps})
        seconds, dice = trained(
            spec.model_copy(update={"recipe": recipe}), options.data, predict=not options.steps_only
        )
        first = first or seconds
        print(
            f"{choice[0]:12}{choice[1]:16}{1000 * seconds:10.1f}{seconds / first:10.2f}{100 * dice:8.2f}",
            flush=True,
        )


def trained(spec: TrialSpec, folder: str | None, *, predict: bool) -> tuple[float, float]:
    """Return the processor time of a step, seconds, and the mean Dice of the student over regions and validation cases."""
    trainer, data = untrained(spec, data_folder(folder))
    times, start = [], time.process_time()
    for _ in trainer.run_until(spec.recipe.steps):
        times.append(time.process_time() - start)
        start = time.process_time()
    student, regions = trainer.method.roles()["student"], dict(data.dataset.training_regions())
    scores = []
    for case in data.selection_cases if predict else ():
        found = class_probabilities(student, data.image(case), spec.recipe, trainer.device).labels()
        scores.append([*dice_by_region(found, data.selection_label(case), regions).values()])
    return statistics.median(times), float(np.nanmean(np.nanmean(scores, axis=0))) if predict else np.nan


if __name__ == "__main__":
    main()
