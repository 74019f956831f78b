"""Layout twins: small synthetic folders with the layout, names, headers and labels of a public dataset.

They stand in for data that may not be passed on: every adapter is exercised from disk with them. A twin holds
the first cases of each part of the dataset's default split, and a file that says what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.data.layouts import TWIN
from harness.data.splits import shipped_split
from harness.errors import UserError, did_you_mean
from harness.seeding import numpy_generator


@dataclass(frozen=True)
class Appearance:
    """How the volumes of a dataset appearance.

    Attributes:
        shape: voxels, small.
        spacing: mm, as in the real files.
        signs: direction of the array axes in RAS coordinates.
        dtype: of the image files.
        background: intensity around the organs.
        contrast: intensity between one label and the next.
        air: intensity of the margin; where it is 0, as in skull-stripped images, nothing is added to it.
        unlabelled: images of a challenge's own test part, which no adapter may take for cases.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    signs: tuple[int, int, int]
    dtype: type
    background: float
    contrast: float
    air: float
    unlabelled: tuple[str, ...] = ()

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel indices to mm."""
        affine = np.diag([*(np.array(self.spacing) * self.signs), 1.0])
        affine[:3, 3] = -np.array(self.signs) * np.array(self.spacing) * np.array(self.shape) / 2
        return affine


_APPEARANCES = {
    "synapse": Appearance(
        (56, 56, 20), (0.75, 0.75, 3.0), (-1, 1, 1), np.int16, 40, 12, -1000, ("img0061", "img0062")
    ),
    "acdc": Appearance((44, 40, 9), (1.5625, 1.5625, 10.0), (-1, -1, 1), np.int16, 60, 40, 10),
    "brats": Appearance(
        (40, 40, 32), (1.0, 1.0, 1.0), (-1, -1, 1), np.float32, 300, 150, 0, ("BRATS_485", "BRATS_486")
    ),
    "hippocampus": Appearance(
        (35, 50, 36), (1.0, 1.0, 1.0), (1, 1, 1), np.float32, 200, 100, 100, ("hippocampus_002",)
    ),
}
# of a split that is generated
_OTHER_CASES = tuple(f"hippocampus_{number:03d}" for number in range(1, 25, 2))


def write_twin(name: str, folder: Path, layout: str | None = None, cases: int = 4, seed: int = 0) -> Path:
    """Write a layout twin of a dataset into ``folder`` and return the data root, which is ``folder``.

    Args:
        name: synapse, acdc, brats or hippocampus.
        folder: new or empty.
        layout: one of the dataset's in ``_WRITERS``; by default the first.
        cases: patients of each part of the split.
        seed: of the volumes.

    Raises:
        UserError: an unknown name or layout, or a folder with content.
    """
    if name not in _APPEARANCES:
        raise UserError(
            f"twin of {name!r}", "no twin", "a dataset with one", did_you_mean(name, _APPEARANCES)
        )
    writers = _WRITERS[name]
    layout = layout or next(iter(writers))
    if layout not in writers:
        raise UserError("--layout", repr(layout), "a layout of the twin", did_you_mean(layout, writers))
    if folder.exists() and any(folder.iterdir()):
        raise UserError(folder, "a folder with content", "a new folder", "Name another.")
    folder.mkdir(parents=True, exist_ok=True)
    dataset: Dataset = registry.load("dataset", name)()
    ids = _case_ids(dataset, name, cases)
    writers[layout](_Twin(dataset, name, ids, seed), folder)
    card = {"twin_of": name, "layout": layout, "cases": ids, "seed": seed}
    (folder / TWIN).write_text(json.dumps(card, indent=1) + "\n")
    return folder


def _case_ids(dataset: Dataset, name: str, count: int) -> list[str]:
    """Return the cases of the first patients of each part; of ten patients or more where nothing is shipped."""
    if not dataset.splits:
        return list(_OTHER_CASES[: max(3, 3 * count)])
    split = shipped_split(name, dataset.splits[0])
    chosen: list[str] = []
    for part in split.parts.values():
        patients = list(dict.fromkeys(dataset.patient(case) for case in part))[:count]
        chosen += [case for case in part if dataset.patient(case) in patients]
    return chosen


@dataclass(frozen=True)
class _Twin:
    """The volumes of a twin."""

    dataset: Dataset
    name: str
    ids: Sequence[str]
    seed: int

    @property
    def appearance(self) -> Appearance:
        return _APPEARANCES[self.name]

    def label(self, case: str) -> NDArray[np.uint8]:
        """Return an ellipsoid for each label, at a place of its own that varies a little."""
        rng = numpy_generator("twin", self.name, self.seed, case, "label")
        shape = np.array(self.appearance.shape)
        values = [value for value in self.dataset.labels if value]
        columns = int(np.ceil(np.sqrt(len(values))))
        cell = (shape[:2] - 8) / columns
        grid = np.indices(self.appearance.shape, dtype=float)
        labels = np.zeros(self.appearance.shape, np.uint8)
        for place, value in enumerate(values):
            middle = 4 + cell * (np.array(divmod(place, columns)) + 0.5)
            centre = np.array([*middle, shape[2] / 2]) + rng.uniform(-1, 1, 3)
            radii = np.array([*(cell * 0.45), shape[2] * 0.35]) * rng.uniform(0.85, 1.0)
            distance = ((grid - centre.reshape(3, 1, 1, 1)) / radii.reshape(3, 1, 1, 1)) ** 2
            labels[distance.sum(axis=0) < 1] = value
        return labels

    def image(self, case: str) -> NDArray[Any]:
        """Return ``(X, Y, Z, C)``: an intensity for each label, in another order in each channel."""
        rng = numpy_generator("twin", self.name, self.seed, case, "image")
        labels, appearance = self.label(case).astype(float), self.appearance
        highest = max(self.dataset.labels)
        inside = np.zeros(appearance.shape, bool)
        inside[2:-2, 2:-2, 1:-1] = True
        channels = []
        for index in range(len(self.dataset.channels)):
            order = labels if index % 2 == 0 else np.where(labels > 0, highest + 1 - labels, 0)
            noise = rng.normal(0, appearance.contrast / 4, appearance.shape)
            values = appearance.background + appearance.contrast * order + noise
            channels.append(np.where(inside, values, appearance.air))
        return np.stack(channels, axis=-1).astype(appearance.dtype)

    def save(self, array: NDArray[Any], path: Path) -> None:
        """Write NIfTI with the dataset's header: sform and qform of scanner coordinates, mm."""
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(array, self.appearance.affine)
        image.set_sform(self.appearance.affine, 1)
        image.set_qform(self.appearance.affine, 1)
        image.header.set_xyzt_units("mm", "sec" if array.ndim == 4 else 0)
        nibabel.save(image, path)

    def save_image(self, case: str, path: Path) -> None:
        """Write an image; several channels are the fourth axis."""
        volume = self.image(case)
        self.save(volume[..., 0] if volume.shape[-1] == 1 else volume, path)

    def save_case(self, case: str, image: Path, label: Path) -> None:
        """Write image and label."""
        self.save_image(case, image)
        self.save(self.label(case), label)


