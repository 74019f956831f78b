"""Folder layouts in which public datasets come: where they lie below a data root, and how to list their cases."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.itk import ITK_SUFFIXES, conversion
from harness.errors import UserError

SUFFIXES = (".nii.gz", ".nii", *ITK_SUFFIXES)
"""How the names of files end that are read: the only list of them. :func:`stem` cuts them off."""
_UNREAD = (".mgz", ".mgh", ".img", ".nhdr", ".dcm", ".mnc", ".png", ".tif", ".tiff", ".npy", ".npz", ".h5")
TWIN = "TWIN.json"
"""A file that says that a folder is a layout twin: synthetic, and with a part of the cases."""


@dataclass(frozen=True)
class Files:
    """The files of one labelled case: one image, or one for each channel; ``test`` where its folder holds test cases."""

    id: str
    images: tuple[Path, ...]
    label: Path
    test: bool = False


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

    Args:
        name: as the user wrote it.
        layouts: in which it may lie.
        root: data root.
        source: where to fetch it; not said of a folder of the user's own.

    Raises:
        UserError: no data root was named, or the dataset lies there in none of its layouts.
    """
    own = any(layout.anywhere for layout in layouts)
    if root is None and not own:
        raise UserError(
            f"dataset {name!r}", "no data root (neither --data nor MEDCTX_DATA is set)", "a folder that holds the dataset",
            "Name it with --data DIR or the environment variable MEDCTX_DATA.",
        )  # fmt: skip
    unset, root = root is None, root or Path.cwd()
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
    found = listed or ("nothing" if root.is_dir() else "no such folder")
    if own:
        also = "" if root == Path.cwd() else f" or in {Path.cwd()}"
        raise UserError(
            root, f"{found}{' (neither --data nor MEDCTX_DATA is set: looked here)' if unset else ''}",
            f"the dataset {name!r}, a folder here{also}",
            "Correct the folder's name, or name the folder above it with --data DIR or MEDCTX_DATA.",
        )  # fmt: skip
    raise UserError(
        root, found, f"the dataset {name!r} in one of its layouts ({looked})",
        f"Fetch it ({source}), or name another data root with --data DIR or MEDCTX_DATA.",
    )  # fmt: skip


def read_listing(listing: Path) -> list[Files]:
    """List the entries of a Decathlon's ``dataset.json`` or of a MONAI list: training and validation.

    Raises:
        UserError: it is missing or broken, pairs two cases, or names a file outside its folder.
    """
    try:
        content = json.loads(listing.read_text())
        entries = [*content["training"], *content.get("validation", [])]
        pairs = [(_listed(listing, entry["image"]), _listed(listing, entry["label"])) for entry in entries]
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


def _listed(listing: Path, entry: str) -> Path:
    """Return the file that an entry names; links within the folder are followed, wherever they lead.

    What leads out is told by the text alone, and ``x/..`` is taken out of it.
    """
    folder = os.path.abspath(listing.parent)  # noqa: PTH100 - resolve() would follow links
    path = os.path.normpath(os.path.join(folder, entry))  # noqa: PTH118
    if not Path(path).is_relative_to(folder):
        raise UserError(
            listing, f"the entry {entry!r}, which leads out of the folder", "files of the dataset's folder",
            "Move the file or a link to it into the folder, and correct the entry.",
        )  # fmt: skip
    return listing.parent / Path(path).relative_to(folder)


def read_msd(folder: Path) -> list[Files]:
    """List a folder of the Medical Segmentation Decathlon by its ``dataset.json``."""
    return read_listing(folder / "dataset.json")


def read_msd_with_tests(folder: Path) -> list[Files]:
    """List what :func:`read_msd` does, and the test cases that have a label in ``labelsTs``."""
    return [*read_msd(folder), *_test_files(folder)]


def read_folders(folder: Path) -> list[Files]:
    """List the pairs of ``imagesTr`` and ``labelsTr``, by id; channels may be in files of their own.

    The layout of nnU-Net (``<case>_0000.nii.gz``), and of nnFormer's and UNETR++'s raw data. Where ``dataset.json`` is that
    of nnU-Net v2, every image's name ends in the number of a channel, and files have the ending that it states, if any have.
    """
    return _pairs(folder, "imagesTr", "labelsTr")


def read_folders_with_tests(folder: Path) -> list[Files]:
    """List what :func:`read_folders` does, and the test cases that have a label in ``labelsTs``."""
    return [*read_folders(folder), *_test_files(folder)]


def _test_files(folder: Path) -> list[Files]:
    """List the pairs of ``imagesTs`` and ``labelsTs``; none where there is no label."""
    found = _pairs(folder, "imagesTs", "labelsTs") if image_files(folder / "labelsTs") else []
    return [replace(files, test=True) for files in found]


def _pairs(folder: Path, images_in: str, labels_in: str) -> list[Files]:
    ending, numbered = _nnunet_names(folder / "dataset.json")
    listed = (image_files(folder / part) for part in (images_in, labels_in))
    images, labels = ([path for path in paths if path.name.endswith(ending)] or paths for paths in listed)
    return pair(images, labels, folder, numbered=numbered)


def _nnunet_names(description: Path) -> tuple[str, bool]:
    """Return how file names end by a ``dataset.json`` of nnU-Net, and whether it says that channels have numbers."""
    try:
        content = json.loads(description.read_text())
        ending, numbered = str(content.get("file_ending", "")), "channel_names" in content
    except (OSError, ValueError, AttributeError):
        return "", False
    ending = f".{ending.lstrip('.')}" if ending else ""
    if ending and not ending.endswith(SUFFIXES):
        raise UserError(
            description, f"the file ending {ending!r}, which is not read", f"one of {', '.join(SUFFIXES)}",
            f"For every file, {conversion(Path(f'x{ending}'))}, and correct file_ending.",
        )  # fmt: skip
    return ending, numbered


