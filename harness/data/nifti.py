"""Reading and writing NIfTI, with errors that say what is wrong with which file."""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel import imageglobals
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from harness.data.volume import Volume
from harness.errors import UserError

imageglobals.logger.setLevel(logging.CRITICAL)  # what it finds comes back as exceptions


_UNREADABLE = (
    OSError, EOFError, zlib.error, ValueError, MemoryError, ImageFileError, HeaderDataError, WrapStructError,
)  # fmt: skip


def read_image(path: Path, channels: int = 1) -> Volume:
    """Return an image ``(C, X, Y, Z)`` float32; a file's fourth axis holds the channels.

    Raises:
        UserError: unreadable or truncated file, other dimensions, NaN or infinity.
    """
    array, affine, zooms = _read(path, np.float32)
    shape = array.shape
    if array.ndim == 3:
        array = array[None]
    elif array.ndim == 4:
        array = np.moveaxis(array, 3, 0)
    if array.ndim != 4 or array.shape[0] != channels:
        raise UserError(
            path, f"array of shape {shape}", f"a volume with {channels} channel(s)", "Replace the file."
        )
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise UserError(
            path, f"{bad} voxels of NaN or infinity", "finite intensities", "Repair or exclude the case."
        )
    return Volume(array, affine, zooms)


def read_label(path: Path, allowed: range | Mapping[int, str]) -> Volume:
    """Return labels ``(X, Y, Z)``, uint8 where all of ``allowed`` fit into it, else the smallest type that holds them.

    Raises:
        UserError: unreadable or truncated file, other dimensions, or values that are not in ``allowed``.
    """
    array, affine, zooms = _read(path, None)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise UserError(path, f"array of shape {array.shape}", "a 3D label map", "Replace the file.")
    unexpected = [value for value in label_values(array) if value not in allowed]
    if unexpected:
        if isinstance(allowed, range):
            expected, remedy = f"whole numbers from {allowed[0]} to {allowed[-1]}", "Correct the file."
        else:
            expected = f"values among {sorted(allowed)}"
            remedy = "Correct the file, or declare the label in the dataset."
        raise UserError(path, f"label values {unexpected[:5]}", expected, remedy)
    return Volume(array.astype(np.min_scalar_type(max(allowed)), copy=False), affine, zooms)


def label_values(array: NDArray[Any]) -> list[Any]:
    """Return the values that occur, ascending; fast where they are whole numbers from 0 to 255."""
    with np.errstate(invalid="ignore"):
        narrow = array.astype(np.uint8, copy=False)
    if not np.array_equal(narrow, array):
        return np.unique(array).tolist()
    occurs = np.zeros(256, bool)
    for plane in narrow.T:
        voxels = plane.ravel()
        # neighbours are mostly alike, so that few voxels are looked at
        occurs[voxels[:-1][voxels[1:] != voxels[:-1]]] = True
        occurs[voxels[-1:]] = True
    return np.flatnonzero(occurs).tolist()


def _read(
    path: Path, dtype: type[np.float32] | None
) -> tuple[NDArray[Any], NDArray[np.float64], tuple[float, float, float] | None]:
    if not path.is_file():
        raise UserError(path, "no such file", "a NIfTI file", "Restore the file, or remove the case.")
    try:
        with np.errstate(over="ignore"):
            file: Any = _load(path)
            stored = file.get_data_dtype()
            if stored.kind not in "biuf":
                raise UserError(
                    path, f"voxels of type {stored}", "one real number for each voxel", "Convert the file."
                )
            array = np.asanyarray(file.dataobj) if dtype is None else np.asarray(file.dataobj, dtype)
    except _UNREADABLE as error:
        raise UserError(
            path, f"a file that cannot be read ({str(error) or type(error).__name__})",
            "a complete NIfTI file", "Fetch the file again.",
        ) from error  # fmt: skip
    affine = np.asarray(file.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise UserError(
            path, f"the affine {affine[:3].tolist()}",
            "finite numbers that give every axis a direction and a length", "Correct the header.",
        )  # fmt: skip
    sizes = [float(size) for size in file.header.get_zooms()[:3]]
    return array, affine, (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 else None


def _load(path: Path) -> Any:
    """Return nibabel's image; a packed file is unpacked whole, so that its checksum is checked."""
    if path.name.endswith(".nii.gz"):
        return nifti_image(gzip.decompress(path.read_bytes()))
    return nibabel.load(path)


def nifti_image(content: bytes) -> Any:
    """Return nibabel's image of an unpacked file's bytes, NIfTI-1 or NIfTI-2 (whose header is 540 bytes long)."""
    second = 540 in (int.from_bytes(content[:4], order) for order in ("little", "big"))
    return (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_bytes(content)


def write_label(path: Path, labels: NDArray[np.unsignedinteger], affine: NDArray[np.float64]) -> None:
    """Write labels ``(X, Y, Z)`` in their type, whole or not at all."""
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    nibabel.save(nibabel.Nifti1Image(labels, affine), partial)
    partial.replace(path)
