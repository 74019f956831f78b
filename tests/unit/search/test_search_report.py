"""What a report says of a search, from records that nobody trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_trials import STUDY, dice, run_search, write_study

from harness.progress.known import KnownStudy
from harness.records.store import Store
from harness.reporting.figures import style
from harness.reporting.figures.parallel import search_parallel
from harness.reporting.figures.planned import Drawing
from harness.reporting.figures.search_figures import plan_search_figures, suggestion_frame
from harness.reporting.figures.search_plots import Axis, contour_pairs, search_contours
from harness.reporting.tables.search import MOST_SUGGESTIONS, suggestion_table
from harness.reporting.write import write_report
from harness.search.findings import Findings, Suggestion
from harness.search.optuna_journal import read_findings, with_importances
from harness.study.names import Names
from harness.study.study import Study
from harness.sweep.agenda import Agenda, plain_work
from tests.unit.reporting.figures.texts import faults, laid_out

NAMES = Names({}, {}, {})
BOTH = STUDY.replace(
    "  suggestions: 7",
    "    supervised: {recipe.learning_rate: {low: 0.0003, high: 0.03, log: true}}\n  suggestions: 7",
).replace("seeds: [10, 11]", "seeds: [10, 11, 12]").replace(
    "  startup: 3\n", "  startup: 3\n  prune: {at: 0.5, keep: 0.5, warmup: 4}\n"
)  # fmt: skip


def report(study: Study, results: Path) -> tuple[Path, KnownStudy]:
    known = KnownStudy(
        study, [with_importances(found) for found in read_findings(study, results / study.name)]
    )
    return write_report(known.study, results, searches=known.findings).page.parent, known


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KnownStudy]:
    """Return the report's folder of a search of two arms, and what is known of it."""
    from fake_trials import run

    folder = tmp_path_factory.mktemp("search")
    study = write_study(folder, BOTH)
    store = Store(folder)
    agenda = Agenda(plain_work(study.cells, store), store)
    while task := agenda.next():
        run(store, task)
        agenda.returned(task.spec.id)
    run_search(study, folder)
    return report(study, folder)


def test_tuned_parameters_are_confirmed_with_an_interval(finished: tuple[Path, KnownStudy]) -> None:
    folder, known = finished
    rows = pd.read_csv(folder / "tables" / "tuned.csv")
    assert list(zip(rows["arm"], rows["setting"], strict=True)) == [
        (arm, setting) for arm in ("medcontext", "supervised") for setting in ("default", "best 1", "best 2")
    ]
    assert (
        (rows["low"] < rows["test"]).all()
        and (rows["test"] < rows["high"]).all()
        and (rows["seeds"] == 3).all()
    )
    medcontext, _ = known.findings
    best = medcontext.best()[0]
    row = rows.iloc[1]
    assert row["number"] == best.number and row["searched"] == best.objective
    assert row["recipe.learning_rate"] == best.values["recipe.learning_rate"]
    trials = medcontext.arm.confirming("best 1", best.values)
    assert not isinstance(trials, str)
    fresh = sum(dice(cell.spec, 40) for cell in trials.cells) / 3
    assert row["validation"] == pytest.approx(fresh)
    assert pd.isna(rows.iloc[0]["searched"]) and rows.iloc[0]["method.masking.ratio"] == 0.4
    assert pd.isna(rows.iloc[4]["method.masking.ratio"])  # the baseline has none
    traced = json.loads((folder / "tables" / "tuned.trials.json").read_text())
    assert traced[1]["trials"] == [cell.spec.id for cell in trials.cells]


def test_gains_compare_settings_of_equal_rank(finished: tuple[Path, KnownStudy]) -> None:
    folder, _ = finished
    rows = pd.read_csv(folder / "tables" / "comparisons.csv")
    assert set(rows["setting"]) == {"default", "best 1", "best 2"} and set(rows["method"]) == {"medcontext"}


