"""nnU-Net's half of augmentation.py, run by an interpreter that has batchgeneratorsv2: one line of JSON.

    python augmentation_nnunet.py STEPS

nnU-Net cuts every patch 205 voxels wide and turns every fifth; its transforms for full resolution, without deep
supervision, follow in its order and with its probabilities.
"""

from __future__ import annotations

import json
import math
import sys
import time

import numpy as np
import torch
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform

WIDE, PATCH, BATCH = 205, 128, 2


def transforms() -> ComposeTransforms:
    """Return nnU-Net's transforms of a patch."""
    angle = 30 / 180 * math.pi
    return ComposeTransforms([
        SpatialTransform(
            (PATCH,) * 3, 0, False, p_elastic_deform=0, p_rotation=0.2, rotation=(-angle, angle), p_scaling=0.2,
            scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1, bg_style_seg_sampling=False,
        ),
        RandomTransform(GaussianNoiseTransform((0, 0.1), 1, True), 0.1),
        RandomTransform(GaussianBlurTransform((0.5, 1.0), False, False, p_per_channel=0.5), 0.2),
        RandomTransform(MultiplicativeBrightnessTransform(BGContrast((0.75, 1.25)), False, 1), 0.15),
        RandomTransform(ContrastTransform(BGContrast((0.75, 1.25)), True, False, 1), 0.15),
        RandomTransform(SimulateLowResolutionTransform((0.5, 1), False, True, None, None, 0.5), 0.25),
        RandomTransform(GammaTransform(BGContrast((0.7, 1.5)), 1, False, 1, 1), 0.1),
        RandomTransform(GammaTransform(BGContrast((0.7, 1.5)), 0, False, 1, 1), 0.3),
        MirrorTransform((0, 1, 2)),
    ])  # fmt: skip


def main() -> None:
    """Print the mean seconds of a core per batch, after one that warms up."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the transforms draw from it
    change = transforms()
    image = torch.randn(4, WIDE, WIDE, WIDE)
    label = (image[:1] > 1).to(torch.int16)
    seconds = []
    with torch.no_grad():
        for _ in range(int(sys.argv[1]) + 1):
            given = [{"image": image.clone(), "segmentation": label.clone()} for _ in range(BATCH)]
            start = time.process_time()
            samples = [change(**sample) for sample in given]
            torch.stack([sample["image"] for sample in samples])
            seconds.append(time.process_time() - start)
    print(json.dumps({"seconds": float(np.mean(seconds[1:]))}))


if __name__ == "__main__":
    main()
