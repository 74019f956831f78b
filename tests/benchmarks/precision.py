"""Speed and validation Dice of each precision and memory format on this machine, one thread.

Trains one planned trial as the harness does, once with each, and predicts its validation cases with the last weights. No test
label is read, and nothing is kept. Prints the processor time of a step (median), so that other processes disturb little.

    python tests/benchmarks/precision.py STUDY KEY=VALUE... [--steps N] [--data DIR] [--only PRECISION,FORMAT]

Keys and values are those of one trial, as in ``medctx run --only``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import product

import numpy as np
from term_shares import planned

from harness.data.caches import data_folder
from harness.data.trial_data import load_trial_data
from harness.evaluation.metrics import dice_by_region
from harness.evaluation.prediction import class_probabilities
from harness.seeding import clean_process
from harness.spec import TrialSpec
from harness.training.batches import training_batches
from harness.training.loop import Trainer
from harness.trial.build import build_method
from harness.trial.environment import pick_device

CHOICES = tuple(product(("fp32", "bf16"), ("channels_last", "contiguous")))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study")
    parser.add_argument("trial", nargs="+", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--data")
    parser.add_argument("--only", metavar="PRECISION,FORMAT")
    options = parser.parse_args()
    spec = planned(options.study, dict(pair.split("=", 1) for pair in options.trial))
    only = options.only and tuple(options.only.split(","))
    print(f"{'precision':12}{'memory format':16}{'ms/step':>10}{'relative':>10}{'Dice':>8}")
    first = None
    for precision, layout in [choice for choice in CHOICES if only in (None, choice)]:
        recipe = spec.recipe.model_copy(
            update={
                "precision": precision,
                "memory_format": layout,
                "steps": options.steps or spec.recipe.steps,
            }
        )
        seconds, dice = trained(spec.model_copy(update={"recipe": recipe}), options.data)
        first = first or seconds
        print(
            f"{precision:12}{layout:16}{1000 * seconds:10.1f}{seconds / first:10.2f}{100 * dice:8.2f}",
            flush=True,
        )


def trained(spec: TrialSpec, folder: str | None) -> tuple[float, float]:
    """Return the processor time of a step, seconds, and the mean Dice of the student over regions and validation cases."""
    recipe = spec.recipe
    clean_process(recipe.threads, recipe.kernels, recipe.precision)
    data, device = load_trial_data(spec, data_folder(folder)), pick_device()
    method = build_method(spec, data, device)
    trainer = Trainer(method, recipe, spec.seed, device, training_batches(data, method, recipe, spec.seed))
    times, start = [], time.process_time()
    for _ in trainer.run_until(recipe.steps):
        times.append(time.process_time() - start)
        start = time.process_time()
    student, regions = trainer.method.roles()["student"], dict(data.dataset.training_regions())
    scores = [
        list(dice_by_region(labels, data.selection_label(case), regions).values())
        for case in data.selection_cases
        for labels in (class_probabilities(student, data.image(case), recipe, device).labels(),)
    ]
    return statistics.median(times), float(np.nanmean(np.nanmean(scores, axis=0)))


if __name__ == "__main__":
    main()
