"""Which images there are to predict: files and folders, by the names that datasets give their channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.data.datasets.contract import Case
from harness.data.layouts import SUFFIXES, channel_fault, image_files, split_channel, stem
from harness.errors import UserError

_LABEL = "_gt"  # how ACDC's files of labels end, which lie beside the images


def cases_of(inputs: Sequence[Path], channels: Sequence[str]) -> list[Case]:
    """Return a case for each image, sorted by id.

    A file is a case, and its name the id. Names that end in a channel's number are nnU-Net's: ``a_0000`` and ``a_0001`` are
    the channels of ``a``, and ``a_0000`` is ``a`` where there is one channel. Of a folder, files of labels that end in
    ``_gt`` are left out.

    Args:
        inputs: files, or folders of files.
        channels: their names.

    Raises:
        UserError: an input is not there or is no image, a channel is missing, or two images have one name.
    """
    paths = [path for given in inputs for path in _files(given)]
    found = []
    for id, files in sorted(_by_case(paths, several=len(channels) > 1).items()):
        fault = channel_fault(id, files, channels)
        if fault is not None:
            remedy = "Put the files of all channels beside each other, named <case>_0000, <case>_0001, …"
            raise UserError(files[0].parent / id, *fault, f"{remedy}.")
        found.append(Case(id, id, files[0], channels=tuple(files[1:])))
    return found


def _files(given: Path) -> list[Path]:
    if given.is_dir():
        files = [path for path in image_files(given) if not stem(path).endswith(_LABEL)]
        if files:
            return files
        found = (
            f"a folder without an image ({', '.join(sorted(p.name for p in given.iterdir())[:3]) or 'empty'})"
        )
    elif not given.is_file():
        found = "no such file or folder"
    elif given.name.endswith(SUFFIXES):
        return [given]
    else:
        found = "a file of another kind"
    raise UserError(
        given, found, f"an image or a folder of images that end in {', '.join(SUFFIXES)}", "Correct the path."
    )


def _by_case(paths: Iterable[Path], several: bool) -> Mapping[str, list[Path]]:
    """Return the files of each case; those of its channels in their order."""
    names: dict[str, Path] = {}
    for path in paths:
        other = names.setdefault(stem(path), path)
        if other.resolve() != path.resolve():
            raise UserError(
                path, f"the name of {other}", "a name of its own for each image", "Rename one of the two."
            )
    numbered: dict[str, list[str]] = {}
    for name in sorted(names):
        case, number = split_channel(name)
        if number is not None:
            numbered.setdefault(case, []).append(name)
    cases: dict[str, list[Path]] = {}
    for name, path in sorted(names.items()):
        case, number = split_channel(name)
        is_channel = number is not None and (several or numbered[case] == [f"{case}_0000"])
        cases.setdefault(case if is_channel else name, []).append(path)
    return cases
