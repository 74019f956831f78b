"""Reading volumes and writing NIfTI, with errors that say what is wrong with which file."""

from __future__ import annotations

import gzip
import logging
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

from harness.data.itk import ITK_SUFFIXES, itk_grid, read_itk
from harness.data.volume import Volume
from harness.errors import UserError
from harness.files.whole import whole

imageglobals.logger.setLevel(logging.CRITICAL)  # what it finds comes back as exceptions


_UNREADABLE = (
    OSError, EOFError, zlib.error, ValueError, MemoryError, ImageFileError, HeaderDataError, WrapStructError,
)  # fmt: skip
_COARSE = 0.1  # half a step of a scale, above which a whole number cannot be told from another value
Zooms = tuple[float, float, float] | None


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


def read_label(
    path: Path, allowed: range | Mapping[int, str], other_numbering: Mapping[int, str] | None = None
) -> Volume:
    """Return labels ``(X, Y, Z)``, uint8 where all of ``allowed`` fit into it, else the smallest type that holds them.

    Args:
        path: of the file.
        allowed: the values that it may have.
        other_numbering: value of another numbering -> what to do about files that have it.

    Raises:
        UserError: unreadable or truncated file, other dimensions, or values that are not in ``allowed``.
    """
    array, affine, zooms = _read(path, None)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise UserError(path, f"array of shape {array.shape}", "a 3D label map", "Replace the file.")
    unexpected = [value for value in label_values(array) if not _is_among(value, allowed)]
    if unexpected:
        if isinstance(allowed, range):
            expected, remedy = f"whole numbers from {allowed[0]} to {allowed[-1]}", "Correct the file."
        else:
            expected = f"values among {sorted(allowed)}"
            remedy = "Correct the file, or declare the label in the dataset."
        known = [said for value, said in (other_numbering or {}).items() if value in unexpected]
        found = f"label values {unexpected[:5]}{', of another numbering' if known else ''}"
        raise UserError(path, found, expected, known[0] if known else remedy)
    highest = allowed[-1] if isinstance(allowed, range) else max(allowed)
    return Volume(array.astype(np.min_scalar_type(highest), copy=False), affine, zooms)


def _is_among(value: Any, allowed: range | Mapping[int, str]) -> bool:
    """Return whether a value is one of ``allowed``; a range is never walked through, as Python does for a fraction."""
    return bool(np.isfinite(value)) and value == int(value) and int(value) in allowed


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


def rounded_labels(array: NDArray[Any], half_step: float) -> NDArray[Any]:
    """Return labels with whole numbers in place of what a header's scale made of them: 1 for 1.0000153.

    Args:
        array: values as the scale gives them.
        half_step: as :func:`scale_half_step` returns it; 0 where nothing is scaled, and nothing is changed.
    """
    if not 0 < half_step <= _COARSE or array.dtype.kind != "f":
        return array
    whole = np.round(array)
    near = np.abs(array - whole) <= 1.01 * half_step + np.finfo(np.float32).eps * np.abs(whole)
    return np.where(near, whole, array)


def scale_half_step(file: Any) -> float:
    """Return how far nibabel's image may be from what was written, by the step between stored whole numbers; 0: unscaled."""
    slope, intercept = getattr(file.dataobj, "slope", 1.0), getattr(file.dataobj, "inter", 0.0)
    scaled = file.get_data_dtype().kind in "iu" and (slope, intercept) != (1.0, 0.0)
    return abs(float(slope)) / 2 if scaled else 0.0


def _read(path: Path, dtype: type[np.float32] | None) -> tuple[NDArray[Any], NDArray[np.float64], Zooms]:
    """Return array, affine and header's voxel sizes; without a ``dtype`` as stored, what a scale made of labels rounded."""
    if not path.is_file():
        raise UserError(
            path, "no such file", "a file of the dataset", "Restore the file, or remove the case."
        )
    array, affine, zooms = (_read_itk if path.name.endswith(ITK_SUFFIXES) else _read_nifti)(path, dtype)
    if array.dtype.kind not in "biuf":
        raise UserError(
            path, f"voxels of type {array.dtype}", "one real number for each voxel", "Convert the file."
        )
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise UserError(
            path, f"the affine {affine[:3].tolist()}",
            "finite numbers that give every axis a direction and a length", "Correct the header.",
        )  # fmt: skip
    return array, affine, zooms


def _read_itk(path: Path, dtype: type[np.float32] | None) -> tuple[NDArray[Any], NDArray[np.float64], Zooms]:
    array, affine = read_itk(path)
    real = dtype is not None and array.dtype.kind in "biuf"
    return array.astype(dtype, copy=False) if real else array, affine, None


def _read_nifti(
    path: Path, dtype: type[np.float32] | None
) -> tuple[NDArray[Any], NDArray[np.float64], Zooms]:
    try:
        with np.errstate(over="ignore"):
            file: Any = _load(path)
            real = dtype is not None and file.get_data_dtype().kind in "biuf"
            if real:
                array = np.asarray(file.dataobj, dtype)
            else:
                array = rounded_labels(np.asanyarray(file.dataobj), scale_half_step(file))
    except _UNREADABLE as error:
        raise UserError(
            path, f"a file that cannot be read ({str(error) or type(error).__name__})",
            "a complete NIfTI file", "Fetch the file again.",
        ) from error  # fmt: skip
    affine = np.asarray(file.affine, dtype=np.float64)
    sizes = [float(size) for size in file.header.get_zooms()[:3]]
    return array, affine, (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 else None


def grid_of(path: Path) -> tuple[NDArray[np.float64], tuple[int, ...]] | None:
    """Return a file's affine and the lengths of its axes of space, voxels; None where it cannot be read."""
    if path.name.endswith(ITK_SUFFIXES):
        return itk_grid(path)
    try:
        file: Any = nibabel.load(path)
        affine, shape = np.asarray(file.affine, np.float64), tuple(file.shape[:3])
    except _UNREADABLE:
        return None
    usable = len(shape) == 3 and np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]) != 0
    return (affine, shape) if usable else None


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
    with whole(path) as partial:
        nibabel.save(nibabel.Nifti1Image(labels, affine), partial)
