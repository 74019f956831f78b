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
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs,graphicx,xcolor}
\begin{document}
%s
\end{document}
"""


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


def test_tables_compile_alone_and_in_a_paper(fake: Fake, tmp_path: Path) -> None:
    tables = [small(), *tables_of(with_tables(fake.study, WIDE), fake.results).values(), long(3), long(12)]
    for table in tables:
        write_table(table, tmp_path, "study")
        assert "Float too large" not in compile_tex(tmp_path / f"{table.name}.tex")
    paper = tmp_path / "paper.tex"
    paper.write_text(PAPER % "\n".join(rf"\input{{{table.name}}}" for table in tables))
    compile_tex(paper)


def test_a_long_table_goes_on_and_keeps_its_rows() -> None:
    text = to_latex(long(3), "study")
    assert text.count(r"\begin{table}") == text.count(r"\toprule") == 16
    assert text.count(r"\caption{") == text.count(r"\label{") == 1
    assert text.count("2.00 $\\pm$ 1.00") == 700
    assert text.count("a note ") == 30