Writer = Callable[[_Twin, Path], None]


def _btcv(twin: _Twin, root: Path) -> None:
    folder = root / "RawData" / "Training"
    for case in twin.ids:
        label = case.replace("img", "label")
        twin.save_case(case, folder / "img" / f"{case}.nii.gz", folder / "label" / f"{label}.nii.gz")
    for case in twin.appearance.unlabelled:
        twin.save_image(case, root / "RawData" / "Testing" / "img" / f"{case}.nii.gz")


def _acdc(twin: _Twin, root: Path) -> None:
    for patient, group in groupby(twin.ids, twin.dataset.patient):
        frames = list(group)
        folder = root / "training" / patient
        numbers = [int(case[-2:]) for case in frames]
        for case in frames:
            twin.save_case(case, folder / f"{case}.nii.gz", folder / f"{case}_gt.nii.gz")
        last = max(numbers)
        volumes = [twin.image(frames[number >= last])[..., 0] for number in range(1, last + 1)]
        twin.save(np.stack(volumes, axis=-1), folder / f"{patient}_4d.nii.gz")
        facts = {"ED": min(numbers), "ES": last, "Group": "DCM", "Height": 170.0, "NbFrame": last, "Weight": 70.0}  # fmt: skip
        (folder / "Info.cfg").write_text("".join(f"{key}: {value}\n" for key, value in facts.items()))


def _raw(tool: str, task: str, label_name: Callable[[str], str], twin: _Twin, root: Path) -> None:
    """Write the raw data of nnFormer or UNETR++; test cases are there twice."""
    folder = root / f"{tool}_raw" / f"{tool}_raw_data" / task
    testing = shipped_split(twin.name, twin.dataset.splits[0]).test
    names = {case: (f"{case}.nii.gz", f"{label_name(case)}.nii.gz") for case in twin.ids}
    for case, (image, label) in names.items():
        for part in ("Tr", "Ts") if case in testing else ("Tr",):
            twin.save_case(case, folder / f"images{part}" / image, folder / f"labels{part}" / label)
    _write_listing(twin, folder, names, ())


