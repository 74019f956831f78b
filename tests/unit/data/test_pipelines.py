"""Pipelines hold what papers did: preprocessing, augmentation and, as ``<name>_paper``, training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.data.layout_twins import write_twin
from harness.parsing import parse
from harness.spec import Augmentation, Recipe, TrialSpec
from harness.study.resolve import Resolver
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

PAPERS = [
    (name, pipeline)
    for name in ("synapse", "acdc", "brats")
    for pipeline in registry.load("dataset", name).pipelines
    if pipeline.endswith("_paper")
]


def recipe(name: str, pipeline: str | None = None) -> Recipe:
    dataset = registry.load("dataset", name)
    return parse(Recipe, dataset.pipelines[pipeline] if pipeline else dataset.recipe, name)


def agrees(found: Recipe | Augmentation, **expected: Any) -> None:
    assert {key: getattr(found, key) for key in expected} == expected


def test_names_and_defaults() -> None:
    assert PAPERS == [
        ("synapse", "monai_paper"), ("synapse", "nnunet_paper"), ("acdc", "nnunet_paper"), ("brats", "nnunet_paper"),
    ]  # fmt: skip
    assert recipe("synapse") == recipe("synapse", "monai")
    for name in ("acdc", "brats"):
        assert recipe(name) == recipe(name, "nnunet")
    for name in ("synapse", "acdc", "brats", "hippocampus", "phantom"):
        assert recipe(name).steps <= 300, "a study that names no training is short"


@pytest.mark.parametrize(("name", "pipeline"), PAPERS)
def test_a_papers_training_changes_no_preprocessing(name: str, pipeline: str) -> None:
    own, base = recipe(name, pipeline), recipe(name, pipeline.removesuffix("_paper"))
    for field in ("patch", "spacing", "intensity", "crop", "resampling", "label_resampling", "foreground",
                  "loss", "selection", "overlap"):  # fmt: skip
        assert getattr(own, field) == getattr(base, field)
    assert own.augmentation == base.augmentation.model_copy(update={"version": 2})


def test_unetr_on_synapse() -> None:
    """5000 epochs of 18 volumes, four crops of 96 voxels a step."""
    agrees(
        recipe("synapse", "monai_paper"),
        patch=(96, 96, 96), spacing=(1.5, 1.5, 2.0), intensity="ct_soft_tissue", crop="foreground",
        resampling="linear", foreground=0.5, steps=5000 * 18, batch=4, loss="dice_ce", optimiser="adamw",
        learning_rate=1e-4, weight_decay=1e-5, schedule="cosine", warmup_steps=50 * 18, rate_every=18, clip_norm=0.0,
        precision="fp16", overlap=0.5, window="constant", window_average="logits", flips=(),
        output_resampling="linear",
    )  # fmt: skip
    agrees(
        recipe("synapse", "monai_paper").augmentation,
        mirror_axes=(0, 1, 2), mirror_probability=0.2, rotate90_probability=0.2, intensity_probability=0.1,
        intensity_scale=0.1, intensity_shift=0.1, affine_probability=0.0, noise_probability=0.0,
    )  # fmt: skip


NNFORMER = {
    "synapse": {"patch": (128, 128, 64), "spacing": (0.7578, 0.7578, 3.0), "intensity": "ct_synapse", "batch": 2,
                "loss": "dice_ce_nnunet"},
    "acdc": {"patch": (160, 160, 16), "spacing": (1.5234, 1.5234, 6.35), "intensity": "zscore", "batch": 4,
             "loss": "dice_ce_nnunet_sample"},
    "brats": {"patch": (128, 128, 128), "spacing": (1.0, 1.0, 1.0), "intensity": "zscore_nonzero", "batch": 2,
              "loss": "dice_ce_nnunet_sample"},
}  # fmt: skip


@pytest.mark.parametrize("name", NNFORMER)
def test_nnformer_and_unetr_plus_plus(name: str) -> None:
    """1000 epochs of 250 steps of SGD; volumes of thick slices are turned in their plane."""
    agrees(
        recipe(name, "nnunet_paper"), **NNFORMER[name],
        crop="foreground", resampling="cubic_clipped", label_resampling="linear", foreground=0.33,
        steps=1000 * 250, optimiser="sgd", learning_rate=1e-2, momentum=0.99, weight_decay=3e-5,
        schedule="poly", warmup_steps=0, rate_every=250, clip_norm=12.0, precision="fp16", overlap=0.5, window="nnunet",
        window_average="probabilities", flips=(0, 1, 2), output_resampling="within_slices",
    )  # fmt: skip
    planar = name != "brats"
    agrees(
        recipe(name, "nnunet_paper").augmentation,
        affine_probability=0.2, rotation=180.0 if planar else 30.0, planar=planar, scaling=0.0,
        scale_range=(0.7, 1.4), enlarge=True, mirror_axes=(0, 1, 2), mirror_probability=0.5,
        noise_probability=0.1, blur_probability=0.2 * 0.5, brightness_probability=0.15, contrast_probability=0.15,
        low_resolution_probability=0.25 * 0.5, inverted_gamma_probability=0.1, gamma_probability=0.3,
        intensity_probability=0.0, rotate90_probability=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "pipeline"), [("synapse", "monai_paper"), ("acdc", "nnunet_paper")])
def test_a_papers_training_runs(tmp_path: Path, name: str, pipeline: str) -> None:
    settings = {
        "dataset": name, "architecture": "unet", "method": "supervised", "shots": 1, "subset": 0, "seed": 0,
        "recipe.pipeline": pipeline, "recipe.steps": 2, "recipe.patch": [32, 32, 16], "recipe.batch": 1, "recipe.flips": [],
        "recipe.overlap": 0.0,
    }  # fmt: skip
    spec = Resolver("test").trial(settings)
    assert isinstance(spec, TrialSpec)
    root = write_twin(name, tmp_path / "twin", cases=1)
    record = run_trial(spec, RunSettings(tmp_path / "results", root, keep="none"))
    assert record is not None and record.status == "complete", record and record.cause
    assert record.protocol is not None and record.protocol.training is not None
    assert record.protocol.training["optimiser"] == ("adamw" if pipeline == "monai_paper" else "sgd")


def test_the_guide_names_every_pipeline() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    named = {
        pipeline
        for name in registry.names("dataset")
        for pipeline in registry.load("dataset", name).pipelines
    }
    assert named and {pipeline for pipeline in named if f"`{pipeline}`" not in guide} == set()
