"""A search goes on after any kill with the suggestions of one that was never killed."""

from __future__ import annotations

import random
from pathlib import Path

import optuna
import pytest
from fake_trials import STUDY, dice, run, run_search, write_study

from harness.errors import UserError
from harness.progress.known import KnownStudy
from harness.records.schema import TrialRecord
from harness.records.store import Attempt, Store
from harness.search.findings import JOURNAL, Suggestion
from harness.search.optuna_journal import Journal, importances, read_findings
from harness.spec import TrialSpec
from harness.study.study import Study
from harness.sweep.agenda import Task
from harness.sweep.suggestions import search_work

PRUNING = STUDY.replace("  startup: 3\n", "  startup: 3\n  prune: {at: 0.5, keep: 0.5, warmup: 2}\n")


class Killed(BaseException):
    """The driver dies."""


def suggestions(study: Study, results: Path) -> list[Suggestion]:
    (found,) = read_findings(study, results / study.name)
    return list(found.suggestions)


def count_or_kill(monkeypatch: pytest.MonkeyPatch, kill_at: int | None) -> list[str]:
    """Make the driver die before its ``kill_at``-th write; return the writes so far, by kind."""
    seen: list[str] = []

    def counted(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def wrapper(self: object, *arguments: object, **options: object) -> object:
            seen.append(name)
            if kill_at is not None and len(seen) == kill_at:
                raise Killed
            return original(self, *arguments, **options)

        monkeypatch.setattr(owner, name, wrapper)

    counted(Journal, "_add")
    counted(Journal, "tell")
    counted(Attempt, "publish")
    counted(Attempt, "pause")
    return seen


@pytest.mark.parametrize("text", [STUDY, PRUNING], ids=["whole", "pruning"])
def test_killed_at_any_write_it_ends_with_the_same_suggestions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    study = write_study(
        tmp_path, text.replace("suggestions: 7", "suggestions: 5").replace("batch: 3", "batch: 2")
    )
    with monkeypatch.context() as patch:
        writes = count_or_kill(patch, None)
        run_search(study, tmp_path / "whole")
    expected = suggestions(study, tmp_path / "whole")
    assert len(expected) == 5 == writes.count("_add") == writes.count("tell")
    assert ("pause" in writes) == (text == PRUNING)
    for number in range(1, len(writes) + 1, 2 if text == STUDY else 3):
        results = tmp_path / str(number)
        with monkeypatch.context() as patch:
            count_or_kill(patch, number)
            with pytest.raises(Killed):
                run_search(study, results)
        for claim in (results / "running").glob("*/claim.json"):
            claim.unlink()  # as the death of the process makes them stale
        run_search(study, results)
        assert suggestions(study, results) == expected, f"killed before write {number}, {writes[number - 1]}"
        assert {p.name for p in (results / "trials").iterdir()} == {
            p.name for p in (tmp_path / "whole" / "trials").iterdir()
        }


def test_a_journal_cut_at_any_byte_is_read_and_gone_on_with(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    run_search(study, tmp_path)
    expected = suggestions(study, tmp_path)
    journal = tmp_path / study.name / JOURNAL
    whole = journal.read_bytes()
    rng = random.Random(0)
    for size in [0, 1, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(12))]:
        journal.write_bytes(whole[:size])
        assert len(suggestions(study, tmp_path)) <= 7  # reading mends nothing
        assert journal.stat().st_size == size
        assert run_search(study, tmp_path) == []  # all trials are there
        assert suggestions(study, tmp_path) == expected


def test_a_journal_that_is_none_is_refused(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    (tmp_path / study.name).mkdir()
    for text in ("nonsense\nand more\n", '{"op_code": 4}\n'):
        (tmp_path / study.name / JOURNAL).write_text(text)
        with pytest.raises(UserError, match="a journal that Optuna cannot read"):
            run_search(study, tmp_path)
        with pytest.raises(UserError, match="Move it away"):
            suggestions(study, tmp_path)


def test_the_order_in_which_trials_end_does_not_matter(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    run_search(study, tmp_path / "a")
    run_search(study, tmp_path / "b", order=lambda cells: random.Random(1).sample(list(cells), len(cells)))
    assert suggestions(study, tmp_path / "a") == suggestions(study, tmp_path / "b")


def test_they_are_told_in_order_and_a_batch_knows_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study(tmp_path)
    tell, told = Journal.tell, []
    monkeypatch.setattr(
        Journal, "tell", lambda self, one, rung=None: (told.append(one.number), tell(self, one, rung))
    )
    store = Store(tmp_path)
    states = []
    for work in search_work(study, store):
        states.append("".join(one.state[0] for one in suggestions(study, tmp_path)))
        for cell in work.cells:
            run(store, Task(cell.spec, work.pause_at))
            assert "".join(one.state[0] for one in suggestions(study, tmp_path)) == states[-1]
    assert states == ["rrr", "cccrrr", "ccccccr", "ccccccc"] and told == list(range(7))


def test_two_drivers_on_one_folder_make_one_search(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    run_search(study, tmp_path / "one")
    store = Store(tmp_path / "two")
    drivers = [search_work(study, store), search_work(study, store)]
    while drivers:
        works = [next(driver, None) for driver in drivers]
        drivers = [driver for driver, work in zip(drivers, works, strict=True) if work]
        for cell in {cell.spec.id: cell for work in works if work for cell in work.cells}.values():
            run(store, Task(cell.spec, None))
    assert suggestions(study, tmp_path / "two") == suggestions(study, tmp_path / "one")


def test_the_objective_is_the_mean_over_seeds_and_the_best_are_confirmed_with_fresh_ones(
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path)
    before = [cell.factors["setting"] for cell in study.cells]
    assert (
        before == ["default"] * 2
        and KnownStudy(study, read_findings(study, tmp_path / study.name)).study == study
    )
    *searched, last = run_search(study, tmp_path)
    cells = {
        tuple(cell.factors[key] for key in ("method.masking.ratio", "recipe.learning_rate")): cell
        for work in searched
        for cell in work.cells
    }
    found = suggestions(study, tmp_path)
    for one in found:
        spec = cells[one.values["method.masking.ratio"], one.values["recipe.learning_rate"]].spec
        assert not spec.tested
        assert one.objective == pytest.approx(dice(spec, 40) + 0.01 * (0.5 - spec.seed))
        assert one.values["method.teacher.m0"] == spec.method.parameters["teacher"]["m0"]
    best = sorted(found, key=lambda one: -(one.objective or 0))[:2]
    assert [(cell.spec.tested, cell.spec.seed) for cell in last.cells] == [(True, 10), (True, 11)] * 2
    assert [cell.spec.recipe.learning_rate for cell in last.cells[::2]] == [
        one.values["recipe.learning_rate"] for one in best
    ]
    cells_of_report = KnownStudy(study, read_findings(study, tmp_path / study.name)).study.cells
    assert [cell.factors["setting"] for cell in cells_of_report[2:]] == ["best 1"] * 2 + ["best 2"] * 2


def test_tpe_comes_closer_than_its_first_random_suggestions(tmp_path: Path) -> None:
    text = STUDY.replace("suggestions: 7", "suggestions: 24").replace("startup: 3", "startup: 8")
    study = write_study(tmp_path, text)
    run_search(study, tmp_path)
    found = [one.objective or 0 for one in suggestions(study, tmp_path)]
    assert sum(found[12:]) / 12 > sum(found[:8]) / 8 + 0.03
    shares = importances(read_findings(study, tmp_path / study.name)[0])
    assert (
        sum(shares.values()) == pytest.approx(1)
        and min(shares, key=shares.__getitem__) == "method.teacher.m0"
    )


def fails_above(limit: float):
    def fails(spec: TrialSpec) -> str:
        too_high = spec.method.parameters["masking"]["ratio"] > limit and spec.seed == 1
        return "nan" if too_high and not spec.tested else ""

    return fails


def test_a_failed_suggestion_is_told_and_counted_and_the_search_goes_on(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    run_search(study, tmp_path, fails=fails_above(0.6))
    found = suggestions(study, tmp_path)
    failed = [one for one in found if one.state == "failed"]
    assert len(found) == 7 and 0 < len(failed) < 7
    for one in found:
        assert (one.state == "failed") == (one.values["method.masking.ratio"] > 0.6)
    assert all(one.reason == "seed 1: nan: as it was told to" and one.objective is None for one in failed)
    assert run_search(study, tmp_path) == []


def test_the_sampler_leaves_where_suggestions_fail(tmp_path: Path) -> None:
    text = STUDY.replace("suggestions: 7", "suggestions: 30").replace("startup: 3", "startup: 6")
    study = write_study(tmp_path, text)
    run_search(study, tmp_path, fails=fails_above(0.5))  # the best ratio, 0.6, lies beyond
    failed = [one.state == "failed" for one in suggestions(study, tmp_path)]
    assert sum(failed[:6]) >= 2 and sum(failed[-15:]) <= 5  # without the lesson: all 15


def test_a_suggestion_that_cannot_be_is_failed_without_a_trial(tmp_path: Path) -> None:
    text = STUDY.replace("method.masking.ratio: declared", "method.masking.ratio: {choices: [0.001, 0.5]}")
    study = write_study(tmp_path, text.replace("tpe", "random"))
    searched = run_search(study, tmp_path)
    found = suggestions(study, tmp_path)
    impossible = [one for one in found if one.values["method.masking.ratio"] == 0.001]
    assert impossible and all("hides nothing" in one.reason and one.state == "failed" for one in impossible)
    assert sum(len(work.cells) for work in searched[:-1]) == 2 * (7 - len(impossible))


def test_pruning_stops_the_lower_half_of_whole_suggestions_at_the_rung(tmp_path: Path) -> None:
    study = write_study(tmp_path, PRUNING)
    works = run_search(study, tmp_path)
    found = suggestions(study, tmp_path)
    store = Store(tmp_path)
    pruned = [one for one in found if one.state == "pruned"]
    assert pruned and all(one.number >= 2 for one in pruned)
    assert [work.pause_at for work in works[:2]] == [20, None]
    (arm,) = study.search.arms
    reached: list[float] = []
    for start in (0, 3, 6):
        batch = found[start : start + 3]
        at_rung = {}
        for one in batch:
            specs = [cell.spec for cell in arm.suggested(one.values).cells]
            at_rung[one.number] = sum(dice(spec, 20) for spec in specs) / 2
            assert {store.status(spec.id) for spec in specs} == {one.state}
            records = [store.record(spec.id) for spec in specs]
            assert all(
                isinstance(r, TrialRecord) and bool(r.cause) == (one.state == "pruned") for r in records
            )
        reached += at_rung.values()
        middle = (
            sorted(reached)[len(reached) // 2]
            if len(reached) % 2
            else sum(sorted(reached)[len(reached) // 2 - 1 :][:2]) / 2
        )
        for one in batch:
            assert (one.state == "pruned") == (one.number >= 2 and at_rung[one.number] < middle)
            if one.state == "pruned":
                assert one.objective == pytest.approx(at_rung[one.number]) and "at step 20" in one.reason
    assert not list((tmp_path / "running").glob("[!.]*")) and not list(
        (tmp_path / "trials").glob("*/resume.pt")
    )


def test_of_a_suggestion_that_failed_before_its_rung_nothing_is_left_open(tmp_path: Path) -> None:
    study = write_study(tmp_path, PRUNING)
    run_search(study, tmp_path, fails=fails_above(0.6))
    failed = [one for one in suggestions(study, tmp_path) if one.state == "failed"]
    (arm,) = study.search.arms
    for one in failed:
        states = [Store(tmp_path).status(cell.spec.id) for cell in arm.suggested(one.values).cells]
        assert states in (["pruned", "failed"], ["complete", "failed"])
    assert failed and not list((tmp_path / "running").glob("[!.]*"))


def test_a_search_without_pruning_goes_on_with_trials_that_another_had_pruned(tmp_path: Path) -> None:
    run_search(write_study(tmp_path, PRUNING), tmp_path)
    study = write_study(tmp_path)
    run_search(study, tmp_path)
    assert {one.state for one in suggestions(study, tmp_path)} == {"complete"}


def test_a_longer_search_goes_on_and_an_edited_one_begins_anew(tmp_path: Path) -> None:
    study = write_study(tmp_path, STUDY.replace("suggestions: 7", "suggestions: 6"))
    run_search(study, tmp_path)
    longer = write_study(tmp_path, STUDY.replace("suggestions: 7", "suggestions: 9"))
    first = suggestions(study, tmp_path)
    assert (
        suggestions(longer, tmp_path) == first
        and read_findings(longer, tmp_path / longer.name)[0].to_come == 3
    )
    run_search(longer, tmp_path)
    assert suggestions(longer, tmp_path)[:6] == first
    edited = write_study(tmp_path, STUDY.replace("low: 0.0003", "low: 0.0001"))
    assert suggestions(edited, tmp_path) == []
    run_search(edited, tmp_path)
    assert len(suggestions(edited, tmp_path)) == 7 and len(suggestions(longer, tmp_path)) == 9


def test_a_grid_is_tried_in_order_and_ends_where_it_ends(tmp_path: Path) -> None:
    text = STUDY.replace("  suggestions: 7", "  sampler: grid\n  suggestions: 20")
    text = text.replace(
        "method.masking.ratio: declared", "method.masking.ratio: {low: 0.2, high: 0.6, step: 0.2}"
    )
    text = text.replace("method.teacher.m0: declared", "method.masking.block: {low: 4, high: 8, step: 4}")
    text = text.replace("{low: 0.0003, high: 0.03, log: true}", "{choices: [0.01, 0.001]}")
    study = write_study(tmp_path, text)
    run_search(study, tmp_path)
    points = [tuple(one.values.values()) for one in suggestions(study, tmp_path)]
    assert points == [(a, b, c) for a in (0.2, 0.4, 0.6) for b in (4, 8) for c in (0.01, 0.001)]
    assert all(type(block) is int for _, block, _ in points)


def test_choices_may_be_of_any_type(tmp_path: Path) -> None:
    text = STUDY.replace(
        "method.teacher.m0: declared", "recipe.patch: {choices: [[32, 32, 16], [16, 16, 16]]}"
    )
    study = write_study(tmp_path, text.replace("7", "3"))
    works = run_search(study, tmp_path)
    for one in suggestions(study, tmp_path):
        assert one.values["recipe.patch"] in ([32, 32, 16], [16, 16, 16])
    assert "recipe.patch" in study.factors  # numbers of different patches stand in one table only as a factor
    assert all(list(cell.spec.recipe.patch) == cell.factors["recipe.patch"] for cell in works[-1].cells)


def test_optuna_opens_the_journal(tmp_path: Path) -> None:
    study = write_study(tmp_path, PRUNING)
    run_search(study, tmp_path, fails=fails_above(0.7))
    path = str(tmp_path / study.name / JOURNAL)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(path))
    (name,) = optuna.get_all_study_names(storage)
    theirs = optuna.load_study(study_name=name, storage=storage)
    ours = suggestions(study, tmp_path)
    assert [(t.number, t.state.name.lower().replace("fail", "failed")) for t in theirs.trials] == [
        (one.number, one.state) for one in ours
    ]
    assert (
        theirs.best_trial.number
        == max((one for one in ours if one.state == "complete"), key=lambda one: one.objective or 0).number
    )
    for trial, one in zip(theirs.trials, ours, strict=True):
        assert trial.params["recipe.learning_rate"] == one.values["recipe.learning_rate"]
        assert 1 - trial.params["1 - method.teacher.m0"] == pytest.approx(one.values["method.teacher.m0"])
        assert len(trial.user_attrs["trials"]) == 2
        assert set(trial.intermediate_values) <= {20}