def read_raw(folder: Path) -> list[Files]:
    """List what :func:`read_folders` does, and test cases of ``imagesTs`` that have a label in ``labelsTs``.

    nnFormer's and UNETR++'s raw data have them there, some as copies; the shipped split says which they are.
    """
    found = read_folders(folder)
    known, labels = {files.id for files in found}, image_files(folder / "labelsTs")
    others = pair(image_files(folder / "imagesTs"), labels, folder) if labels else []
    return [*found, *(files for files in others if files.id not in known)]


def read_btcv(folder: Path) -> list[Files]:
    """List ``Training/img`` and ``Training/label`` of the BTCV challenge."""
    return pair(image_files(folder / "img"), image_files(folder / "label"), folder)


def read_acdc(patient: Path) -> list[Files]:
    """List the labelled frames of all patients of the ACDC challenge, given the folder of one."""
    folder = patient.parent
    paths = [path for other in sorted(folder.glob("patient*")) for path in image_files(other)]
    frames = [path for path in paths if "_frame" in path.name]
    return pair(
        [path for path in frames if "_gt." not in path.name],
        [path for path in frames if "_gt." in path.name],
        folder,
    )


def pair(
    images: Sequence[Path], labels: Sequence[Path], folder: Path, *, numbered: bool = False
) -> list[Files]:
    """Return the cases of which there are images and a label, by id; whatever has no partner is left out.

    An image that has a label of the same name is that case's. Others are the channels of the case before their
    number: ``a_0000`` and ``a_0001`` of ``a``.

    Args:
        images: files.
        labels: files.
        folder: for messages.
        numbered: whether every image's name ends in a number, also where a label has the same name.

    Raises:
        UserError: two labels or images of one name, or no pair at all.
    """
    labelled, pictures = (
        _by_id(paths, what, folder) for paths, what in ((labels, "label"), (images, "image"))
    )
    channels: dict[str, list[Path]] = {}
    for id, path in pictures.items():
        case, number = split_channel(id)
        if number is not None and (numbered or id not in labelled):
            channels.setdefault(case, []).append(path)
    found = []
    for id, label in labelled.items():
        own = [pictures[id]] if id in pictures else []
        chosen = (channels.get(id) or own) if numbered else (own or channels.get(id))
        if chosen:
            found.append(Files(id, tuple(chosen), label))
    if not found:
        raise _no_pair(images, labels, folder)
    return found


def _by_id(paths: Sequence[Path], what: str, folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if (other := found.setdefault(case_id(path), path)) is not path:
            raise UserError(folder, f"{other.name} and {path.name}", f"one {what} for a case", "Remove one.")
    return found


def _no_pair(images: Sequence[Path], labels: Sequence[Path], folder: Path) -> UserError:
    """Return what to say of a folder without a case; files of a format that is not read are named."""
    if not images or not labels:
        for path in sorted(folder.rglob("*")):
            if path.name.endswith(_UNREAD):
                return UserError(
                    folder, f"files such as {path.name}, which are not read", f"files that end in {', '.join(SUFFIXES)}",
                    f"For every file, {conversion(path)}.",
                )  # fmt: skip
    return UserError(
        folder, f"{len(images)} images and {len(labels)} labels without a common case id",
        "images and labels of the same cases", "Restore the folder's file names.",
    )  # fmt: skip


def split_channel(id: str) -> tuple[str, int | None]:
    """Return case and channel of ``<case>_0002``; None for the channel where a name has no number of four digits."""
    matched = re.fullmatch(r"(.+)_(\d{4})", id)
    return (matched[1], int(matched[2])) if matched else (id, None)


def channel_fault(id: str, images: Sequence[Path], names: Sequence[str]) -> tuple[str, str] | None:
    """Return what is wrong with the files of a case's channels, as found and expected; None where nothing is.

    Args:
        id: of the case.
        images: its files; a single one may hold all channels.
        names: of the channels.
    """
    numbers = [
        number if case == id else None for case, number in (split_channel(case_id(path)) for path in images)
    ]
    wanted = list(range(len(names)))
    if None in numbers:  # of a layout that names channels otherwise
        if len(images) in (1, len(names)):
            return None
        return f"{len(images)} channel files", f"{len(names)}: {', '.join(names)}"
    if numbers in (wanted, [0]):  # the first file alone may hold all channels: whoever reads it sees that
        return None
    lacking = [f"{id}_{number:04d} ({names[number]})" for number in wanted if number not in numbers]
    more = [f"{id}_{number:04d}" for number in numbers if number is not None and number not in wanted]
    found = [f"without {', '.join(lacking)}"] * bool(lacking) + [f"with {', '.join(more)}"] * bool(more)
    return f"{len(images)} channel file(s), {' and '.join(found)}", f"{len(names)}: {', '.join(names)}"


def case_id(path: Path) -> str:
    """Return the case that a file's name stands for: ``img0001`` of ``label0001.nii.gz`` too."""
    return re.sub(r"^label(?=\d)", "img", stem(path).removesuffix("_gt"))


def stem(path: Path) -> str:
    """Return a file's name without its suffix, one of :data:`SUFFIXES`."""
    return next((path.name.removesuffix(end) for end in SUFFIXES if path.name.endswith(end)), path.name)


def image_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are read as volumes; resource forks (``._*``) are none."""
    paths = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in paths if path.name.endswith(SUFFIXES) and not path.name.startswith("."))


nifti_files = image_files  # as plug-ins know it


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
