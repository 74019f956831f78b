"""A plain table and its four renderers: Markdown, CSV, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from unicodedata import normalize

import pandas as pd

from harness.record import write_text
from harness.report.wording import safe_name


@dataclass(frozen=True)
class Cell:
    """A formatted entry."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Column:
    """``kind`` is ``text``, ``number`` (aligned right) or ``prose`` (wrapped)."""

    heading: str
    kind: str = "text"


@dataclass(frozen=True)
class Table:
    """A plain table, ready to be rendered.

    Attributes:
        name: of its files.
        title: in a few words.
        caption: what is shown, with unit and metric convention.
        columns: one per cell of a row.
        rows: of cells.
        breaks: indices of rows above which a rule is drawn.
        footnotes: plain sentences.
        data: the raw numbers at full precision, tidy, for CSV.
        refused: whether it says why it shows no number.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    breaks: frozenset[int]
    footnotes: tuple[str, ...]
    data: pd.DataFrame
    refused: bool = False


def write_table(table: Table, folder: Path, label: str) -> None:
    """Write ``<folder>/<name>.{md,csv,tex,html}``; ``label`` goes before the name in LaTeX's label."""
    folder.mkdir(parents=True, exist_ok=True)
    renderers: dict[str, Callable[[Table], str]] = {
        "md": to_markdown,
        "csv": to_csv,
        "tex": lambda table: to_latex(table, label),
        "html": to_html_page,
    }
    for suffix, render in renderers.items():
        write_text(folder / f"{safe_name(table.name)}.{suffix}", render(table))


def to_csv(table: Table) -> str:
    """Return the raw numbers, tidy, at full precision."""
    return table.data.to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table) -> str:
    """Return a GitHub-flavoured Markdown table with caption and footnotes."""
    marks = {"text": ":--", "prose": ":--", "number": "--:"}
    lines = [
        "| " + " | ".join(_markdown(column.heading) for column in table.columns) + " |",
        "| " + " | ".join(marks[column.kind] for column in table.columns) + " |",
    ]
    for row in table.rows:
        texts = [f"**{_markdown(cell.text)}**" if cell.bold else _markdown(cell.text) for cell in row]
        lines.append("| " + " | ".join(texts) + " |")
    notes = "".join(f"- {_markdown(note)}\n" for note in table.footnotes)
    return f"**{_markdown(table.title)}.** {_markdown(table.caption)}\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _markdown(text: str) -> str:
    for character in "\\|*_`<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#",
    "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$",
    "|": r"$|$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "–": "--", "∩": r"$\cap$", "Δ": r"$\Delta$",
    "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$", "\u202f": r"\,", "\u00a0": "~", "→": r"$\to$",
}  # fmt: skip
_ALONE = r"""% Input it into a document that loads booktabs and graphicx, or compile it as it is.
\makeatletter
\ifx\@nodocument\relax \def\medctxend{}\else
  \documentclass{article}\usepackage[margin=2cm]{geometry}\usepackage{booktabs,graphicx}
  \begin{document}\def\medctxend{\end{document}}
\fi
\makeatother
"""


def to_latex(table: Table, label: str) -> str:
    """Return a booktabs table; wide ones are scaled to the text width."""
    kinds = {"text": "l", "prose": "p{6cm}", "number": "r"}
    lines = [
        " & ".join(latex_escape(column.heading) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for index, row in enumerate(table.rows):
        if index in table.breaks:
            lines.append(r"\midrule")
        texts = [rf"\textbf{{{latex_escape(c.text)}}}" if c.bold else latex_escape(c.text) for c in row]
        lines.append(" & ".join(texts) + r" \\")
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


def latex_escape(text: str) -> str:
    """Return ASCII in which LaTeX's own characters stand for themselves; accents go, unknown ones become ``?``."""
    return "".join(_LATEX.get(character) or _ascii(character) for character in text)


def _ascii(character: str) -> str:
    plain = normalize("NFKD", character).encode("ascii", "ignore").decode()
    return " " if character.isspace() else plain or "?"


def to_html(table: Table) -> str:
    """Return the table alone: its caption, ``<table>`` in a box that scrolls, and its footnotes as a list."""
    head = "".join(f'<th class="{column.kind}">{escape(column.heading)}</th>' for column in table.columns)
    rows = []
    for index, row in enumerate(table.rows):
        cells = "".join(
            f'<td class="{column.kind}">{f"<b>{escape(c.text)}</b>" if c.bold else escape(c.text)}</td>'
            for column, c in zip(table.columns, row, strict=True)
        )
        rows.append(f"<tr{' class=rule' if index in table.breaks else ''}>{cells}</tr>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.footnotes)
    return (
        f'<p class="caption" id="caption-{safe_name(table.name)}"><b>{escape(table.title)}.</b> '
        f"{escape(table.caption)}</p>\n"
        f'<div class="scroll" tabindex="0"><table aria-labelledby="caption-{safe_name(table.name)}">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>\n"
        f'<ul class="notes">{notes}</ul>\n'
    )


def to_html_page(table: Table) -> str:
    """Return the table as a page of its own."""
    style = (
        "body{font-family:sans-serif;margin:2em;max-width:70em}"
        "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
        "thead{border-bottom:1px solid}th,td{padding:.2em .7em;text-align:left;vertical-align:top}"
        ".number{text-align:right;white-space:nowrap}tr.rule td{border-top:1px solid #999}"
        ".scroll{overflow-x:auto}.notes{font-size:.85em}"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(table.title)}</title>'
        f"<style>{style}</style></head>\n<body>\n{to_html(table)}</body></html>\n"
    )
