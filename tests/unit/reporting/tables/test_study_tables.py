import csv
import io
import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from fake_results import Fake, case_row, make_cell, make_record, make_study, write_trial
from fake_tables import WIDE, load, scored, small, tables_of, with_tables

from harness.errors import UserError
from harness.reporting.formats.files import to_csv, write_table
from harness.reporting.formats.html import to_html
from harness.reporting.formats.latex import to_latex
from harness.reporting.formats.markdown import to_markdown
from harness.reporting.formats.table import Table
from harness.reporting.frames import trial_frame
from harness.reporting.provenance import protocol_notes
from harness.reporting.report_data import value_order, with_arm_names
from harness.reporting.wording import UNSET
from harness.study.axes import row_keys
from harness.study.cells import Cell as TrialCell
from harness.study.file import ReportSpec, TableSpec


def texts(table: Table) -> list[dict[str, str]]:
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, (cell.text for cell in row), strict=True)) for row in table.rows]


def test_names_and_rows(fake: Fake) -> None:
    tables = tables_of(fake.study, fake.results)
    assert list(tables) == ["dice", "hd95", "contrasts", "comparisons", "cost", "trials"]
    rows = texts(tables["dice"])
    assert list(rows[0])[:9] == [
        "Shots",
        "Architecture",
        "Method",
        "Role",
        "lobe",
        "duct",
        "node",
        "twin",
        "Mean",
    ]
    assert [row["Role"] for row in rows[:3]] == ["student", "student", "teacher"]
    assert rows[-1]["Method"] == "MedContext"
    assert (rows[-1]["Mean"], rows[-1]["Seeds"]) == ("–", "n=0 of 2")
    assert tables["dice"].breaks == {6}


def test_printed_numbers(tmp_path: Path) -> None:
    cells = [scored(tmp_path, value, seed=seed) for seed, value in enumerate((0.70, 0.80))]
    cells += [scored(tmp_path, value, seed=seed, method="new") for seed, value in enumerate((0.80, 0.81))]
    cells += [make_cell(architecture="unet", method="new", seed=2), scored(tmp_path, 0.5, method="third")]
    table = tables_of(make_study(cells), tmp_path)["dice"]
    base, new, third = texts(table)
    assert (base["lobe"], base["Mean"], base["Gain"], base["Seeds"]) == (
        "75.00 ± 7.07", "75.00 ± 7.07", "–", "n=2",
    )  # fmt: skip
    assert (new["Mean"], new["Gain"], new["Seeds"]) == ("80.50 ± 0.71", "+5.50", "n=2 of 3")
    assert (third["Mean"], third["Gain"], third["Seeds"]) == ("50.00", "−20.00", "n=1")
    assert not [c.tone for row in table.rows for c in row if c.tone]  # no verdict, no colour
    assert [[c.underlined for c in row].count(True) for row in table.rows] == [2, 0, 0]


def test_best_is_bold_among_rows_of_the_same_shots(tmp_path: Path) -> None:
    cells = [scored(tmp_path, value, method=method, shots=shots)
             for method, shots, value in (("supervised", 5, 0.5), ("new", 5, 0.6),
                                          ("supervised", "all", 0.9), ("new", "all", 0.8))]  # fmt: skip
    tables = tables_of(make_study(cells), tmp_path)
    bold = {
        name: [row[2].bold for row in tables[name].rows]
        for name in ("dice", "hd95")  # shots, method, lobe
    }
    assert bold == {"dice": [False, True, True, False], "hd95": [True, False, False, True]}


def test_several_datasets_have_an_overview_and_a_table_each(tmp_path: Path) -> None:
    cells = [
        scored(tmp_path, 0.5, dataset=name, seed=s) for name in ("phantom", "my.pkg:Set") for s in (0, 1)
    ]
    tables = tables_of(make_study(cells), tmp_path)
    assert list(tables)[:3] == ["dice", "dice_phantom", "dice_my.pkg_Set"]
    assert [row["Dataset"] for row in texts(tables["dice"])] == ["Phantom", "my.pkg:Set"]
    assert "lobe" not in texts(tables["dice"])[0]
    assert len(tables["dice_phantom"].rows) == 1


