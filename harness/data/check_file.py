"""What is wrong with one file of a dataset, before it is compared with others."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.check_report import CheckReport, Level
from harness.data.grid_rules import NOTICED, SAME_PLACE, one_slice
from harness.data.itk import ITK_SUFFIXES, conversion, read_itk
from harness.data.nifti import nifti_image, scale_half_step
from harness.data.volume import StoredVolume, corner_distance
from harness.errors import UserError

_SKEW = 0.01  # cosine between two axes, above which they are not perpendicular
_UNITS = {0: "no unit", 1: "metres", 2: "mm", 3: "micrometres"}  # NIfTI's codes of the unit of space
EXCLUDE = "Correct the file, or exclude the case."
NOTHING = "Nothing has to be done."


@dataclass(frozen=True)
class Notes:
    """Takes the findings of one file."""

    found: CheckReport
    case: str
    file: object

    def add(self, level: Level, code: str, message: str, remedy: str) -> None:
        """Note a finding."""
        self.found.add(level, code, self.case, self.file, message, remedy)

    def error(self, code: str, message: str, remedy: str = EXCLUDE) -> None:
        """Note an error."""
        self.add("error", code, message, remedy)


def open_file(path: Path, notes: Notes) -> StoredVolume | None:
    """Return a file's array and place, or None and a finding."""
    itk = path.name.endswith(ITK_SUFFIXES)
    refetch = f"Fetch the file again, or {conversion(path) if itk else 'exclude the case'}."
    try:
        content = path.read_bytes()
    except OSError as error:
        code = "missing_file" if isinstance(error, FileNotFoundError) else "unreadable_file"
        notes.error(code, f"cannot be read: {error.strerror}", refetch)
        return None
    if not content:
        notes.error("empty_file", "has no bytes", refetch)
        return None
    volume = _open_itk(path, notes) if itk else _open_nifti(path, content, notes, refetch)
    if volume is None:
        return None
    array, affine = volume.array, volume.affine
    if array.dtype.kind not in "biuf":
        notes.error("voxel_type", f"has voxels of type {array.dtype}", "Convert the file.")
        return None
    if not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        message = f"has the affine {affine[:3].tolist()}, which gives no grid"
        notes.error("singular_affine", message, "Correct the header.")
        return None
    flat = one_slice(array.shape[:3])
    if flat is not None:
        notes.error(flat.code, flat.message, flat.remedy)
        return None
    _check_axes(volume, notes)
    return volume


def _open_itk(path: Path, notes: Notes) -> StoredVolume | None:
    try:
        return StoredVolume(*read_itk(path))
    except UserError as error:
        notes.error("unreadable_file", f"is {error.found}; expected {error.expected}", error.remedy)
        return None


def _open_nifti(path: Path, content: bytes, notes: Notes, refetch: str) -> StoredVolume | None:
    try:
        if path.name.endswith(".gz"):
            content = gzip.decompress(content)
    except EOFError:
        notes.error("truncated_gzip", "gzip is cut short", refetch)
        return None
    except (zlib.error, gzip.BadGzipFile) as error:
        notes.error("damaged_gzip", f"gzip is damaged ({error})", refetch)
        return None
    try:
        file = nifti_image(content)
        array = np.asanyarray(file.dataobj)
        sizes = [float(size) for size in file.header.get_zooms()[:3]]
    except Exception as error:  # whatever a damaged header leads to
        notes.error("not_nifti", f"is no complete NIfTI file ({error})", refetch)
        return None
    zooms = (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 else None
    volume = StoredVolume(array, np.asarray(file.affine, np.float64), zooms, scale_half_step(file))
    if array.ndim >= 3:
        _check_header(file, volume, notes)
    return volume


def _check_header(file: Any, volume: StoredVolume, notes: Notes) -> None:
    """Note what a header says of a volume's place that may be understood in two ways."""
    look = "Check left and right by eye."
    sform, qform = file.header.get_sform(coded=True)[0], file.header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        message = "states no position (sform and qform codes are 0); voxel sizes alone are used"
        notes.add("warning", "no_orientation", message, look)
    elif sform is not None and qform is not None:
        apart = corner_distance(sform, qform, volume.array.shape)
        if apart > max(NOTICED, SAME_PLACE * min(volume.spacing)):
            message = f"states two positions {apart:.3g} mm apart (sform and qform); the sform is used"
            notes.add("warning", "two_positions", message, look)
    unit = int(file.header["xyzt_units"]) & 7
    if unit not in (0, 2):
        message = f"gives voxel sizes in {_UNITS.get(unit, f'unit {unit}')}; they are read as mm"
        notes.add("warning", "unit", message, "Correct the header.")


def _check_axes(volume: StoredVolume, notes: Notes) -> None:
    axes = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if skew > _SKEW:
        message = f"has axes that are not perpendicular (cosine {skew:.2g}); distances in it are wrong"
        notes.add("warning", "skewed_axes", message, "Resample the case to a grid of right angles.")
