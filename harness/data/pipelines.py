"""The part of a protocol that datasets share, as keys of ``harness.spec.Recipe``."""

from __future__ import annotations

from typing import Any

# nnU-Net v1 as nnFormer and UNETR++ use it. It draws blur and low resolution per sample (0.2 and 0.25), then per
# channel (0.5); here all channels of a sample change together, so the products stand. 0.316 is the root of its
# largest variance of noise.
NNUNET: dict[str, Any] = {
    "crop": "foreground",
    "resampling": "cubic",
    "loss": "dice_ce_nnunet",
    "augmentation": {
        "affine_probability": 0.2,
        "rotation": 30.0,
        "scaling": 0.3,
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
