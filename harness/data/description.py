"""What a folder's ``dataset.json`` says, in the form of nnU-Net v2 or of the Decathlon, and which of them it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError

_FILE = "dataset.json"
_V2 = '"channel_names": {"0": "MR"}, "labels": {"background": 0, "organ": 1}'
_MSD = '"modality": {"0": "MR"}, "labels": {"0": "background", "1": "organ"}'


def read_description(path: Path) -> Mapping[str, Any]:
    """Return what a ``dataset.json`` says.

    Raises:
        UserError: it is not there, or is no JSON object.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(
            path, "no such file", "dataset.json, which names channels and labels",
            f"Write it: {{{_V2}}} for a folder of nnU-Net v2, or as in docs/data.md for another.",
        ) from None  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(
            path, f"a description that cannot be read ({error})", "a JSON object with the names of channels and labels",
            "Restore the file.",
        ) from error  # fmt: skip
    if not isinstance(content, dict):
        raise UserError(path, f"a {type(content).__name__}", "a JSON object", "Restore the file.")
    return content


def nnunet_description(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description of nnU-Net v2 with numbers as numbers: ``channel_names``, and labels name -> number or list.

    Raises:
        UserError: it is another's, or says what cannot be.
    """
    if "channel_names" not in content and "modality" in content:
        listed = (
            " or, where 'training' lists the files, name the folder msd:FOLDER"
            if content.get("training")
            else ""
        )
        raise UserError(
            _FILE, "'modality', as nnU-Net v1 and the Decathlon have it", "'channel_names', as nnU-Net v2 has it",
            f"Write it as nnU-Net v2 does ({_V2}; its nnUNetv2_convert_old_nnUNet_dataset does so){listed}.",
        )  # fmt: skip
    labels = _object(content, "labels", _V2)
    if not all(_is_number(value) or isinstance(value, list) for value in labels.values()):
        turned = all(_is_number(name) for name in labels)
        raise UserError(
            _FILE, f"labels {_shortened(labels)}{', number: name' if turned else ''}", "labels as name: number",
            f"Turn them round, as nnU-Net v2 has them: {_V2}." if turned else f"Write it as nnU-Net v2 does: {_V2}.",
        )  # fmt: skip
    numbers = {
        str(name): [_whole(one, name) for one in value] if isinstance(value, list) else _whole(value, name)
        for name, value in labels.items()
    }
    if 0 not in numbers.values():
        raise UserError(_FILE, f"labels {_shortened(labels)}", "a label 0", 'Add "background": 0.')
    return {**content, "channel_names": _channels(content, "channel_names", _V2), "labels": numbers}


def msd_description(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description of the Decathlon with numbers as numbers: ``modality``, and labels number -> name.

    Raises:
        UserError: it is another's, or says what cannot be.
    """
    if "modality" not in content and "channel_names" in content:
        raise UserError(
            _FILE, "'channel_names', as nnU-Net v2 has it", "'modality', as the Decathlon has it",
            f"Name the folder nnunet:FOLDER, or write it as the Decathlon does: {_MSD}.",
        )  # fmt: skip
    labels = _object(content, "labels", _MSD)
    if not all(_is_number(value) for value in labels):
        turned = all(_is_number(name) for name in labels.values())
        raise UserError(
            _FILE, f"labels {_shortened(labels)}{', name: number' if turned else ''}", "labels as number: name",
            f"Turn them round, as the Decathlon has them: {_MSD}." if turned
            else f"Write it as the Decathlon does: {_MSD}.",
        )  # fmt: skip
    numbers = {_whole(value, str(name)): str(name) for value, name in labels.items()}
    if 0 not in numbers:
        raise UserError(_FILE, f"labels {_shortened(labels)}", "a label 0", 'Add "0": "background".')
    return {**content, "modality": _channels(content, "modality", _MSD), "labels": numbers}


def patients_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Return whom each case belongs to, case -> patient, as a ``dataset.json`` may say under ``patients``; else nothing.

    Raises:
        UserError: it is no such mapping.
    """
    found = content.get("patients", {})
    if not isinstance(found, dict) or not all(isinstance(one, str) and one for one in found.values()):
        raise UserError(
            _FILE, f"patients {_shortened(found)}", "an object of case: patient, both text",
            'Write for example "patients": {"a_1": "a", "a_2": "a", "b_1": "b"}.',
        )  # fmt: skip
    return found


def _channels(content: Mapping[str, Any], key: str, example: str) -> dict[str, str]:
    """Return channels by number, in order."""
    names = _object(content, key, example)
    if sorted(int(number) for number in names if _is_number(number)) != list(range(len(names))):
        raise UserError(
            _FILE,
            f"{key} {_shortened(names)}",
            "channels as number: name, from 0",
            f"Write it as here: {example}.",
        )
    return {number: str(names[number]) for number in sorted(names, key=int)}


def _object(content: Mapping[str, Any], key: str, example: str) -> Mapping[str, Any]:
    found = content.get(key)
    if not isinstance(found, dict) or not found:
        what = f"{key} {_shortened(found)}" if key in content else f"no {key!r}"
        raise UserError(_FILE, what, f"an object {key!r}", f"Write it as here: {example}.")
    return found


def _is_number(value: object) -> bool:
    """Return whether a value is a whole number from 0, or a text of one."""
    if isinstance(value, str):
        return value.strip().isdecimal()
    return (
        not isinstance(value, bool) and isinstance(value, int | float) and value >= 0 and value == int(value)
    )


def _whole(value: object, name: object) -> int:
    if not _is_number(value):
        raise UserError(_FILE, f"{value!r} for the label {name!r}", "a whole number from 0", "Correct it.")
    return int(value)  # type: ignore[call-overload]


def _shortened(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
