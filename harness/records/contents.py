"""Which cases a content hash stands for: ``<results>/contents/<hash>.json`` maps each case to the hash of its files.

Many trials share one such file. Its name is the hash of what it holds, so that a damaged one is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.console import counted
from harness.files.whole import write_text
from harness.spec import digest

CONTENTS = "contents"
_MOST_NAMED = 10
_UNKNOWN = "which cases differ is not known: the record keeps no list of their contents"


def keep_contents(folder: Path, contents: Mapping[str, str]) -> None:
    """Write down what the content hash of ``contents``, case -> hash of its files, stands for, once."""
    path = folder / f"{digest(contents)}.json"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(contents))


def read_contents(folders: Iterable[Path], content_hash: str) -> dict[str, str] | None:
    """Return what a content hash stands for, by the first of ``folders`` that says so; None where none does."""
    for folder in folders:
        try:
            contents = json.loads((folder / f"{content_hash}.json").read_text())
        except (OSError, ValueError):
            continue
        if isinstance(contents, dict) and digest(contents) == content_hash:
            return contents
    return None


def describe_change(before: Mapping[str, str] | None, now: Mapping[str, str]) -> str:
    """Return which cases have other files ``now``, which are gone and which are new, in words."""
    if before is None:
        return _UNKNOWN
    parts = {
        "with other files": [case for case in now if case in before and before[case] != now[case]],
        "not there any more": [case for case in before if case not in now],
        "new": [case for case in now if case not in before],
    }
    return "; ".join(f"{_listed(cases)} {what}" for what, cases in parts.items() if cases)


def _listed(cases: list[str]) -> str:
    named = sorted(cases)[:_MOST_NAMED]
    more = f" and {len(cases) - len(named)} more" if len(cases) > len(named) else ""
    return f"{counted(len(cases), 'case')} ({', '.join(named)}{more})"
