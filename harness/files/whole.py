"""Files that are written whole or not at all, whoever else writes the same one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; that file is flushed to disk and takes ``path``'s place at the end.

    The name is no other writer's, on this machine or another, starts with a dot and ends like ``path``. After an error,
    such as a full disk, it is gone and ``path`` is as it was.

    Raises:
        OSError: it cannot be flushed or renamed.
    """
    partial = path.with_name(f".{uuid4().hex}.{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text)
