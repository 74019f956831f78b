"""The documented schema of what a trial leaves on disk, and the only code that writes or reads it.

``<results>/trials/<id>/`` holds, that of a pretraining or of a search without cases and predictions,

- ``trial.json``: :class:`TrialRecord`;
- ``SHA256SUMS``: checksums of this file, of ``cases.parquet`` and of ``history.jsonl``;
- ``cases.parquet``: one row per case, region, role and metric, columns :data:`CASE_COLUMNS`;
- ``history.jsonl``: one object a line: ``{"step", "losses": {name: value}, "learning_rate"}`` for training,
  ``{"step", "validation": {region: Dice}, "mean"}`` for validation, ``{"step", "held_out": {name: value}}``
  for losses of a pretraining on validation images;
- ``checkpoint.pt``: the selected weights;
- ``predictions/<case>.<role>.nii.gz``: labels on the case's native grid, numbered as in the dataset's files; uint8
  unless a label is above 255.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness.files.whole import whole, write_text
from harness.spec import Frozen, TrialSpec

HISTORY = "history.jsonl"
_TAIL = 16 * 2**10  # bytes
CASE_COLUMNS = ("case", "region", "role", "metric", "value", "unit", "empty")
"""``empty`` says which mask had no voxel: ``none``, ``reference``, ``prediction`` or ``both``."""

RESCORED = "conventions.parquet"
"""File of a study with the scores of kept predictions by several conventions."""

TRAINING_FIELDS = (
    "foreground", "loss", "optimiser", "learning_rate", "weight_decay", "momentum", "schedule", "warmup_steps", "clip_norm",
    "precision", "validate_every",
)  # fmt: skip
"""Fields of the recipe that a protocol holds as its ``training``."""
SPEED_FIELDS = ("kernels", "compile")
"""Likewise, but only where they are not at their default."""
INFERENCE_FIELDS = ("overlap", "window", "flips", "window_average", "output_resampling")
"""Fields of the recipe that a protocol holds as its ``inference``; the last two only where they are not at their default."""

Outcome = Literal["complete", "failed", "pruned"]
Status = Literal["complete", "failed", "pruned", "running", "pending", "damaged"]


class Protocol(Frozen):
    """What every number of the trial rests on; two cells of a table must agree in it but for their factors.

    What is None was not written down by the version that ran the trial. ``ignore`` is the label in the dataset's files whose
    voxels count nowhere, ``tolerances`` are those of ``nsd@region``, in mm by region, and
    ``patients`` says whom each test case belongs to.
    """

    dataset: str
    dataset_version: int
    content_hash: str
    split_hash: str
    split_rule: str
    training_cases: list[str]
    validation_cases: list[str]
    test_cases: list[str]
    spacing: list[float]
    orientation: str = "RAS"
    patch: list[int]
    intensity: str
    crop: str = "none"
    resampling: str = "linear"
    label_resampling: str = "nearest"
    augmentation: dict[str, Any]
    steps: int
    batch: int
    training: dict[str, Any] | None = None
    selection: str
    inference: dict[str, Any]
    postprocessing: str = "none"
    convention: str
    extra_data: str = "none"
    pretraining: str = "none"
    ignore: int | Literal["none"] = "none"
    tolerances: dict[str, float] | Literal["none"] = "none"
    patients: dict[str, str] | Literal["one for each case", "not known"] | None = None


class Cost(Frozen):
    """What the trial took: wall seconds by phase, peak memory in bytes, and counts in all.

    ``seconds`` are those of the last attempt and of the training that it went on from. ``seconds_training`` sums over
    attempts and includes validation and checkpoints, and so does ``seconds_per_step``. ``multiply_accumulates`` are those of the student's forward pass on one patch, 0 where they were
    not counted. What a pretraining took that the trial starts from stands apart, whole, however
    many trials share it.

    ``seconds_waiting_for_data``, a part of ``seconds_training``, are those in which no batch was there to compute on: all
    that drawing takes where a trial draws before each step. ``seconds_predicting``, a part of ``seconds_testing``, are
    those of the networks' predictions, to the grid of each file, without scores. Both are None in earlier records.
    """

    seconds: float
    seconds_training: float
    seconds_testing: float
    seconds_per_step: float
    peak_memory: int
    parameters: int
    steps: int
    forward_passes: int
    pretraining_seconds: float = 0.0
    pretraining_steps: int = 0
    pretraining_forward_passes: int = 0
    multiply_accumulates: int = 0
    seconds_waiting_for_data: float | None = None
    seconds_predicting: float | None = None


class Times(Frozen):
    """When the last attempt reached each phase, seconds since 1970."""

    claimed: float
    training: float
    testing: float
    finished: float


class Environment(Frozen):
    """What the trial ran on."""

    versions: dict[str, str]
    commit: str
    device: str
    host: str


class Cause(Frozen):
    """Why a trial failed: its class, one sentence, and the end of its traceback."""

    kind: str
    message: str
    traceback: str = ""


class TransferRecord(Frozen):
    """What a trial took over from its pretraining: names of parameters and buffers, and their share."""

    source: str
    share: float
    loaded: list[str]
    missing: list[str]
    unfit: list[str]
    random: list[str]
    unexpected: list[str] = []


class TrialRecord(Frozen):
    """``trial.json``. A failed trial has a cause, and may lack what it did not reach.

    ``notes`` says who took the trial over from whom and why, and what was put aside.

    A search that gave a trial up early leaves it ``pruned``; its numbers stand in no table.
    """

    id: str
    status: Outcome
    kind: Literal["train", "pretrain"]
    spec: TrialSpec
    protocol: Protocol | None = None
    selected_step: int | None = None
    cost: Cost | None = None
    times: Times | None = None
    environment: Environment | None = None
    cause: Cause | None = None
    attempts: int = 1
    transfer: TransferRecord | None = None
    notes: list[str] = []


def write_record(folder: Path, record: TrialRecord) -> None:
    """Write ``trial.json``, whole or not at all."""
    write_text(folder / "trial.json", record.model_dump_json(indent=1))


def read_record(folder: Path) -> TrialRecord:
    """Return the record in ``folder``, validated."""
    return TrialRecord.model_validate_json((folder / "trial.json").read_text())


def write_cases(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``cases.parquet`` from rows with the keys :data:`CASE_COLUMNS`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {name: pa.float64() if name == "value" else pa.string() for name in CASE_COLUMNS}
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(list(types.items())))
    with whole(folder / "cases.parquet") as partial:
        pq.write_table(table, partial)


def append_history(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Append objects to ``history.jsonl``."""
    with (folder / HISTORY).open("a") as file:
        file.writelines(json.dumps(line, allow_nan=True) + "\n" for line in lines)


def read_history(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of ``history.jsonl``; a torn last line, of a killed process, is left out."""
    path = folder / HISTORY
    if not path.is_file():
        return
    lines = path.read_text().splitlines()
    try:
        yield from json.loads(
            f"[{','.join(lines)}]"
        )  # one call for all lines is far faster than one for each
    except json.JSONDecodeError:
        yield from _whole_lines(lines)


def history_tail(folder: Path) -> list[dict[str, Any]]:
    """Return the objects at the end of ``history.jsonl``, about a hundred, however long it is."""
    try:
        with (folder / HISTORY).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = text.splitlines()[1 if size > _TAIL else 0 :]  # the first may be cut
    return list(_whole_lines(lines))


def _whole_lines(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def safe_name(name: str) -> str:
    """Return a file name for any text: other characters than letters, digits, ``.``, ``_``, ``-`` become ``_``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "_"
