"""LaTeX of a table: booktabs, compiles as it is or as input of a paper."""

from __future__ import annotations

from unicodedata import normalize

from harness.report.formats import Cell, Table
from harness.report.wording import safe_name

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#",
    "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$",
    "|": r"$|$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "–": "--", "∩": r"$\cap$", "Δ": r"$\Delta$",
    "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$", "\u202f": r"\,", "\u00a0": "~", "→": r"$\to$", "†": r"\textsuperscript{\dag}", "°": r"\textsuperscript{$\circ$}",
    "*": r"\textsuperscript{*}", "β": r"$\beta$",
}  # fmt: skip
_ALONE = r"""% Input it into a document that loads booktabs, graphicx and xcolor, or compile it as it is.
\makeatletter
\ifx\@nodocument\relax \def\medctxend{}\else
  \documentclass{article}\usepackage[margin=2cm]{geometry}\usepackage{booktabs,graphicx,xcolor}
  \begin{document}\def\medctxend{\end{document}}
\fi
\makeatother
"""


def to_latex(table: Table, label: str) -> str:
    """Return a booktabs table; wide ones are scaled to the text width."""
    kinds = {"text": "l", "prose": "p{6cm}", "number": "r"}
    lines = _head(table)
    for index, row in enumerate(table.rows):
        if index in table.breaks:
            lines.append(r"\midrule")
        lines.append(" & ".join(_entry(cell) for cell in row) + r" \\")
    spec = "".join(kinds[column.kind] for column in table.columns)
    body = "\n".join([rf"\begin{{tabular}}{{{spec}}}", r"\toprule", *lines, r"\bottomrule", r"\end{tabular}"])
    if len(table.columns) > 6:
        body = rf"\resizebox{{\linewidth}}{{!}}{{%{chr(10)}{body}}}"
    notes = "\n".join(rf"{latex_escape(note)}\par" for note in table.footnotes)
    return (
        f"{_ALONE}\\begin{{table}}\n\\centering\\small\n"
        f"\\caption{{{latex_escape(f'{table.title}. {table.caption}')}}}\n"
        f"\\label{{tab:{safe_name(label)}-{safe_name(table.name)}}}\\smallskip\n{body}\n"
        f"\\par\\medskip\\begin{{minipage}}{{\\linewidth}}\\footnotesize\\raggedright\n{notes}\n"
        "\\end{minipage}\n\\end{table}\n\\medctxend\n"
    )


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
