"""What the harness and Ray add to each trial of a long grid, in time and in the driver's memory.

Runs 500 and then 5,000 trials on 2 workers by the path of ``medctx run``: the study is expanded and reconciled, Tune
hands the trials out and writes a snapshot of the whole experiment every 10 s (a run does so every 10 minutes), each
trial is claimed and published, the board follows.
Only training and testing are left out: a trial publishes a record without numbers.

    python tests/benchmarks/sweep_scale.py [TRIALS ...]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKERS = 2


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]), Path(sys.argv[3]))
        return
    rows = []
    for trials in [int(text) for text in sys.argv[1:]] or [500, 5000]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--one", str(trials), folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if len(rows) > 1:
        first, last = rows[0], rows[-1]
        growth = last["sweep_s"] / first["sweep_s"]
        print(f"{last['trials'] / first['trials']:.1f} times as many trials take {growth:.1f} times as long")


def measure(trials: int, folder: Path) -> None:
    """Run one grid and print its figures as JSON."""
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    )
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "10"
    study = folder / "scale.yaml"
    study.write_text(
        json.dumps(
            {
                "question": "How long is a long grid?",
                "base": {"dataset": "phantom", "architecture": "unet", "method": "supervised"},
                "grid": {"seed": list(range(trials))},
            }
        )
    )
    from rich.console import Console

    from harness.cli.board import Board
    from harness.progress.missing import missing_cells
    from harness.records.store import Store
    from harness.study.expand import load_study
    from harness.study.selection import choose_cells
    from harness.sweep.agenda import plain_work
    from harness.sweep.ray_tune import sweep
    from harness.sweep.watch import Watch

    start = time.perf_counter()
    store = Store(folder / "results")
    cells = choose_cells(load_study(str(study)), [])
    missing = missing_cells(cells, store)
    planned = time.perf_counter()
    watch = Watch(store, Board(Console(file=(folder / "log.txt").open("w"))))
    with watch.running():
        sweep(
            watch.following(plain_work(missing, store)),
            store,
            data_root=None,
            keep="none",
            workers=WORKERS,
            run="light_trial:publish",
        )
    swept = time.perf_counter()
    states = [store.status(cell.spec.id) for cell in cells]
    attempts = {record.attempts for cell in cells if (record := store.record(cell.spec.id))}
    assert states == ["complete"] * trials and attempts == {1}
    processor = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "trials": trials,
                "plan_s": round(planned - start, 1),
                "sweep_s": round(swept - planned, 1),
                "ms_per_trial": round(1000 * (swept - planned) / trials, 1),
                "driver_cpu_s": round(processor.ru_utime + processor.ru_stime, 1),
                "driver_peak_MiB": processor.ru_maxrss // 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