def test_footnotes_come_from_the_records(fake: Fake) -> None:
    notes = " ".join(tables_of(fake.study, fake.results)["dice"].notes)
    for part in ("5b1175b1175b1175", "c0ffee00c0ffee00", "1 × 1 × 2 mm", "selection: last", "Steps 300,",
                 "5 test cases", "convention: harness", "Not counted: 14 values", "1 failed, 1 pending"):  # fmt: skip
        assert part in notes
    assert "Caution" not in notes


def test_the_protocol_names_the_arm_of_each_deviation_and_nothing_that_does_not_act(tmp_path: Path) -> None:
    training = {
        "optimiser": "adamw",
        "momentum": 0.99,
        "learning_rate": 0.005,
        "warmup_steps": 0,
        "clip_norm": 12,
    }
    cells = []
    for method, shots in product(("supervised", "medcontext", "masked_volume"), (5, "all")):
        own = {"steps": 200, "extra_data": f"images of {shots} cases"} if method == "masked_volume" else {}
        protocol = {"training": training, "extra_data": "none", "steps": 300, **own}
        cells.append(scored(tmp_path, 0.5, method=method, shots=shots, protocol=protocol))
    data = load(make_study(cells), tmp_path)
    (notes,) = protocol_notes(data.complete, data.names)
    assert "Steps 300 (SimMIM: 200), batch 2" in notes
    assert "extra data: none (SimMIM: images of 5 / all cases);" in notes
    assert "learning_rate 0.005" in notes and "clip_norm 12" in notes
    assert "momentum" not in notes and "warmup_steps" not in notes


def test_caption_says_unit_and_convention(fake: Fake) -> None:
    tables = tables_of(fake.study, fake.results)
    assert "Dice in %" in tables["dice"].caption
    assert "HD95 in mm" in tables["hd95"].caption
    assert all("convention harness" in tables[name].caption for name in ("dice", "hd95"))


def test_trials_lists_everything_that_was_declared(fake: Fake) -> None:
    rows = texts(tables_of(fake.study, fake.results)["trials"])
    assert [row["Status"] for row in rows[-3:]] == ["failed", "pending", "skipped"]
    assert rows[-3]["Cause or reason"].startswith("out_of_memory: CUDA")
    assert "no patch tokens" in rows[-1]["Cause or reason"]


def test_nothing_complete(fake: Fake, tmp_path: Path) -> None:
    tables = tables_of(fake.study, tmp_path)
    assert {row["Mean"] for row in texts(tables["dice"])} == {"–"}
    assert tables["dice"].footnotes[-1] == "No trial is complete yet."
    for name, table in tables.items():
        write_table(table, tmp_path / "tables", name)


def test_rows_of_the_report_go_first(fake: Fake) -> None:
    study = make_study(list(fake.study.cells), report=ReportSpec(rows=("method",)))
    assert row_keys(study.report, study.varying()) == ("method", "shots", "architecture")


def test_arms_are_named_by_what_else_varies() -> None:
    cells = [make_cell(architecture="unet", method="supervised")]
    cells += [make_cell(architecture="unet", method="new", **{"method.masking.ratio": r}) for r in (0.2, 0.8)]
    study = make_study(cells)
    frame = with_arm_names(trial_frame(study, Path("nowhere")), study)
    assert frame["arm"].tolist() == ["Supervised", "new, ratio 0.2", "new, ratio 0.8"]


def test_what_a_network_gives_all_arms_of_a_method_or_most_arms_of_the_recipe_is_not_named() -> None:
    """Each network has a rate and a mask ratio of its own; the baseline of one of them has another rate too."""
    of_network = {"unet": (0.1, 0.3), "unetr": (0.2, 0.5)}
    cells = [
        make_cell(architecture=network, method=method, **{"recipe.learning_rate": rate, **masked})
        for network, (rate, ratio) in of_network.items()
        for method, masked in (("supervised", {}), ("new", {"method.masking.ratio": ratio}))
    ]
    cells.append(make_cell(architecture="unet", method="supervised", **{"recipe.learning_rate": 0.9}))
    study = make_study(cells)
    frame = with_arm_names(trial_frame(study, Path("nowhere")), study)
    assert frame["arm"].tolist() == [
        "Supervised",
        "new",
        "Supervised",
        "new",
        "Supervised, learning rate 0.9",
    ]
    swept = make_study(
        [
            *cells,
            make_cell(
                architecture="unet",
                method="new",
                **{"recipe.learning_rate": 0.1, "method.masking.ratio": 0.4},
            ),
        ]
    )
    named = with_arm_names(trial_frame(swept, Path("nowhere")), swept)["arm"]
    assert named.tolist()[1:4] == ["new, ratio 0.3", "Supervised", "new"]


