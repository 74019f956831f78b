"""Where preprocessed data are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the folder of all caches: ``MEDCTX_CACHE``, or ``medctx`` in the user's cache folder."""
    named = os.environ.get("MEDCTX_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medctx"
