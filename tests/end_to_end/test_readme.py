"""The README's examples, run as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

README = Path(__file__).parents[2] / "README.md"


def examples() -> dict[str, str]:
    """Return file name -> text of the README's code blocks; the first line names the file."""
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", README.read_text(), flags=re.DOTALL)
    return dict(blocks)


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


@pytest.mark.slow
def test_the_examples_of_the_readme_run_as_one_study(tmp_path: Path) -> None:
    files = examples()
    assert set(files) == {"my_study.yaml", "my_method.py", "my_network.py", "my_data.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    write_spheres(tmp_path / "data" / "spheres")
    run = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()",
         "run", "my_study.yaml", "--data", "data", "--workers", "2"],
        cwd=tmp_path, env={**os.environ, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "results" / "my_study" / "report.html").is_file()
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/trials/*/trial.json")]
    assert sorted(record["spec"]["method"]["name"] for record in records) == [
        "my_method:SmoothedSupervised", "my_method:SmoothedSupervised", "supervised", "supervised",
    ]  # fmt: skip


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for command in ("quickstart", "test"):
        assert f"    make {command}\n" in README.read_text()
        assert re.search(rf"^{command}:", makefile, flags=re.MULTILINE)
