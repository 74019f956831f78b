"""Two finished trials of a few steps on few patients, and the test images as files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from harness import registry
from harness.records.schema import TrialRecord
from harness.study.resolve import Resolver
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

HOME = str(Path(__file__).parents[2] / "end_to_end")


@dataclass(frozen=True)
class Finished:
    """Trials with their results folder, and a folder of the images that they were tested on."""

    trials: tuple[TrialRecord, ...]
    results: Path
    images: Path

    def stored(self, trial: int, case: str, role: str = "student") -> Any:
        """Return the prediction that a trial has kept."""
        folder = self.results / "trials" / self.trials[trial].id / "predictions"
        return nibabel.load(folder / f"{case}.{role}.nii.gz")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """Train on grids that are not the files', so that every step of the way back counts."""
    sys.path.append(HOME)
    folder = tmp_path_factory.mktemp("finished")
    base = {
        "dataset": "few_patients:FewPatients", "architecture": "unet", "architecture.preset": "tiny", "shots": 2,
        "subset": 0, "recipe.steps": 4, "recipe.overlap": 0.25,
    }  # fmt: skip
    own: list[dict[str, Any]] = [
        {"method": "medcontext", "seed": 0, "recipe.spacing": [1.4, 1.3, 2.5], "recipe.flips": [0]},
        {"method": "supervised", "seed": 1, "recipe.spacing": [1.2, 1.4, 3.0], "recipe.crop": "foreground",
         "recipe.window": "nnunet", "recipe.output_resampling": "within_slices"},
    ]  # fmt: skip
    records = []
    for settings in own:
        spec = Resolver("test").trial({**base, **settings})
        assert not isinstance(spec, str), spec
        record = run_trial(spec, RunSettings(folder / "results"))
        assert record is not None and record.status == "complete" and record.protocol, record
        records.append(record)
    images = folder / "images"
    images.mkdir()
    dataset = registry.load("dataset", base["dataset"])()
    for case in dataset.cases(None):
        if case.id in records[0].protocol.test_cases:
            volume = dataset.image(case)
            image = nibabel.Nifti1Image(volume.array[0].astype(np.int16), volume.affine)
            image.header.set_xyzt_units("mm", "sec")
            nibabel.save(image, images / f"{case.id}.nii.gz")
    yield Finished(tuple(records), folder / "results", images)
    sys.path.remove(HOME)
