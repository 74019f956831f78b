"""Folder layouts in which public datasets come: where they lie below a data root, and how to list their cases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError

SUFFIXES = (".nii.gz", ".nii")
TWIN = "TWIN.json"
"""A file that says that a folder is a layout twin: synthetic, and with a part of the cases."""


@dataclass(frozen=True)
class Files:
    """The files of one labelled case: one image, or one for each channel."""

    id: str
    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class Layout:
    """A way in which a dataset lies on disk.

    Attributes:
        name: of the layout.
        places: glob patterns below the data root; the first match is what ``read`` is given.
        read: lists the labelled cases.
        holds: what a place has inside. A folder of that name without it is another thing: nnU-Net and its
            descendants call what they cropped and preprocessed by the same names as the data that it came from.
        anywhere: whether the places may also lie below the working directory.
    """

    name: str
    places: tuple[str, ...]
    read: Callable[[Path], list[Files]]
    holds: str = ""
    anywhere: bool = False

    def find(self, root: Path) -> Path | None:
        """Return the first place that is there."""
        return next((path for path in self._named(root) if self._is_whole(path)), None)

    def without_content(self, root: Path) -> list[Path]:
        """Return the folders that have the name of a place, and lack what it holds."""
        return [path for path in self._named(root) if not self._is_whole(path)]

    def _named(self, root: Path) -> list[Path]:
        roots = [root, Path.cwd()] if self.anywhere else [root]
        return [path for r in roots for place in self.places for path in sorted(r.glob(place))]

    def _is_whole(self, place: Path) -> bool:
        return not self.holds or (place / self.holds).exists()


def find_layout(name: str, layouts: Sequence[Layout], root: Path | None, source: str) -> tuple[Layout, Path]:
    """Return the layout in which a dataset lies below the data root, and where.

    Raises:
        UserError: no data root was named, or the dataset lies there in none of its layouts.
    """
    if root is None and any(layout.anywhere for layout in layouts):
        root = Path.cwd()
    if root is None:
        raise UserError(
            f"dataset {name!r}", "no data root", "a folder that holds the dataset",
            "Name it with --data DIR or the environment variable MEDCTX_DATA.",
        )  # fmt: skip
    for layout in layouts:
        place = layout.find(root)
        if place is not None:
            return layout, place
    lacking = [(path, layout.holds) for layout in layouts for path in layout.without_content(root)]
    if lacking:
        place, holds = lacking[0]
        raise UserError(
            place, f"no {holds}", f"the dataset {name!r}, in a folder with {holds}",
            "Restore it. What a tool has cropped or preprocessed cannot stand for it: arrays without a header.",
        )  # fmt: skip
    present = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    listed = ", ".join(present[:5]) + (", …" if len(present) > 5 else "")
    looked = "; ".join(f"{layout.name}: {' or '.join(layout.places)}" for layout in layouts)
    raise UserError(
        root, f"{listed or 'nothing'}", f"the dataset {name!r} in one of its layouts ({looked})",
        f"Fetch it ({source}), or name another data root with --data DIR.",
    )  # fmt: skip


def read_listing(listing: Path) -> list[Files]:
    """List the entries of a Decathlon's ``dataset.json`` or of a MONAI list: training and validation.

    Raises:
        UserError: it is missing or broken, or pairs two cases.
    """
    try:
        content = json.loads(listing.read_text())
        entries = [*content["training"], *content.get("validation", [])]
        pairs = [(listing.parent / entry["image"], listing.parent / entry["label"]) for entry in entries]
    except FileNotFoundError:
        raise UserError(listing, "no such file", "the dataset's listing", "Restore the file.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            listing, f"a listing that cannot be read ({error!r})",
            "JSON with a list 'training' of objects with 'image' and 'label'", "Restore the file.",
        ) from error  # fmt: skip
    files = []
    for image, label in pairs:
        if image.name.startswith("._"):
            continue
        if case_id(image) != case_id(label):
            raise UserError(
                listing, f"the image {image.name} with the label {label.name}", "files of one case",
                "Correct the listing.",
            )  # fmt: skip
        files.append(Files(case_id(image), (image,), label))
    return files


def read_msd(folder: Path) -> list[Files]:
    """List a folder of the Medical Segmentation Decathlon by its ``dataset.json``."""
    return read_listing(folder / "dataset.json")


def read_folders(folder: Path) -> list[Files]:
    """List the pairs of ``imagesTr`` and ``labelsTr``, by id; channels may be in files of their own.

    The layout of nnU-Net (``<case>_0000.nii.gz``), and of nnFormer's and UNETR++'s raw data.
    """
    return pair(nifti_files(folder / "imagesTr"), nifti_files(folder / "labelsTr"), folder)


def read_raw(folder: Path) -> list[Files]:
    """List what :func:`read_folders` does, and test cases of ``imagesTs`` that have a label in ``labelsTs``.

    nnFormer's and UNETR++'s raw data have them there, some as copies; the shipped split says which they are.
    """
    found = read_folders(folder)
    known, labels = {files.id for files in found}, nifti_files(folder / "labelsTs")
    others = pair(nifti_files(folder / "imagesTs"), labels, folder) if labels else []
    return [*found, *(files for files in others if files.id not in known)]


def read_btcv(folder: Path) -> list[Files]:
    """List ``Training/img`` and ``Training/label`` of the BTCV challenge."""
    return pair(nifti_files(folder / "img"), nifti_files(folder / "label"), folder)


def read_acdc(patient: Path) -> list[Files]:
    """List the labelled frames of all patients of the ACDC challenge, given the folder of one."""
    folder = patient.parent
    paths = [path for other in sorted(folder.glob("patient*")) for path in nifti_files(other)]
    frames = [path for path in paths if "_frame" in path.name]
    return pair(
        [path for path in frames if "_gt." not in path.name],
        [path for path in frames if "_gt." in path.name],
        folder,
    )


def pair(images: Sequence[Path], labels: Sequence[Path], folder: Path) -> list[Files]:
    """Return the cases of which there are images and a label, by id; whatever has no partner is left out.

    Raises:
        UserError: two labels of one case, or no pair at all.
    """
    channels: dict[str, list[Path]] = {}
    for path in sorted(images):
        channels.setdefault(re.sub(r"_\d{4}$", "", case_id(path)), []).append(path)
    found: dict[str, Files] = {}
    for label in sorted(labels):
        id = case_id(label)
        if id in found:
            raise UserError(
                folder, f"{found[id].label.name} and {label.name}", "one label for a case", "Remove one."
            )
        if id in channels:
            found[id] = Files(id, tuple(channels[id]), label)
    if not found:
        raise UserError(
            folder, f"{len(channels)} images and {len(labels)} labels without a common case id",
            "images and labels of the same cases", "Restore the folder's file names.",
        )  # fmt: skip
    return list(found.values())


def case_id(path: Path) -> str:
    """Return the case that a file's name stands for: ``img0001`` of ``label0001.nii.gz`` too."""
    stem = next((path.name.removesuffix(end) for end in SUFFIXES if path.name.endswith(end)), path.name)
    return re.sub(r"^label(?=\d)", "img", stem.removesuffix("_gt"))


