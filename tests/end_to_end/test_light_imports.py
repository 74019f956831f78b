"""``list``, ``plan`` and ``status`` stay light, and print what others script against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "ray", "monai", "pandas", "scipy", "matplotlib", "pyarrow", "nibabel")
PROGRAM = """
import json, sys
from harness.cli import main
sys.argv = ["medctx", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""


def run(*arguments: str) -> tuple[str, list[str]]:
    """Return what a command prints, and the heavy packages that it imported."""
    program = PROGRAM.format(heavy=repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    *lines, heavy = done.stdout.strip().splitlines()
    return "\n".join(lines), json.loads(heavy)


@pytest.mark.parametrize("what", ["methods", "architectures", "datasets", "studies"])
def test_list(what: str) -> None:
    text, heavy = run("list", what, "--json")
    entries = json.loads(text)
    assert heavy == []
    keys = {"name", "question"} if what == "studies" else {"name", "summary", "source"}
    assert entries and all(set(entry) == keys and all(entry.values()) for entry in entries)


def test_plan() -> None:
    text, heavy = run("plan", "hippocampus_few_shot", "--json", "--set", "recipe.patch=[40, 56, 40]")
    plan = json.loads(text)
    assert heavy == []
    assert plan["study"] == "hippocampus_few_shot"
    keys = {"id", "kind", "method", "architecture", "dataset", "shots", "seed"}
    assert plan["trials"] and all(keys <= set(trial) for trial in plan["trials"])
    assert {trial["architecture"] for trial in plan["trials"]} == {"unet"}
    assert plan["skipped"] and all("multiples of [16, 16, 16]" in skip["reason"] for skip in plan["skipped"])


def test_status(tmp_path: Path) -> None:
    text, heavy = run("status", "quickstart", "--json", "--results", str(tmp_path))
    assert heavy == []
    expected = {
        "planned": 8,
        "complete": 0,
        "running": 0,
        "failed": 0,
        "pending": 8,
        "skipped": 0,
        "pruned": 0,
    }
    assert json.loads(text) == expected
