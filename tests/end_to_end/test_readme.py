"""The examples of README and guides, run as they stand, and their links."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from harness.study.expand import load_study

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = (README, ROOT / "results" / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def examples() -> dict[str, str]:
    """Return file name -> text of the code blocks of all pages; the first line names the file."""
    found: dict[str, str] = {}
    for page in PAGES:
        for name, text in re.findall(
            r"```(?:python|yaml)\n# (\S+)\n(.*?)```", page.read_text(), flags=re.DOTALL
        ):
            assert name not in found, f"{name} is on two pages"
            found[name] = text
    return found


def write_spheres(folder: Path, count: int = 6) -> None:
    rng = np.random.default_rng(0)
    grid = np.indices((20, 20, 20))
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        centre = rng.uniform(7, 13, size=(3, 1, 1, 1))
        label = (((grid - centre) ** 2).sum(axis=0) < 16).astype(np.uint8)
        image = (label + rng.normal(0, 0.3, label.shape)).astype(np.float32)
        for part, array in (("images", image), ("labels", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / part / f"case_{number}.nii.gz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all examples and the data of one of them."""
    folder = tmp_path_factory.mktemp("examples")
    for name, text in examples().items():
        (folder / name).write_text(text)
    write_spheres(folder / "data" / "spheres")
    return folder


def test_every_example_is_part_of_a_study_that_is_run() -> None:
    assert set(examples()) == {
        "question.yaml", "my_method.py", "my_study.yaml", "my_own_method.py", "my_network.py", "my_data.py", "named.yaml", "contrasts.yaml",
        "my_images.yaml",
    }  # fmt: skip


def test_the_example_of_labels_is_a_study(folder: Path) -> None:
    names = load_study(str(folder / "named.yaml")).names
    assert names.arm("released", [("recipe.steps", 500)]) == "MedContext (released code), updates half"


def test_the_example_of_contrasts_is_a_study(folder: Path) -> None:
    assert len(load_study(str(folder / "contrasts.yaml")).cells) == 80


def test_the_example_of_ones_own_images_is_a_study(folder: Path) -> None:
    study = load_study(str(folder / "my_images.yaml"))
    assert len(study.cells) == 20 and not study.skipped


@pytest.mark.slow
@pytest.mark.whole_machine
@pytest.mark.parametrize(
    ("study", "methods"),
    [
        ("question", ["my_method:Smoothed", "supervised"]),
        ("my_study", [*["my_own_method:SmoothedSupervised"] * 2, *["supervised"] * 2]),
    ],
)
def test_the_examples_run_as_studies(folder: Path, study: str, methods: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from harness.cli.app import main; main()",
         "run", f"{study}.yaml", "--data", "data", "--workers", "2", "--results", study],
        cwd=folder, env={**os.environ, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert (folder / study / study / "report.html").is_file()
    records = [json.loads(path.read_text()) for path in folder.glob(f"{study}/trials/*/trial.json")]
    assert sorted(record["spec"]["method"]["name"] for record in records) == methods


@pytest.mark.slow
@pytest.mark.whole_machine
def test_the_notebook_runs(folder: Path) -> None:
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**os.environ, "MPLBACKEND": "agg"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "8 trials" in run.stdout and run.stdout.count("complete  ") == 8 and "supervised" in run.stdout
    assert (folder / "my_figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_commands_of_the_pages_exist() -> None:
    import typer.main

    from harness.cli.app import app

    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for page in PAGES:
        named = re.findall(r"medctx ([a-z][a-z-]+)", page.read_text())
        assert set(named) <= known, (page, set(named) - known)


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for command in ("quickstart", "test"):
        assert f"    make {command}\n" in README.read_text()
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE)


def test_the_citation_has_the_version_and_licence_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