def test_csv_keeps_full_precision(fake: Fake) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(small()))))
    assert float(rows[0]["value"]) == 1 / 3
    dice = tables_of(fake.study, fake.results)["dice"].data
    assert set(dice["unit"]) == {"fraction"}
    assert set(dice["convention"]) == {"harness"}
    assert dice["mean"].max() <= 1


def test_a_declared_table_has_grouped_headers(fake: Fake) -> None:
    table = tables_of(with_tables(fake.study, WIDE), fake.results)["wide"]
    assert table.groups() == [("", 2), ("5 training cases", 4), ("all training cases", 4), ("Cost", 2)]
    assert [c.heading for c in table.columns[2:6]] == ["Dice (%)", "Gain", "HD95 (mm)", "Difference"]
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [
        ["U-Net", "Supervised"], ["U-Net", "MedContext"], ["UNETR", "Supervised"], ["UNETR", "MedContext"],
    ]  # fmt: skip
    plain = texts(tables_of(fake.study, fake.results)["dice"])
    wanted = next(row for row in plain if row["Shots"] == "5" and row["Method"] == "Supervised")
    assert table.rows[0][2].text == wanted["Mean"]
    latex, html = to_latex(table, "x"), to_html(table)
    assert r"\multicolumn{4}{c}{all training cases}" in latex and r"\cmidrule(lr){3-6}" in latex
    assert 'colspan="4"' in html
    assert "5 training cases: Dice (%)" in to_markdown(table)


def test_regions_and_roles_can_be_columns(fake: Fake) -> None:
    spec = TableSpec(name="organs", rows=("shots", "architecture", "method"), columns=("role", "region"),
                     regions=("lobe", "duct"), roles=("student", "teacher"))  # fmt: skip
    table = tables_of(with_tables(fake.study, spec), fake.results)["organs"]
    assert table.groups()[1:] == [("student", 2), ("teacher", 2)]
    assert table.rows[0][-1].text == "–"  # supervised training has no teacher


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"rows": ("method",)}, "neither rows nor columns have shots, architecture"),
        ({"rows": ("method", "metod"), "columns": ("shots", "architecture")}, "'metod'"),
        ({"rows": ("method", "shots"), "columns": ("shots", "architecture")}, "shots twice"),
        ({"rows": ("method", "shots", "architecture"), "metrics": ("dice", "hd95")}, "metric"),
    ],
)
def test_a_declared_table_that_cannot_be_is_an_error(fake: Fake, spec: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tables_of(with_tables(fake.study, TableSpec(name="t", **spec)), fake.results)


def test_every_cell_of_scores_names_its_trials(fake: Fake, tmp_path: Path) -> None:
    table = tables_of(fake.study, fake.results)["dice"]
    write_table(table, tmp_path, "study")
    rows = json.loads((tmp_path / "dice.trials.json").read_text())
    planned = {cell.spec.id: cell.factors for cell in fake.study.cells}
    assert sum(len(row["cells"]) for row in rows) == sum(
        bool(cell.trials) for row in table.rows for cell in row
    )
    for row in rows:
        assert row["trials"] and row["cells"]["Dice (%): Mean"]
        for id in row["trials"]:
            assert fake.study.names.value("method", planned[id]["method"]) == row["row"]["Method"]
            assert str(planned[id]["shots"]) == row["row"]["Shots"]


def many(results: Path, seeds: int, cases: int, gain: float, **factors: object) -> list[TrialCell]:
    """Write two arms with a gain of about ``gain``."""
    cells = []
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0.6, 0.1, cases)
    for method in ("supervised", "medcontext"):
        for seed in range(seeds):
            cell = make_cell(architecture="unet", method=method, seed=seed, **factors)
            values = difficulty + rng.normal(0, 0.01, cases) + (gain if method == "medcontext" else 0)
            write_trial(
                results,
                make_record(cell),
                [case_row(f"{c:02d}", "lobe", v) for c, v in enumerate(values)],
                [],
            )
            cells.append(cell)
    return cells