def test_every_suggestion_stands_in_the_table(finished: tuple[Path, KnownStudy]) -> None:
    folder, known = finished
    rows = pd.read_csv(folder / "tables" / "suggestions.csv")
    assert len(rows) == 14 and set(rows["state"]) == {"complete", "pruned"}
    for found in known.findings:
        own = rows[rows["arm"] == found.arm.name]
        assert own["number"].tolist() == list(range(7))
        assert own["validation_dice"].tolist() == [one.objective for one in found.suggestions]
    text = (folder / "tables" / "suggestions.md").read_text()
    assert "No test label was read" in text and "in batches of 3, 2 seeds each" in text
    assert "| Mask ratio | EMA momentum | Learning rate |" in text


def test_figures_of_a_search_have_a_section_of_their_own(finished: tuple[Path, KnownStudy]) -> None:
    folder, _ = finished
    drawn = {"search_history", "search_slices_medcontext", "search_slices_supervised",
             "search_contours_medcontext"}  # fmt: skip
    assert {path.stem for path in (folder / "figures").glob("search_*.svg")} == drawn
    page = (folder / "report.html").read_text()
    section = page[page.index('id="search"') : page.index('id="scores"')]
    assert all(f'id="figure-{name}"' in section for name in drawn)
    assert "Parallel coordinates of MedContext: fewer than 10 suggestions are complete." in section
    assert (
        "Pairs of parameters of Supervised: fewer than two searched parameters are numbers that vary."
        in section
    )
    assert page.count("figure-search_history") == 1 and '<a href="#search">' in page


def test_before_and_during_a_search_the_report_shows_what_there_is(tmp_path: Path) -> None:
    study = write_study(tmp_path, BOTH)
    folder, known = report(study, tmp_path)
    assert (
        known.to_come == 2 * (7 * 2 + 2 * 3)
        and "no suggestion has ended" in (folder / "report.html").read_text()
    )
    assert [row.split(",")[1] for row in (folder / "tables" / "tuned.csv").read_text().splitlines()[1:]] == [
        "default"
    ] * 2
    run_search(write_study(tmp_path, BOTH.replace("suggestions: 7", "suggestions: 3")), tmp_path)
    folder, known = report(write_study(tmp_path, BOTH), tmp_path)
    assert known.to_come == 2 * (4 * 2 + 2 * 3) and known.searching
    assert "3 of 7 suggestions (3 complete)" in (folder / "tables" / "suggestions.md").read_text()


def test_a_study_without_search_has_no_section(tmp_path: Path) -> None:
    study = write_study(
        tmp_path, "question: why?\nbase: {dataset: phantom, architecture: unet, method: supervised}"
    )
    folder, _ = report(study, tmp_path)
    assert 'id="search"' not in (folder / "report.html").read_text()


def findings_with(tmp_path: Path, suggestions: list[Suggestion]) -> Findings:
    (arm,) = write_study(tmp_path).search.arms
    return Findings(arm, tuple(suggestions))


def test_a_long_search_is_cut_to_its_best_in_print(tmp_path: Path) -> None:
    values = {"method.masking.ratio": 0.5, "method.teacher.m0": 0.99, "recipe.learning_rate": 0.01}
    found = findings_with(tmp_path, [Suggestion(n, values, "complete", n / 1000) for n in range(200)])
    table = suggestion_table([found], NAMES, [pd.DataFrame({"seconds": [1800.0, None]})])
    assert len(table.rows) == MOST_SUGGESTIONS and table.rows[0][1].text == "199" and len(table.data) == 200
    assert "0.50 device-hours" in table.footnotes[0]


def findings_at(tmp_path: Path, ratios: list[float], momenta: list[float]) -> Findings:
    values = [
        {"method.masking.ratio": ratio, "method.teacher.m0": m0, "recipe.learning_rate": 0.01}
        for ratio, m0 in zip(ratios, momenta, strict=True)
    ]
    return findings_with(
        tmp_path, [Suggestion(n, one, "complete", 0.5 + n / 100) for n, one in enumerate(values)]
    )


def contours(found: Findings, kind: str = "contours") -> object:
    return {sketch.name: sketch.find() for sketch in plan_search_figures([found], NAMES)}[
        f"search_{kind}_medcontext"
    ]


