"""Time and memory of the metrics against medpy, MONAI and DeepMind's surface-distance, on one core.

Makes an abdomen of 512 x 512 x 147 voxels with 13 organs and predictions from realistic to noise, and scores
Dice and HD95 of all organs; ours also with ASSD and NSD, as trials do. Prints seconds of processor time (others
may use the machine) and ratios, the largest difference to medpy, peak memory beside the two label maps, the time
of one pass over the maps and of reading them, and how the time grows with the size of the volume. Each engine
runs in a process of its own.

    pip install surface-distance-based-measures==0.1
    python tests/benchmarks/metrics_speed.py [--predictions realistic,shifted] [--peer-organs 3] [--skip-peers]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
from abdomen import ORGANS, SHAPE, SPACING, Labels, anatomy, predictions  # noqa: E402
from scipy import ndimage  # noqa: E402

from harness.evaluation.conventions import RECORDED_METRICS  # noqa: E402
from harness.evaluation.metrics import DEFAULT_METRICS, score_case  # noqa: E402

warnings.filterwarnings("ignore")
Scores = dict[int, tuple[float, float]]  # organ -> Dice, HD95 in mm


def harness(
    prediction: Labels, reference: Labels, organs: list[int], metrics: tuple[str, ...] = DEFAULT_METRICS
) -> Scores:
    regions = {str(organ): (organ,) for organ in organs}
    rows = score_case(prediction, reference, SPACING, regions, metrics)
    values = {(row["region"], row["metric"]): row["value"] for row in rows}
    return {organ: (values[str(organ), "dice"], values[str(organ), "hd95"]) for organ in organs}


def harness_with_assd_and_nsd(prediction: Labels, reference: Labels, organs: list[int]) -> Scores:
    return harness(prediction, reference, organs, RECORDED_METRICS)


def medpy(prediction: Labels, reference: Labels, organs: list[int]) -> Scores:
    from medpy.metric import binary

    masks = ((organ, prediction == organ, reference == organ) for organ in organs)
    return {organ: (binary.dc(a, b), binary.hd95(a, b, voxelspacing=SPACING)) for organ, a, b in masks}


def monai(prediction: Labels, reference: Labels, organs: list[int]) -> Scores:
    import torch
    from monai.metrics import compute_dice, compute_hausdorff_distance

    torch.set_num_threads(1)
    one, other = (
        torch.from_numpy(np.stack([map_ == organ for organ in organs]))[None]
        for map_ in (prediction, reference)
    )
    dice = compute_dice(one, other)[0]
    hd95 = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=SPACING)[0]
    return {organ: (float(d), float(h)) for organ, d, h in zip(organs, dice, hd95, strict=True)}


def deepmind(prediction: Labels, reference: Labels, organs: list[int]) -> Scores:
    import surface_distance

    scores = {}
    for organ in organs:
        a, b = prediction == organ, reference == organ
        distances = surface_distance.compute_surface_distances(b, a, SPACING)
        hd95 = surface_distance.compute_robust_hausdorff(distances, 95)
        scores[organ] = (surface_distance.compute_dice_coefficient(b, a), hd95)
    return scores


def cropped_transform(prediction: Labels, reference: Labels, organs: list[int]) -> Scores:
    """The usual short way to medpy's values: a distance transform in the box of the two masks."""
    scores = {}
    for organ in organs:
        a, b = prediction == organ, reference == organ
        box = ndimage.find_objects((a | b).astype(np.uint8))[0]
        a, b = (np.pad(mask[box], 1) for mask in (a, b))
        first, second = (mask ^ ndimage.binary_erosion(mask) for mask in (a, b))
        forth = ndimage.distance_transform_edt(~second, sampling=SPACING)[first]
        back = ndimage.distance_transform_edt(~first, sampling=SPACING)[second]
        dice = 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        scores[organ] = (dice, float(np.percentile(np.concatenate([forth, back]), 95)))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predictions", default="realistic,shifted,another patient,islands,noise")
    parser.add_argument("--peer-organs", type=int, default=len(ORGANS), help="organs that peers are timed on")
    parser.add_argument("--skip-peers", action="store_true")
    options = parser.parse_args()
    reference = anatomy(1)
    made = predictions(reference)
    passes(reference, made["realistic"])
    for name in options.predictions.split(","):
        compare(name, made[name], reference, 0 if options.skip_peers else options.peer_organs)
    growth()


