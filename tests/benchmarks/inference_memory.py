"""Peak memory and seconds of `medctx predict` on a large CT volume with 14 classes, on a CPU.

    python tests/benchmarks/inference_memory.py --shape 512,512,600 --to 1.5,1.5,2.0
    python tests/benchmarks/inference_memory.py --shape 512,512,140 --before    whole float volumes, as MONAI's window and
                                                                            one array of all classes need, for comparison

A network of one step on a synthetic twin of Synapse predicts an image of noise. Each way runs in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

GIB = 2**30


def train(folder: Path, spacing: list[float], overlap: float) -> str:
    """Train one step on a twin of Synapse below ``folder``; return the trial's id."""
    from harness.data.layout_twins import write_twin
    from harness.study.resolve import Resolver
    from harness.trial.run import run_trial
    from harness.trial.settings import RunSettings

    root = write_twin("synapse", folder / "data", cases=1)
    spec: Any = Resolver("benchmark").trial({
        "dataset": "synapse", "architecture": "unet", "architecture.preset": "tiny", "method": "supervised", "shots": 1,
        "subset": 0, "seed": 0, "recipe.pipeline": "monai", "recipe.steps": 1, "recipe.batch": 1, "recipe.spacing": spacing,
        "recipe.overlap": overlap,
    })  # fmt: skip
    record = run_trial(spec, RunSettings(folder / "results", root, keep="none"))
    assert record is not None and record.status == "complete", record
    return record.id


def write_image(path: Path, shape: tuple[int, ...], spacing: list[float]) -> None:
    """Write a smooth image in Hounsfield units."""
    from harness.data.resampling import resample_linear

    coarse = np.random.default_rng(0).normal(0, 150, tuple(max(2, side // 16) for side in shape))
    image = resample_linear(coarse.astype(np.float32), shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(image, np.diag([*spacing, 1.0])), path)


def predict(folder: Path, id: str) -> None:
    """Predict as the command does."""
    import harness

    found = harness.predict(
        id, folder / "image.nii.gz", folder / "after", results=folder / "results", device="cpu"
    )
    assert not found.problems, found.problems


def predict_whole(folder: Path, id: str) -> None:
    """Predict with whole float volumes of all classes."""
    import torch
    from monai.inferers import sliding_window_inference

    from harness.data.images import preprocess_image
    from harness.data.nifti import read_image
    from harness.data.resampling import resample_linear
    from harness.inference.trained import load_networks

    (network,), _ = load_networks([id], folder / "results", None, "student", "cpu")
    image, recipe = read_image(folder / "image.nii.gz"), network.recipe
    array, grid = preprocess_image(image, recipe)
    with torch.no_grad():
        output: Any = sliding_window_inference(
            torch.from_numpy(array)[None], recipe.patch, recipe.batch, lambda window: network.network(window).softmax(1),
            recipe.overlap, recipe.window,
        )  # fmt: skip
    shape = tuple(last - first for first, last in grid.box)
    native = np.stack([resample_linear(channel, shape) for channel in output[0].numpy()])
    labels = np.zeros(grid.ras_shape, np.uint8)
    labels[grid.kept] = native.argmax(axis=0)
    (folder / "before").mkdir()
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), folder / "before" / "image.nii.gz")


def measured(way: str, folder: Path, id: str) -> None:
    """Run one way in a process of its own, and print what it took."""
    begun = time.perf_counter()
    command = [sys.executable, __file__, "--way", way, str(folder), id]
    pid = subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}).pid
    _, status, used = os.wait4(pid, 0)
    assert status == 0, status
    print(f"{way}: {time.perf_counter() - begun:.0f} s, peak {used.ru_maxrss * 1024 / GIB:.2f} GiB")


def main() -> None:
    """Print peak memory and seconds of each way."""
    if sys.argv[1:2] == ["--way"]:
        way, folder, id = sys.argv[2:]
        {"after": predict, "before": predict_whole}[way](Path(folder), id)
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", default="512,512,600", help="voxels of the file")
    parser.add_argument("--spacing", default="0.8,0.8,0.8", help="of the file, mm")
    parser.add_argument("--to", default="1.5,1.5,2.0", help="of the network, mm")
    parser.add_argument("--overlap", type=float, default=0.5)
    parser.add_argument("--before", action="store_true")
    given = parser.parse_args()
    shape = tuple(int(side) for side in given.shape.split(","))
    spacing, to = ([float(side) for side in text.split(",")] for text in (given.spacing, given.to))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        id = train(folder, to, given.overlap)
        write_image(folder / "image.nii.gz", shape, spacing)
        print(f"{given.shape} voxels of {given.spacing} mm, network at {given.to} mm, 14 classes, one thread")
        measured("after", folder, id)
        if given.before:
            measured("before", folder, id)
            one, other = (
                np.asanyarray(nibabel.load(folder / way / "image.nii.gz").dataobj)
                for way in ("before", "after")
            )
            print(f"labels that differ: {int((one != other).sum())} of {one.size}")


if __name__ == "__main__":
    main()
