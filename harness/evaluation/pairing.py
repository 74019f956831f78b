"""Which prediction belongs to which reference, in two folders of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.data.itk import ITK_SUFFIXES, conversion
from harness.data.layouts import SUFFIXES
from harness.errors import UserError


@dataclass(frozen=True)
class Problem:
    """Why a case was not scored, in a line."""

    case: str
    message: str


@dataclass(frozen=True)
class Pairs:
    """The files of the cases that both folders have, and what is missing."""

    files: dict[str, tuple[Path, Path]]
    problems: list[Problem]


def pair_files(
    predictions: Path, references: Path, prediction_names: str = "{case}", reference_names: str = "{case}"
) -> Pairs:
    """Find the files of each case in two folders, by its id and never by their order.

    Args:
        predictions: folder of files that end in one of :data:`harness.data.layouts.SUFFIXES`.
        references: the same.
        prediction_names: file name without its suffix, with ``{case}`` where the id stands.
        reference_names: the same.

    Raises:
        UserError: a folder is not there or has no such file, the two share no case, or SimpleITK is missing for one.
    """
    mine = _files(predictions, prediction_names)
    theirs = _files(references, reference_names)
    common = sorted(mine.keys() & theirs.keys())
    if not common:
        raise UserError(
            predictions, f"cases such as {', '.join(sorted(mine)[:3])}",
            f"cases of {references}, such as {', '.join(sorted(theirs)[:3])}",
            "Say with --prediction-names or --reference-names where in a file's name the case stands.",
        )  # fmt: skip
    _check_reader([path for case in common for path in (mine[case], theirs[case])])
    problems = [
        Problem(case, f"no prediction in {predictions}") for case in sorted(theirs.keys() - mine.keys())
    ]
    problems += [
        Problem(case, f"no reference in {references}") for case in sorted(mine.keys() - theirs.keys())
    ]
    return Pairs({case: (mine[case], theirs[case]) for case in common}, problems)


def _check_reader(paths: Sequence[Path]) -> None:
    """Refuse files that are read by SimpleITK where it is not installed, before each of them is tried."""
    read_by_it = [path for path in paths if path.name.endswith(ITK_SUFFIXES)]
    if not read_by_it:
        return
    try:
        import SimpleITK  # noqa: F401
    except ImportError:
        raise UserError(
            read_by_it[0], f"one of {len(read_by_it)} files that are not NIfTI, and no SimpleITK",
            "NIfTI files, or SimpleITK, which reads others",
            f"Install it (pip install 'medcontext-harness[simpleitk]'), or {conversion(read_by_it[0])}.",
        ) from None  # fmt: skip


def _files(folder: Path, names: str) -> dict[str, Path]:
    if names.count("{case}") != 1:
        raise UserError("names", repr(names), "one {case} in it", "Write it as in '{case}.student'.")
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            folder, f"no folder that can be read ({error.strerror})", "a folder of files",
            "Name another folder.",
        ) from error  # fmt: skip
    before, after = names.split("{case}")
    found: dict[str, Path] = {}
    for path in paths:
        suffix = next((end for end in SUFFIXES if path.name.endswith(end)), None)
        if suffix is None or path.name.startswith("."):
            continue
        stem = path.name.removesuffix(suffix)
        if len(stem) > len(before + after) and stem.startswith(before) and stem.endswith(after):
            case = stem[len(before) : len(stem) - len(after)]
            if case in found:
                raise UserError(
                    folder, f"{found[case].name} and {path.name}", "one file for a case",
                    "Remove one of them.",
                )  # fmt: skip
            found[case] = path
    if not found:
        raise UserError(
            folder, f"no file named {names} with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}", "a file for each case",
            "Name another folder, or say how the files are named.",
        )  # fmt: skip
    return found
