"""Weights that were made elsewhere, beside the records: each under its hash, so that any worker finds them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from harness.errors import UserError
from harness.files.whole import whole

FOLDER = "weights"
_DIGITS = 16


def keep_weights(results: Path, files: Mapping[str, Path]) -> None:
    """Copy files to the results folder, those that are not there.

    Args:
        results: folder of the records.
        files: SHA-256 -> file.

    Raises:
        UserError: a file cannot be copied.
    """
    for sha256, path in files.items():
        folder = results / FOLDER / sha256[:_DIGITS]
        if _held(folder):
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with whole(folder / path.name) as partial:
                shutil.copyfile(path, partial)
        except OSError as error:
            raise UserError(
                path, f"a file that cannot be copied to {folder} ({error.strerror})", "room and rights for it",
                "Make room, or name another folder with --results DIR.",
            ) from error  # fmt: skip


def kept_weights(results: Path, sha256: str) -> Path:
    """Return the file with a hash; its name is that of the file that was copied.

    Raises:
        UserError: it is not there.
    """
    folder = results / FOLDER / sha256[:_DIGITS]
    found = _held(folder)
    if found is None:
        raise UserError(
            folder, "no file of weights", "the copy that 'medctx run' makes", "Run the study again where its file of weights is."
        )  # fmt: skip
    return found


def _held(folder: Path) -> Path | None:
    files = sorted(folder.glob("[!.]*")) if folder.is_dir() else []
    return files[0] if files else None
