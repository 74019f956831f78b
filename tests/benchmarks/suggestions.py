"""What ``medctx data suggest`` proposes beside what nnU-Net v2 plans from the same cases, as a table in Markdown.

    python -m venv /tmp/nnunet && /tmp/nnunet/bin/pip install nnunetv2==2.8.0
    python tests/benchmarks/suggestions.py WORK hippocampus acdc --nnunet /tmp/nnunet/bin

The data lie below ``MEDCTX_DATA``. WORK gets a folder of links for each dataset, in nnU-Net's layout, and nnU-Net's plans; those
that are there are not made again. Without ``--nnunet``, plans that are missing are left out of the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness import registry, suggest
from harness.data.caches import data_folder
from harness.data.suggestion import Suggestion

COLUMNS = (
    "dataset",
    "by",
    "spacing, mm",
    "median volume",
    "patch",
    "batch",
    "halved x, y, z",
    "intensities",
    "Dice",
)


def main() -> None:
    """Convert, plan and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--nnunet", type=Path, help="folder of nnU-Net's commands")
    parser.add_argument("--memory", default="8GB", help="nnU-Net plans for 8GB")
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for number, name in enumerate(given.datasets, start=601):
        found = suggest(name, memory=given.memory).suggestion
        rows = [ours(found)]
        plans = plans_of(name, number, given.work, given.nnunet)
        if plans:
            rows.append(theirs(plans))
        for by, row in zip(("medctx", "nnU-Net"), rows, strict=False):
            print(f"| {name} | {by} | {' | '.join(row)} |", flush=True)


def ours(found: Suggestion) -> list[str]:
    """Return the cells of a suggestion."""
    dice = "per sample" if found.value("loss").endswith("sample") else "over the batch"
    return [
        joined(found.value("spacing")),
        joined(found.median),
        joined(found.value("patch")),
        str(found.value("batch")),
        joined(found.net.halvings, ", "),
        found.value("intensity"),
        dice,
    ]


def theirs(plans: dict[str, Any]) -> list[str]:
    """Return the cells of nnU-Net's plan ``3d_fullres``, whose axes are turned to x, y, z."""
    plan, back = plans["configurations"]["3d_fullres"], plans["transpose_backward"]

    def turned(values: Sequence[float]) -> list[float]:
        return [values[axis] for axis in back][::-1]

    strides = np.array(plan["architecture"]["arch_kwargs"]["strides"])
    masked = " within what is not 0" if any(plan["use_mask_for_norm"]) else ""
    return [
        joined([round(size, 4) for size in turned(plan["spacing"])]),
        joined(turned(plan["median_image_size_in_voxels"])),
        joined(turned(plan["patch_size"])),
        str(plan["batch_size"]),
        joined(turned((strides == 2).sum(axis=0).tolist()), ", "),
        ", ".join(sorted(set(plan["normalization_schemes"]))) + masked,
        "over the batch" if plan["batch_dice"] else "per sample",
    ]


def plans_of(name: str, number: int, work: Path, commands: Path | None) -> dict[str, Any] | None:
    """Return nnU-Net's plans of a dataset, made first where they are missing; None where they cannot be."""
    folder = f"Dataset{number}_{name.replace(':', '_').replace('/', '_')}"
    path = work / "preprocessed" / folder / "nnUNetPlans.json"
    if not path.is_file() and commands:
        convert(name, work / "raw" / folder)
        places = {f"nnUNet_{part}": str(work / part) for part in ("raw", "preprocessed", "results")}
        command = [commands / "nnUNetv2_plan_and_preprocess", "-d", str(number), "--no_pp", "-npfp", "1"]
        subprocess.run(command, env={**os.environ, **places}, check=True, capture_output=True)
    return json.loads(path.read_text()) if path.is_file() else None


def convert(name: str, folder: Path) -> None:
    """Write a folder of nnU-Net with links to the cases that a suggestion goes by."""
    dataset, root = registry.load("dataset", name)(), data_folder()
    cases = [case for case in dataset.cases(root) if not case.test]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for case in cases:
        assert case.image is not None and case.label is not None
        links = {f"imagesTr/{case.id}_{n:04d}": path for n, path in enumerate((case.image, *case.channels))}
        for link, path in {**links, f"labelsTr/{case.id}": case.label}.items():
            target = folder / f"{link}.nii.gz"
            target.unlink(missing_ok=True)
            target.symlink_to(path.resolve())
    description = {
        "channel_names": {str(number): channel for number, channel in enumerate(dataset.channels)},
        "labels": {label: value for value, label in dataset.labels.items()},
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def joined(values: Sequence[float], by: str = " x ") -> str:
    """Return numbers in one cell."""
    return by.join(f"{value:g}" for value in values)


if __name__ == "__main__":
    main()
