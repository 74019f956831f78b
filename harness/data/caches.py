"""Where data lie: the datasets, and what is preprocessed of them."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import UserError


def data_folder(data: str | Path | None = None) -> Path | None:
    """Return the folder that holds the datasets: the one that is given, or ``MEDCTX_DATA``."""
    named = data or os.environ.get("MEDCTX_DATA")
    return Path(named) if named else None


def cache_root() -> Path:
    """Return the folder of all caches: ``MEDCTX_CACHE``, or ``medctx`` in the user's cache folder.

    Raises:
        UserError: neither is known.
    """
    named = os.environ.get("MEDCTX_CACHE")
    if named:
        return Path(named)
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "medctx"
    try:
        return Path.home() / ".cache" / "medctx"
    except RuntimeError as error:  # a container's user without a home
        raise UserError(
            "MEDCTX_CACHE",
            "nothing, and no HOME",
            "a folder for preprocessed data",
            "Set MEDCTX_CACHE, or HOME.",
        ) from error
