"""Every table goes through a TeX engine, alone and as part of a paper."""

import shutil
import subprocess
from pathlib import Path

import pytest
from fake_results import Fake

from harness.report import write_report

LATEX = shutil.which("pdflatex")
pytestmark = pytest.mark.skipif(LATEX is None, reason="no pdflatex on the PATH")
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage{booktabs,graphicx,xcolor}
\begin{document}
%s
\end{document}
"""


def compile_tex(path: Path) -> None:
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert path.with_suffix(".pdf").is_file()


def test_tables_compile_alone_and_in_a_paper(fake: Fake, tmp_path: Path) -> None:
    write_report(fake.study, fake.results)
    tables = sorted((fake.results / "fake_study" / "tables").glob("*.tex"))
    assert len(tables) == 5
    for table in tables:
        compile_tex(Path(shutil.copy(table, tmp_path)))
    paper = tmp_path / "paper.tex"
    paper.write_text(PAPER % "\n".join(rf"\input{{{table.stem}}}" for table in tables))
    compile_tex(paper)
