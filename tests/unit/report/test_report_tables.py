import csv
import io
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from fake_results import Fake, case_row, make_cell, make_record, make_study, write_trial

from harness.report.estimates import trial_scores
from harness.report.formats import (
    Cell,
    Column,
    Table,
    latex_escape,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    write_table,
)
from harness.report.frames import case_frame, trial_frame
from harness.report.results import Results, row_keys, with_arms
from harness.report.tables import all_tables
from harness.study import Study
from harness.study_file import ReportSpec


def load(study: Study, results: Path) -> Results:
    trials = trial_frame(study, results)
    cases = case_frame(trials, study.factors, results)
    return Results(study, row_keys(study), trials, trial_scores(cases, study.factors))


def tables_of(study: Study, results: Path) -> dict[str, Table]:
    return {table.name: table for table in all_tables(load(study, results))}


def texts(table: Table) -> list[dict[str, str]]:
    headings = [column.heading for column in table.columns]
    return [dict(zip(headings, (cell.text for cell in row), strict=True)) for row in table.rows]


def scored(results: Path, value: float, commit: str = "c1", protocol: dict | None = None, **factors: object):
    cell = make_cell(**{"architecture": "unet", "method": "supervised", **factors})
    rows = [case_row("1", "lobe", value), case_row("1", "lobe", 10 * value, "hd95")]
    write_trial(results, make_record(cell, commit, **(protocol or {})), rows, [])
    return cell


def test_names_and_rows(fake: Fake) -> None:
    tables = tables_of(fake.study, fake.results)
    assert list(tables) == ["dice", "hd95", "cost", "trials"]
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
    assert rows[-1]["Method"] == "medcontext"
    assert (rows[-1]["Mean"], rows[-1]["Seeds"]) == ("–", "n=0 of 2")
    assert tables["dice"].breaks == {6}


def test_printed_numbers(tmp_path: Path) -> None:
    cells = [scored(tmp_path, value, seed=seed) for seed, value in enumerate((0.70, 0.80))]
    cells += [scored(tmp_path, value, seed=seed, method="new") for seed, value in enumerate((0.80, 0.81))]
    cells += [make_cell(architecture="unet", method="new", seed=2), scored(tmp_path, 0.5, method="third")]
    base, new, third = texts(tables_of(make_study(cells), tmp_path)["dice"])
    assert (base["lobe"], base["Mean"], base["vs supervised"], base["Seeds"]) == (
        "75.00 ± 7.07", "75.00 ± 7.07", "–", "n=2",
    )  # fmt: skip
    assert (new["Mean"], new["vs supervised"], new["Seeds"]) == ("80.50 ± 0.71", "+5.50", "n=2 of 3")
    assert (third["Mean"], third["vs supervised"], third["Seeds"]) == ("50.00", "−20.00", "n=1")


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
    assert [row["Dataset"] for row in texts(tables["dice"])] == ["phantom", "my.pkg:Set"]
    assert "lobe" not in texts(tables["dice"])[0]
    assert len(tables["dice_phantom"].rows) == 1


def test_footnotes_come_from_the_records(fake: Fake) -> None:
    notes = " ".join(tables_of(fake.study, fake.results)["dice"].footnotes)
    for part in ("5b1175b1175b1175", "c0ffee00c0ffee00", "1 × 1 × 2 mm", "selection: last", "300 steps",
                 "5 test cases", "convention: harness", "Not counted: 14 values", "1 failed, 1 pending"):  # fmt: skip
        assert part in notes
    assert "Caution" not in notes


def test_caption_says_unit_and_convention(fake: Fake) -> None:
    tables = tables_of(fake.study, fake.results)
    assert "Dice in %" in tables["dice"].caption
    assert "HD95 in mm" in tables["hd95"].caption
    assert all("convention harness" in tables[name].caption for name in ("dice", "hd95"))


def test_a_table_of_records_that_differ_undeclared_is_refused(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, seed=0), scored(tmp_path, 0.5, seed=1, protocol={"content_hash": "other"})]
    tables = tables_of(make_study(cells), tmp_path)
    for name in ("dice", "hd95"):
        assert tables[name].refused and "0.5" not in tables[name].data.to_csv()
        assert [row[0].text for row in tables[name].rows] == [
            "content hash differs between trials that should share it (phantom): "
            "c0ffee00c0ffee00 in 1 trial; other in 1 trial."
        ]
    assert not tables["cost"].refused and not tables["trials"].refused


