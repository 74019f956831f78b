"""Datasets by name, and short trials on them."""

from __future__ import annotations

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.spec import TrialSpec
from harness.study.resolve import Resolver


def load(name: str) -> Dataset:
    return registry.load("dataset", name)()


def spec_of(dataset: str, **settings: object) -> TrialSpec:
    flat = {
        "dataset": dataset,
        "architecture": "unet",
        "method": "supervised",
        "shots": 2,
        "subset": 0,
        "seed": 0,
    }
    small = {"recipe.steps": 2, "recipe.batch": 1, "recipe.patch": [16, 16, 16], "recipe.overlap": 0.0}
    found = Resolver("test").trial({**flat, **small, **settings})
    assert isinstance(found, TrialSpec), found
    return found
