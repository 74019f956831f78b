"""How long does a report take, and how does it grow? Synthetic records of 1,000 and of 10,000 trials.

Each trial has 12 cases x 8 organs x 2 metrics. Each report (reading, statistics, tables, figures, page) is made twice, in a
fresh process: all figures are drawn, then none. Prints its seconds, and the processor time and the largest memory of all
its processes together, start and imports counted.

Run: ``python tests/benchmarks/analysis_scale.py [--trials 1000 10000]``.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from harness.records.schema import (
    Cost,
    Environment,
    Protocol,
    TrialRecord,
    append_history,
    write_cases,
    write_record,
)
from harness.spec import ArchitectureSpec, DatasetSpec, MethodSpec, Recipe, TrialSpec
from harness.study.cells import FACTORS, Cell
from harness.study.file import ReportSpec
from harness.study.study import Study

ORGANS = ("Spl", "RKid", "LKid", "Gal", "Liv", "Sto", "Aor", "Pan")
CASES = tuple(f"case_{n:02d}" for n in range(12))
ARCHITECTURES = ("unet", "unetr", "swin_unetr", "nnformer")
METHODS = ("supervised", "medcontext", "mean_teacher", "masked_volume", "cps")
SHOTS = (1, 2, 5, 10, 20)
SUBSETS = 10


def synthetic_study(trials: int) -> Study:
    """Return a study of ``trials`` cells: 5 methods x 4 architectures x 5 shots x up to 10 subsets x seeds."""
    seeds = trials // (len(METHODS) * len(ARCHITECTURES) * len(SHOTS) * SUBSETS)
    cells = []
    for subset in range(SUBSETS):
        for shots in SHOTS:
            for architecture in ARCHITECTURES:
                for method in METHODS:
                    for seed in range(max(1, seeds)):
                        spec = TrialSpec(
                            dataset=DatasetSpec(name="synthetic", version=1),
                            architecture=ArchitectureSpec(name=architecture, version=1, options={}),
                            method=MethodSpec(name=method, version=1, parameters={}),
                            shots=shots, subset=subset, seed=seed,
                            recipe=Recipe(patch=(32, 32, 16), spacing=(1.0, 1.0, 2.0)),
                        )  # fmt: skip
                        factors = {"method": method, "architecture": architecture, "dataset": "synthetic",
                                   "shots": shots, "subset": subset, "seed": seed}  # fmt: skip
                        cells.append(Cell(spec, factors, spec.recipe.steps))
    return Study(
        "synthetic", "How does the report grow?", tuple(cells[:trials]), (), ReportSpec(), "none", FACTORS
    )


def write_records(study: Study, results: Path) -> None:
    """Write what the trials would have left."""
    rng = np.random.default_rng(0)
    for cell in study.cells:
        folder = results / "trials" / cell.spec.id
        folder.mkdir(parents=True)
        shots, subset = cell.factors["shots"], cell.factors["subset"]
        level = 0.6 + 0.05 * METHODS.index(cell.factors["method"]) + 0.005 * shots
        dice = np.clip(rng.normal(level, 0.05, (len(CASES), len(ORGANS))), 0, 1)
        write_cases(folder, [
            {"case": case, "region": organ, "role": "student", "metric": metric, "unit": unit, "empty": "none",
             "value": float(dice[i, j] if metric == "dice" else 40 * (1 - dice[i, j]))}
            for i, case in enumerate(CASES) for j, organ in enumerate(ORGANS)
            for metric, unit in (("dice", ""), ("hd95", "mm"))
        ])  # fmt: skip
        append_history(folder, [
            {"step": step, "losses": {"total": float(np.exp(-step / 100))}, "learning_rate": 0.01}
            for step in range(0, 300, 10)
        ])  # fmt: skip
        write_record(folder, TrialRecord(
            id=cell.spec.id, status="complete", kind="train", spec=cell.spec, selected_step=300,
            protocol=Protocol(
                dataset="synthetic", dataset_version=1, content_hash="0" * 16, split_hash="1" * 16,
                split_rule="by patient", training_cases=[f"train_{subset}_{n}" for n in range(shots)],
                validation_cases=["v"], test_cases=list(CASES), spacing=[1, 1, 2], patch=[32, 32, 16],
                intensity="zscore", augmentation={}, steps=300, batch=2, selection="last",
                inference={"overlap": 0.5}, convention="harness",
            ),
            cost=Cost(seconds=100.0, seconds_training=90.0, seconds_testing=10.0, seconds_per_step=0.3,
                      peak_memory=2**30, parameters=1_400_000, steps=300, forward_passes=300),
            environment=Environment(versions={"torch": "2.13.0"}, commit="a", device="cpu", host="h"),
        ))  # fmt: skip


def report_once(trials: int, results: Path) -> None:
    """Write the report in this process, and print how long that took."""
    from harness.reporting.write import write_report

    study = synthetic_study(trials)
    start = time.perf_counter()
    write_report(study, results)
    seconds = time.perf_counter() - start
    print(f"{seconds:6.1f} s, {1000 * seconds / trials:5.2f} ms a trial", end="", flush=True)


def report_apart(trials: int, results: Path) -> None:
    """Write the report in another process, and print what it and those that it starts took together."""
    command = [sys.executable, __file__, "--in-process", "--trials", str(trials), "--results", str(results)]
    before, peak = resource.getrusage(resource.RUSAGE_CHILDREN), 0
    other = psutil.Popen(command)
    while other.poll() is None:
        peak = max(peak, shared_memory([other, *other.children(recursive=True)]))
        time.sleep(0.1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f", {cpu:6.1f} s of processor time, {peak / 2**30:.2f} GiB", flush=True)
    if other.returncode:
        raise SystemExit(other.returncode)


def shared_memory(processes: Sequence[psutil.Process]) -> int:
    """Return the bytes that processes hold together; what they share counts once."""
    held = 0
    for process in processes:
        with suppress(psutil.Error):  # it may have ended
            held += process.memory_full_info().pss
    return held


def main() -> None:
    """Write records, and report twice on each number of trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--results", type=Path, help="a folder for the records, which a later run finds")
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        report_once(options.trials[0], options.results)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for trials in options.trials:
            results = (options.results or Path(scratch)) / str(trials)
            if not results.is_dir():
                write_records(synthetic_study(trials), results)
            shutil.rmtree(results / "synthetic", ignore_errors=True)
            for turn in ("first time", "again"):
                print(f"{trials:6d} trials, {turn:10}: ", end="", flush=True)
                report_apart(trials, results)


if __name__ == "__main__":
    main()
