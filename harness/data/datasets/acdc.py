"""ACDC cardiac cine MRI."""

from __future__ import annotations

from harness.data.datasets.contract import Dataset
from harness.data.layouts import Layout, nnunet_folder, raw_data, read_acdc
from harness.data.pipelines import NNUNET, PLANAR, with_paper_training
from harness.parsing import merge


class ACDC(Dataset):
    """Cine MRI of 100 patients, the frames at end of diastole and of systole, three regions.

    A patient has two cases, which are never in two parts of a split. Pipelines: ``nnunet`` is nnFormer's and
    UNETR++'s with axes in RAS order (theirs: slices first), patch 160 x 160 x 16; ``short`` trains small networks on
    a CPU core in about six minutes, and was chosen by the validation patients; so was ``short_tokens``, for a UNETR,
    whose tokens are 16 voxels long along each axis.
    """

    print_name = "ACDC"
    summary = "cardiac cine MRI, 100 patients, two frames each; right ventricle, myocardium, left ventricle"
    source = "Bernard et al., IEEE TMI 37(11), 2018; https://www.creatis.insa-lyon.fr/Challenge/acdc"
    register = "https://humanheart-project.creatis.insa-lyon.fr (ACDC, 'training')"
    channels = ("cine MRI",)
    labels = {0: "background", 1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
    regions = {"RV": (1,), "Myo": (2,), "LV": (3,)}
    splits = ("medcontext_140_20_40",)
    layouts = (
        Layout(
            "ACDC",
            ("training/patient*", "*/training/patient*", "*/*/training/patient*", "patient*"),
            read_acdc,
        ),
        raw_data("ACDC"),
        nnunet_folder("ACDC"),
    )
    recipe = merge(NNUNET, {
        "patch": (160, 160, 16), "spacing": (1.5234, 1.5234, 6.35), "intensity": "zscore", "batch": 4,
        "loss": "dice_ce_nnunet_sample",
        "augmentation": PLANAR,
    })  # fmt: skip
    _short = merge(recipe, {
        "patch": (112, 112, 8), "spacing": (2.0, 2.0, 10.0), "batch": 2, "steps": 750, "learning_rate": 4e-3,
        "warmup_steps": 50, "window": "gaussian",
        "augmentation": {
            "affine_probability": 0.3, "rotation": 20.0, "scale_range": (0.9, 1.1), "mirror_axes": (),
            "noise_probability": 0.0, "blur_probability": 0.0, "low_resolution_probability": 0.0,
            "inverted_gamma_probability": 0.0, "gamma_probability": 0.15,
        },
    })  # fmt: skip
    _short_tokens = merge(_short, {
        "patch": (80, 80, 16), "spacing": (2.5, 2.5, 6.35), "loss": "dice_ce", "foreground": 0.5,
    })  # fmt: skip
    pipelines = {**with_paper_training({"nnunet": recipe}), "short": _short, "short_tokens": _short_tokens}

    def patient(self, case: str) -> str:
        """Return ``patient001`` of ``patient001_frame12``."""
        return case.partition("_")[0]