def test_a_selection_on_test_cases_is_marked(tmp_path: Path) -> None:
    cells = [
        scored(tmp_path, 0.5, protocol={"selection": rule}, **{"recipe.selection": rule}, seed=seed)
        for seed, rule in enumerate(("last", "test_oracle"))
    ]
    table = tables_of(make_study(cells), tmp_path)["dice"]
    assert table.title.endswith("checkpoints selected on test cases")
    assert table.footnotes[0].startswith("Caution: 1 trial of 2 selected the checkpoint on the test cases")


def test_declared_difference_is_not(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, protocol={"steps": steps}, **{"recipe.steps": steps}, subset=steps)
             for steps in (100, 200)]  # fmt: skip
    assert not tables_of(make_study(cells), tmp_path)["dice"].refused


def test_mixed_code_is_named(tmp_path: Path) -> None:
    cells = [scored(tmp_path, 0.5, "c1", seed=0), scored(tmp_path, 0.5, "c2", seed=1)]
    tables = tables_of(make_study(cells), tmp_path)
    for name in ("dice", "cost"):
        assert any("commit c1 (1 trial), c2 (1 trial)" in note for note in tables[name].footnotes)


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
    assert row_keys(study) == ("method", "shots", "architecture")


def test_arms_are_named_by_what_else_varies() -> None:
    cells = [make_cell(architecture="unet", method="supervised")]
    cells += [make_cell(architecture="unet", method="new", **{"method.masking.ratio": r}) for r in (0.2, 0.8)]
    study = make_study(cells)
    frame = with_arms(trial_frame(study, Path("nowhere")), study)
    assert frame["arm"].tolist() == ["supervised", "new, ratio 0.2", "new, ratio 0.8"]


SPECIAL = r"50% of a_b & #1 {x} $y ~ ^ \ <z> |w| ± − é 漢"


def small(name: str = "small") -> Table:
    return Table(
        name=name, title="A title", caption=f"In %. {SPECIAL}",
        columns=(Column("Arm"), Column("x|y", "number")),
        rows=((Cell(SPECIAL), Cell("1.00", bold=True)), (Cell("b"), Cell("2.00"))),
        breaks=frozenset({1}), footnotes=("a note",), data=pd.DataFrame({"arm": ["a"], "value": [1 / 3]}),
    )  # fmt: skip


def test_latex_escapes() -> None:
    assert latex_escape("a_b & 50% #1") == r"a\_b \& 50\% \#1"
    assert latex_escape("{x}$\\") == r"\{x\}\$\textbackslash{}"
    assert latex_escape("1 ± 2 − é漢") == r"1 $\pm$ 2 $-$ e?"
    assert r"\textbf{1.00}" in to_latex(small(), "study")
    assert r"\label{tab:a_study-small}" in to_latex(small(), "a study")


def test_markdown_and_html_escape() -> None:
    markdown, html = to_markdown(small()), to_html(small())
    assert "| Arm | x\\|y |" in markdown
    assert "**1.00**" in markdown
    assert "&lt;z&gt;" in html
    assert "<b>1.00</b>" in html
    assert html.count("class=rule") == 1


def test_csv_keeps_full_precision(fake: Fake) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(small()))))
    assert float(rows[0]["value"]) == 1 / 3
    dice = tables_of(fake.study, fake.results)["dice"].data
    assert set(dice["unit"]) == {"fraction"}
    assert set(dice["convention"]) == {"harness"}
    assert dice["mean"].max() <= 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_alone_and_as_input(fake: Fake, tmp_path: Path) -> None:
    for table in (small(), tables_of(fake.study, fake.results)["dice"]):
        write_table(table, tmp_path, "study")
    both = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}\input{small}\input{dice}\end{document}"
    (tmp_path / "both.tex").write_text(both)
    for name in ("small", "dice", "both"):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / f"{name}.pdf").is_file()