def _converted(task: str, twin: _Twin, root: Path) -> None:
    """Write the sibling of raw data in which each channel has a file of its own."""
    folder = root / "nnFormer_raw" / "nnFormer_raw_data" / task.replace("Task", "Task0")
    _save_by_channel(twin, folder)
    _write_listing(twin, folder, {case: (f"{case}.nii.gz",) * 2 for case in twin.ids}, ())


def _raws(task: str, label_name: Callable[[str], str]) -> dict[str, Writer]:
    tools = {tool.lower(): partial(_raw, tool, task, label_name) for tool in ("nnFormer", "unetr_pp")}
    return {**tools, "converted": partial(_converted, task)}


def _msd(task: str, twin: _Twin, root: Path) -> None:
    folder = root / task
    names = {case: (f"{case}.nii.gz", f"{case}.nii.gz") for case in twin.ids}
    for case, (image, label) in names.items():
        twin.save_case(case, folder / "imagesTr" / image, folder / "labelsTr" / label)
    for case in twin.appearance.unlabelled:
        twin.save_image(case, folder / "imagesTs" / f"{case}.nii.gz")
    _write_listing(twin, folder, names, twin.appearance.unlabelled)


def _write_listing(
    twin: _Twin, folder: Path, names: Mapping[str, tuple[str, str]], unlabelled: Sequence[str]
) -> None:
    """Write the Decathlon's ``dataset.json``; ``names`` are those of images and labels."""
    listing = {
        "name": type(twin.dataset).__name__,
        "tensorImageSize": "4D" if len(twin.dataset.channels) > 1 else "3D",
        "modality": {str(index): name for index, name in enumerate(twin.dataset.channels)},
        "labels": {str(value): name for value, name in twin.dataset.labels.items()},
        "numTraining": len(names),
        "numTest": len(unlabelled),
        "training": [
            {"image": f"./imagesTr/{image}", "label": f"./labelsTr/{label}"}
            for image, label in names.values()
        ],
        "test": [f"./imagesTs/{case}.nii.gz" for case in unlabelled],
    }
    (folder / "dataset.json").write_text(json.dumps(listing, indent=1))


def _monai_list(twin: _Twin, root: Path) -> None:
    entries = []
    for case in twin.ids:
        pair = f"imagesTr/{case}.nii.gz", f"labelsTr/{case.replace('img', 'label')}.nii.gz"
        twin.save_case(case, root / pair[0], root / pair[1])
        entries.append({"image": pair[0], "label": pair[1]})
    content = {"training": entries[1:], "validation": entries[:1], "test": []}
    (root / "dataset_18_12.json").write_text(json.dumps(content, indent=1))


def _save_by_channel(twin: _Twin, folder: Path) -> None:
    """Write every channel of an image as a file, and labels under the case's id, as nnU-Net has them."""
    for case in twin.ids:
        for index in range(len(twin.dataset.channels)):
            twin.save(twin.image(case)[..., index], folder / "imagesTr" / f"{case}_{index:04d}.nii.gz")
        twin.save(twin.label(case), folder / "labelsTr" / f"{case}.nii.gz")


def _nnunet(folder_name: str, twin: _Twin, root: Path) -> None:
    folder = root / folder_name
    _save_by_channel(twin, folder)
    description = {
        "channel_names": {str(index): name for index, name in enumerate(twin.dataset.channels)},
        "labels": {name: value for value, name in twin.dataset.labels.items()},
        "numTraining": len(twin.ids),
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=1))


_WRITERS: Mapping[str, Mapping[str, Writer]] = {
    "synapse": {
        "btcv": _btcv,
        **_raws("Task02_Synapse", lambda case: case.replace("img", "label")),
        "monai": _monai_list,
        "nnunet": partial(_nnunet, "Dataset002_Synapse"),
    },
    "acdc": {
        "acdc": _acdc,
        **_raws("Task01_ACDC", lambda case: f"{case}_gt"),
        "nnunet": partial(_nnunet, "Dataset027_ACDC"),
    },
    "brats": {
        "msd": partial(_msd, "Task01_BrainTumour"),
        **_raws("Task03_tumor", lambda case: case),
        "nnunet": partial(_nnunet, "Dataset001_BrainTumour"),
    },
    "hippocampus": {"msd": partial(_msd, "Task04_Hippocampus")},
}
