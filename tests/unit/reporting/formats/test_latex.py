"""Every table goes through a TeX engine, alone and as part of a paper."""

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from fake_results import Fake
from fake_tables import WIDE, small, tables_of, with_tables

from harness.reporting.formats.files import write_table
from harness.reporting.formats.latex import to_latex
from harness.reporting.formats.table import Cell, Column, Table

LATEX = shutil.which("pdflatex")
pytestmark = pytest.mark.skipif(LATEX is None, reason="no pdflatex on the PATH")
ARTICLE = r"\documentclass[10pt]{article}\usepackage[textwidth=122mm,textheight=193mm]{geometry}"
LNCS = r"\documentclass[runningheads]{llncs}"
PAPER = r"""%s
\usepackage{booktabs,array}
\begin{document}
%s
\end{document}
"""


def has_lncs() -> bool:
    command = shutil.which("kpsewhich")
    return command is not None and subprocess.run([command, "llncs.cls"], capture_output=True).returncode == 0


def compile_tex(path: Path) -> str:
    """Return the log."""
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert path.with_suffix(".pdf").is_file()
    return done.stdout


def long(columns: int) -> Table:
    """Return a table of more rows than a page holds."""
    row = tuple(Cell(f"{n}.00 ± 1.00") for n in range(columns))
    return Table(
        name=f"long_{columns}", title="A long one", caption="Rows.",
        columns=tuple(Column(f"x{n}", "number") for n in range(columns)), rows=(row,) * 700, breaks=frozenset({45, 50}),
        footnotes=("a note " * 30,), data=pd.DataFrame(),
    )  # fmt: skip


@pytest.mark.parametrize(
    "document_class",
    [
        ARTICLE,
        pytest.param(
            LNCS, marks=pytest.mark.skipif(not has_lncs(), reason="no llncs.cls (texlive-publishers)")
        ),
    ],
    ids=["article", "llncs"],
)
def test_tables_compile_alone_and_in_a_paper(fake: Fake, tmp_path: Path, document_class: str) -> None:
    tables = [small(), *tables_of(with_tables(fake.study, WIDE), fake.results).values(), long(3), long(12)]
    for table in tables:
        write_table(table, tmp_path, "study")
        assert "Float too large" not in compile_tex(tmp_path / f"{table.name}.tex")
    paper = tmp_path / "paper.tex"
    paper.write_text(PAPER % (document_class, "\n".join(rf"\input{{{table.name}}}" for table in tables)))
    log = compile_tex(paper)
    assert "Overfull \\hbox" not in log and "Float too large" not in log
    assert "resizebox" not in "".join(path.read_text() for path in tmp_path.glob("*.tex"))


def test_a_long_table_goes_on_and_keeps_its_rows() -> None:
    text = to_latex(long(3), "study")
    assert text.count(r"\begin{table}") == text.count(r"\toprule") > 10
    assert text.count(r"\caption{") == text.count(r"\label{") == 1
    assert text.count("2.00 $\\pm$ 1.00") == 700
    assert text.count("a note ") == 30


def grouped(groups: int, rows: int, columns: int = 2) -> Table:
    """Return a table of several groups of rows, each of one network."""
    shown = tuple(
        (Cell(f"network {group}"), Cell(f"arm {row}"), *(Cell(f"{group}{row}.{n}") for n in range(columns)))
        for group in range(groups)
        for row in range(rows)
    )
    return Table(
        name="grouped", title="Groups", caption="Rows.", columns=(Column("Network"), Column("Arm"), *(Column(f"x{n}", "number") for n in range(columns))),
        rows=shown, breaks=frozenset(range(rows, groups * rows, rows)), data=pd.DataFrame(),
    )  # fmt: skip


def test_a_long_table_is_split_where_a_factor_changes_which_heads_the_part() -> None:
    text = to_latex(grouped(4, 20), "study")
    assert [f"Network: network {n}" in text for n in range(4)] == [True] * 4
    assert text.count("arm 0 &") == 4 and text.count("network 0 &") == 0
    assert "Network: " not in to_latex(grouped(2, 3), "study")


def asked(metrics: int, questions: int) -> Table:
    """Return a table such as that of contrasts: many words, and metrics in turns."""
    words = ("Contrast", "Of", "Against", "Where", "Mean over", "Family")
    rows = [
        (*(Cell(f"{word.lower()} with a long name {question}") for word in words), Cell(f"metric {metric}"),
         *(Cell("−0.38 to +0.12") for _ in range(3)), Cell(f"minor {question}"))
        for question in range(questions) for _ in range(2) for metric in range(metrics)
    ]  # fmt: skip
    columns = (*map(Column, words), Column("Metric", splits=True), *(Column(f"95 % interval {n}", "number") for n in range(3)),
               Column("Minor", "number", minor=True))  # fmt: skip
    return Table("asked", "Asked", "Rows.", columns, tuple(rows), pd.DataFrame(), frozenset({4}))


def test_rows_of_one_metric_stand_together_and_minor_columns_are_left_out() -> None:
    text = to_latex(asked(2, 2), "study")
    assert "Minor" not in text and "minor 0" not in text
    assert text.count("Metric: metric 0") == text.count("Metric: metric 1") == 1
    assert text.index("Metric: metric 0") < text.index("Metric: metric 1")
    first = text[: text.index("Metric: metric 1")]
    assert all(first.count(f"Of: of with a long name {n}") == 1 for n in range(2))
    assert text.count(r"\toprule") == 2


def test_many_long_words_and_numbers_leave_no_box_overfull(tmp_path: Path) -> None:
    write_table(asked(3, 9), tmp_path, "study")
    log = compile_tex(tmp_path / "asked.tex")
    assert "Overfull" not in log and "Float too large" not in log


def test_columns_that_have_no_room_stand_in_blocks_with_their_rows_names() -> None:
    text = to_latex(grouped(1, 3, 40), "study")
    assert text.count(r"\toprule") > 1
    assert text.count("arm 2 &") == text.count(r"\toprule")
    assert all(f"02.{n} " in text for n in range(40))


def test_what_is_good_or_bad_is_printed_black() -> None:
    row = (Cell("a"), Cell("+1.00", tone="good", bold=True))
    table = Table("t", "T", "C.", (Column("Arm"), Column("x", "number")), (row,), pd.DataFrame())
    assert "color" not in to_latex(table, "study") and r"\textbf{+1.00}" in to_latex(table, "study")


def test_a_table_without_rows_has_its_head() -> None:
    empty = Table("t", "T", "C.", (Column("Arm"), Column("95 % interval", "number")), (), pd.DataFrame())
    assert "& 95~\\% " in to_latex(empty, "study") and "interval" in to_latex(empty, "study")
