"""What study files and overrides are refused for, and by which words."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.errors import UserError, nearest
from harness.reporting import tables
from harness.reporting.references import read_reference
from harness.study.axes import OWN_TABLES
from harness.study.expand import load_study
from harness.study.file import read_study

QUESTION = "question: why?\n"
BASE = QUESTION + "base: {dataset: phantom, architecture: unet, method: supervised}\n"
NAMELESS = QUESTION + "base: {dataset: phantom, architecture: unet}\n"


@pytest.fixture
def refusal(tmp_path: Path):
    """Return a function that loads a study and gives the message that refuses it, without the folder."""

    def load(text: str, *overrides: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            load_study(str(path), overrides)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return load


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        (
            "methods: {medcontxt: {losses: {cons: 0}}}",
            "methods.medcontxt: found an arm that no trial has;.*Did you mean 'medcontext'",
        ),
        ("methods: {mc: {name: nosuchmethod}}", "methods.mc: .*Name it as method, or remove it"),
        ("architectures: {unett: {preset: tiny}}", "architectures.unett: .*Did you mean 'unet'"),
    ],
)
def test_an_arm_that_no_trial_has(refusal, arms: str, said: str) -> None:
    assert re.search(said, refusal(BASE + f"{arms}\ngrid: {{method: [supervised, medcontext]}}"))


def test_an_arm_counts_as_used_where_an_override_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BASE.replace("unet", "mine") + "architectures: {mine: {name: unet}}")
    assert load_study(str(path), ["architecture=unetr"]).cells[0].factors["architecture"] == "unetr"


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("metrics: [dise]", "report.metrics.0: found 'dise'; expected 'dice', .* Did you mean 'dice'"),
        ("metrics: [sensitivity]", "found 'sensitivity'; expected 'dice', 'hd95', 'assd', 'nsd@1', 'nsd@2'"),
        ("metrics: [dice, dice]", "report.metrics: found dice twice"),
        ("tables: [{name: t, rows: [method], metrics: [dise]}]", "report.tables.0.metrics.0.* Did you mean 'dice'"),
        ("tables: [{name: t, rows: [method], regions: [lobee]}]", r"report.tables\[t\].regions.* Did you mean 'lobe'"),
        ("tables: [{name: t, rows: [method], roles: [teecher]}]", "roles.0.* Did you mean 'teacher'"),
        ("tables: [{name: t, rows: []}]", r"rows: found \[\]; expected at least one value"),
        ("tables: [{name: t, rows: [method], metrics: []}]", "metrics.*at least one value"),
        ("tables: [{name: t, rows: [method], regions: []}]", "regions.*at least one value"),
        ("tables: [{name: t, rows: [method], roles: []}]", "roles.*at least one value"),
        ("tables: [{name: a b, rows: [method]}]", "found 'a b'; expected letters, digits, - and _"),
        ("tables: [{name: t, rows: method}]", "found 'method'; expected a list"),
        ("tables: [{name: t, rows: [method]}, {name: t, rows: [seed, method]}]", "the name of another table"),
        ("tables: [{name: hd95, rows: [method]}]", "the name of another table"),
        *[(f"tables: [{{name: {name}, rows: [method]}}]", "the name of another table") for name in OWN_TABLES],
    ],
)  # fmt: skip
def test_a_report_that_could_not_be_made(refusal, report: str, said: str) -> None:
    assert re.search(said, refusal(BASE + f"report: {{{report}}}"))


def test_a_table_of_one_of_several_datasets_has_a_name_too(refusal) -> None:
    tables = "report: {tables: [{name: dice_phantom, rows: [dataset, method]}]}"
    assert "the name of another table" in refusal(BASE + "grid: {dataset: [phantom, hippocampus]}\n" + tables)


def test_regions_of_each_dataset_and_their_mean_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    table = "{name: t, rows: [dataset, method, region], regions: [lobe, anterior, mean]}"
    path.write_text(BASE + f"grid: {{dataset: [phantom, hippocampus]}}\nreport: {{tables: [{table}]}}")
    assert load_study(str(path)).report.tables


def test_the_tables_of_a_report_are_known_by_their_names() -> None:
    source = "".join(path.read_text() for path in Path(tables.__path__[0]).glob("*.py"))
    assert sorted(re.findall(r'name="(\w+)"', source)) == list(OWN_TABLES)


def test_a_baseline_whose_parameters_vary_is_not_one_arm(refusal) -> None:
    grid = "also: [{method: medcontext, method.masking.ratio: [0.2, 0.8]}, {method: supervised}]"
    said = refusal(BASE + f"{grid}\nreport: {{baseline: medcontext}}")
    assert (
        "report.baseline: found 'medcontext', which has method.masking.ratio" in said and "'methods'" in said
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grid: {seed: [true]}", "seed: found True; expected a number"),
        ("grid: {seed: ['0']}", "seed: found '0'; expected an integer without quotes"),
        ("grid: {recipe.steps: [true]}", "recipe.steps: found True"),
        ("grid: {recipe.patch: [[true, 32, 32]]}", "recipe.patch.0: found True"),
        ("grid: {recipe.learning_rate: [true]}", "recipe.learning_rate: found True"),
        ("also: [{recipe: {augmentation: {planar: 1}}}]", "recipe.augmentation.planar: found 1; expected true or false"),
        ("also: [{recipe: {steps: 3}, recipe.steps: 5}]", "also.recipe.steps: found 3 and 5; expected one value"),
        ("also: [{recipe: {steps: 10, warmup_steps: 100}}]", "recipe.warmup_steps: found 100; expected no more than the 10 steps"),
        (
            "also: [{method: masked_volume, method.pretrain: {steps: 10, warmup_steps: 100}}]",
            "pretrain.warmup_steps: found 100",
        ),
        ("also: [{recipe.pipeline: [[short]]}]", r"recipe.pipeline: found \['short'\]"),
        ("also: [{method: medcontext, method.preset: [[as_published]]}]", "method medcontext: preset: found"),
        ("also: [{architecture.preset: [[tiny]]}]", "architecture unet: preset: found"),
        ("methods: {a: {name: masked_volume, pretrain: 500}}\ngrid: {method: [a]}", "pretrain: found 500; expected a mapping"),
        ("grid: {[a]: 3}", "YAML that cannot be read.*a key that is a list"),
        ("grid: {? [a] : [3]}", "a key that is a list"),
        ("grid: &all {seed: *all}", "mine.yaml: found YAML that cannot be read"),
        ("grid: {seed: [2026-13-45]}", "mine.yaml: found YAML that cannot be read"),
        ("grid: {recipe: [{steps: 10}]}", r"recipe: found {'steps': 10}; .* Write for example recipe.steps: \[10, 20\]"),
        ("grid: {recipe: [10]}", r"recipe: found 10; .* Write for example recipe.steps: \[10, 20\]"),
        ("grid: {steps: [30]}", "steps: found an unknown key;.*Did you mean 'recipe.steps'"),
        ("grid: {keep: [all]}", "Move 'keep' to the top of the file"),
        ("also: [{dataset: {name: phantom}}]", "dataset: found a mapping; expected one value"),
        ("also: [{recipe.selection: best_validation}]", "recipe.validate_every: found 0; expected steps between validations"),
        ("also: [{recipe: {patch: [[32, 32]]}}]", r"recipe.patch: found \[32, 32\]; expected 3 numbers"),
        ("also: [{recipe: {patch: [[32, 32, 32, 32]]}}]", "recipe.patch: .*expected 3 numbers"),
        ("also: [{recipe.augmentation.scale_range: [[1]]}]", "recipe.augmentation.scale_range: .*expected 2 numbers"),
        ("also: [{split.exclude: 5}]", "mine.yaml: split.exclude: found 5; expected a list"),
        ("also: [{split.seed: -1}]", "mine.yaml: split.seed: found -1"),
        ("also: [{dataset: phantum}]", "mine.yaml: dataset: found dataset 'phantum', an unknown name;.*'phantom'"),
        ("grid: {architecture: [unett]}", "mine.yaml: architecture: found .*Did you mean 'unet'"),
        ("grid: {method: [supervized]}", "mine.yaml: method: found .*Did you mean 'supervised'"),
        ("methods: {a: {name: medcontxt}}\ngrid: {method: [a]}", "mine.yaml: methods.a.name: found .*'medcontext'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_where_it_stands(refusal, text: str, said: str) -> None:
    assert re.search(said, refusal(BASE + text))


@pytest.mark.parametrize(
    ("declared", "key"),
    [
        ("methods: {mine: {name: medcontext, masking: {ratio: 2}}}", "methods.mine.masking.ratio: found 2"),
        ("methods: {mine: {name: medcontext, masking: {ratoi: 0.5}}}", "methods.mine.masking.ratoi: found unknown key 'ratoi'"),
        ("methods: {mine: {name: medcontext, preset: nonesuch}}", "methods.mine.preset: found 'nonesuch'"),
        ("methods: {mine: {name: medcontext, preset: [a]}}", "methods.mine.preset: found"),
        ("methods: {mine: {name: masked_volume, pretrain: 5}}", "methods.mine.pretrain: found 5"),
        ("methods: {mine: {name: masked_volume, pretrain: {steps: many}}}", "methods.mine.pretrain.steps: found 'many'"),
        ("methods: {mine: {name: masked_volume, pretrain: {seed: mine}}}", "methods.mine.pretrain.seed: found 'mine'"),
        ("methods: {mine: {name: masked_volume, pretrain: {within: 1}}}", "methods.mine.pretrain.within: found 1"),
        (
            "methods: {mine: {name: masked_volume, pretrain: {steps: 9, warmup_steps: 10}}}",
            "methods.mine.pretrain.warmup_steps: found 10",
        ),
    ],
)  # fmt: skip
def test_a_fault_in_a_declared_arm_is_told_by_its_key(refusal, declared: str, key: str) -> None:
    assert refusal(BASE + f"{declared}\ngrid: {{method: [mine]}}").startswith(f"mine.yaml: {key}")


def test_so_it_is_of_an_architecture(refusal) -> None:
    text = BASE + "architectures: {wide: {name: unet, residual_units: many}}\ngrid: {architecture: [wide]}"
    assert refusal(text).startswith("mine.yaml: architectures.wide.residual_units: found 'many'")


def test_what_a_cell_sets_of_a_declared_arm_is_no_fault_of_the_declaration(refusal) -> None:
    arms = BASE + "methods: {mine: {name: medcontext, masking: {ratio: 0.5}}}\n"
    said = refusal(arms + "also: [{method: mine, method.masking.ratio: 2}]")
    assert said.startswith("mine.yaml: method mine: masking.ratio: found 2")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "architecture",
            QUESTION + "base: {dataset: phantom, architecture: {name: unet}, method: supervised}",
        ),
        ("method", NAMELESS + "also: [{method: {name: medcontext}}]"),
        ("method", NAMELESS + "grid: {method: [{name: medcontext}]}"),
    ],
)
def test_a_mapping_in_place_of_a_name_is_told_where_settings_go(refusal, key: str, text: str) -> None:
    said = refusal(text)
    assert f"mine.yaml: {key}: found " in said and f"{key}s: {{mine: {{name: NAME, …}}}}" in said
    assert "None" not in said


def test_no_name_at_all_is_told_as_nothing(refusal) -> None:
    assert "method: found nothing; expected the name of one method" in refusal(NAMELESS)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["recipe.steps=many"], "--set recipe.steps: found 'many'"),
        (["seed=1", "dataset=phantum"], "--set dataset: found dataset 'phantum'"),
        (["recipe.selection=best_validation"], "--set recipe.selection: recipe.validate_every: found 0"),
        (["recipe={steps: many}"], "--set recipe.steps: found 'many'"),
        (["keep=none"], "--set keep: found a key of the study's file"),
        (["except=none"], "--set except: found a key of the study's file"),
        (["report.baseline=supervised"], "--set report.baseline: found a key of the study's file"),
        (["=3"], "--set: found '=3'; expected PATH=VALUE"),
        (["seed=2026-13-45"], "--set seed: found '2026-13-45'; expected a value in YAML"),
        (["seed={[a]: 3}"], "--set seed: found"),
    ],
)
def test_an_override_is_blamed_for_its_own_fault(refusal, overrides: list[str], said: str) -> None:
    assert refusal(BASE, *overrides).startswith(said)


def test_an_override_is_not_blamed_for_the_file(refusal) -> None:
    assert refusal(BASE + "grid: {sed: [1]}", "recipe.steps=3").startswith("mine.yaml: sed")


def test_a_pipelines_own_warm_up_may_be_cut_short_by_a_trial_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        BASE.replace("phantom", "synapse") + "also: [{recipe: {pipeline: nnunet_paper, steps: 5}}]"
    )
    assert load_study(str(path), ["seed=1"]).cells[0].spec.recipe.steps == 5


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a file that cannot be read \(Is a directory\)"):
        read_study(tmp_path)


@pytest.mark.parametrize("load", [load_study, read_reference])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere/mine.yaml", "No such file or directory"),
        (f"{'x' * 300}.yaml", "File name too long"),
        ("denied/mine.yaml", "Permission denied"),
    ],
)
def test_a_path_that_leads_to_nothing_readable(tmp_path: Path, load, name: str, why: str) -> None:
    denied = tmp_path / "denied"
    denied.mkdir(0)
    if name.startswith("denied") and os.access(denied, os.X_OK):
        pytest.skip("this user may search every folder")
    with pytest.raises(UserError, match=rf"\.yaml: found a file that cannot be read \({why}\)"):
        load(str(tmp_path / name))


@pytest.mark.parametrize("load", [load_study, read_reference])
@pytest.mark.parametrize("name", ["", "x" * 300, "/etc/hosts", "../README"])
def test_a_name_of_nothing_shipped(load, name: str) -> None:
    with pytest.raises(
        UserError, match=r"an unknown name; expected a shipped \w+ or the path of a \.yaml file"
    ):
        load(name)


def test_the_nearest_option_is_one_that_lacks_its_path_only() -> None:
    assert nearest("steps", ["shots", "recipe.steps"]) == "recipe.steps"
    assert nearest("zzz", ["shots"]) is None


@pytest.mark.parametrize("name", ["trials", "running", "published", "launch", "shares.json"])
def test_a_study_may_not_be_called_as_what_lies_beside_its_output(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.yaml").write_text(BASE + "grid: {method: [supervised]}")
    with pytest.raises(UserError, match=f"a study called {name}; expected a name of its own"):
        load_study(str(tmp_path / f"{name}.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "grid: {method: [supervised], seed: [010]}",
            "010, which YAML reads as 8: write 8, or '010' in quotes",
        ),
        ("grid: {method: [supervised], seed: [1:30]}", "1:30, which YAML reads as 90"),
        ("grid: {method: [supervised], recipe.learning_rate: [1:30.5]}", "1:30.5, which YAML reads as 90.5"),
        (
            "methods: {on: {name: supervised}}\ngrid: {method: [supervised]}",
            "a key on, which YAML reads as a truth",
        ),
        ("grid: {method: [off, supervised]}", "False, which is what YAML makes of on, off, yes and no"),
    ],
)
def test_what_yaml_reads_otherwise_than_it_looks_is_refused(refusal, text: str, said: str) -> None:
    assert said in refusal(BASE + text)
