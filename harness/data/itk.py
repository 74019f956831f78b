"""Reading MetaImage and NRRD by SimpleITK, where it is installed; what to do where it is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UserError

ITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
_TO_RAS = np.diag([-1.0, -1.0, 1.0])  # ITK's axes point to the left and to the back
_HEADER = 1 << 16  # bytes in which a header ends
_DATA = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)


def conversion(path: Path) -> str:
    """Return how a file that is no NIfTI file is made one."""
    return f"convert it to NIfTI (c3d {path.name} -o {path.name.partition('.')[0]}.nii.gz, or plastimatch convert)"


def read_itk(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return an array ``(X, Y, Z)`` or, channels last, ``(X, Y, Z, C)``, and the affine that maps its indices to mm in RAS.

    Raises:
        UserError: SimpleITK is not installed or cannot read the file, or its voxels lie in a file elsewhere.
    """
    itk = _itk(path)
    data_files(path)
    try:
        image = itk.ReadImage(str(path))
    except RuntimeError as error:
        reason = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
        raise UserError(
            path, f"a file that cannot be read ({reason})", f"a complete {path.suffix} file",
            f"Fetch the file again, or {conversion(path)}.",
        ) from error  # fmt: skip
    array = itk.GetArrayFromImage(image)
    array = np.moveaxis(array.T, 0, -1) if image.GetNumberOfComponentsPerPixel() > 1 else array.T
    return array, _affine(image)


def itk_grid(path: Path) -> tuple[NDArray[np.float64], tuple[int, ...]] | None:
    """Return affine and lengths of the axes of space, voxels, by the header alone; None where it cannot be read."""
    try:
        reader = _itk(path).ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
    except (RuntimeError, UserError):
        return None
    return _affine(reader), tuple(reader.GetSize()[:3])


def _itk(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError:
        raise UserError(
            path, f"a {path.suffix} file, and no SimpleITK", "a NIfTI file, or SimpleITK, which reads others",
            f"Install it (pip install SimpleITK), or {conversion(path)}.",
        ) from None  # fmt: skip
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def _affine(image: Any) -> NDArray[np.float64]:
    """Return the affine of an image, or of a reader that knows its header; of a plane, none of space."""
    affine, dimensions = np.eye(4), image.GetDimension()
    if dimensions >= 3:
        direction = np.array(image.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
        affine[:3, :3] = _TO_RAS @ direction @ np.diag(image.GetSpacing()[:3])
        affine[:3, 3] = _TO_RAS @ image.GetOrigin()[:3]
    return affine


def data_files(path: Path) -> tuple[Path, ...]:
    """Return the files that hold the voxels of a file, where it is only their header.

    Raises:
        UserError: they are named by a pattern or a list, or lie outside the header's folder.
    """
    if not path.name.endswith(ITK_SUFFIXES):
        return ()
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER)
    except OSError:
        return ()  # whoever reads the file says so
    header = start.partition(b"\n\n")[0] if path.suffix == ".nrrd" else start
    named = _DATA.search(header.replace(b"\r\n", b"\n"))
    if named is None or named[1].upper() == b"LOCAL":
        return ()
    name = named[1].decode(errors="replace")
    if name.upper().startswith("LIST") or "%" in name:
        raise UserError(
            path,
            f"voxels in several files ({name})",
            "one file of voxels",
            f"Put them in one, or {conversion(path)}.",
        )
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(
            path,
            f"voxels in {name}, outside its folder",
            "a file beside it",
            "Put the file there, and name it so.",
        )
    return (path.parent / name,)
