"""Pretrainings as nodes of the plan: which there are, who waits for them, and what their failure does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.errors import UserError
from harness.progress.missing import missing_cells
from harness.records.processes import Process
from harness.records.schema import Cause, TrialRecord
from harness.records.store import Store
from harness.reporting.frames import PROTOCOL_COLUMNS
from harness.reporting.provenance import undeclared_differences
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.study.selection import choose_cells, plan_entry
from harness.study.study import Study
from harness.sweep.agenda import Agenda, plain_work

STUDY = """
question: Does pretraining help?
methods:
  arm: {name: masked_volume, pretrain: {steps: 20SEED}}
base: {dataset: phantom, architecture: unet, recipe: {steps: 10}}
grid: {method: [supervised, arm], shots: [2, 5, all], seed: [0, 1, 2]}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Study]:
    def load(text: str = STUDY, seed: str = "", *overrides: str) -> Study:
        path = tmp_path / "mine.yaml"
        path.write_text(text.replace("SEED", f", seed: {seed}" if seed else ""))
        return load_study(str(path), overrides)

    return load


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def publish(store: Store, spec: TrialSpec, cause: Cause | None = None) -> None:
    attempt = store.claim(spec.id, Process.this())
    assert attempt
    status: Any = "failed" if cause else "complete"
    untested = spec.model_copy(update={"tested": False})  # a record that needs no scores
    attempt.publish(TrialRecord(id=spec.id, status=status, kind=spec.kind, spec=untested, cause=cause))


@pytest.mark.parametrize(("seed", "count"), [("", 3), ("paired", 3), ("shared", 1)])
def test_three_shots_and_three_seeds_share_their_pretrainings(load, seed: str, count: int) -> None:
    study = load(seed=seed)
    assert len(study.nodes) == count and len(study.cells) == 18
    nodes = {node.spec.id: node for node in study.nodes}
    for cell in study.cells:
        node = nodes.get(cell.spec.pretraining)
        if cell.factors["method"] == "supervised":
            assert node is None and cell.spec.pretraining is None
            continue
        assert node and node.spec.id == cell.spec.pretraining
        assert (node.spec.kind, node.spec.shots, node.spec.recipe.steps) == ("pretrain", "all", 20)
        assert node.spec.seed == (0 if seed == "shared" else cell.spec.seed)


def test_a_pretraining_knows_nothing_of_how_its_trials_are_trained_and_scored(load) -> None:
    node = load().nodes[0].spec
    for override in ("recipe.learning_rate=0.1", "recipe.overlap=0.1", "recipe.loss=dice_ce_nnunet"):
        assert load(STUDY, "", override).nodes[0].spec == node, override
    for override in (
        "recipe.patch=[32, 32, 32]",
        "recipe.batch=1",
        "split.seed=1",
        "architecture.dropout=0.5",
    ):
        assert load(STUDY, "", override).nodes[0].spec != node, override


def test_its_settings_change_its_id_and_that_of_its_trials(load) -> None:
    one, other = load(), load(STUDY.replace("steps: 20", "steps: 21"))
    assert not {cell.spec.id for cell in one.nodes} & {cell.spec.id for cell in other.nodes}
    arms = [{c.spec.id for c in study.cells if c.factors["method"] == "arm"} for study in (one, other)]
    assert not arms[0] & arms[1]


def test_its_steps_can_be_a_factor_and_default_to_those_of_the_trial(load) -> None:
    text = (
        STUDY.replace(", pretrain: {steps: 20SEED}", "")
        + "also: [{method: arm, method.pretrain.steps: [5, 7]}]"
    )
    assert [node.spec.recipe.steps for node in load(text).nodes] == [10, 10, 10, 5, 7]


@pytest.mark.parametrize(
    ("settings", "message"),
    [("stepz: 3", "stepz.*steps"), ("seed: mine", "paired or shared"), ("steps: many", "integer")],
)
def test_wrong_settings_are_refused_by_name(load, settings: str, message: str) -> None:
    with pytest.raises(UserError, match=f"pretrain.*{message}"):
        load(STUDY.replace("steps: 20SEED", settings))


def test_a_method_without_that_stage_has_no_such_key(load) -> None:
    with pytest.raises(UserError, match="unknown key 'pretrain'"):
        load(STUDY.replace("name: masked_volume", "name: medcontext"))


def test_plan_and_status_name_and_count_them(load, medctx, tmp_path: Path) -> None:
    load()
    plan = json.loads(medctx("plan", tmp_path / "mine.yaml", "--json").out)
    kinds = [trial["kind"] for trial in plan["trials"]]
    assert kinds == ["pretrain"] * 3 + ["train"] * 18
    nodes = {trial["id"] for trial in plan["trials"][:3]}
    assert {trial.get("pretraining") for trial in plan["trials"][3:]} == {None, *nodes}
    counts = json.loads(medctx("status", tmp_path / "mine.yaml", "--json", "--results", tmp_path / "r").out)
    assert counts["planned"] == counts["pending"] == 21
    assert "pretrain" in medctx("plan", tmp_path / "mine.yaml").out


