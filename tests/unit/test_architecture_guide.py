"""What docs/architecture.md names is there."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:harness|methods|studies|tests)/[\w./]*)`", GUIDE)))
)
def test_a_named_file_is_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(harness(?:\.\w+)+)`", GUIDE))))
def test_a_named_function_is_there(name: str) -> None:
    assert resolve_name(name) is not None


def test_every_room_is_named() -> None:
    rooms = {path.name for path in (ROOT / "harness").iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= set(re.findall(r"`(\w+)/?`", GUIDE))
