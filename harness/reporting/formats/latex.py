"""LaTeX of a table: booktabs, compiles as it is or as input of a paper."""

from __future__ import annotations

from unicodedata import normalize

from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#",
    "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$",
    "|": r"$|$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "–": "--", "∩": r"$\cap$", "Δ": r"$\Delta$",
    "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$", "\u202f": r"\,", "\u00a0": "~", "→": r"$\to$", "†": r"\textsuperscript{\dag}", "°": r"\textsuperscript{$\circ$}",
    "*": r"\textsuperscript{*}", "β": r"$\beta$",
}  # fmt: skip
_MOST_ROWS = 45
"""Rows on one page; a longer table goes on in a float of its own, with its head again."""
_MOST_FLOATS = 12
"""Floats that LaTeX can hold back."""
_FITTING = r"\ifdim\width>\linewidth\linewidth\else\width\fi"
_ALONE = r"""% Input it into a document that loads booktabs, graphicx and xcolor, or compile it as it is.
\makeatletter
\ifx\@nodocument\relax \def\medctxend{}\else
  \documentclass{article}\usepackage[margin=2cm]{geometry}\usepackage{booktabs,graphicx,xcolor}
  \begin{document}\def\medctxend{\end{document}}
\fi
\makeatother
"""


def to_latex(table: Table, label: str) -> str:
    """Return a booktabs table; wide ones span both columns of a page and are scaled to its width."""
    wide = len(table.columns) > 6
    float_name = "table*" if wide else "table"
    title = latex_escape(f"{table.title}. {table.caption}")
    starts = range(0, max(1, len(table.rows)), _MOST_ROWS)
    notes = "\n".join(rf"{latex_escape(note)}\par" for note in table.notes)
    parts = []
    for start in starts:
        caption = (
            f"\\caption{{{title}}}\n\\label{{tab:{safe_name(label)}-{safe_name(table.name)}}}"
            if start == 0
            else f"\\par {latex_escape(table.title)}, continued.\\par"
        )
        body = _tabular(table, start)
        if wide:
            body = rf"\resizebox{{{_FITTING}}}{{!}}{{%{chr(10)}{body}}}"
        if start == starts[-1]:
            body += (
                "\n\\par\\medskip\\begin{minipage}{\\linewidth}\\footnotesize\\raggedright\n"
                f"{notes}\n\\end{{minipage}}"
            )
        parts.append(
            f"\\begin{{{float_name}}}\n\\centering\\small\n{caption}\\smallskip\n{body}\n\\end{{{float_name}}}\n"
        )
    pages = ["".join(parts[i : i + _MOST_FLOATS]) for i in range(0, len(parts), _MOST_FLOATS)]
    return _ALONE + "\\clearpage\n".join(pages) + "\\medctxend\n"


def _tabular(table: Table, start: int) -> str:
    kinds = {"text": "l", "prose": "p{6cm}", "number": "r"}
    lines = _head(table)
    for index in range(start, min(start + _MOST_ROWS, len(table.rows))):
        if index in table.breaks and index > start:
            lines.append(r"\midrule")
        lines.append(" & ".join(_entry(cell) for cell in table.rows[index]) + r" \\")
    spec = "".join(kinds[column.kind] for column in table.columns)
    return "\n".join([rf"\begin{{tabular}}{{{spec}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])


def _head(table: Table) -> list[str]:
    lines = []
    if groups := table.groups():
        titles, rules, first = [], "", 1
        for group, width in groups:
            titles.append(
                rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(group)}}}" if group else " & " * (width - 1)
            )
            rules += rf"\cmidrule(lr){{{first}-{first + width - 1}}}" if group else ""
            first += width
        lines += [" & ".join(titles) + r" \\", rules]
    headings = " & ".join(latex_escape(column.heading) for column in table.columns)
    return [*lines, headings + r" \\", r"\midrule"]


_TONES = {"good": "0,0.4,0.3", "bad": "0.7,0.2,0"}


def _entry(cell: Cell) -> str:
    text = latex_escape(cell.text)
    if cell.tone:
        text = rf"\textcolor[rgb]{{{_TONES[cell.tone]}}}{{{text}}}"
    return rf"\textbf{{{text}}}" if cell.bold else rf"\underline{{{text}}}" if cell.underlined else text


def latex_escape(text: str) -> str:
    """Return ASCII in which LaTeX's own characters stand for themselves; accents go, unknown ones become ``?``."""
    return text.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """What ``str.translate`` looks characters up in; each is worked out once."""

    def __missing__(self, code: int) -> str:
        self[code] = _LATEX.get(chr(code)) or _ascii(chr(code))
        return self[code]


_ESCAPES = _Escapes()


def _ascii(character: str) -> str:
    plain = normalize("NFKD", character).encode("ascii", "ignore").decode()
    return " " if character.isspace() else plain or "?"
