"""A results folder with the records of a small study that nobody trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.data.datasets.phantom import Phantom
from harness.data.nifti import write_label
from harness.records.schema import (
    Cause,
    Cost,
    Environment,
    Protocol,
    TrialRecord,
    append_history,
    write_cases,
    write_record,
)
from harness.spec import ArchitectureSpec, DatasetSpec, MethodSpec, Recipe, TrialSpec
from harness.study.cells import FACTORS, PER_SEED, Cell
from harness.study.file import ReportSpec
from harness.study.study import Skip, Study

REGIONS = ("lobe", "duct", "node", "twin")
TEST_CASES = [f"phantom_{n:03d}" for n in (40, 41, 42, 43, 44)]
TRAINING = {5: [f"phantom_{n:03d}" for n in range(1, 6)], "all": [f"phantom_{n:03d}" for n in range(1, 33)]}
DIFFICULTY = {"lobe": 0.9, "duct": 0.72, "node": 0.6, "twin": 0.84}


class Fake(NamedTuple):
    study: Study
    results: Path


def make_cell(**factors: Any) -> Cell:
    values = {"dataset": "phantom", "subset": 0, "shots": "all", "seed": 0, **factors}
    spec = TrialSpec(
        dataset=DatasetSpec(name=values["dataset"], version=1),
        architecture=ArchitectureSpec(name=values["architecture"], version=1, options={}),
        method=MethodSpec(name=values["method"], version=1, parameters={"ratio": values.get("method.ratio")}),
        shots=values["shots"],
        subset=values["seed"] if values["subset"] == PER_SEED else values["subset"],
        seed=values["seed"],
        recipe=Recipe(patch=(32, 32, 16), spacing=(1.0, 1.0, 2.0)),
    )
    return Cell(spec, {key: values.get(key) for key in (*FACTORS, *values)}, spec.recipe.steps)


def make_study(cells: list[Cell], **options: Any) -> Study:
    keys = dict.fromkeys(FACTORS)
    for cell in cells:
        keys |= dict.fromkeys(cell.factors)
    settings: dict[str, Any] = {
        "name": "fake_study", "question": "Does a context loss help when few cases are labelled?",
        "skipped": (), "report": ReportSpec(), "keep": "all",
    }  # fmt: skip
    return Study(**{**settings, **options}, cells=tuple(cells), factors=tuple(keys))


def make_protocol(cell: Cell, **changes: Any) -> Protocol:
    values: dict[str, Any] = {
        "dataset": cell.spec.dataset.name, "dataset_version": 1, "content_hash": "c0ffee00c0ffee00",
        "split_hash": "5b1175b1175b1175", "split_rule": "by patient, seed 0",
        "training_cases": TRAINING.get(cell.spec.shots, TRAINING[5]), "validation_cases": ["phantom_033"],
        "test_cases": TEST_CASES, "spacing": [1.0, 1.0, 2.0], "patch": [32, 32, 16],
        "intensity": "zscore_clipped", "augmentation": {"noise": 0.1}, "steps": 300, "batch": 2,
        "selection": "last", "inference": {"overlap": 0.5, "window": "gaussian", "flips": []},
        "convention": "harness",
    }  # fmt: skip
    return Protocol(**{**values, **changes})


def make_record(cell: Cell, commit: str = "a1b2c3d", **protocol: Any) -> TrialRecord:
    passes = 1 if cell.spec.method.name == "supervised" else 3
    big = cell.spec.architecture.name == "unetr"
    return TrialRecord(
        id=cell.spec.id, status="complete", kind="train", spec=cell.spec,
        protocol=make_protocol(cell, **protocol), selected_step=300,
        cost=Cost(seconds=100.0 * passes, seconds_training=90.0 * passes, seconds_testing=10.0,
                  seconds_per_step=0.3 * passes, peak_memory=3 * 2**29, steps=300,
                  parameters=9_250_000 if big else 1_400_000, forward_passes=300 * passes),
        environment=Environment(versions={"python": "3.11.9", "torch": "2.13.0"}, commit=commit,
                                device="cpu x86_64", host="laptop"),
    )  # fmt: skip


def write_trial(
    results: Path, record: TrialRecord, rows: list[Mapping[str, Any]], history: list[Mapping[str, Any]]
) -> Path:
    folder = results / "trials" / record.id
    folder.mkdir(parents=True)
    if rows:
        write_cases(folder, rows)
    append_history(folder, history)
    write_record(folder, record)
    return folder


def case_row(case: str, region: str, value: float, metric: str = "dice", **more: str) -> dict[str, Any]:
    unit = "mm" if metric == "hd95" else ""
    return {"case": case, "region": region, "role": "student", "metric": metric, "value": value, "unit": unit,
            "empty": "none", **more}  # fmt: skip


def _score_rows(cell: Cell, rng: np.random.Generator) -> list[dict[str, Any]]:
    factors, rows = cell.factors, []
    gain = 0.05 if factors["method"] != "supervised" else 0.0
    gain += 0.12 if factors["shots"] == "all" else 0.0
    gain -= 0.04 if factors["architecture"] == "unetr" else 0.0
    for role in ("student", "teacher") if factors["method"] != "supervised" else ("student",):
        for case in TEST_CASES:
            for region in REGIONS:
                dice = float(np.clip(DIFFICULTY[region] - 0.15 + gain + rng.normal(0, 0.03), 0, 1))
                rows.append(case_row(case, region, dice, role=role))
                rows.append(case_row(case, region, 12 * (1 - dice), "hd95", role=role))
    for row in rows[:2]:
        row["value"], row["empty"] = float("nan"), "both"
    for row in rows[2:4]:
        row["value"], row["empty"] = {"dice": 0.0, "hd95": 74.2}[row["metric"]], "prediction"
    return rows


def _history(cell: Cell, rng: np.random.Generator) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    scale = 1.0 if cell.factors["method"] == "supervised" else 1.8
    for step in range(300):
        loss = scale * (0.4 + 1.4 * np.exp(-step / 60)) + float(rng.normal(0, 0.06))
        lines.append(
            {"step": step, "losses": {"total": loss, "supervised": loss / scale}, "learning_rate": 1e-3}
        )
        if (step + 1) % 60 == 0:
            mean = float(0.8 - 0.6 * np.exp(-step / 90) + rng.normal(0, 0.01))
            lines.append(
                {"step": step + 1, "validation": {"lobe": mean + 0.02, "duct": mean - 0.02}, "mean": mean}
            )
    return lines


def write_predictions(folder: Path, rng: np.random.Generator) -> None:
    (folder / "predictions").mkdir()
    dataset = Phantom()
    for case in [case for case in dataset.cases(None) if case.id in TEST_CASES]:
        label = dataset.label(case)
        moved = np.roll(label.array, int(rng.integers(-2, 3)), axis=int(rng.integers(0, 2)))
        write_label(folder / "predictions" / f"{case.id}.student.nii.gz", moved, label.affine)


def build_fake(results: Path) -> Fake:
    cells = [
        make_cell(architecture=architecture, method=method, shots=shots, seed=seed)
        for architecture in ("unet", "unetr")
        for method in ("supervised", "medcontext")
        for shots in (5, "all")
        for seed in (0, 1)
    ]
    skip = Skip(
        {**dict.fromkeys(FACTORS), "method": "token_mask", "architecture": "unet", "dataset": "phantom"},
        "token_mask on unet: it has no patch tokens to mask; use masking.level image",
    )
    study = make_study(cells, skipped=(skip,))
    for index, cell in enumerate(cells[:-1]):
        rng = np.random.default_rng(index)
        if index == len(cells) - 2:
            cause = Cause(
                kind="out_of_memory",
                message="CUDA out of memory: 2 GiB asked & 10% free <of 8 GiB>",
                traceback="Traceback (most recent call last):\n"
                + "".join(f'  File "/somewhere/layer_{n}.py", line {n}, in forward\n' for n in range(20))
                + "torch.OutOfMemoryError: CUDA out of memory",
            )
            record = TrialRecord(id=cell.spec.id, status="failed", kind="train", spec=cell.spec, cause=cause)
            write_trial(results, record, [], [])
            continue
        folder = write_trial(results, make_record(cell), _score_rows(cell, rng), _history(cell, rng))
        write_predictions(folder, rng)
    return Fake(study, results)
