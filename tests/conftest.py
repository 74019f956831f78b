"""What tests share: a cache of their own, the command line, small data to break, and the real data."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from harness import registry
from harness.spec import TrialSpec
from harness.study.resolve import Resolver

os.environ.setdefault(
    "RAY_AUTH_MODE", "token"
)  # as harness.sweep.ray_tune does, whichever module imports ray first


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full-matrix", action="store_true", help="every method on every architecture, not a covering subset"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the pairs of method and architecture beyond a covering subset, unless they are asked for."""
    if config.getoption("--full-matrix"):
        return
    left_out = [item for item in items if item.get_closest_marker("full_matrix")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("full_matrix")]


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests; subprocesses inherit it."""
    before = os.environ.get("MEDCTX_CACHE")
    os.environ["MEDCTX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["MEDCTX_CACHE"]
    else:
        os.environ["MEDCTX_CACHE"] = before


@pytest.fixture(autouse=True)
def no_plugin_folders_of_other_tests() -> Iterator[None]:
    """Forget the folders of the studies that a test has read, so that modules of one name do not meet."""
    before = [*sys.path]
    yield
    sys.path[:] = before
    registry._folders.clear()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Return the folder of the real hippocampus data."""
    root = os.environ.get("MEDCTX_DATA")
    if not root or not (Path(root) / "Task04_Hippocampus").is_dir():
        pytest.skip("MEDCTX_DATA names no folder with Task04_Hippocampus")
    return Path(root)


@pytest.fixture(scope="session")
def spec() -> TrialSpec:
    """Return a trial of two shots on the phantom."""
    flat = {
        "dataset": "phantom",
        "architecture": "unet",
        "method": "supervised",
        "shots": 2,
        "subset": 0,
        "seed": 0,
    }
    found = Resolver("test").trial(flat)
    assert isinstance(found, TrialSpec)
    return found


@pytest.fixture
def few_patients(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a dataset of nine phantom patients, which programs that a test starts find as well."""
    folders = [str(Path(__file__).parent / "end_to_end"), os.environ.get("PYTHONPATH")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    return "few_patients:FewPatients"


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def medctx(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Return a function that runs ``medctx`` in this process."""
    from harness.cli.app import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["medctx", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def small_msd(tmp_path: Path) -> Path:
    """Write a small hippocampus in the Decathlon's layout; return the data root."""
    root = tmp_path / "data"
    folder = root / "Task04_Hippocampus"
    rng = np.random.default_rng(0)
    grid = np.indices((20, 24, 20))
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    entries = []
    for number in range(1, 9):
        label = np.zeros((20, 24, 20), np.uint8)
        for value, middle in ((1, 8), (2, 15)):
            centre = np.array([10, middle, 10]).reshape(3, 1, 1, 1) + rng.integers(-1, 2, (3, 1, 1, 1))
            label[((grid - centre) ** 2).sum(axis=0) < 10] = value
        image = (100 * label + rng.normal(0, 20, label.shape)).astype(np.float32)
        name = f"hippocampus_{number:03d}.nii.gz"
        save(folder / "imagesTr" / name, image)
        save(folder / "labelsTr" / name, label)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    (folder / "dataset.json").write_text(json.dumps({"training": entries}))
    return root


def save(path: Path, array: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
