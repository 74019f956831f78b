"""Brain tumours of the Medical Segmentation Decathlon (Task01), a part of BraTS 2016 and 2017."""

from __future__ import annotations

from harness.data.datasets.contract import Dataset
from harness.data.layouts import Layout, nnunet_folder, raw_data, read_msd
from harness.data.pipelines import NNUNET, with_paper_training
from harness.parsing import merge


class BraTS(Dataset):
    """484 cases of four MRI sequences, skull-stripped, 1 mm; regions overlap and are scored as such.

    The Decathlon's files do not say which cases are of one patient.

    Labels are numbered as in the Decathlon: 1 edema, 2 non-enhancing tumour, 3 enhancing tumour. The challenge's
    own files have 2, 1 and 4 for them.
    """

    print_name = "BraTS"
    summary = "brain MRI of four sequences, 484 cases; enhancing tumour, tumour core, whole tumour"
    source = "Antonelli et al., Nature Communications 2022 (Task01); Menze et al., IEEE TMI 34(10), 2015"
    register = "http://medicaldecathlon.com (Task01_BrainTumour), CC-BY-SA 4.0"
    channels = ("FLAIR", "T1w", "T1gd", "T2w")
    labels = {0: "background", 1: "edema", 2: "non-enhancing tumour", 3: "enhancing tumour"}
    regions = {"ET": (3,), "TC": (2, 3), "WT": (1, 2, 3)}
    other_numbering = {
        4: "Map its 2 to 1, 1 to 2 and 4 to 3, also in files without a 4: it is the challenge's."
    }
    splits = ("unetr_pp_387_73_24",)
    layouts = (
        Layout("Decathlon", ("Task01_BrainTumour", "*/Task01_BrainTumour"), read_msd),
        raw_data("tumor"),
        nnunet_folder("BrainTumour", "BRATS*"),
    )
    pipelines = with_paper_training({
        "nnunet": merge(NNUNET, {
            "patch": (128, 128, 128), "spacing": (1.0, 1.0, 1.0), "intensity": "zscore_nonzero",
            "loss": "dice_ce_nnunet_sample",
        }),
    })  # fmt: skip
    recipe = pipelines["nnunet"]
