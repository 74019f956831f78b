"""``medctx list KIND NAME``: every key that a study can set is shown, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import registry
from harness.cli.listing import details
from harness.spec import TrialSpec, plain
from harness.study.resolve import Resolver

PHANTOM = {
    "dataset": "phantom",
    "architecture": "unet",
    "method": "supervised",
    "shots": 2,
    "subset": 0,
    "seed": 0,
}


def keys(settings: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def trial(**changes: Any) -> TrialSpec:
    spec = Resolver("list").trial(PHANTOM | changes)
    assert isinstance(spec, TrialSpec), spec
    return spec


@pytest.mark.parametrize("name", registry.names("method"))
def test_parameters_of_a_method_are_those_of_its_trials_and_can_be_set(name: str) -> None:
    shown = {entry["key"]: entry["default"] for entry in details("method", name)["parameters"]}
    assert set(keys(trial(method=name).method.parameters, "method.")) <= set(shown)
    for key, default in shown.items():
        if default in ("True", "False"):
            trial(method=name, **{key: default == "True"})


@pytest.mark.parametrize("name", registry.names("architecture"))
def test_options_and_presets_of_an_architecture(name: str) -> None:
    found = details("architecture", name)
    shown = {entry["key"] for entry in found["options"]}
    assert {f"architecture.{key}" for key in registry.load("architecture", name).presets["tiny"]} <= shown
    assert {"tiny"} <= {entry["preset"] for entry in found["presets"]}


@pytest.mark.parametrize("name", registry.names("dataset"))
def test_a_dataset_shows_its_splits_and_the_whole_recipe(name: str) -> None:
    found = details("dataset", name)
    assert found["splits"][-1] == {"split.name": "generated"}
    assert set(keys(plain(trial().recipe), "recipe.")) <= {entry["key"] for entry in found["recipe"]}


def test_the_recipe_of_a_dataset_is_that_of_a_trial_that_names_none() -> None:
    shown = {entry["key"]: entry["default"] for entry in details("dataset", "phantom")["recipe"]}
    recipe = trial().recipe
    assert (shown["recipe.steps"], shown["recipe.patch"]) == (str(recipe.steps), str(recipe.patch))


@pytest.mark.parametrize(("what", "name"), [("studies", "quickstart"), ("conventions", "released_acdc")])
def test_one_study_or_convention_can_be_listed_alone(medctx, what: str, name: str) -> None:
    (entry,) = json.loads(medctx("list", what, name, "--json").out)
    assert entry["name"] == name
    refused = medctx("list", what, name[:-1])
    assert refused.code == 2 and f"Did you mean '{name}'?" in refused.err


def test_one_study_is_printed_as_its_file_stands(medctx) -> None:
    assert yaml.safe_load(medctx("list", "studies", "tune_medcontext").out)["search"]["arms"]


def test_the_default_of_an_option_is_that_of_a_network_without_a_preset() -> None:
    shown = {entry["key"]: entry["default"] for entry in details("architecture", "unetr")["options"]}
    assert shown["architecture.feature_size"] == "4"


def test_presets_say_what_they_set() -> None:
    presets = {entry["preset"]: entry["sets"] for entry in details("method", "medcontext")["presets"]}
    assert next(iter(presets)) == "as_published"
    assert "teacher.every epoch" in presets["as_released"]


def test_presets_of_a_method_are_said_to_be_those_of_one_network_and_dataset(medctx) -> None:
    assert "\npresets, as they are for unet on hippocampus" in medctx("list", "methods", "medcontext").out
    assert "\npresets\n" in medctx("list", "architectures", "unetr").out


def test_what_differs_from_the_originals_is_shown_and_stands_in_the_guide(medctx) -> None:
    guide = " ".join((Path(__file__).parents[3] / "docs" / "fidelity.md").read_text().split())
    shown = {}
    for kind in registry.KINDS:
        for name in registry.names(kind):
            shown[name] = [
                sentence for row in details(kind, name)["differences"] for sentence in row.values()
            ]
    for name in ("voco", "ua_mt", "unetr_pp", "synapse"):
        assert shown[name], name
    for name, sentences in shown.items():
        for sentence in sentences:
            assert sentence.removeprefix("nnunet: ").removeprefix("monai: ") in guide, (name, sentence)
    assert "`l_teacher` before it is defined" in " ".join(medctx("list", "methods", "medcontext").out.split())
