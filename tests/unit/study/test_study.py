"""Study files: what they expand to, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.study.contrast_checks import planned_arms
from harness.study.contrasts import expand
from harness.study.expand import load_study
from harness.study.file import study_names
from harness.study.selection import choose_cells, plan_entry, skip_lines
from harness.study.study import Study

BASE = "question: why?\nbase: {dataset: phantom, architecture: unet, method: supervised}\n"


@pytest.fixture
def study(tmp_path: Path):
    def load(text: str, *overrides: str) -> Study:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return load_study(str(path), overrides)

    return load


@pytest.mark.parametrize("name", study_names())
def test_every_shipped_study_plans(name: str) -> None:
    loaded = load_study(name)
    assert loaded.question.endswith("?") and loaded.cells
    assert len({cell.spec.id for cell in loaded.cells}) == len(loaded.cells)


def test_a_grid_is_a_product_in_the_order_of_declaration(study) -> None:
    cells = study(BASE + "grid: {shots: [2, all], seed: [0, 1]}").cells
    assert [(cell.spec.shots, cell.spec.seed) for cell in cells] == [(2, 0), (2, 1), ("all", 0), ("all", 1)]


def test_cells_that_are_equal_are_one_trial(study) -> None:
    assert len(study(BASE + "grid: {seed: [0, 1]}\nalso: [{seed: 1}, {seed: [1, 2]}]").cells) == 3


def test_few_cases_can_be_drawn_anew_for_each_seed_and_are_no_row_of_their_own(study) -> None:
    loaded = study(BASE + "grid: {shots: [2], seed: [0, 3], subset: [per_seed]}")
    assert [(cell.spec.seed, cell.spec.subset) for cell in loaded.cells] == [(0, 0), (3, 3)]
    assert loaded.varying() == ("seed",)
    assert study(BASE + "grid: {shots: [2], subset: [3], seed: [3]}").cells[0].spec == loaded.cells[1].spec
    everything = study(BASE + "grid: {shots: [all], seed: [3], subset: [per_seed]}").cells[0]
    assert everything.spec == study(BASE + "grid: {seed: [3]}").cells[0].spec
    with pytest.raises(UserError, match="found per_seed beside 3, which is the draw of seed 3"):
        study(BASE + "grid: {shots: [2], seed: [3], subset: [3, per_seed]}")


def test_lists_in_lists_are_values_of_a_factor_and_tell_arms_apart(study) -> None:
    flat, full = [[2, 2, 1]] * 3, [[2, 2, 2]] * 3
    text = (
        "architectures: {dynunet: {filters: [8, 16, 32, 64]}}\ngrid:\n  architecture: [dynunet]\n"
        f"  recipe.patch: [[32, 32, 16], [32, 16, 16]]\n  architecture.strides: [{flat}, {full}]\n"
        f"report: {{contrasts: [{{name: n, of: {{architecture.strides: {flat}}}, to: {{architecture.strides: {full}}}, PLACE}}]}}"
    )
    pooled = study(BASE + text.replace("PLACE", "pool: all"))
    (found,) = expand(pooled.report.contrasts[0], planned_arms(pooled), "supervised")
    assert found.pooled == ("recipe.patch",) and found.levels == 2
    assert {term.arm["architecture.strides"] for term in found.terms} == {((2, 2, 1),) * 3, ((2, 2, 2),) * 3}
    apart = study(BASE + text.replace("PLACE", "between: {recipe.patch: [[32, 32, 16], [32, 16, 16]]}"))
    (found,) = expand(apart.report.contrasts[0], planned_arms(apart), "supervised")
    assert len(found.terms) == 4


def test_a_block_takes_the_keys_of_another_by_yaml(study) -> None:
    loaded = study(
        BASE
        + "also: [&first {shots: 2, recipe: &own {steps: 5}}, {<<: *first, shots: 4, recipe: {<<: *own, patch: [[16, 16, 16]]}}]"
    )
    assert [(cell.spec.shots, cell.steps) for cell in loaded.cells] == [(2, 5), (4, 5)]
    assert loaded.cells[1].spec.recipe.patch == (16, 16, 16)


def test_the_study_over_three_datasets_has_no_trial_of_its_own() -> None:
    parts = [load_study(name) for name in ("hippocampus_settling", "acdc_cpu_medcontext", "chaos_folds")]
    own = {cell.spec.id for cell in load_study("three_datasets").cells}
    of_parts = [{cell.spec.id for cell in part.cells} for part in parts]
    assert own <= set().union(*of_parts) and all(own & ids for ids in of_parts)


def test_without_grid_the_base_is_the_one_trial(study) -> None:
    assert len(study(BASE).cells) == 1


def test_exceptions_are_skipped_with_their_reason(study) -> None:
    loaded = study(BASE + "grid: {seed: [0, 1]}\nexcept: [{seed: 1, reason: too slow}]")
    assert [cell.spec.seed for cell in loaded.cells] == [0]
    assert [(skip.factors["seed"], skip.reason) for skip in loaded.skipped] == [(1, "too slow")]


@pytest.mark.parametrize(
    ("entry", "left"),
    [
        ("{seed: [0, 2], reason: x}", [("unet", 1), ("unetr", 1)]),
        (
            "{seed: [0, 1], architecture: unetr, reason: x}",
            [("unet", 0), ("unet", 1), ("unet", 2), ("unetr", 2)],
        ),
    ],
)
def test_lists_in_an_exception_are_alternatives_and_its_keys_a_conjunction(study, entry: str, left) -> None:
    loaded = study(BASE + f"grid: {{architecture: [unet, unetr], seed: [0, 1, 2]}}\nexcept: [{entry}]")
    assert [(cell.factors["architecture"], cell.spec.seed) for cell in loaded.cells] == left
    assert len(loaded.skipped) == 6 - len(left)


def test_an_exception_may_name_a_value_that_is_a_list_or_lies_deep(study) -> None:
    grid = BASE + "grid: {recipe.patch: [[32, 32, 16], [16, 16, 32]]}\n"
    loaded = study(grid + "except: [{recipe: {patch: [16, 16, 32]}, reason: x}]")
    assert [cell.spec.recipe.patch for cell in loaded.cells] == [(32, 32, 16)]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{seed: 1}", "reason"),
        ("{seed: 1, reason: null}", "reason"),
        ("{seed: 1, reason: x}, {sed: 1, reason: x}", r"except\[1\]"),
        ("{reason: none}", "reason"),
        ("{sed: 1, reason: x}", "seed"),
        ("{seed: 9, reason: x}", r"except\[0\]\.seed: found 9"),
        ("{seed: [0, 9], reason: x}", r"except\[0\]\.seed: found 9"),
        ("{method: supervisd, reason: x}", "Did you mean 'supervised'"),
        ("{architecture: unetr, seed: 1, reason: x}", "values that one cell has together"),
    ],
)
def test_exceptions_that_cannot_be(study, entry: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        study(
            BASE + "grid: {architecture: [unet], seed: [0, 1]}\n"
            f"also: [{{architecture: unetr, seed: 0}}]\nexcept: [{entry}]"
        )


def test_a_cell_that_cannot_be_is_skipped_and_the_others_are_not(study) -> None:
    loaded = study(BASE + "grid: {architecture: [unet, unetr, swin_unetr]}")
    assert [cell.factors["architecture"] for cell in loaded.cells] == ["unet", "unetr"]
    assert "[32, 32, 32]" in loaded.skipped[0].reason
    tokens = study(BASE + "also: [{method: medcontext, method.masking.level: token}]")
    assert not tokens.cells and "no patch tokens" in tokens.skipped[0].reason


def test_arms_are_named_sets_of_settings(study) -> None:
    arms = "methods: {released: {name: medcontext, preset: as_released, losses: {cons: 2}}}\n"
    cell = study(BASE + arms + "grid: {method: [released]}").cells[0]
    assert cell.factors["method"] == "released" and cell.spec.method.name == "medcontext"
    assert cell.spec.method.parameters["teacher"]["index"] == "in_epoch"
    assert cell.spec.method.parameters["losses"]["cons"] == 2.0


def test_dotted_keys_reach_into_parameters_and_every_cell_knows_their_value(study) -> None:
    loaded = study(
        BASE + "grid: {method: [medcontext], method.masking.ratio: [0.2, 0.8]}\n"
        "also: [{method: [medcontext, supervised], seed: 1}]"
    )
    assert [cell.factors["method.masking.ratio"] for cell in loaded.cells] == [0.2, 0.8, 0.4, None]
    assert loaded.varying() == ("method", "seed", "method.masking.ratio")
    assert loaded.cells[0].label().endswith("seed 0 · method.masking.ratio=0.2")
    assert "method.masking" not in loaded.cells[-1].label()  # it has no such parameter


def test_cells_that_name_no_pipeline_have_that_of_the_base_where_others_name_one(study) -> None:
    base = BASE.replace("dataset: phantom", "dataset: hippocampus, recipe.pipeline: short", 1)
    loaded = study(base + "also: [{seed: 1}, {seed: 1, recipe.pipeline: half_hour}]")
    assert [cell.factors["recipe.pipeline"] for cell in loaded.cells] == ["short", "half_hour"]
    assert "recipe.pipeline" not in study(base + "also: [{seed: 1}]").factors


def test_overrides_replace_settings_of_the_base(study) -> None:
    assert study(BASE, "recipe.steps=7").cells[0].spec.recipe.steps == 7
    with pytest.raises(UserError, match="--only"):
        study(BASE + "grid: {recipe.steps: [5, 6]}", "recipe.steps=7")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("question: [", "YAML"),
        ("- a list", "mapping"),
        ("base: {}", "question"),
        (BASE + "grid: {seed: []}", "empty list"),
        (BASE + "grid: {seed: 3}", "list"),
        (BASE + "grid: {sed: [1]}", "Did you mean 'seed'"),
        (BASE + "methods: {a: {name: medcontxt}}\nalso: [{method: a}]", "Did you mean 'medcontext'"),
        (BASE + "methods: {a: {name: medcontext, preset: as_publishd}}\nalso: [{method: a}]", "as_published"),
        (BASE + "methods: {a: {name: 3}}\nalso: [{method: a}]", r"methods\.a\.name"),
        (BASE + "also: [3]", r"also\.0"),
        ("", "mapping"),
        (BASE + "grid: {recipe.stpes: [1]}", "Did you mean 'steps'"),
        (BASE + "grid: {method: [medcontext], method.masking.ratoi: [1]}", "Did you mean 'ratio'"),
        (BASE + "grid: {split.sed: [1]}", r"split\.sed.*Did you mean 'seed'"),
        (BASE + "architectures: {unet: {preset: huge}}", "paper"),
        (BASE + "architectures: {unet: {chanels: [8]}}", "channels"),
        (BASE + "report: {row: [shots]}", "rows"),
    ],
)
def test_mistakes_are_named(study, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        study(text)


def test_filters_choose_by_the_keys_of_the_plan(study) -> None:
    loaded = study(BASE + "grid: {shots: [2, all], seed: [0, 1, 2]}")
    assert len(choose_cells(loaded, ["shots=all"])) == 3
    assert len(choose_cells(loaded, ["seed=0", "seed=1", "shots=2"])) == 2
    assert len(choose_cells(loaded, [])) == 6
    for filters, said in (
        (["seed=3"], "no trial that passes"), (["sed=0"], "Did you mean 'seed'"), (["seed"], "KEY=VALUE"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            choose_cells(loaded, filters)


def test_filters_take_the_registered_name_and_the_name_of_the_arm(study) -> None:
    arms = "methods: {released: {name: medcontext, preset: as_released}}\n"
    loaded = study(BASE + arms + "grid: {method: [supervised, released]}")
    chosen = choose_cells(loaded, ["arm=released"])
    assert len(chosen) == 1 and chosen == choose_cells(loaded, ["method=medcontext"])
    assert chosen == choose_cells(loaded, ["method=released"])


def test_filters_and_plan_know_the_names_of_architectures(study) -> None:
    loaded = study(BASE + "architectures: {big: {name: unet}, large: {name: unet, channels: [8, 16]}}\n"
                   "grid: {architecture: [big, large]}")  # fmt: skip
    (chosen,) = choose_cells(loaded, ["architecture=large"])
    entry = plan_entry(chosen)
    assert (entry["architecture"], entry["network"]) == ("unet", "large")
    assert choose_cells(loaded, ["network=large"]) == [chosen]
    assert len(choose_cells(loaded, ["architecture=unet"])) == 2
    assert "network" not in plan_entry(study(BASE + "grid: {seed: [0]}").cells[0])


def test_what_is_skipped_is_named_by_what_differs(study) -> None:
    loaded = study(BASE + "grid: {shots: [2, 4], seed: [0, 1]}\nexcept: [{shots: 4, reason: too dear}]")
    assert list(skip_lines(loaded)) == [
        "skipped: shots=4, seed=0: too dear",
        "skipped: shots=4, seed=1: too dear",
    ]


def test_a_key_that_stands_twice_is_refused(study) -> None:
    with pytest.raises(UserError, match="key 'grid' twice"):
        study(BASE + "grid: {seed: [0]}\ngrid: {seed: [1]}")


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("{rows: [shots, sead]}", "Did you mean 'seed'"),
        ("{baseline: supervized}", "Did you mean 'supervised'"),
        ("{baselin: supervised}", "Did you mean 'baseline'"),
        ("{tables: [{name: t, rows: [method]}]}", r"tables\[t\].*neither rows nor columns have shots"),
        ("{tables: [{name: t, rows: [shots, role], roles: [student, teacher]}]}", "have method"),
        ("{tables: [{name: t, rows: [shots, method], metrics: [dice, hd95]}]}", "have metric"),
        ("{tables: [{name: t, rows: [shot, method]}]}", "Did you mean 'shots'"),
    ],
)
def test_what_the_report_names_must_be_in_the_study(study, report: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        study(BASE + f"grid: {{shots: [2, all], seed: [0, 1]}}\nreport: {report}")


def test_a_table_may_show_what_a_search_has_still_to_set(study) -> None:
    searched = (
        "grid: {recipe.validate_every: [100]}\n"
        "search:\n  parameters: {recipe.learning_rate: {low: 0.001, high: 0.01}}\n  arms: {supervised: {}}\n"
        "  suggestions: 2\n  seeds: [0]\n  confirm: {seeds: [1]}\nreport: {tables: [{name: t, rows: [method, ROW]}]}"
    )
    assert study(BASE + searched.replace("ROW", "setting")).report.tables
    with pytest.raises(UserError, match="Did you mean 'setting'"):
        study(BASE + searched.replace("ROW", "seting"))


@pytest.mark.parametrize("name", study_names())
def test_every_shipped_study_has_a_plan(name: str) -> None:
    study = load_study(name)
    assert study.cells and study.question.endswith("?")
    baseline = study.report.baseline
    assert baseline in {cell.factors["method"] for cell in study.cells}
