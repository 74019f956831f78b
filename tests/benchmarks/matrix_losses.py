"""Does training move in every cell of the study ``matrix``? The first and the last loss of each trial.

Of a pretraining, the loss on held-out crops before and after it; of a training, the supervised term of the
first and of the last step (terms whose weight is ramped up would hide it in the total).

    medctx run matrix --results DIR
    python tests/benchmarks/matrix_losses.py DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.records.schema import read_history, read_record
from harness.study.expand import load_study


def first_and_last(history: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the losses that tell whether training moves, from the lines of ``history.jsonl``."""
    lines = list(history)
    held_out = [line["held_out"]["total"] for line in lines if "held_out" in line]
    trained = [line["losses"] for line in lines if "losses" in line]
    losses = held_out or [terms.get("supervised", terms["total"]) for terms in trained]
    return losses[0], losses[-1]


def main() -> None:
    """Print a line per trial; exit with 1 where one is missing or its loss did not fall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    results = parser.parse_args().results
    study = load_study("matrix")
    moved = planned = 0
    for cell in study.with_nodes(study.cells):
        planned += 1
        folder = results / "trials" / cell.spec.id
        if not (folder / "trial.json").is_file() or read_record(folder).status != "complete":
            print(
                f"{cell.spec.architecture.name:12}{cell.spec.method.name:18}{cell.spec.kind:10}not complete"
            )
            continue
        first, last = first_and_last(read_history(folder))
        moved += last < first
        note = "" if last < first else "  did not fall"
        print(
            f"{cell.spec.architecture.name:12}{cell.spec.method.name:18}{cell.spec.kind:10}{first:8.4f}{last:8.4f}{note}"
        )
    print(f"{moved} of {planned} fell")
    raise SystemExit(moved < planned)


if __name__ == "__main__":
    main()
