"""A trial's identity: what can change its numbers, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.errors import UserError
from harness.parsing import parse
from harness.spec import Frozen, Recipe, TrialSpec, canonical_json, digest, identity, later
from harness.study.resolve import Resolver

GOLDEN = Path(__file__).parents[1] / "golden" / "trial_ids.json"
PHANTOM = {
    "dataset": "phantom", "architecture": "unet", "method": "supervised", "shots": "all", "subset": 0, "seed": 0,
}  # fmt: skip


def trial(**settings: Any) -> TrialSpec:
    flat = PHANTOM | {key.replace("__", "."): value for key, value in settings.items()}
    spec = Resolver("test").trial(flat)
    assert isinstance(spec, TrialSpec), spec
    return spec


# whose numbers changed after 0.1.0, and with them their versions and ids
RENEWED = {
    "phantom dynunet supervised, deep supervision": lambda: trial(
        architecture="dynunet", architecture__deep_supervision=True
    ),
    "phantom unetr_pp supervised": lambda: trial(architecture="unetr_pp"),
    "phantom unet ua_mt": lambda: trial(method="ua_mt", shots=2),
}


def test_ids_of_earlier_releases_stay_valid() -> None:
    """A change here makes every record of every user unfindable: raise a ``version`` or use ``later``.

    Where a ``version`` was raised on purpose: MEDCTX_REGENERATE=1 pytest tests/unit/test_spec.py
    """
    ids = {
        "phantom unet supervised": trial().id,
        "phantom unet medcontext": trial(method="medcontext").id,
        "phantom unetr medcontext 2 shots seed 1": trial(
            architecture="unetr", method="medcontext", shots=2, seed=1
        ).id,
        "hippocampus unet supervised": trial(dataset="hippocampus").id,
        "phantom dynunet supervised": trial(architecture="dynunet").id,
        "phantom unetr_pp supervised, fixed reshape": trial(
            architecture="unetr_pp", architecture__spatial_reshape="fixed"
        ).id,
    }
    for name, spec in RENEWED.items():
        first = {
            part: {**getattr(spec(), part).model_dump(), "version": 1} for part in ("architecture", "method")
        }
        ids[f"{name}, 0.1.0"] = TrialSpec.model_validate({**spec().model_dump(), **first}).id
        ids[name] = spec().id
    if os.environ.get("MEDCTX_REGENERATE"):
        GOLDEN.write_text(json.dumps(ids, indent=1) + "\n")
    assert ids == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3", "'1e-3'", "1.0E-03"])
def test_a_number_has_one_identity_however_it_is_written(text: str) -> None:
    assert trial(recipe__learning_rate=yaml.safe_load(text)).id == trial(recipe__learning_rate=0.001).id


def test_an_integer_for_a_float_is_the_same_number() -> None:
    assert trial(recipe__clip_norm=12).id == trial(recipe__clip_norm=12.0).id == trial().id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1}, {"shots": 2}, {"subset": 1}, {"split__seed": 1}, {"method": "medcontext"},
        {"architecture": "unetr"}, {"architecture__residual_units": 2}, {"recipe__steps": 201},
        {"recipe__threads": 2}, {"recipe__precision": "bf16"}, {"recipe__augmentation__noise": 0.2},
    ],
)  # fmt: skip
def test_what_can_change_the_numbers_changes_the_id(change: dict[str, Any]) -> None:
    assert trial(**change).id != trial().id


def test_no_path_worker_or_device_is_in_the_identity() -> None:
    text = canonical_json(identity(trial()))
    assert not any(word in text for word in ("results", "worker", "device", "data_root", "keep", "/"))


def test_neither_names_of_arms_nor_what_is_kept_is_in_the_id() -> None:
    arms = {"mine": {"name": "supervised"}}
    spec = Resolver("elsewhere/other.yaml", methods=arms).trial(PHANTOM | {"method": "mine"})
    assert isinstance(spec, TrialSpec) and spec.id == trial().id


@pytest.mark.parametrize("architecture", ["unet", "unetr"])
def test_a_spec_survives_its_json(architecture: str) -> None:
    spec = trial(method="medcontext", architecture=architecture)
    again = TrialSpec.model_validate_json(spec.model_dump_json())
    assert again == spec and again.id == spec.id


def test_a_copy_with_other_values_has_an_id_of_its_own() -> None:
    spec = trial()
    assert spec.id != spec.model_copy(update={"seed": 1}).id == trial(seed=1).id
    assert spec.model_copy().id == spec.id


def test_a_later_field_enters_the_hash_only_when_it_is_set() -> None:
    class Before(Frozen):
        a: int = 1

    class After(Frozen):
        a: int = 1
        b: float = later(0.5, ge=0)

    assert digest(identity(Before())) == digest(identity(After()))
    assert digest(identity(After(b=0.6))) != digest(identity(After()))
    assert digest(identity(After(b=0.5))) == digest(identity(After()))

    class Outer(Frozen):
        inner: Before | After = Before()

    assert digest(identity(Outer(inner=After()))) == digest(identity(Outer()))
    assert digest(identity(Outer(inner=After(b=0.6)))) != digest(identity(Outer()))


def test_specs_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        trial().seed = 3


def test_an_unknown_key_is_named_with_its_neighbour() -> None:
    with pytest.raises(UserError, match=r"recipe.stpes.*Did you mean 'steps'"):
        trial(recipe__stpes=3)
    with pytest.raises(UserError, match="Did you mean 'noise'"):
        trial(recipe__augmentation__nois=3)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "fast", None])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="learning_rate"):
        trial(recipe__learning_rate=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_is_no_json(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"deep": [value]})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5))
def test_canonical_json_does_not_depend_on_the_order_of_keys(data: dict[str, Any]) -> None:
    text = canonical_json(data)
    assert canonical_json(dict(reversed(data.items()))) == text
    assert json.loads(text) == data


@given(st.permutations(["steps", "batch", "threads"]), st.integers(1, 9))
def test_the_id_does_not_depend_on_the_order_of_settings(order: list[str], value: int) -> None:
    base = {"patch": (8, 8, 16), "spacing": (1, 1, 1)}
    recipes = [parse(Recipe, base | dict.fromkeys(keys, value), "x") for keys in (order, sorted(order))]
    assert digest(identity(recipes[0])) == digest(identity(recipes[1]))
