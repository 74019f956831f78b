"""The data of four trials that start together on one host: reads of each file, and private memory.

Writes 40 cases of 96 x 96 x 96 voxels in the layout of the Decathlon, starts four processes that each load a
trial's data, draw 100 batches and go through every volume, and prints how often each file was hashed, and read as
NIfTI, in all, and the private memory that a process adds, as a share of the cache's size (the cache itself is
shared: a memory map).

    python tests/benchmarks/cache_memory.py
"""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np

CASES, SIDE, PROCESSES, STEPS = 40, 96, 4, 100


def write_dataset(root: Path) -> None:
    folder = root / "Task04_Hippocampus"
    rng = np.random.default_rng(0)
    training = []
    for number in range(CASES):
        name = f"hippocampus_{number:03d}.nii.gz"
        labels = np.zeros((SIDE,) * 3, np.uint8)
        labels[20:50, 20:50, 20:50], labels[50:70, 20:50, 20:50] = 1, 2
        image = (labels * 100 + rng.normal(0, 20, labels.shape)).astype(np.float32)
        for part, array in (("imagesTr", image), ("labelsTr", labels)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / part / name)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    (folder / "dataset.json").write_text(json.dumps({"training": training}))


def prepare_and_read(root: Path) -> tuple[int, int, float, float]:
    """Load and use a trial's data; return NIfTI files hashed and read, MB of private memory added, and MB of the cache."""
    from harness.data import nifti
    from harness.data.datasets.contract import Case, Dataset
    from harness.data.trial_data import load_trial_data
    from harness.study.resolve import Resolver

    reads, hashed, load, content = 0, 0, nifti._load, Dataset.content

    def counted(path: Path) -> object:
        nonlocal reads
        reads += 1
        return load(path)

    def counting(self: Dataset, case: Case) -> str:
        nonlocal hashed
        hashed += len(case.files)
        return content(self, case)

    nifti._load, Dataset.content = counted, counting
    settings = {"dataset": "hippocampus", "architecture": "unet", "method": "supervised", "shots": "all",
                "subset": 0, "seed": 0, "recipe.patch": [32, 32, 32]}  # fmt: skip
    spec = Resolver("benchmark").trial(settings)
    before = private_megabytes()
    data = load_trial_data(spec, root)
    sampler = data.sampler()
    for step in range(STEPS):
        sampler.draw(step)
    data.freeze()
    held = [data.image(case) for case in data.split.cases]
    held += [data.test_reference(case).array for case in data.split.test]
    total = sum(float(array.sum()) for array in held)
    assert np.isfinite(total)
    size = sum(path.stat().st_size for path in data._cache.folder.glob("*.npy")) / 1e6
    return hashed, reads, private_megabytes() - before, size


def private_megabytes() -> float:
    """Return anonymous memory: pages of mapped files are the system's cache, however many processes map them."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1e3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_dataset(root)
        os.environ["MEDCTX_CACHE"] = str(root / "cache")
        context = get_context("spawn")
        together = context.Barrier(PROCESSES)
        with ProcessPoolExecutor(
            PROCESSES, mp_context=context, initializer=together.wait, initargs=(120,)
        ) as pool:
            found = list(pool.map(prepare_and_read, [root] * PROCESSES))
    size, added = found[0][3], sum(private for *_, private, _ in found)
    print(
        f"{2 * CASES} files, hashed {sum(count for count, *_ in found)} times and read {sum(count for _, count, *_ in found)} "
        f"times in all by {PROCESSES} trials' data; cache {size:.0f} MB"
    )
    for hashed, count, private, _ in found:
        print(
            f"  hashed {hashed:3d}, read {count:3d} files, private memory added {private:6.1f} MB, "
            f"{private / size:6.1%} of the cache"
        )
    print(f"  private memory added in all: {added:.1f} MB, {added / size:.1%} of the cache")


if __name__ == "__main__":
    main()
