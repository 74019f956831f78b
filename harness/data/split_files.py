"""Split files of one's own: the project's format, nnU-Net's ``splits_final.json``, and MONAI's ``dataset_0.json``.

::

    {"train": [id, …], "validation": [id, …], "test": [id, …], "subsets": {name: [id, …]}}    the project's
    [{"train": [id, …], "val": [id, …]}, …]                                                   nnU-Net's: a fold each
    {"training": [{"image": …, "label": …, "fold": 0}, …], "validation": […], "testing": […]}  MONAI's

``validation``, ``test`` and ``subsets`` may be left out. A list may also hold entries in the project's format. Of MONAI's
lists, a case's id is that of its label's file; entries with ``fold`` make folds, each held out in turn; entries of
``testing`` (or ``test``) count where they have a label.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.layouts import case_id
from harness.errors import UserError, did_you_mean
from harness.spec import SplitParts

_OWN_KEYS = ("train", "validation", "val", "test", "subsets")
_REMARKS = ("dataset", "name", "version", "rule", "source")  # of a split that is shipped
_FORMS = (
    "an object with 'train', 'validation' and 'test', a list of folds with 'train' and 'val' as nnU-Net has it, or MONAI's "
    "lists 'training', 'validation' and 'testing'"
)


@dataclass(frozen=True)
class SplitFile:
    """What a split file says.

    Attributes:
        folds: the parts of each fold; of a file without folds a single one.
        folded: whether it is a list of folds.
    """

    folds: tuple[SplitParts, ...]
    folded: bool


def read_split_file(path: Path) -> SplitFile:
    """Return what a split file says; ids are sorted, so that their order in the file does not matter.

    Raises:
        UserError: it cannot be read, is in no known format, has a case twice, or nothing to test on.
    """
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_without_twice)
    except OSError as error:
        raise UserError(
            path, f"a file that cannot be read ({error.strerror})", "a split file",
            "Correct split.file: a relative path starts at the study's folder. If the file is lost, the record of each trial has "
            "its parts (trial.json, spec.dataset.split_parts).",
        ) from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        found = f"JSON that cannot be read ({error})"
        raise UserError(path, found, "a split file", "Correct it.") from error
    if isinstance(content, list) and content:
        entries = [(f"{path}: fold {number}", entry) for number, entry in enumerate(content)]
        return SplitFile(tuple(_own(where, entry) for where, entry in entries), folded=True)
    if isinstance(content, dict) and "training" in content:
        return _of_monai(path, content)
    if isinstance(content, dict) and "train" in content:
        return SplitFile((_own(str(path), content),), folded=False)
    keys = (
        f"an object with the keys {', '.join(map(repr, content))}"
        if isinstance(content, dict) and content
        else ""
    )
    empty = f"an empty {type(content).__name__}" if content in ([], {}) else type(content).__name__
    raise UserError(path, keys or empty, _FORMS, "Write it in one of these formats.")


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise ValueError(f"key {key!r} twice")
    return dict(pairs)


def _own(where: str, entry: Any) -> SplitParts:
    """Return the parts of an entry in the project's format or in nnU-Net's, which says ``val``."""
    if not isinstance(entry, dict):
        raise UserError(where, f"a {type(entry).__name__}", "an object with 'train' and 'val'", "Correct it.")
    for key in entry:
        if key not in (*_OWN_KEYS, *_REMARKS):
            remedy = did_you_mean(key, _OWN_KEYS)
            raise UserError(where, f"unknown key {key!r}", "train, validation, test or subsets", remedy)
    if "val" in entry and "validation" in entry:
        raise UserError(where, "both 'val' and 'validation'", "one of them", "Remove one.")
    held = "val" if "val" in entry else "validation"
    subsets = entry.get("subsets", {})
    if not isinstance(subsets, dict):
        raise UserError(
            f"{where}: subsets", f"a {type(subsets).__name__}", "names with lists of ids", "Correct it."
        )
    parts = {name: _ids(f"{where}: {name}", entry[name]) for name in ("train", held, "test") if name in entry}
    named = {name: _ids(f"{where}: subsets.{name}", ids) for name, ids in subsets.items()}
    return _checked(where, parts, named)


def _ids(where: str, value: Any) -> tuple[str, ...]:
    """Return a list of case ids, sorted."""
    if not isinstance(value, list):
        raise UserError(where, f"a {type(value).__name__}", "a list of case ids", "Correct it.")
    for id in value:
        if not isinstance(id, str) or not id:
            raise UserError(where, f"{id!r} in the list", "case ids as text", "Write each id in quotes.")
        if value.count(id) > 1:
            raise UserError(where, f"case {id!r} twice", "each case once", "Remove one of the two.")
    return tuple(sorted(value))


def _checked(
    where: str, parts: Mapping[str, tuple[str, ...]], subsets: Mapping[str, tuple[str, ...]]
) -> SplitParts:
    """Return parts that divide cases; ``parts`` has ``train``, and the held-out part under the name that the file uses."""
    home: dict[str, str] = {}
    for part, ids in parts.items():
        for id in ids:
            if id in home:
                raise UserError(
                    where, f"case {id!r} in {home[id]} and in {part}", "each case in one part", "Correct the split."
                )  # fmt: skip
            home[id] = part
    train, test = parts.get("train", ()), parts.get("test")
    held = next((ids for part, ids in parts.items() if part not in ("train", "test")), ())
    if not train:
        raise UserError(f"{where}: train", "no case", "at least one to train on", "Add cases.")
    if not (held if test is None else test):
        raise UserError(where, "no case to test on", "a test part, or one that is held out", "Add cases.")
    for name, ids in subsets.items():
        if not name.isidentifier() or name == "all":
            raise UserError(
                f"{where}: subsets", repr(name), "a name of letters, digits and _, other than 'all'", "Rename it."
            )  # fmt: skip
        for id in ids:
            if home.get(id) != "train":
                raise UserError(
                    f"{where}: subsets.{name}",
                    repr(id),
                    "cases of the training part",
                    did_you_mean(id, train),
                )
        if not ids:
            raise UserError(f"{where}: subsets.{name}", "no case", "at least one", "Add cases, or remove it.")
    return SplitParts(train=train, validation=held, test=test, subsets=dict(subsets))


def _of_monai(path: Path, content: Mapping[str, Any]) -> SplitFile:
    if "testing" in content and "test" in content:
        raise UserError(path, "both 'testing' and 'test'", "one of them", "Remove one.")
    testing = "testing" if "testing" in content else "test"
    tested = [
        entry for entry in _entries(path, content, testing) if isinstance(entry, dict) and "label" in entry
    ]
    parts = {"test": _labelled(path, testing, tested)} if tested else {}
    training, validation = _entries(path, content, "training"), _entries(path, content, "validation")
    numbers = [entry.get("fold") if isinstance(entry, dict) else None for entry in training]
    if all(number is None for number in numbers):
        parts |= {"train": _labelled(path, "training", training)}
        parts |= {"validation": _labelled(path, "validation", validation)} if validation else {}
        return SplitFile((_checked(str(path), parts, {}),), folded=False)
    if validation:
        raise UserError(path, "a list 'validation' beside folds", "one of them", "Remove one.")
    return SplitFile(_monai_folds(path, training, parts), folded=True)


def _monai_folds(
    path: Path, training: Sequence[Any], parts: Mapping[str, tuple[str, ...]]
) -> tuple[SplitParts, ...]:
    """Return the folds of training entries that have numbers; each is held out once. ``parts`` may have a test part."""
    by_fold: dict[int, list[Any]] = {}
    for entry in training:
        number = entry.get("fold") if isinstance(entry, dict) else None
        if not isinstance(number, int) or isinstance(number, bool):
            raise UserError(f"{path}: training", f"fold {number!r}", "a number for each entry", "Correct it.")
        by_fold.setdefault(number, []).append(entry)
    if len(by_fold) < 2:
        raise UserError(
            f"{path}: training", "one fold", "at least two", "Leave 'fold' out, or divide the cases."
        )
    found = []
    for fold in sorted(by_fold):
        others = [entry for entry in training if entry["fold"] != fold]
        own = {
            "train": _labelled(path, "training", others),
            "validation": _labelled(path, "training", by_fold[fold]),
        }
        found.append(_checked(f"{path}: fold {fold}", {**own, **parts}, {}))
    return tuple(found)


def _entries(path: Path, content: Mapping[str, Any], key: str) -> Sequence[Any]:
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise UserError(f"{path}: {key}", f"a {type(entries).__name__}", "a list of objects", "Correct it.")
    return entries


def _labelled(path: Path, key: str, entries: Sequence[Any]) -> tuple[str, ...]:
    """Return the ids of entries, each an object with the path of a label."""
    ids = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
            raise UserError(
                f"{path}: {key}", json.dumps(entry)[:80], "an object with the path of its 'label'", "Correct the entry."
            )  # fmt: skip
        ids.append(case_id(Path(entry["label"])))
    return _ids(f"{path}: {key}", ids)
