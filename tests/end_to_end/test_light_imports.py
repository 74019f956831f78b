"""``list``, ``plan`` and ``status`` stay light, and print what others script against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "ray", "monai", "pandas", "scipy", "matplotlib", "pyarrow", "nibabel", "optuna")
PROGRAM = """
import json, sys
from harness.cli.app import main
sys.argv = ["medctx", *sys.argv[1:]]
try:
    main()
    code = 0
except SystemExit as stop:
    code = stop.code or 0
print(json.dumps([code, *(name for name in {heavy} if name in sys.modules)]))
"""


def run(*arguments: str, code: int = 0) -> tuple[str, list[str]]:
    """Return what a command prints, and the heavy packages that it imported; checks its exit status."""
    program = PROGRAM.format(heavy=repr(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    *lines, last = done.stdout.strip().splitlines()
    status, *heavy = json.loads(last)
    assert status == code, done.stderr
    return "\n".join(lines), heavy


@pytest.mark.parametrize("what", ["methods", "architectures", "datasets", "studies", "conventions"])
def test_list(what: str) -> None:
    text, heavy = run("list", what, "--json")
    entries = json.loads(text)
    assert heavy == []
    keys = {"name", "question"} if what == "studies" else {"name", "source"}
    assert entries and all(keys <= set(entry) and all(entry.values()) for entry in entries)


def test_plan() -> None:
    text, heavy = run("plan", "hippocampus_few_shot", "--json", "--set", "recipe.patch=[40, 56, 40]")
    plan = json.loads(text)
    assert heavy == []
    assert plan["study"] == "hippocampus_few_shot"
    keys = {"id", "kind", "method", "architecture", "dataset", "shots", "seed"}
    assert plan["trials"] and all(keys <= set(trial) for trial in plan["trials"])
    assert {trial["architecture"] for trial in plan["trials"]} == {"unet"}
    assert plan["skipped"] and all("multiples of [16, 16, 16]" in skip["reason"] for skip in plan["skipped"])


def test_plan_names_what_a_search_will_suggest() -> None:
    text, heavy = run("plan", "tune_medcontext", "--json")
    plan = json.loads(text)
    assert heavy == []
    assert {trial["setting"] for trial in plan["trials"]} == {"default"}
    assert {one["arm"]: (one["suggestions"], one["trials"]) for one in plan["search"]} == {
        "supervised": (12, 24),
        "medcontext": (12, 24),
    }
    assert {"method.masking.ratio", "method.teacher.m0"} <= set(plan["search"][1]["parameters"])
    text, heavy = run("plan", "tune_medcontext")
    assert heavy == [] and "12 suggestions for medcontext (recipe.learning_rate 0.0005 to 0.02, log;" in text


def test_status_of_a_search_needs_optuna_alone(tmp_path: Path) -> None:
    text, heavy = run("status", "tune_medcontext", "--json", "--results", str(tmp_path))
    assert set(heavy) <= {"optuna"}
    counts = json.loads(text)
    assert (counts["planned"], counts["pending"]) == (66, 66)
    assert not list(tmp_path.iterdir())


LAUNCH = "launch slurm --nodes 1 --gpus-per-node 0 --dry-run quickstart"


@pytest.mark.parametrize("command", ["list methods", "plan quickstart", "status quickstart", LAUNCH])
def test_what_people_read_is_light_too(tmp_path: Path, command: str) -> None:
    results = ["--results", str(tmp_path)] if command.startswith("status") else []
    text, heavy = run(*command.split(), *results)
    said = {"list": "supervised", "plan": "8 trials", "status": "8 pending", "launch": "#SBATCH"}[
        command.split()[0]
    ]
    assert heavy == [] and said in text


def test_a_check_of_data_needs_no_network_library(tmp_path: Path) -> None:
    text, heavy = run("data", "check", "phantom", "--figure", str(tmp_path / "x.png"))
    assert "60 cases" in text and (tmp_path / "x.png").is_file()
    assert not {"torch", "ray", "monai"} & set(heavy)


@pytest.mark.parametrize(
    "command", ["plan quickstrat", "status quickstart --set stps=3", "list networks", "pln"]
)
def test_mistakes_end_in_2_and_are_light_too(command: str) -> None:
    assert run(*command.split(), code=2) == ("", [])


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


def test_a_run_speaks_before_it_loads_anything(tmp_path: Path) -> None:
    program = f"""
import os, sys
import harness

def heard(progress):
    if progress.news:
        print([name for name in {HEAVY!r} if name in sys.modules], progress.news[0], flush=True)
        os._exit(0)

harness.run("quickstart", results={str(tmp_path)!r}, on_progress=heard)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] Does MedContext beat supervised training"), done.stdout + done.stderr
