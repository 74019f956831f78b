"""The shape of the code: who may import whom, no circle, few files at the top, no function longer than a screen."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("harness", "methods") for path in (ROOT / folder).rglob("*.py"))
MOST_AT_THE_TOP, MOST_LINES = 9, 60


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): ast.parse(path.read_text()) for path in FILES}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules of ours that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [name if name in MODULES else node.module for name in named]
        else:
            continue
        yield from (name for name in named if name in MODULES)


def test_the_import_rules_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_two_modules_import_each_other_by_any_way() -> None:
    graph = {name: set(imports(tree)) - {name} for name, tree in MODULES.items()}
    del graph["harness"]  # it imports what it offers when that is asked for
    graph = {name: found - {"harness"} for name, found in graph.items()}
    assert sum(map(len, graph.values())) > 500
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_the_top_holds_the_ground_alone() -> None:
    assert len(list((ROOT / "harness").glob("*.py"))) <= MOST_AT_THE_TOP


def test_every_function_fits_a_screen() -> None:
    functions = (
        (name, node) for name, tree in MODULES.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    )  # fmt: skip
    lengths = {f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1 for name, node in functions}
    assert not {name: length for name, length in lengths.items() if length > MOST_LINES}