def compare(name: str, prediction: Labels, reference: Labels, peer_organs: int) -> None:
    organs = list(range(1, len(ORGANS) + 1))
    repeats = 1 if name == "noise" else 3
    seconds, megabytes, ours = measured(harness, prediction, reference, organs, repeats)
    dice, hd95 = np.mean(list(ours.values()), axis=0)
    print(f"\n{name}: mean Dice {dice:.3f}, mean HD95 {hd95:.2f} mm, {len(organs)} organs")
    print(f"  {'harness':20}{seconds:10.3f} s{megabytes:8.0f} MB")
    longer, larger, same = measured(harness_with_assd_and_nsd, prediction, reference, organs, repeats)
    apart = np.abs(np.subtract(list(ours.values()), list(same.values()))).max()
    print(f"  {'  with ASSD and NSD':20}{longer:10.3f} s{larger:8.0f} MB   largest difference {apart:.1e}")
    if not peer_organs:
        return
    some = organs[:: -(-len(organs) // peer_organs)]
    # a distance transform of noise takes minutes for each organ, whoever does it
    peers = [cropped_transform] if name == "noise" else [medpy, monai, deepmind]
    for peer in peers:
        theirs_seconds, megabytes, theirs = measured(peer, prediction, reference, some)
        whole = theirs_seconds * len(organs) / len(some)
        scaled = "" if len(some) == len(organs) else f"   (timed on {len(some)} organs, scaled)"
        print(
            f"  {peer.__name__:20}{whole:10.3f} s{megabytes:8.0f} MB{whole / seconds:10.1f} times ours{scaled}"
        )
        if peer in (medpy, cropped_transform):
            worst = np.abs(
                np.array([ours[organ] for organ in some]) - np.array([theirs[o] for o in some])
            ).max()
            print(f"  {'':20}largest difference of a value {worst:.1e}")


def passes(reference: Labels, prediction: Labels) -> None:
    once = min(timed(lambda *_: prediction | reference)[0] for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        for index, labels in enumerate((prediction, reference)):
            nibabel.save(nibabel.Nifti1Image(labels, np.diag([*SPACING, 1])), Path(folder, f"{index}.nii.gz"))

        def read(*_: object) -> None:
            for index in (0, 1):
                np.asanyarray(nibabel.load(Path(folder, f"{index}.nii.gz")).dataobj)

        reading = min(timed(read)[0] for _ in range(3))
    print(f"one pass over the two maps {once:.3f} s; reading them {reading:.3f} s")


def growth() -> None:
    """Print how the time grows: with the surface, not with volume times organs.

    Three sizes of one abdomen, predictions as many voxels off, and the largest with as much air around again.
    """
    print("\nvoxels (million)   surface voxels   seconds   us per surface voxel   ns per voxel and organ")
    organs = list(range(1, len(ORGANS) + 1))
    for share, air in ((0.5, 0), (0.75, 0), (1.0, 0), (1.0, 66)):
        shape = tuple(round(side * share) for side in SHAPE)
        maps = [anatomy(1, shape), anatomy(1, shape, error=2.0 / share, error_seed=7)]
        reference, prediction = (np.asfortranarray(np.pad(map_, air)) for map_ in maps)
        seconds, _ = timed(harness, prediction, reference, organs, repeats=5)
        surface = sum(surface_voxels(map_) for map_ in maps)
        print(
            f"{reference.size / 1e6:16.1f}{surface:17d}{seconds:10.3f}{seconds / surface * 1e6:23.2f}"
            f"{seconds / reference.size / len(organs) * 1e9:25.2f}"
        )


def surface_voxels(labels: Labels) -> int:
    padded = np.pad(labels, 1)
    edge = np.zeros(labels.shape, bool)
    for axis in range(3):
        for shift in (-1, 1):
            edge |= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1] != labels
    return int(np.count_nonzero(edge & (labels > 0)))


def timed(function: Callable, *arguments: object, repeats: int = 1) -> tuple[float, Scores]:
    """Return the shortest processor time of the repeats, and the result."""
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        result = function(*arguments)
        best = min(best, time.process_time() - start)
    return best, result


def measured(
    function: Callable[..., Scores],
    prediction: Labels,
    reference: Labels,
    organs: list[int],
    repeats: int = 1,
) -> tuple[float, float, Scores]:
    """Return seconds, the resident memory that is added at the peak, and the result, of a process that has the maps."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, function, prediction, reference, organs, repeats).result()


def _measure(
    function: Callable[..., Scores], prediction: Labels, reference: Labels, organs: list[int], repeats: int
) -> tuple[float, float, Scores]:
    small = np.pad(np.full((2, 2, 2), organs[0], np.uint8), 2)
    function(small, small, organs[:1])  # imports do not count
    Path("/proc/self/clear_refs").write_text("5")  # nor does the peak of receiving the maps
    before = _memory("VmRSS")
    seconds, scores = timed(function, prediction, reference, organs, repeats=repeats)
    return seconds, (_memory("VmHWM") - before) / 1024, scores


def _memory(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


if __name__ == "__main__":
    main()
