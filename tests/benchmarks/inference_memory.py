"""Peak memory and seconds of `medctx predict` on a large CT volume with 14 classes, on a CPU.

    python tests/benchmarks/inference_memory.py --shape 512,512,600 --to 1.5,1.5,2.0
    python tests/benchmarks/inference_memory.py --shape 512,512,140 --spacing 0.8,0.8,3 --before

A network of one step on a synthetic twin of Synapse predicts an image of noise. Each way runs in a process of its own.
With ``--before``, for comparison: MONAI's sliding windows, and all classes at once on the whole grid of the file. Then the
two are compared: the largest difference of a probability, and of voxels whose labels differ how many there are and how far
their two most probable classes are apart; the same for the resampling by slabs that a GPU does.
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
    network, image, array, grid = prepared(folder, id)
    output = by_monai(network, array)
    shape = tuple(last - first for first, last in grid.box)
    native = np.stack([resampled(channel, shape) for channel in output])
    labels = np.zeros(grid.ras_shape, np.uint8)
    labels[grid.kept] = native.argmax(axis=0)
    (folder / "before").mkdir()
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), folder / "before" / "image.nii.gz")


def compare(folder: Path, id: str) -> None:
    """Print how far both ways are apart, on the grid of the network and in the written labels."""
    import torch

    from harness.data.resampling import most_probable_on
    from harness.evaluation.prediction import predict

    network, _, array, grid = prepared(folder, id)
    ours = predict(network.network, array, network.recipe, torch.device("cpu"))
    before = by_monai(network, array)
    print(f"largest difference of a probability: {np.abs(before - ours).max():.1e}")
    one, other = (
        np.asanyarray(nibabel.load(folder / way / "image.nii.gz").dataobj)[grid.kept]
        for way in ("before", "after")
    )
    shape = tuple(last - first for first, last in grid.box)
    slabs = most_probable_on(torch.from_numpy(ours), shape, None)
    for name, labels in ("after", other), ("by slabs, as on a GPU", slabs):
        unlike = one != labels
        count = f"labels that differ, {name}: {int(unlike.sum())} of {unlike.size}"
        if unlike.any():
            there = np.sort([resampled(channel, shape)[unlike] for channel in before], axis=0)
            count += (
                f"; their two most probable classes are at most {(there[-1] - there[-2]).max():.1e} apart"
            )
        print(count)


def prepared(folder: Path, id: str) -> tuple[Any, Any, Any, Any]:
    """Return the network, the image, what the network is given of it, and its grid."""
    from harness.data.images import preprocess_image
    from harness.data.nifti import read_image
    from harness.inference.trained import load_networks

    (network,), _ = load_networks([id], folder / "results", None, "student", "cpu")
    image = read_image(folder / "image.nii.gz")
    return network, image, *preprocess_image(image, network.recipe)


def by_monai(network: Any, array: Any) -> Any:
    """Return the probabilities of all classes on the grid of the network, from MONAI's sliding windows."""
    import torch
    from monai.inferers import sliding_window_inference

    recipe = network.recipe
    with torch.no_grad():
        output: Any = sliding_window_inference(
            torch.from_numpy(array)[None], recipe.patch, recipe.batch, lambda window: network.network(window).softmax(1),
            recipe.overlap, recipe.window,
        )  # fmt: skip
    return output[0].numpy()


def resampled(channel: Any, shape: tuple[int, ...]) -> Any:
    """Return a class on the grid of the file."""
    from harness.data.resampling import resample_linear

    return resample_linear(channel, shape)


def measured(way: str, folder: Path, id: str) -> None:
    """Run one way in a process of its own, and print what it took."""
    begun = time.perf_counter()
    command = [sys.executable, __file__, "--way", way, str(folder), id]
    pid = subprocess.Popen(command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}).pid
    _, status, used = os.wait4(pid, 0)
    assert status == 0, status
    if way != "compare":
        print(
            f"{way}: {time.perf_counter() - begun:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of a processor, "
            f"peak {used.ru_maxrss * 1024 / GIB:.2f} GiB",
            flush=True,
        )


def main() -> None:
    """Print peak memory and seconds of each way."""
    if sys.argv[1:2] == ["--way"]:
        way, folder, id = sys.argv[2:]
        {"after": predict, "before": predict_whole, "compare": compare}[way](Path(folder), id)
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
        print(
            f"{given.shape} voxels of {given.spacing} mm, network at {given.to} mm, 14 classes, one thread",
            flush=True,
        )
        measured("after", folder, id)
        if given.before:
            measured("before", folder, id)
            measured("compare", folder, id)


if __name__ == "__main__":
    main()
