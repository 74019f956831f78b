"""Any folder in the layout of the Medical Segmentation Decathlon, named ``msd:FOLDER`` in a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data.datasets.contract import Dataset
from harness.data.description import msd_description
from harness.data.layouts import Layout, read_msd_with_tests
from harness.data.pipelines import FOLDER


class MSD(Dataset):
    """Channels, labels and cases are read from the folder's ``dataset.json``; every label is a region."""

    summary = "any folder in the Decathlon's layout below the data root, as msd:FOLDER"
    source = "Antonelli et al., Nature Communications 2022; http://medicaldecathlon.com"
    recipe = FOLDER
    folder_layout = Layout("Decathlon", (), read_msd_with_tests)

    def describe(self, description: Mapping[str, Any]) -> None:
        """Take channels and labels from the folder's ``dataset.json``.

        Raises:
            UserError: it is not that of the Decathlon.
        """
        description = msd_description(description)
        self.channels = tuple(str(name) for name in description["modality"].values())
        self.labels = {int(value): str(name) for value, name in description["labels"].items()}