def test_stars_and_intervals_where_seeds_and_cases_carry_them(tmp_path: Path) -> None:
    table = tables_of(make_study(many(tmp_path, 3, 14, 0.05)), tmp_path)["dice"]
    row = texts(table)[1]
    low, high = (float(end.replace("−", "-")) for end in row["95 % interval"].split(" to "))
    assert row["Gain"].endswith("*") and low < float(row["Gain"].rstrip("*")) < high
    assert [cell.tone for cell in table.rows[1] if cell.tone] == ["good"]
    notes = " ".join(table.footnotes)
    assert "two-way model" in notes and "Holm-corrected over 1 comparison" in notes
    assert (
        "these networks" not in notes
    )  # retraining is tested: the other test stands in the table of tests alone


@pytest.mark.parametrize(
    ("seeds", "cases", "star", "words"),
    [
        (1, 14, "°", "No star and no interval for retraining: 1 seed, 3 needed"),
        (3, 8, "°", "No star and no interval for retraining: 8 cases, 12 needed"),
        (3, 5, "", "No star and no interval for these networks on new cases: 5 cases, 7 needed"),
        (1, 1, "", "No star and no interval for these networks on new cases: 1 case, 7 needed"),
    ],
)
def test_no_star_that_the_numbers_do_not_carry(
    tmp_path: Path, seeds: int, cases: int, star: str, words: str
) -> None:
    table = tables_of(make_study(many(tmp_path, seeds, cases, 0.2)), tmp_path)["dice"]
    assert texts(table)[1]["Gain"].lstrip("+0123456789.") == star
    assert words in " ".join(table.footnotes)


def test_equal_values_are_shown_as_such(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, method=m, seed=s) for m in ("supervised", "new") for s in (0, 1)]
    tables = tables_of(make_study(cells), tmp_path)
    assert texts(tables["dice"])[1]["Gain"] == "+0.00"
    assert [row[1].bold for row in tables["dice"].rows] == [True, True]  # method, lobe: a tie


def test_one_arm_only(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, method="medcontext", seed=s) for s in (0, 1)]
    tables = tables_of(make_study(cells), tmp_path)
    assert "Gain" not in texts(tables["dice"])[0]
    assert tables["comparisons"].rows == ()


def test_intervals_in_place_of_deviations(tmp_path: Path) -> None:
    study = with_tables(make_study(many(tmp_path, 3, 14, 0.05)), spread="interval")
    row = texts(tables_of(study, tmp_path)["dice"])[0]
    mean, low, high = (float(part) for part in re.findall(r"[\d.]+", row["Mean"]))
    assert low < mean < high
    few = with_tables(make_study(many(tmp_path / "few", 2, 14, 0.05)), spread="interval")
    assert "[" not in texts(tables_of(few, tmp_path / "few")["dice"])[0]["Mean"]


def test_numbers_stand_by_size_before_words_and_after_what_is_not_set() -> None:
    places = value_order([0.4, "all", UNSET, 0.2, "none"])
    assert sorted(places, key=places.__getitem__) == [UNSET, 0.2, 0.4, "all", "none"]


def test_holm_families_of_students_and_of_teachers_are_told_apart(tmp_path: Path) -> None:
    cells, rng = [], np.random.default_rng(0)
    for method in ("supervised", "masked_supervised", "medcontext"):
        for seed in range(3):
            cells.append(make_cell(architecture="unet", method=method, seed=seed))
            roles = ("student", "teacher") if method == "medcontext" else ("student",)
            rows = [case_row(f"{c:02d}", "lobe", rng.uniform(0.5, 0.9), role=role) for role in roles for c in range(12)]  # fmt: skip
            write_trial(tmp_path, make_record(cells[-1]), rows, [])
    notes = " ".join(tables_of(make_study(cells), tmp_path)["dice"].footnotes)
    assert notes.count("Holm-corrected over 2 comparisons of students; 1 of teachers.") == 1


