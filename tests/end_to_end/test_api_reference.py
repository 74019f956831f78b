"""``make docs``: a page for every module, of docstrings that can be rendered."""

from __future__ import annotations

import pkgutil
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import harness
import methods

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_api_reference_has_a_page_of_every_module(tmp_path: Path) -> None:
    recipe = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "/pdoc" in line)
    command = [
        part.replace("$(BIN)/pdoc", "pdoc").replace("build/api", str(tmp_path))
        for part in shlex.split(recipe)
    ]
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    modules = [
        module.name
        for package in (harness, methods)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    assert len(modules) > 100
    shown = [name for name in modules if not any(part.startswith("_") for part in name.split("."))]
    missing = [name for name in shown if not (tmp_path / f"{name.replace('.', '/')}.html").is_file()]
    assert missing == []
    page = (tmp_path / "harness" / "training" / "method.html").read_text()
    assert "(B, C, D, H, W)" in page and "unlabelled_batch" in page
