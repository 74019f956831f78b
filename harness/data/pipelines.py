"""The part of a protocol that datasets share, as keys of ``harness.spec.Recipe``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.parsing import merge

# nnU-Net v1 as nnFormer and UNETR++ use it. It draws blur and low resolution per sample (0.2 and 0.25), then per
# channel (0.5); here all channels of a sample change together, so the products stand. 0.316 is the root of its
# largest variance of noise. Turned images are interpolated linearly (theirs: by cubic splines).
NNUNET: dict[str, Any] = {
    "crop": "foreground",
    "resampling": "cubic_clipped",
    "label_resampling": "linear",
    "loss": "dice_ce_nnunet",
    "window": "nnunet",
    "output_resampling": "within_slices",
    "augmentation": {
        "affine_probability": 0.2,
        "rotation": 30.0,
        "scale_range": (0.7, 1.4),
        "enlarge": True,
        "mirror_axes": (0, 1, 2),
        "noise_probability": 0.1,
        "noise": 0.316,
        "blur_probability": 0.1,
        "brightness_probability": 0.15,
        "contrast_probability": 0.15,
        "low_resolution_probability": 0.125,
        "inverted_gamma_probability": 0.1,
        "gamma_probability": 0.3,
    },
}
DIFFERENCES: dict[str, tuple[str, ...]] = {
    "nnunet": (
        "Turned and scaled images are interpolated linearly; nnU-Net's by cubic splines.",
        "Blur and low resolution change all channels of a sample together, as often as nnU-Net changes each.",
        "No component of a prediction is removed; nnFormer's code decides on it by the cases that it reports.",
    ),
    "monai": ("A step takes a patch of each of four volumes; MedContext's UNETR takes four of one.",),
}
"""Pipeline -> what it does otherwise than the code it is named after, on purpose; also of its ``<name>_paper``."""
PLANAR: dict[str, Any] = {"planar": True, "rotation": 180.0}
"""nnU-Net's augmentation of volumes whose slices are far apart."""

FOLDER: dict[str, Any] = merge(NNUNET, {
    "intensity": "zscore", "loss": "dice_ce_nnunet_sample", "augmentation": {"mirror_axes": ()},
})  # fmt: skip
"""Of any folder, whatever lies in it: :mod:`harness.data.default_recipe` adds what goes by its files. Along which axes
labels can be mirrored is not known, nor whether it is CT; ``medctx data suggest`` looks."""

# pipeline -> how MedContext's released trainers optimise and predict (hananshafi/MedContext at 6b97c57).
# monai: 5000 epochs of 18 volumes, four patches of each a step (here: of four volumes), warm-up over 50 epochs.
# nnunet: 1000 epochs of 250 steps. Both step the learning rate by epoch.
_TRAINING: dict[str, dict[str, Any]] = {
    "monai": {
        "steps": 90_000, "batch": 4, "optimiser": "adamw", "learning_rate": 1e-4, "weight_decay": 1e-5,
        "schedule": "cosine", "warmup_steps": 900, "rate_every": 18, "clip_norm": 0.0, "precision": "fp16",
        "window": "constant", "window_average": "logits",
    },
    "nnunet": {
        "steps": 250_000, "optimiser": "sgd", "learning_rate": 1e-2, "weight_decay": 3e-5, "momentum": 0.99,
        "schedule": "poly", "rate_every": 250, "clip_norm": 12.0, "precision": "fp16", "flips": (0, 1, 2),
    },
}  # fmt: skip


def with_paper_training(pipelines: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the pipelines and, as ``<name>_paper``, each with the optimisation that papers combine it with.

    These are for GPUs, which wait for patches that are changed slowly.
    """
    faster = {"augmentation": {"version": 2}}
    whole = {
        f"{name}_paper": merge(merge(recipe, _TRAINING[name]), faster) for name, recipe in pipelines.items()
    }
    return {**pipelines, **whole}
