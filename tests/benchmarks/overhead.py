"""What the harness adds to training: 16 short trials on 2 workers, against their pure training time.

Prints, measured in one run,
- pure: seconds of the training steps alone, of the same 16 trials in two concurrent one-thread processes;
- harness: from the first training step of any trial to the last record, under ``medctx run``'s sweep;
- naive: the same trials, each in a subprocess of its own, two at a time;
and the ratio of the last two to pure / 2. Workers' imports and warm-up are printed apart. Two test cases, since
scoring is work that any way of running has to do. Pure and harness take turns, and the last line has the medians, since the
speed of a core shared with others changes by a tenth from one minute to the next. The second ratio is to the training steps
of the harness' own run, which such changes do not touch: it leaves out only what makes a step itself slower.

    python tests/benchmarks/overhead.py [--steps N] [--rounds N] [--skip-naive]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

STUDY = """
question: What does the harness add to training?
base:
  dataset: few_cases:FewCases
  architecture: unet
  method: supervised
  recipe: {{overlap: 0.0, steps: {steps}}}
grid:
  seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
keep: none
"""
WORKERS = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-naive", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "overhead.yaml"
        study.write_text(STUDY.format(steps=options.steps))
        found = []
        for turn in range(options.rounds):
            pure = measure_pure(study)
            print(f"pure      {pure:6.1f} s of training in 16 trials, {pure / 16:.2f} s each")
            warm, wall, own = measure_harness(study, Path(folder) / f"results_{turn}")
            ratios = wall / (pure / WORKERS), wall / (own / WORKERS)
            found.append(ratios)
            print(
                f"harness   {wall:6.1f} s, {ratio_words(ratios)}; start of workers {warm:.1f} s apart",
                flush=True,
            )
        medians = [median(column) for column in zip(*found, strict=True)]
        print(f"harness   {ratio_words(medians)}: medians of {options.rounds} rounds")
        if not options.skip_naive:
            wall = measure_naive(study, Path(folder) / "naive")
            print(
                f"naive     {wall:6.1f} s, ratio {wall / (pure / WORKERS):.2f}; a subprocess for each trial"
            )


def ratio_words(ratios: Sequence[float]) -> str:
    """Return the words for a ratio to pure training, and one to the run's own."""
    return f"ratio {ratios[0]:.2f}, to its own training {ratios[1]:.2f}"


def measure_pure(study: Path) -> float:
    """Return the seconds of all training steps, measured in two concurrent processes."""
    from harness.study.expand import load_study

    specs = [cell.spec for cell in load_study(str(study)).cells]
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(train_only, specs[:WORKERS]))  # imports, cache and warm-up
        return sum(pool.map(train_only, specs))


def train_only(spec) -> float:
    """Return the seconds that the steps of a trial take, and do nothing else with it."""
    from trials import untrained

    trainer, _ = untrained(spec)
    start = time.perf_counter()
    for _ in trainer.run_until(spec.recipe.steps):
        pass
    return time.perf_counter() - start


def measure_harness(study: Path, results: Path) -> tuple[float, float, float]:
    """Return seconds until the first training step, from there to the last record, and of all training steps."""
    from harness.records.schema import read_record
    from harness.records.store import Store
    from harness.study.expand import load_study
    from harness.sweep.agenda import plain_work
    from harness.sweep.ray_tune import sweep

    cells = load_study(str(study)).cells
    start = time.time()
    store = Store(results)
    sweep(plain_work(cells, store), store, data_root=None, keep="none", workers=WORKERS)
    folders = [store.trials / cell.spec.id for cell in cells]
    records = [read_record(folder) for folder in folders]
    assert all(record.status == "complete" and record.times for record in records)
    first = min(record.times.training for record in records if record.times)
    last = max((folder / "trial.json").stat().st_mtime for folder in folders)
    inside = {
        "training": sum(record.cost.seconds_training for record in records if record.cost),
        "testing": sum(record.cost.seconds_testing for record in records if record.cost),
        "whole": sum(record.cost.seconds for record in records if record.cost),
    }
    print(
        "          " + ", ".join(f"{name} {value:.1f} s" for name, value in inside.items()) + " inside trials"
    )
    return first - start, last - first, inside["training"]


def measure_naive(study: Path, results: Path) -> float:
    """Return the seconds that one subprocess per trial takes, two at a time."""
    from harness.study.expand import load_study

    ids = [cell.spec.id for cell in load_study(str(study)).cells]

    def run(id: str) -> None:
        command = [sys.executable, "-m", "harness", "trial", str(study), id, "--results", str(results)]
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path})

    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(run, ids))
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
