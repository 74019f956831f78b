"""Characters that a format gives a meaning of its own."""

from fake_tables import small

from harness.reporting.formats.html import to_html
from harness.reporting.formats.latex import latex_escape, to_latex
from harness.reporting.formats.markdown import to_markdown


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