def test_what_is_chosen_brings_the_pretraining_that_it_needs(load) -> None:
    study = load()
    chosen = choose_cells(study, ["arm=arm", "seed=1", "shots=2"])
    assert [cell.spec.kind for cell in chosen] == ["pretrain", "train"]
    assert chosen[0].spec.id == chosen[1].spec.pretraining
    assert {cell.spec.kind for cell in choose_cells(study, ["kind=pretrain"])} == {"pretrain"}
    assert len(choose_cells(study, ["arm=supervised"])) == 9


def test_a_pretraining_is_missing_only_while_a_trial_waits_for_it(load, store: Store) -> None:
    study = load()
    chosen = choose_cells(study, ["arm=arm", "seed=1"])
    node, *trials = chosen
    assert missing_cells(chosen, store) == chosen
    for trial in trials:
        publish(store, trial.spec)
    assert missing_cells(chosen, store) == []
    assert missing_cells([node], store) == [node]  # asked for by itself


def test_a_trial_is_handed_out_once_its_pretraining_is_complete(load, store: Store) -> None:
    study = load()
    node, *trials = choose_cells(study, ["arm=arm", "seed=1"])
    agenda = Agenda(plain_work([*trials, node], store), store)
    first = agenda.next()
    assert first and first.spec == node.spec
    assert agenda.next() is None
    publish(store, node.spec)
    agenda.returned(node.spec.id)
    assert [agenda.next().spec.shots for _ in range(3)] == [2, 5, "all"]


def test_a_failed_pretraining_fails_its_trials_with_its_id_and_no_others(load, store: Store) -> None:
    study = load()
    cells = choose_cells(study, ["seed=1"])
    node = cells[0]
    agenda = Agenda(plain_work(cells, store), store)
    agenda.next()
    publish(store, node.spec, Cause(kind="nan", message="the loss is nan"))
    agenda.returned(node.spec.id)
    handed = [agenda.next().spec for _ in range(3)]
    assert [spec.method.name for spec in handed] == ["supervised"] * 3
    for spec in handed:
        publish(store, spec)
        agenda.returned(spec.id)
    assert agenda.next() is None and agenda.finished
    for cell in cells:
        if cell.spec.pretraining:
            record = store.record(cell.spec.id)
            assert record and record.cause and record.cause.kind == "pretraining"
            assert record.cause.message == f"pretraining {node.spec.id} failed"


def test_a_plan_entry_names_the_pretraining(load) -> None:
    cell = next(cell for cell in load().cells if cell.spec.pretraining)
    assert plan_entry(cell)["pretraining"] == cell.spec.pretraining


def test_a_pretraining_within_the_recipe_leaves_the_rest_of_its_steps(load) -> None:
    study = load(STUDY.replace("steps: 20SEED", "steps: 4, within: true"))
    steps = {cell.factors["method"]: cell.spec.recipe.steps for cell in study.cells}
    assert steps == {"supervised": 10, "arm": 6}
    assert {node.spec.recipe.steps for node in study.nodes} == {4}


@pytest.mark.parametrize("steps", [10, 20])
def test_a_pretraining_within_the_recipe_must_leave_some_steps(load, steps: int) -> None:
    with pytest.raises(UserError, match=f"pretrain.steps: found {steps} within the 10 of the recipe"):
        load(STUDY.replace("steps: 20SEED", f"steps: {steps}, within: true"))


@pytest.mark.parametrize(("pretrained", "told"), [(4, False), (0, True), (6, True)])
def test_steps_of_a_pretraining_within_the_budget_are_no_undeclared_difference(
    pretrained: int, told: bool
) -> None:
    frame = pd.DataFrame({name: ["same", "same"] for name in PROTOCOL_COLUMNS})
    frame = frame.assign(method=["supervised", "arm"], steps=[10, 6], pretraining_steps=[0, pretrained])
    frame = frame.assign(declared_steps=[10, 10], shots=2, subset=0)
    assert bool(undeclared_differences(frame, ["method"])) == told


def test_an_arm_with_a_pretraining_within_its_steps_has_the_declared_number_as_a_factor(load) -> None:
    study = load(
        STUDY.replace("steps: 20SEED", "steps: 4, within: true")
        + "also: [{method: supervised, recipe.steps: [4, 20]}]\n"
    )
    steps = {
        (cell.factors["recipe.steps"], cell.spec.recipe.steps)
        for cell in study.cells
        if cell.spec.pretraining
    }
    assert steps == {(10, 6)}


def test_within_is_true_or_false(load) -> None:
    with pytest.raises(UserError, match=r"pretrain\.within: found 'half'; expected true or false"):
        load(STUDY.replace("steps: 20SEED", "steps: 4, within: half"))
