"""Synapse multi-organ CT (BTCV)."""

from __future__ import annotations

from harness.data.datasets.contract import Dataset
from harness.data.layouts import Layout, monai_list, nnunet_folder, raw_data, read_btcv
from harness.data.pipelines import NNUNET, PLANAR, with_paper_training
from harness.parsing import merge

ORGANS = {
    1: ("spleen", "Spl"), 2: ("right kidney", "RKid"), 3: ("left kidney", "LKid"), 4: ("gallbladder", "Gal"),
    5: ("esophagus", "Eso"), 6: ("liver", "Liv"), 7: ("stomach", "Sto"), 8: ("aorta", "Aor"),
    9: ("inferior vena cava", "IVC"), 10: ("portal and splenic veins", "PSV"), 11: ("pancreas", "Pan"),
    12: ("right adrenal gland", "RAdr"), 13: ("left adrenal gland", "LAdr"),
}  # fmt: skip
REPORTED = (1, 2, 3, 4, 6, 7, 8, 11)


class Synapse(Dataset):
    """Abdominal CT of 30 patients with 13 organs, of which papers of this field report eight.

    Pipelines: ``monai`` is UNETR's (1.5 x 1.5 x 2 mm, soft-tissue window), ``nnunet`` nnFormer's and UNETR++'s
    (median spacing, intensities of the dataset), with axes in RAS order (theirs: slices first).
    """

    print_name = "Synapse"
    summary = "abdominal CT, 30 cases, 13 organs of which 8 are reported"
    source = "Landman et al., MICCAI 2015 challenge 'Beyond the Cranial Vault'; synapse.org syn3193805"
    register = "an account at https://www.synapse.org (syn3193805, Abdomen/RawData.zip)"
    channels = ("CT",)
    one_case_per_patient = True
    labels = {0: "background"} | {value: name for value, (name, _) in ORGANS.items()}
    regions = {ORGANS[value][1]: (value,) for value in REPORTED}
    splits = (
        "transunet_18_12",
        "medcontext_unetr_18_12",
        "transunet_18_12_no_validation",
        "medcontext_unetr_18_12_no_validation",
    )
    layouts = (
        Layout("BTCV", ("RawData/Training", "*/RawData/Training"), read_btcv, holds="img"),
        raw_data("Synapse"),
        nnunet_folder("Synapse", "BTCV"),
        monai_list("dataset_18_12", "dataset_synapse_split", "dataset_0"),
    )
    pipelines = with_paper_training({
        "monai": {
            "patch": (96, 96, 96), "spacing": (1.5, 1.5, 2.0), "intensity": "ct_soft_tissue",
            "crop": "foreground", "foreground": 0.5,
            "augmentation": {
                "mirror_axes": (0, 1, 2), "mirror_probability": 0.2, "rotate90_probability": 0.2,
                "intensity_probability": 0.1,
            },
        },
        "nnunet": merge(NNUNET, {
            "patch": (128, 128, 64), "spacing": (0.7578, 0.7578, 3.0), "intensity": "ct_synapse",
            "augmentation": PLANAR,
        }),
    })  # fmt: skip
    recipe = pipelines["monai"]
