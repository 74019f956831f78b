"""Checkpoints: everything needed to go on exactly, written whole or not at all."""

from __future__ import annotations

import errno
import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from harness.files.whole import whole


class DamagedCheckpointError(Exception):
    """A checkpoint that is not what was written: cut, empty, or with other bytes inside."""


def save_checkpoint(path: Path, state: dict[str, Any], before: Path | None = None) -> None:
    """Write ``state`` (tensors and plain data only) and flush it to disk before it takes its name.

    Args:
        path: of the checkpoint.
        state: what to keep.
        before: a second name for the checkpoint that ``path`` held until now.
    """
    with whole(path) as partial:
        with partial.open("wb") as file:
            torch.save(state, file)
        if before is not None and path.exists():
            before.unlink(missing_ok=True)
            with suppress(OSError):  # a file system without links
                os.link(path, before)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return what ``save_checkpoint`` wrote, on the CPU; never runs code that a file may carry.

    Raises:
        DamagedCheckpointError: the file is cut, empty, or has other bytes inside.
        OSError: it is not there, or cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if broken := archive.testzip():  # PyTorch itself compares no checksums
                raise DamagedCheckpointError(f"{path} is damaged: the checksum of {broken} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DamagedCheckpointError(f"{path} is damaged: {error}") from error
    except (
        ValueError,
        RuntimeError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
    ) as error:
        raise DamagedCheckpointError(f"{path} is damaged: {error}") from error


def put_aside(path: Path) -> Path:
    """Give a damaged file another name, under which nobody looks for it; return that."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    return aside
