"""Files of predictions: labels, and probabilities class by class; each says what it was made from."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from harness.data.itk import ITK_SUFFIXES
from harness.files.whole import whole

_MARK = "medctx "  # begins the description in a header, of at most 80 letters
_OFFSET = 352  # bytes of a NIfTI file before its voxels


def made_from(path: Path) -> str | None:
    """Return the note that a prediction's file carries; empty where another tool has written it, None where there is none."""
    if not path.is_file():
        return None
    try:
        header: Any = nibabel.load(path).header
        text = bytes(header["descrip"]).rstrip(b"\0").decode("ascii", "replace")
    except Exception:  # whatever a damaged file leads to
        return ""
    return text.removeprefix(_MARK) if text.startswith(_MARK) else ""


def write_labels(
    path: Path, labels: NDArray[Any], affine: NDArray[np.float64], like: Path, note: str
) -> None:
    """Write labels ``(X, Y, Z)`` as NIfTI, whole or not at all, with the place and units of the image's header.

    Args:
        path: of the file.
        labels: in the files' numbers.
        affine: of the image.
        like: the image's file.
        note: what it is made from.
    """
    header = _header(labels.shape, labels.dtype, affine, like, note)
    with whole(path) as partial:
        nibabel.save(nibabel.Nifti1Image(labels, None, header), partial)


def write_probabilities(
    path: Path,
    channels: Iterable[NDArray[np.float32]],
    count: int,
    affine: NDArray[np.float64],
    like: Path,
    note: str,
) -> None:
    """Write probabilities ``(X, Y, Z, K)`` float32 as NIfTI, class by class, whole or not at all.

    Args:
        path: of the file, ``.nii.gz``.
        channels: of each class ``(X, Y, Z)``; one is held at a time.
        count: of the classes.
        affine: of the image.
        like: the image's file.
        note: what it is made from.
    """
    with whole(path) as partial, gzip.open(partial, "wb", compresslevel=1) as file:
        for index, channel in enumerate(channels):
            if index == 0:
                header = _header((*channel.shape, count), np.dtype(np.float32), affine, like, note)
                header["vox_offset"] = _OFFSET
                header.write_to(file)
                file.write(bytes(_OFFSET - file.tell()))
            for plane in channel.T:  # the first axis of the file is the fastest
                file.write(np.ascontiguousarray(plane, np.float32).data)


def _header(
    shape: tuple[int, ...], dtype: np.dtype[Any], affine: NDArray[np.float64], like: Path, note: str
) -> Any:
    """Return a header with a place: the image's own, or where it is no NIfTI file, one that has the same affine."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    source: Any = None if like.name.endswith(ITK_SUFFIXES) else nibabel.load(like).header
    if source is None:
        header.set_sform(affine, "aligned")
        header.set_qform(affine, "aligned")
        header.set_xyzt_units("mm")
    else:
        header["pixdim"][:4] = source["pixdim"][:4]
        for field in ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
                      "qoffset_z", "srow_x", "srow_y", "srow_z"):  # fmt: skip
            header[field] = source[field]
        header["xyzt_units"] = int(source["xyzt_units"]) & 7  # the unit of space
    header["descrip"] = f"{_MARK}{note}".encode()
    return header
