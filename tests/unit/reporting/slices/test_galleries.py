"""Which trials the pictures of predictions are of, and against which arm a gain is looked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from fake_results import (
    Fake,
    build_fake,
    case_row,
    make_cell,
    make_record,
    make_study,
    write_predictions,
    write_trial,
)
from fake_tables import load
from matplotlib.colors import to_rgb
from scipy.spatial.distance import cdist
from skimage.color import rgb2lab

from harness.reporting.palette import ERROR_COLOURS, LABEL_COLOURS
from harness.reporting.slices.galleries import Gallery, all_galleries
from harness.study.cells import Cell
from harness.study.study import Study

CASES = ("phantom_040", "phantom_041")


def gallery_of(study: Study, results: Path) -> Gallery | str:
    return all_galleries(load(study, results), results, results / "pictures", None)["phantom"]


def shown(study: Study, results: Path) -> Gallery:
    found = gallery_of(study, results)
    assert isinstance(found, Gallery), found
    return found


def written(results: Path, cells: Iterable[Cell]) -> Study:
    cells = list(cells)
    for index, cell in enumerate(cells):
        rows = [case_row(case, "lobe", 0.5 + 0.1 * index + 0.01 * n) for n, case in enumerate(CASES)]
        write_predictions(write_trial(results, make_record(cell), rows, []), np.random.default_rng(index))
    return make_study(cells)


def with_steps(steps: int, **factors: str) -> Cell:
    cell = make_cell(architecture="unet", **factors, **{"recipe.steps": steps})
    recipe = cell.spec.recipe.model_copy(update={"steps": steps})
    return Cell(cell.spec.model_copy(update={"recipe": recipe}), cell.factors, steps)


@pytest.fixture
def taken_over(tmp_path: Path) -> Fake:
    """The fake study, of which the trials of seed 0 have no predictions, as those of published records."""
    fake = build_fake(tmp_path)
    for cell in fake.study.cells:
        if cell.factors["seed"] == 0:
            shutil.rmtree(fake.results / "trials" / cell.spec.id / "predictions", ignore_errors=True)
    return fake


def test_pictures_are_of_the_lowest_seed_that_has_predictions(taken_over: Fake) -> None:
    found = shown(*taken_over)
    assert "; seed 1, 5 training cases" in found.caption
    assert all(prediction is not None for case in found.volumes for prediction in case.predictions)


def test_an_arm_of_another_seed_says_which(taken_over: Fake) -> None:
    for cell in taken_over.study.cells:
        if (cell.factors["method"], cell.factors["seed"]) == ("medcontext", 0):
            folder = taken_over.results / "trials" / cell.spec.id
            if folder.is_dir():
                write_predictions(folder, np.random.default_rng(0))
    assert shown(*taken_over).columns[2:4] == ("U-Net\nSupervised, seed 1", "U-Net\nMedContext, seed 0")


def test_no_predictions_of_any_seed_are_said_to_be_none(taken_over: Fake) -> None:
    for folder in taken_over.results.glob("trials/*/predictions"):
        shutil.rmtree(folder)
    assert gallery_of(*taken_over) == "no predictions were kept"


def test_the_largest_gain_is_that_of_another_method_with_the_same_factors(tmp_path: Path) -> None:
    arms = [(method, steps) for method in ("supervised", "medcontext") for steps in (500, 2000)]
    cells = [with_steps(steps, method=method) for method, steps in arms]
    caption = shown(written(tmp_path, cells), tmp_path).caption
    assert "largest gain of MedContext, steps 500 on U-Net over it" in caption
    assert "student of Supervised, steps 500 on" in caption


def test_errors_have_colours_far_from_those_of_labels_and_from_gray() -> None:
    def lab(colours: Iterable[str]) -> np.ndarray:
        return rgb2lab(np.array([to_rgb(colour) for colour in colours])[None])[0]

    taken = np.concatenate([lab(LABEL_COLOURS), lab([str(level / 10) for level in range(11)])])
    errors = lab(ERROR_COLOURS.values())
    assert cdist(errors, taken).min() > 40  # two neighbours among the labels' are 15 apart
    assert cdist(errors, errors)[np.triu_indices(3, 1)].min() > 40