def nifti_files(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder; resource forks (``._*``) are none."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in paths if path.name.endswith(SUFFIXES) and not path.name.startswith("."))


def twin_cases(place: Path, root: Path) -> tuple[str, ...] | None:
    """Return the cases that the card of a layout twin lists; None where what lies below the data root is none.

    Raises:
        UserError: the card is broken.
    """
    cards = (folder / TWIN for folder in (place, *place.parents) if folder.is_relative_to(root))
    card = next((path for path in cards if path.is_file()), None)
    if card is None:
        return None
    try:
        return tuple(json.loads(card.read_text())["cases"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            card, f"a card that cannot be read ({error!r})", "that of a layout twin", "Write the twin again."
        ) from error


def raw_data(name: str) -> Layout:
    """Return the layout of nnFormer's and UNETR++'s raw data, or where they are missing of its converted sibling."""
    tasks = (f"Task0?_{name}", f"Task0??_{name}")
    places = tuple(place for task in tasks for place in (task, f"*_raw/*_raw_data/{task}", f"*/{task}"))
    return Layout("raw data of nnFormer or UNETR++", places, read_raw, holds="imagesTr")


def nnunet_folder(*names: str) -> Layout:
    """Return the layout of nnU-Net v2 below the data root or a folder in it, under any of the names."""
    folders = [f"Dataset*_{name}" for name in names]
    places = (*folders, *(f"*/{folder}" for folder in folders))
    return Layout("nnU-Net", places, read_folders, holds="imagesTr")


def monai_list(*names: str) -> Layout:
    """Return the layout of a MONAI list below the data root or in a folder there."""
    files = [f"{name}.json" for name in names]
    return Layout("MONAI list", (*files, *(f"*/{file}" for file in files)), read_listing)