def test_a_difference_is_no_gain_where_lower_is_better(fake: Fake) -> None:
    rows = TableSpec(
        name="rows", rows=("shots", "architecture", "method", "metric"), metrics=("dice", "hd95"), gain=True
    )
    tables = tables_of(with_tables(fake.study, rows, metrics=("dice", "hd95")), fake.results)
    told = {
        name: [c.heading for c in tables[name].columns if c.heading in ("Gain", "Difference")]
        for name in ("dice", "hd95", "rows")
    }
    assert told == {"dice": ["Gain"], "hd95": ["Difference"], "rows": ["Difference"]}
    assert "below zero is better" in tables["hd95"].caption and "below zero" not in tables["dice"].caption


@pytest.mark.parametrize(("longest", "told"), [(1.2, False), (5.2, True)])
@pytest.mark.parametrize("other", [{"seed": 1}, {"shots": 5}])
def test_times_that_do_not_compare_are_said_to(
    tmp_path: Path, longest: float, told: bool, other: dict[str, int]
) -> None:
    cells = []
    for factors, times in (({}, 1.0), (other, longest)):
        cells.append(make_cell(architecture="unet", method="supervised", **factors))
        record = make_record(cells[-1])
        cost = record.cost.model_copy(update={"seconds_per_step": 0.3 * times})
        write_trial(tmp_path, record.model_copy(update={"cost": cost}), [case_row("1", "lobe", 0.5)], [])
    caption = tables_of(make_study(cells), tmp_path)["cost"].caption
    assert (f"Updates of equal work differ up to {longest:.1f}-fold in time" in caption) == told
    assert "Resumed" not in caption


def test_a_resumed_trial_that_counts_its_last_part_alone_is_told(tmp_path: Path) -> None:
    cell = make_cell(architecture="unet", method="supervised")
    record = make_record(cell)
    record = record.model_copy(update={"cost": record.cost.model_copy(update={"seconds": 16.4})})
    write_trial(tmp_path, record, [case_row("1", "lobe", 0.5)], [])
    caption = tables_of(make_study([cell]), tmp_path)["cost"].caption
    assert "Resumed trials whose time per trial lacks what was done before: 1." in caption


def test_what_was_waited_for_data_and_predicted_is_shown_where_a_record_knows_it(tmp_path: Path) -> None:
    cells = [make_cell(architecture="unet", method=method) for method in ("supervised", "medcontext")]
    old, new = map(make_record, cells)
    for number, record in enumerate((old, new)):
        write_trial(tmp_path / "old", record, [case_row("1", "lobe", 0.5)], [])
        more = {"seconds_waiting_for_data": 4.25, "seconds_predicting": 7.5} if number else {}
        record = record.model_copy(update={"cost": record.cost.model_copy(update=more)})
        write_trial(tmp_path / "new", record, [case_row("1", "lobe", 0.5)], [])
    headings = [column.heading for column in tables_of(make_study(cells), tmp_path / "old")["cost"].columns]
    assert not {"Waiting for data (s)", "Predicting (s)"} & {*headings}
    table = tables_of(make_study(cells), tmp_path / "new")["cost"]
    headings = [column.heading for column in table.columns]
    places = [headings.index(name) for name in ("Waiting for data (s)", "Predicting (s)")]
    assert [[row[place].text for place in places] for row in table.rows] == [["–", "–"], ["4.2", "7.5"]]
    assert "dashes where earlier versions" in table.caption


def test_a_study_chooses_the_columns_of_its_tables(fake: Fake) -> None:
    whole, chosen = (
        tables_of(with_tables(fake.study, columns=columns), fake.results)["dice"]
        for columns in ((), ("mean", "gain"))
    )
    assert [column.heading for column in chosen.columns] == [
        "Shots",
        "Architecture",
        "Method",
        "Role",
        "Mean",
        "Gain",
    ]
    assert "Misses" in [column.heading for column in whole.columns]
    assert [row[:4] for row in chosen.rows] == [row[:4] for row in whole.rows]
    assert chosen.data.equals(whole.data)  # CSV has all


def test_the_best_of_each_network_is_bold(fake: Fake) -> None:
    table = tables_of(fake.study, fake.results)["dice"]
    place = [column.heading for column in table.columns].index("Mean")
    marked = {(row[0].text, row[1].text) for row in table.rows if row[place].bold}
    assert marked == {
        ("5", "U-Net"),
        ("5", "UNETR"),
        ("all", "U-Net"),
    }  # of the fourth one arm alone is complete
