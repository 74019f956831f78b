"""Hippocampus of the Medical Segmentation Decathlon (Task04)."""

from __future__ import annotations

from harness.data.datasets.contract import Dataset
from harness.data.layouts import Layout, read_msd
from harness.parsing import merge


class Hippocampus(Dataset):
    """Single-channel MRI at 1 mm, about 35 x 50 x 36 voxels; every case has both parts.

    The Decathlon's files do not say which cases are of one patient.

    Mirrored along x only: along y the anterior part would become the posterior one. Pipelines: ``short`` trains small
    networks on a CPU core in one to three minutes; ``half_hour`` a DynUNet of preset small on one core in that time.
    """

    print_name = "Hippocampus"
    summary = "MRI, anterior and posterior hippocampus, 1 mm; folder Task04_Hippocampus of the Decathlon"
    source = "Antonelli et al., Nature Communications 2022; http://medicaldecathlon.com, CC-BY-SA 4.0"
    channels = ("MRI",)
    labels = {0: "background", 1: "anterior", 2: "posterior"}
    register = "http://medicaldecathlon.com (Task04_Hippocampus)"
    layouts = (Layout("Decathlon", ("Task04_Hippocampus",), read_msd),)
    recipe = {
        "patch": (40, 56, 40),
        "spacing": (1.0, 1.0, 1.0),
        "intensity": "zscore_clipped",
        "augmentation": {
            "mirror_axes": (0,),
            "affine_probability": 0.3,
            "rotation": 15.0,
            "scaling": 0.15,
            "noise_probability": 0.15,
            "intensity_probability": 0.3,
        },
    }
    _short = merge(recipe, {"patch": (32, 48, 32), "steps": 1000, "learning_rate": 5e-3})
    pipelines = {"short": _short, "half_hour": merge(_short, {"steps": 5800, "flips": (0,)})}
