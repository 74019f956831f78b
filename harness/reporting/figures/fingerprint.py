"""What tells whether a figure would be drawn as it was: a hash of what it shows, and of what draws it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from harness.reporting.figures.planned import Drawing, Style


def fingerprint(drawing: Drawing, style: Style) -> str:
    """Return a hash of a figure's series, caption and style; equal ones give the same files."""
    digest = blake2b(digest_size=16)
    for part in _parts((_code(), style, drawing.caption, drawing.plot, drawing.series)):
        digest.update(part + b"\0")
    return digest.hexdigest()


@cache
def _code() -> str:
    """Return a hash of everything that draws: the modules of this room, colours, wording and matplotlib."""
    digest = blake2b(matplotlib.__version__.encode(), digest_size=16)
    room = Path(__file__).parent
    for path in (*sorted(room.glob("*.py")), room.parent / "palette.py", room.parent / "wording.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """Yield bytes that differ wherever two values do; pickles do not, since they tell one object twice from two equal ones."""
    if isinstance(value, pd.DataFrame):
        for name in value:
            yield repr((name, str(value[name].dtype))).encode()
            yield from _parts(value[name])
    elif isinstance(value, pd.Series):
        if isinstance(value.dtype, pd.CategoricalDtype):
            yield from _parts(list(value.cat.categories))  # their order is that of an axis
        yield pd.util.hash_pandas_object(value, index=False).to_numpy().tobytes()
    elif isinstance(value, np.ndarray):
        yield repr((value.shape, value.dtype.str)).encode() + value.tobytes()
    elif is_dataclass(value):
        yield type(value).__name__.encode()
        yield from _parts([getattr(value, field.name) for field in fields(value)])
    elif isinstance(value, Mapping):
        yield from _parts(list(value.items()))
    elif isinstance(value, list | tuple):
        yield f"{type(value).__name__} {len(value)}".encode()
        for one in value:
            yield from _parts(one)
    elif callable(value):
        yield f"{value.__module__}:{value.__qualname__}".encode()
    else:
        yield repr(value).encode()
