"""Any dataset folder of nnU-Net v2, named ``nnunet:FOLDER`` in a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.data.datasets.contract import Dataset
from harness.data.description import nnunet_description
from harness.data.layouts import Layout, read_folders_with_tests
from harness.data.pipelines import FOLDER


class NNUNet(Dataset):
    """Channels, labels and regions are read from the folder's ``dataset.json``."""

    summary = "any dataset folder of nnU-Net v2 below the data root, as nnunet:FOLDER"
    source = "Isensee et al., Nature Methods 2021; https://github.com/MIC-DKFZ/nnUNet"
    recipe = FOLDER
    folder_layout = Layout("nnU-Net", (), read_folders_with_tests, holds="imagesTr")

    def describe(self, description: Mapping[str, Any]) -> None:
        """Take channels, labels, regions and the ignored label from the folder's ``dataset.json``.

        A label that stands for a list of values is a region; then all are scored as regions.

        Raises:
            UserError: it is not that of nnU-Net v2.
        """
        description = nnunet_description(description)
        self.channels = tuple(str(name) for name in description["channel_names"].values())
        values = {
            str(name): tuple(value) if isinstance(value, list) else (value,)
            for name, value in description["labels"].items()
            if name != "ignore"
        }
        self.ignore = description["labels"].get("ignore")
        self.labels = {value: str(value) for group in values.values() for value in group}
        self.labels |= {group[0]: name for name, group in values.items() if len(group) == 1}
        self.regions = {name: group for name, group in values.items() if group != (0,)}
