"""Does another node see the same folders? A marker file is left in each here, and looked for there."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 10.0  # seconds; network file systems show a new file a little later


@dataclass(frozen=True)
class FolderView:
    """What a node sees of a folder: a problem or none; of a folder that is only read, also the names in it."""

    folder: Path
    problem: str = ""
    listing: tuple[str, ...] = ()


@contextmanager
def marker_files(folders: Sequence[Path]) -> Iterator[list[Path]]:
    """Leave a file with a new name in each folder as long as this context lasts."""
    markers = [folder / f".mark-{secrets.token_hex(8)}" for folder in folders]
    try:
        for path in markers:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        yield markers
    finally:
        for path in markers:
            path.unlink(missing_ok=True)


def view_folders(markers: Sequence[Path], data: Path | None) -> list[FolderView]:
    """Return what this node sees of the folders of ``markers``, and of the data."""
    until = time.monotonic() + _PATIENCE
    views = [FolderView(path.parent, _problem(path, until)) for path in markers]
    if data is not None:
        try:
            names = sorted(path.name for path in data.iterdir() if not path.name.startswith("."))
            views.append(FolderView(data, listing=tuple(names)))
        except OSError as error:
            views.append(FolderView(data, f"cannot be read ({error.strerror})"))
    return views


def _problem(path: Path, until: float) -> str:
    while not path.exists():
        if time.monotonic() > until:
            return "another folder of the same name" if path.parent.is_dir() else "not there"
        time.sleep(0.5)
    return "" if os.access(path.parent, os.W_OK) else "not writable"
