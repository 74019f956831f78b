"""What a study may search, and what it is told where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_trials import STUDY, write_study
from pydantic import ValidationError

from harness import registry
from harness.errors import UserError
from harness.ranges import Range, declared_ranges
from harness.spec import Recipe
from harness.study.cells import Trials
from harness.study.expand import load_study
from harness.study.file import PruneSpec
from harness.study.searches import Dimension, rung_of

DECLARED = {
    name: declared_ranges(registry.load("method", name).Parameters) for name in registry.names("method")
}


@pytest.mark.parametrize("name", [name for name, ranges in DECLARED.items() if ranges])
def test_what_a_method_declares_to_be_searched_holds_possible_values(name: str, tmp_path: Path) -> None:
    declared = DECLARED[name]
    parameters = "".join(f"\n      method.{key}: declared" for key in declared)
    arms = (
        STUDY.partition("    medcontext:")[0]
        + f"    {name}:{parameters}\n  suggestions: 7"
        + STUDY.partition("suggestions: 7")[2]
    )
    study = write_study(tmp_path, arms.replace("steps: 40", "steps: 40, patch: [32, 32, 32]"))
    (arm,) = study.search.arms
    assert [one.key for one in arm.dimensions] == [f"method.{key}" for key in declared]
    for one in arm.dimensions:
        for end in one.range.ends():
            assert isinstance(arm.suggested({one.key: one.typed(end)}), Trials)


def test_medcontext_declares_mask_ratio_momentum_and_weight() -> None:
    declared = DECLARED["medcontext"]
    assert set(declared) == {"masking.ratio", "teacher.m0", "losses.cons"}
    assert declared["teacher.m0"].complement and declared["teacher.m0"].log


def test_each_cell_of_the_grid_gets_a_search_of_every_arm(tmp_path: Path) -> None:
    text = STUDY.replace(
        "  suggestions", "    supervised: {recipe.learning_rate: {choices: [0.1, 0.01]}}\n  suggestions"
    )
    text = text.replace("architecture: unet, ", "").replace("shots: 2, ", "")
    text += "grid: {architecture: [unet, unetr], shots: [2, all], recipe.batch: [2]}\n"
    text += "except: [{architecture: unetr, shots: all, reason: too slow}]\nalso: [{architecture: unet, method: cps, shots: 3}]"
    study = write_study(tmp_path, text)
    names = [
        f"{method}, {rest}"
        for method in ("medcontext", "supervised")
        for rest in ("unet, 2", "unet, all", "unetr, 2")
    ]
    assert [arm.name for arm in study.search.arms] == names
    assert [skip.reason for skip in study.skipped] == ["too slow"] * 2
    assert len(study.cells) == 1 + 6 * 2 and study.cells[0].factors["setting"] is None
    assert len({arm.identity for arm in study.search.arms}) == 6


def test_a_pretraining_is_shared_where_what_is_searched_allows_it(tmp_path: Path) -> None:
    text = (
        STUDY.partition("    medcontext:")[0]
        + """    masked_volume: {method.ratio: declared, recipe.learning_rate: {choices: [0.1, 0.01]}}
  suggestions: 2
  seeds: [0, 1]
  confirm: {seeds: [5]}