def test_parallel_coordinates_take_ten_suggestions(tmp_path: Path) -> None:
    """Each suggestion is a line from its parameters to its Dice, one minus the value where that is searched."""
    ratios, momenta = [0.1 + 0.05 * n for n in range(10)], [1 - 10 ** -(1 + n / 3) for n in range(10)]
    few = findings_at(tmp_path, ratios[:9], momenta[:9])
    assert contours(few, "parallel") == "fewer than 10 suggestions are complete"
    found = contours(findings_at(tmp_path, ratios, momenta), "parallel")
    assert isinstance(found, Drawing) and "10 complete suggestions" in found.caption
    lines = search_parallel(*found.series).axes[0].lines
    assert len(lines) == 10
    names = [axis.column for axis in found.series[1]]
    heights = np.array([line.get_ydata() for line in lines])  # the worst first
    even = np.linspace(0, 1, 10)
    assert heights[:, -1] == pytest.approx(even)
    assert heights[:, names.index("method.masking.ratio")] == pytest.approx(even)
    assert heights[:, names.index("method.teacher.m0")] == pytest.approx(even[::-1])  # logarithmic


@pytest.mark.parametrize("size", ["column", "page"])
@pytest.mark.parametrize("axes", [2, 3, 9])
def test_texts_of_parallel_coordinates_lie_apart(size: style.Style, axes: int) -> None:
    draws = np.random.default_rng(0).uniform(-3.7, -0.4, (30, 9))
    frame = pd.DataFrame(10**draws, columns=list("abcdefghi")).assign(b=np.arange(30) % 3, value=draws.sum(1))
    label, words = "A long name of a parameter", ("warm-up cosine", "polynomial", "constant")
    dimensions = [Axis(name, label, log=name in "acdg") for name in "abcdefghi"]
    dimensions[1] = Axis("b", label, categories=words)
    drawing = Drawing(search_parallel, (frame, dimensions[:axes]), "")
    assert faults(laid_out(drawing, size), style.WIDTHS[size]) == []


def test_suggestions_that_span_no_plane_have_no_contours(tmp_path: Path) -> None:
    across = findings_at(tmp_path, [0.5] * 5, [0.90, 0.92, 0.94, 0.96, 0.98])
    assert contours(across) == "fewer than two searched parameters are numbers that vary"
    on_a_line = findings_at(tmp_path, [0.1, 0.2, 0.3, 0.4], [0.9, 0.99, 0.999, 0.9999])
    assert isinstance(contours(on_a_line), Drawing)  # points without a surface


def test_an_axis_of_one_minus_the_value(tmp_path: Path) -> None:
    values = {"method.masking.ratio": 0.5, "method.teacher.m0": 0.99, "recipe.learning_rate": 0.01}
    running = Suggestion(1, values, "running")
    found = findings_with(tmp_path, [Suggestion(0, values, "complete", 0.5), running])
    frame = suggestion_frame(found)
    assert len(frame) == 1 and frame["method.teacher.m0"].iloc[0] == pytest.approx(0.01)
    assert frame["value"].iloc[0] == 50.0


def test_contours_put_the_first_axes_first() -> None:
    axes = [Axis(name, name) for name in "abcdef"]
    pairs = ["".join(one.column for one in pair) for pair in contour_pairs(axes)]
    assert pairs[:4] == ["ab", "ac", "ad", "bc"] and len(pairs) == style.MOST_PANELS
    frame = pd.DataFrame({"a": [1.0, 2, 3, 1], "b": [1.0, 3, 1, 2], "value": [50.0, 60, 70, 50]})
    figure = search_contours(frame, axes[:2])
    assert len(figure.axes) == 2  # a panel and the bar of colours


def test_a_best_suggestion_that_is_no_other_than_the_default_is_one_trial(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    (arm,) = study.search.arms
    default = {"method.masking.ratio": 0.4, "method.teacher.m0": 0.996, "recipe.learning_rate": 0.003}
    found = findings_with(tmp_path, [Suggestion(n, default, "complete", 0.5) for n in range(7)])
    assert [one.number for one in found.best()] == [0]
    known = KnownStudy(study, [replace(found, arm=arm)])
    assert [cell.factors["setting"] for cell in known.study.cells] == ["default"] * 2
