"""Whether the files of a record are as they were written.

``SHA256SUMS`` in a record's folder holds the checksums of the files that numbers are read from; ``sha256sum --check
SHA256SUMS`` reads it too. Records of earlier versions have none. Weights and predictions carry checksums of their own
format, which are compared where they are read; they may be removed to make room.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from harness.files.whole import write_text
from harness.records.schema import HISTORY

SUMS = "SHA256SUMS"
_TRIAL, _CASES, _CHECKPOINT = "trial.json", "cases.parquet", "checkpoint.pt"
_PARQUET = b"PAR1"  # how such a file begins and ends


def write_sums(folder: Path) -> None:
    """Write down the checksums of a record's files; the last thing that is written into its folder."""
    files = [folder / name for name in (_TRIAL, _CASES, HISTORY) if (folder / name).is_file()]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
    write_text(folder / SUMS, "\n".join(lines) + "\n")


def damage_of(folder: Path) -> str | None:
    """Return what is wrong with the files that a record's scores are read from; None where nothing is."""
    try:
        text = (folder / _TRIAL).read_bytes()
    except FileNotFoundError:
        return f"{_TRIAL} is missing"
    except OSError as error:
        return f"{_TRIAL} cannot be read ({str(error).splitlines()[0]})"
    return damage_around(folder, text)


def damage_around(folder: Path, text: bytes) -> str | None:
    """Return the same where ``trial.json`` has been read already."""
    try:
        record = json.loads(text)
        complete, kind = record["status"] == "complete", record["kind"]
        scored = complete and kind == "train" and record["spec"].get("tested", True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{_TRIAL} cannot be read ({str(error).splitlines()[0]})"
    try:
        sums = _read_sums(folder)
    except ValueError:
        return f"{SUMS} is cut, or has other bytes inside"
    if sums and sums.get(_TRIAL) != hashlib.sha256(text).hexdigest():
        return f"{_TRIAL} is not as it was written: its checksum is another than that in {SUMS}"
    if complete and kind == "pretrain":
        return _damage_of_weights(folder / _CHECKPOINT)
    return _damage_of_scores(folder / _CASES, sums) if scored else None


def is_history_whole(folder: Path) -> bool:
    """Return whether the history of a record is as it was written, as far as its checksum is known."""
    try:
        expected = _read_sums(folder).get(HISTORY)
        return expected is None or hashlib.sha256((folder / HISTORY).read_bytes()).hexdigest() == expected
    except (OSError, ValueError):
        return False


def _read_sums(folder: Path) -> dict[str, str]:
    """Return the checksum of each file; nothing of a record of an earlier version, which has none.

    Raises:
        ValueError: the file is not as ``write_sums`` wrote it.
    """
    try:
        text = (folder / SUMS).read_text()
    except FileNotFoundError:
        return {}
    if not text.endswith("\n"):
        raise ValueError(f"{SUMS} is cut")
    found = {name: checksum for checksum, name in (line.split("  ") for line in text.splitlines())}
    if _TRIAL not in found:
        raise ValueError(f"{SUMS} without {_TRIAL}")
    return found


def _damage_of_scores(path: Path, sums: dict[str, str]) -> str | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    if (content[:4], content[-4:]) != (_PARQUET, _PARQUET) or len(content) < 2 * len(_PARQUET):
        return f"{path.name} is cut"
    if sums and sums.get(path.name) != hashlib.sha256(content).hexdigest():
        return f"{path.name} is not as it was written: its checksum is another than that in {SUMS}"
    return None


def _damage_of_weights(path: Path) -> str | None:
    """Return what is wrong with the weights of a pretraining, at a short look; they may have been removed."""
    if not path.exists() or zipfile.is_zipfile(path):
        return None
    return f"{path.name} is cut"