"""
    )
    (arm,) = write_study(tmp_path, text).search.arms
    trials = arm.suggested({"method.ratio": 0.5, "recipe.learning_rate": 0.1})
    other = arm.suggested({"method.ratio": 0.5, "recipe.learning_rate": 0.01})
    assert isinstance(trials, Trials) and isinstance(other, Trials)
    assert [node.spec.id for node in trials.nodes] == [cell.spec.pretraining for cell in trials.cells]
    assert trials.nodes == other.nodes and all(node.spec.tested for node in trials.nodes)


def test_a_trial_of_a_search_is_another_than_one_that_is_tested(tmp_path: Path) -> None:
    (arm,) = write_study(tmp_path).search.arms
    sought, confirmed = arm.suggested({}), arm.confirming("default", {})
    assert isinstance(sought, Trials) and isinstance(confirmed, Trials)
    spec = sought.cells[0].spec
    tested = spec.model_validate({**spec.model_dump(), "tested": True})
    assert not spec.tested and confirmed.cells[0].spec.tested and tested.id != spec.id
    assert {**tested.model_dump(), "seed": 10} == confirmed.cells[0].spec.model_dump()


def test_what_a_pretraining_is_made_with_is_searched_as_its_recipe_has_it(tmp_path: Path) -> None:
    searched = {
        "learning_rate: {low: 0.0001, high: 0.01, log: true}": None,
        "steps: {low: 10, high: 30}": None,
        "steps: {low: 10, high: 30.5}": "whole numbers, like 40",
        "recipe.learning_rate: {low: 0.0001, high: 0.01}": "Did you mean 'method.pretrain.learning_rate'",
    }
    for written, refused in searched.items():
        end = STUDY.partition("    medcontext:")[0] + f"    masked_volume: {{method.pretrain.{written}}}\n"
        end += "  suggestions: 2\n  seeds: [0]\n  confirm: {best: 1, seeds: [5]}\n"
        if refused:
            with pytest.raises(UserError, match=refused):
                write_study(tmp_path, end)
        else:
            (arm,) = write_study(tmp_path, end).search.arms
            low = arm.dimensions[0].range.ends()[0]
            trials = arm.suggested({arm.dimensions[0].key: low})
            assert isinstance(trials, Trials)
            assert getattr(trials.nodes[0].spec.recipe, written.partition(":")[0]) == low


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("method.masking.ratio", "method.masking.ration", "Did you mean 'masking.ratio'"),
        ("method.masking.ratio: declared", "method.masking.ration: {low: 0.2, high: 0.5}", "an unknown key.*Did you mean 'method.masking.ratio'"),
        ("method.masking.ratio: declared", "method.masking.ratio: 3", "found 3; expected a mapping"),
        ("method.masking.ratio: declared", "recipe.label_resampling: {choices: [nearest, linear]}", "changes the objective"),
        ("method.masking.ratio: declared", "method.masking.per_sample: declared", "declares a range"),
        ("method.masking.ratio: declared", "method.masking.per_sample: {low: 0, high: 1}", "choices"),
        ("method.masking.ratio: declared", "method.masking.ratio: {low: 0.2, high: 1.5}", "masking.ratio.*1.5"),
        ("method.masking.ratio: declared", "method.masking.ratio: {low: 0.5, high: 0.2}", "low below high"),
        ("method.masking.ratio: declared", "method.masking.ratio: {low: 0.5}", "both low and high"),
        ("method.masking.ratio: declared", "method.masking.ratio: {lo: 0.5, high: 1}", "unknown key 'lo'.*Did you mean 'low'"),
        ("method.masking.ratio: declared", "method.masking.ratio: {choices: [0.5, 0.5]}", "all different"),
        ("method.masking.ratio: declared", "method.masking.ratio: {choices: [0.5], low: 1}", "either choices"),
        ("method.masking.ratio: declared", "method.masking.ratio: {low: 0, high: 1, log: true}", "low above 0"),
        ("method.masking.ratio: declared", "method.masking.ratio: {low: 0, high: 1, log: true, complement: true}", "below 1"),
        ("method.masking.ratio: declared", "method.masking.kind: {choices: [tube, tubes]}", "tubes"),
        ("method.masking.ratio: declared", "method.masking.block: {low: 4, high: 8.5}", "whole numbers"),
        ("method.masking.ratio: declared", "shots: {choices: [2, 3]}", "changes the objective"),
        ("method.masking.ratio: declared", "seed: {choices: [2, 3]}", "changes the objective"),
        ("method.masking.ratio: declared", "split.seed: {choices: [2, 3]}", "changes the objective"),
        ("method.masking.ratio: declared", "recipe.spacing: {choices: [[1, 1, 1], [2, 2, 2]]}", "changes the objective"),
        ("method.masking.ratio: declared", "recipe.stepz: {choices: [2, 3]}", "Did you mean 'steps'"),
        ("method.masking.ratio: declared", "masking.ratio: {choices: [0.2, 0.3]}", "an unknown key"),
        ("    medcontext:", "    medcontex:", "Did you mean 'medcontext'"),
        ("validate_every: 10", "overlap: 0.0", "validate_every"),
        ("validate_every: 10", "validate_every: 10, selection: test_oracle", "opens no test labels"),
        ("seeds: [10, 11]", "seeds: [1, 11]", "1 is among seeds"),
        ("seeds: [10, 11]", "seeds: [10, 10]", "all different"),
        ("  confirm: {best: 2, seeds: [10, 11]}", "", "search.confirm"),
        ("  startup: 3", "  prune: {at: 0.1}", "search.prune.at"),
        ("  startup: 3", "  prune: {at: 40}", "search.prune.at"),
        ("  startup: 3", "  prune: {at: 0.5, keep: 1}", "search.prune.keep"),
        ("  startup: 3", "  sampler: grid", "for a grid"),
        ("  startup: 3", "  samplr: grid", "Did you mean 'sampler'"),
        ("  startup: 3", "  sampler: gird", "'tpe', 'random' or 'grid'"),
        ("suggestions: 7", "suggestions: 0", "search.suggestions"),
        ("suggestions: 7", "suggestions: 1", "search.confirm.best: found 2; expected no more than the 1 suggestions"),
        ("batch: 3", "batch: 0", "search.batch"),
        ("question", "methods: {medcontxt: {name: medcontext}}\nquestion", "medcontxt: found an arm that no trial has.*'medcontext'"),
        ("question", "grid: {seed: [0, 1]}\nquestion", "search.seeds"),
        ("question", "grid: {method: [supervised]}\nquestion", "search.arms"),
        (
            "question", "grid: {method.masking.ratio: [0.3, 0.4]}\nquestion",
            "search.arms.medcontext.method.masking.ratio: found a factor of the grid too",
        ),
    ],
)  # fmt: skip
def test_searches_that_cannot_be(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert STUDY.count(old) >= 1
    with pytest.raises(UserError, match=said):
        write_study(tmp_path, STUDY.replace(old, new, 1))


def test_a_parameter_that_is_not_in_the_id_by_default_can_be_searched(tmp_path: Path) -> None:
    """So is a field of a recipe that came later."""
    key = "recipe.augmentation.gamma_probability"
    (arm,) = write_study(
        tmp_path, STUDY.replace("method.masking.ratio: declared", f"{key}: {{low: 0, high: 0.3}}")
    ).search.arms
    assert arm.dimensions[0] == Dimension(key, Range(low=0, high=0.3))


def test_an_arm_may_be_used_by_a_search_alone(tmp_path: Path) -> None:
    text = STUDY.replace("    medcontext:", "    mine:")
    text = text.replace("  suggestions", "      architecture: {choices: [unet, wide]}\n  suggestions")
    arms = "methods: {mine: {name: medcontext}}\narchitectures: {wide: {name: unet}}\n"
    (arm,) = write_study(tmp_path, arms + text).search.arms
    assert arm.name == "mine"


def test_another_recipe_makes_another_search(tmp_path: Path) -> None:
    write_study(tmp_path)
    path = str(tmp_path / "sought.yaml")
    assert (
        load_study(path, ["recipe.steps=80"]).search.arms[0].identity
        != load_study(path).search.arms[0].identity
    )


def test_arms_that_cannot_run_are_skipped_with_their_reason(tmp_path: Path) -> None:
    arms = "    supervised: {recipe.learning_rate: {choices: [0.1, 0.01]}}\n    cps: {recipe.learning_rate: {choices: [0.1, 0.01]}}\n"
    text = STUDY.replace("  suggestions", arms + "  suggestions").replace("shots: 2", "shots: all")
    study = write_study(tmp_path, text)
    assert [arm.name for arm in study.search.arms] == ["medcontext", "supervised"]
    assert "withholds none" in study.skipped[0].reason


@pytest.mark.parametrize(
    ("at", "rung"), [(0.5, 20), (0.74, 20), (0.75, 30), (29, 20), (10, 10), (9, None), (40, None)]
)
def test_the_rung_is_the_last_validation_up_to_a_step_or_share(at: float, rung: int | None) -> None:
    recipe = Recipe(patch=(8, 8, 8), spacing=(1, 1, 1), steps=40, validate_every=10)
    assert rung_of(PruneSpec(at=at), recipe) == rung


def test_points_of_a_range() -> None:
    assert Dimension("a", Range(low=0.1, high=0.7, step=0.2)).points() == (0.1, 0.3, 0.5, 0.7)
    assert Dimension("a", Range(low=1, high=4), whole=True).points() == (1, 2, 3, 4)
    assert Dimension("a", Range(low=4, high=16, step=4), whole=True).points() == (4, 8, 12, 16)
    assert Dimension("a", Range(choices=("x", None))).points() == ("x", None)
    assert Dimension("a", Range(low=0.1, high=0.7)).points() == ()


def test_the_word_declared_is_a_range_of_its_own() -> None:
    assert Range.model_validate("declared").is_declared and not Range(choices=(1,)).is_declared
    with pytest.raises(ValidationError):
        Range.model_validate("declare")
