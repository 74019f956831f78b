"""Seconds of one core for an augmented batch of BraTS: two patches of 128 voxels a side with four channels.

Both versions of the augmentation, taken in turns, and batchgeneratorsv2 with nnU-Net's transforms where an interpreter
that has it is named: its patches come already cut, ours are cut within the time.

    python tests/benchmarks/augmentation.py [--steps N] [--nnunet PYTHON]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np

from harness import registry
from harness.data.augmentation import Augmenter
from harness.data.patches import ImageSampler
from harness.parsing import parse
from harness.seeding import clean_process
from harness.spec import Recipe
from harness.training.memory import keep_freed_memory

SHAPE = (4, 140, 172, 140)
"""Of a case, without what is cropped away; the median of the Decathlon's is near it."""
BATCH = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--nnunet", help="an interpreter that has batchgeneratorsv2")
    options = parser.parse_args()
    clean_process(1)
    keep_freed_memory()
    recipe = parse(Recipe, registry.load("dataset", "brats").pipelines["nnunet"], "brats")
    image = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    image.flags.writeable = False
    images = ImageSampler({"case": image}, recipe.patch, BATCH, 0, "images")
    labels = ImageSampler({"case": (image[:1] > 1).astype(np.uint8)}, recipe.patch, BATCH, 0, "images")
    augmenters = {
        version: Augmenter(recipe.augmentation.model_copy(update={"version": version}), 0)
        for version in (1, 2)
    }
    seconds: dict[int, list[float]] = {version: [] for version in augmenters}
    for step in range(options.steps + 1):  # the first warms up
        for version, augment in augmenters.items():
            start = time.process_time()
            margins = augment.margins(recipe.patch, BATCH, step)
            augment(images.pieces(step, margins), labels.pieces(step, margins), step, margins)
            seconds[version].append(time.process_time() - start)
    means = {version: float(np.mean(values[1:])) for version, values in seconds.items()}
    print(f"version 1: {means[1]:.3f} s of a core per batch")
    print(f"version 2: {means[2]:.3f} s of a core per batch, {means[1] / means[2]:.1f} times as fast")
    if options.nnunet:
        script = Path(__file__).with_name("augmentation_nnunet.py")
        found = subprocess.run(
            [options.nnunet, script, str(options.steps)], stdout=subprocess.PIPE, check=True
        )
        theirs = json.loads(found.stdout)["seconds"]
        print(f"batchgeneratorsv2: {theirs:.3f} s of a core per batch")


if __name__ == "__main__":
    main()
