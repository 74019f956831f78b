"""Batches per second with loaders, and how long a device would wait for them.

For each pipeline that papers use, on synthetic volumes of about the size of its dataset's, prints
- the seconds of a core that a batch takes, drawn in this process;
- batches per second with 1 and 2 loaders, and their ratio to none: medians of rounds in turn, none, one and two in each, since
  the speed of a core shared with others changes by a fifth from one moment to the next;
- the same ratio for two processes that share nothing, which is what the two cores give;
- seconds of a processor that a batch takes: drawn alone, and with 2 loaders of a loader and of the trial's process, which
  hardly depend on what else the machine does;
- for a stand-in of a GPU that sleeps 0.05, 0.1 and 0.3 s a step, the share of time for which it waits with 2 loaders, beside
  what the forecast of ``medctx plan`` says (``Need.waiting``).

    python tests/benchmarks/loaders.py [PIPELINE …] [--seconds N] [--rounds N]      PIPELINE: as brats.nnunet_paper
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil

from harness import registry
from harness.data.patches import PatchSampler
from harness.parsing import parse
from harness.seeding import clean_process
from harness.spec import Recipe
from harness.sweep.packing import Need
from harness.training.batches import training_batches
from harness.training.loaders import drawn_ahead
from harness.training.memory import keep_freed_memory

SHAPES = {"acdc": (1, 180, 200, 10), "brats": (4, 140, 170, 140), "synapse": (1, 280, 220, 150)}
LABELS = {"acdc": 3, "brats": 3, "synapse": 13}
STEPS = (0.05, 0.1, 0.3)
CASES = ("one", "two", "three", "four")


class Cache:
    """Cases of a shape in files that are mapped, as a dataset's cache keeps them."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, rng = folder, np.random.default_rng(0)
        for case in CASES:
            image = rng.normal(size=SHAPES[name]).astype(np.float32)
            label = rng.integers(0, LABELS[name] + 1, SHAPES[name][1:]).astype(np.uint8)
            points = np.argwhere(label)[:: label.size // 20_000 + 1]
            rows = np.column_stack([label[tuple(points.T)], points]).astype(np.int32)
            for kind, array in {
                "image": image,
                "label": label,
                "foreground": rows[np.argsort(rows[:, 0], kind="stable")],
            }.items():
                np.save(folder / f"{case}.{kind}.npy", array)

    def __getattr__(self, kind: str) -> Any:
        return lambda case: np.load(self._folder / f"{case}.{kind}.npy", mmap_mode="r")


def main() -> None:
    known = [
        f"{name}.{pipeline}"
        for name in SHAPES
        for pipeline in registry.load("dataset", name).pipelines
        if pipeline.endswith("_paper")
    ]
    parser = argparse.ArgumentParser()
    parser.add_argument("pipelines", nargs="*", default=known, metavar="PIPELINE")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    clean_process(1)
    keep_freed_memory()  # as a trainer does
    titles = (
        f"{'pipeline':22}{'s/batch':>9}{'1 loader':>15}{'2 loaders':>15}{'2 apart':>9}"
        f"{'alone':>8}{'loader':>8}{'trial':>8}"
    )
    print(f"{titles}   share of waiting with 2 (by the forecast)")
    for pipeline in options.pipelines:
        name, _, key = pipeline.partition(".")
        recipe = parse(Recipe, registry.load("dataset", name).pipelines[key], pipeline)
        with tempfile.TemporaryDirectory() as folder:
            cache = Cache(Path(folder), name)
            data: Any = SimpleNamespace(sampler=lambda: PatchSampler(cache, CASES, recipe, 0))  # noqa: B023
            method: Any = SimpleNamespace(unlabelled_batch=lambda batch: 0)
            measure(pipeline, training_batches(data, method, recipe, 0), options.seconds, options.rounds)


def measure(pipeline: str, draw: Any, seconds: float, rounds: int) -> None:
    """Print a line of the table."""
    rates, rates_apart = [], []
    for _ in range(rounds):
        rates.append([rate_with(draw, loaders, seconds) for loaders in (0, 1, 2)])
        rates_apart.append(rate_apart(draw, seconds))
    (plain, own, _), *found = np.median(rates, axis=0)
    apart = np.median(rates_apart)
    parts = []
    for step in STEPS:
        said = Need("a stand-in", 0, step, seconds_per_batch=1 / plain).waiting(2)
        parts.append(f"{step:g} s: {100 * waiting(draw, step, seconds):.1f} % ({100 * said:.1f} %)")
    ratios = "".join(f"{rate:7.2f} /s" + f" {rate / plain:4.2f}" for rate, _, _ in found)
    _, taking, drawing = found[1]
    cores = f"{own:8.3f}{drawing:8.3f}{taking:8.3f}"
    line = f"{pipeline:22}{1 / plain:9.3f}{ratios}{apart / plain:9.2f}{cores}"
    print(f"{line}   {', '.join(parts)}", flush=True)


def rate_with(draw: Any, loaders: int, seconds: float) -> tuple[float, float, float]:
    """Return what ``rate_of`` says of batches drawn by this process (0) or by loaders."""
    if not loaders:
        return rate_of((draw(step) for step in range(10**6)), 0, seconds)
    return rate_of(drawn_ahead(draw, range(10**6), loaders, 1, pin=False), loaders + 4, seconds)


def rate_apart(draw: Any, seconds: float) -> float:
    """Return the batches a second of two processes that share nothing, at the same time."""
    context = multiprocessing.get_context("spawn")
    both, found = context.Barrier(2), context.Queue()
    processes = [context.Process(target=draw_apart, args=(draw, seconds, both, found)) for _ in range(2)]
    for process in processes:
        process.start()
    rates = [found.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(rates)


def draw_apart(draw: Any, seconds: float, both: Any, found: Any) -> None:
    """Draw batches once ``both`` are there, and put their number in a second into ``found``."""
    clean_process(1)
    keep_freed_memory()
    draw(0)
    both.wait()
    found.put(rate_with(draw, 0, seconds)[0])


def rate_of(batches: Any, unmeasured: int, seconds: float) -> tuple[float, float, float]:
    """Return, once ``unmeasured`` batches and two more are there, batches a second, and processor seconds of one: here, below."""
    with closing(batches):
        for _ in range(unmeasured + 2):
            next(batches)
        begun, own, theirs = time.perf_counter(), time.process_time(), of_children()
        for count in itertools.count(1):
            next(batches)
            if (spent := time.perf_counter() - begun) >= seconds:
                return (
                    count / spent,
                    (time.process_time() - own) / count,
                    (of_children() - theirs) / count,
                )
    raise AssertionError


def of_children() -> float:
    """Return the processor seconds that the processes below this one have taken."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(one.user + one.system for one in times)


def waiting(draw: Any, step: float, seconds: float) -> float:
    """Return the share of time for which a device that sleeps ``step`` seconds a batch has none, with 2 loaders."""
    waited = 0.0
    with closing(drawn_ahead(draw, range(10**6), 2, 1, pin=False)) as batches:
        for _ in range(8):
            next(batches)
            time.sleep(step)
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            begun = time.perf_counter()
            next(batches)
            waited += time.perf_counter() - begun
            time.sleep(step)
        return waited / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
