"""Four processes that prepare and read one dataset at the same time: reads of each file, and private memory.

Writes 40 cases of 96 x 96 x 96 voxels in the layout of the Decathlon, starts four processes that prepare it and
then read every case through the cache, and prints how often each file was read as NIfTI, in all, and the
private memory that a process adds, as a share of the cache's size (the cache itself is shared: a memory map).

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

CASES, SIDE, PROCESSES = 40, 96, 4


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


def prepare_and_read(root: Path) -> tuple[int, float, float]:
    """Return NIfTI files read, MB of private memory added, and MB of the cache."""
    from harness import registry
    from harness.data import nifti
    from harness.data.preprocessing import prepare
    from harness.spec import Recipe

    reads, load = 0, nifti._load

    def counted(path: Path) -> object:
        nonlocal reads
        reads += 1
        return load(path)

    nifti._load = counted
    dataset = registry.load("dataset", "hippocampus")()
    cases = dataset.cases(root)
    before = private_megabytes()
    cache = prepare(dataset, "hippocampus", cases, Recipe(patch=(32,) * 3, spacing=(1, 1, 1)))
    total = 0.0
    held = []
    for case in cases:
        held += [cache.image(case.id), cache.label(case.id)]
        total += float(held[-2].sum()) + float(held[-1].sum())
    size = sum(path.stat().st_size for path in cache.folder.glob("*.npy")) / 1e6
    return reads, private_megabytes() - before, size


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
    reads, size = sum(count for count, _, _ in found), found[0][2]
    print(f"{2 * CASES} files, read {reads} times in all by {PROCESSES} processes; cache {size:.0f} MB")
    for count, private, _ in found:
        print(
            f"  read {count:3d} files, private memory added {private:6.1f} MB, {private / size:6.1%} of the cache"
        )


if __name__ == "__main__":
    main()
