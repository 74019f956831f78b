"""LaTeX of a table: booktabs in black and white, for a text of 122 mm; compiles as it is or as input of a paper.

A table that is too wide is printed smaller, down to 7 pt, and then in blocks of columns one below the other. A long one is
split where a factor changes, and what is the same in all rows of a part heads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, takewhile
from math import ceil
from unicodedata import normalize

from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Column, Table

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#",
    "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"$<$", ">": r"$>$",
    "|": r"$|$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "–": "--", "∩": r"$\cap$", "Δ": r"$\Delta$",
    "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$", "\u202f": r"\,", "\u00a0": "~", "→": r"$\to$", "†": r"\textsuperscript{\dag}", "°": r"\textsuperscript{$\circ$}",
    "*": r"\textsuperscript{*}", "β": r"$\beta$",
}  # fmt: skip
_WIDTH = 345.0  # points: the text width of Springer's LNCS, and a little less
_GAP = 4.0  # points between two columns: twice \tabcolsep
_SIZES = {
    "small": (9.0, 11.0),
    "footnotesize": (8.3, 9.5),
    "scriptsize": (7.6, 8.0),
}  # letters (small ones of Computer Modern are broad) and lines, points
_MOST_NAMES = 0.45 * _WIDTH  # points that columns of words may take beside numbers
_LEAST_PROSE = 75.0
_PAGE = 440.0  # points that a float may be high
_HEIGHT = 400.0  # of them for rows beside a caption
_LEAST_PART = 4  # rows of a part, on average
_MOST_FLOATS = 12
"""Floats that LaTeX can hold back."""
_ALONE = r"""% Input it into a document that loads booktabs and array, or compile it as it is.
\makeatletter
\ifx\@nodocument\relax \def\medctxend{}\else
  \documentclass[10pt]{article}\usepackage[textwidth=122mm,textheight=193mm]{geometry}\usepackage{booktabs,array}
  \begin{document}\def\medctxend{\end{document}}
\fi
\makeatother
"""


@dataclass(frozen=True)
class _Block:
    """Columns that fit beside each other, by place, with the width of those that wrap."""

    places: tuple[int, ...]
    wrapped: dict[int, float]


def to_latex(table: Table, label: str) -> str:
    """Return the floats of a table; ``label`` goes before its name in LaTeX's label."""
    most = int(_HEIGHT / _SIZES["small"][1]) - 4
    size, blocks, lead = _fitted(table, most)
    letter, line = _SIZES[size]
    title = latex_escape(f"{table.title}. {table.caption}")
    start = f"\\caption{{{title}}}\n\\label{{tab:{safe_name(label)}-{safe_name(table.name)}}}"
    goes_on = f"\\par {latex_escape(table.title)}, continued.\\par"
    heights = [max(_lines(row, block, letter) for block in blocks) for row in table.rows]
    parts = list(_parts(table, heights, int(_HEIGHT / line) - 4, lead))
    floats: list[list[str]] = [[]]
    room = _PAGE - 13.0 * ceil(len(title) / 70)
    for rows in parts:
        for block in blocks:
            taken = line * (sum(heights[row] for row in rows) + 5)
            if floats[-1] and taken > room:
                floats.append([])
                room = _PAGE
            room -= taken
            floats[-1].append(_tabular(table, rows, block, lead))
    if 9.0 * sum(ceil(len(note) / 95) for note in table.notes) > room:
        floats.append([])
    notes = "\n".join(rf"{latex_escape(note)}\par" for note in table.notes)
    floats[-1].append(
        f"\\begin{{minipage}}{{\\linewidth}}\\scriptsize\\raggedright\n{notes}\n\\end{{minipage}}"
    )
    texts = [
        f"\\begin{{table}}[tbp]\n\\centering\n{goes_on if n else start}\\{size}\\setlength{{\\tabcolsep}}{{{_GAP / 2:g}pt}}\\smallskip\n"
        + "\n\\par\\medskip\n".join(own) + "\n\\end{table}\n"
        for n, own in enumerate(floats)
    ]  # fmt: skip
    pages = ["".join(texts[i : i + _MOST_FLOATS]) for i in range(0, len(texts), _MOST_FLOATS)]
    return _ALONE + "\\clearpage\n".join(pages) + "\\medctxend\n"


def _fitted(table: Table, most: int) -> tuple[str, list[_Block], list[int]]:
    """Return the largest size of letters at which all columns fit, or the least one with its blocks, and what heads parts.

    What heads parts takes no column: there is such where a table is too wide, or has more than so many rows.
    """
    kinds = [column.kind for column in table.columns]
    words = list(takewhile(lambda place: kinds[place] == "text", range(len(kinds))))
    whole = _blocks(table, words, [], _SIZES["small"][0])
    if len(whole) == 1 and len(table.rows) <= most:
        return "small", whole, []
    lead = _lead(table, words)
    rest = [place for place in words if place not in lead]
    found = {size: _blocks(table, rest, lead, points) for size, (points, _) in _SIZES.items()}
    size = next((size for size, blocks in found.items() if len(blocks) == 1), "scriptsize")
    return size, found[size], lead


def _lead(table: Table, words: Sequence[int]) -> list[int]:
    """Return the first columns of words whose values change seldom, and those that never do."""
    if not table.rows:
        return []
    same = [
        place for place in words if len(table.rows) > 1 and len({row[place].text for row in table.rows}) == 1
    ]
    lead: list[int] = []
    for place in (place for place in words if place not in same):
        if len(list(_runs(table, [*lead, place]))) * _LEAST_PART > len(table.rows):
            break
        lead.append(place)
    return sorted([*lead, *same])


def _runs(table: Table, places: Sequence[int]) -> Iterator[range]:
    """Yield the rows that follow each other with the same words in some columns."""
    start = 0
    for _, rows in groupby(table.rows, lambda row: [row[place].text for place in places]):
        stop = start + len(list(rows))
        yield range(start, stop)
        start = stop


def _blocks(table: Table, words: Sequence[int], lead: Sequence[int], points: float) -> list[_Block]:
    """Return the columns in as few blocks as have room; each begins with the words that tell its rows apart."""
    widths = [_widest(table, place) * points + _GAP for place in range(len(table.columns))]
    kinds = [column.kind for column in table.columns]
    prose = [place for place, kind in enumerate(kinds) if kind == "prose"]
    numbers = [place for place in range(len(kinds)) if place not in (*words, *lead, *prose)]
    most = _MOST_NAMES if numbers or prose else _WIDTH
    wrapped: dict[int, float] = {}
    if sum(widths[place] for place in words) > most:
        wide = [place for place in words if widths[place] > most / len(words)]
        share = (most - sum(widths[place] for place in words if place not in wide)) / len(wide)
        for place in wide:
            widths[place] = max(share, _longest_word(table, place) * points + 2 + _GAP)
            wrapped[place] = widths[place] - _GAP
    named = sum(widths[place] for place in words)
    rows: list[list[int]] = [[]]
    left = room = _WIDTH - named
    for _, together in groupby(numbers, lambda place: table.columns[place].group or place):
        group = list(together)
        whole = sum(widths[place] for place in group)
        for place in group:
            if rows[-1] and (widths[place] > left or (place == group[0] and left < whole < room)):
                rows.append([])
                left = room
            rows[-1].append(place)
            left -= widths[place]
    if prose and left < _LEAST_PROSE * len(prose) and rows[-1]:
        rows.append([])
        left = room
    texts = {place: max(left / len(prose), _LEAST_PROSE) - _GAP for place in prose}
    rows[-1] += prose
    return [_Block(tuple(sorted([*words, *own])), wrapped | texts) for own in rows]


def _heading(table: Table, place: int) -> float:
    """Return the width of the longest word that heads a column, in heights of its letters."""
    column = table.columns[place]
    word = max(map(_ems, _heading_words(column)))
    return max(word, _ems(column.group) / sum(one.group == column.group for one in table.columns))


def _longest_word(table: Table, place: int) -> float:
    words = (_ems(word) for row in table.rows for word in row[place].text.split(" "))
    return max(_heading(table, place), max(words, default=0.0))


def _widest(table: Table, place: int) -> float:
    """Return the width of a column in heights of its letters."""
    cells = (_ems(row[place].text) * (1.15 if row[place].bold else 1) for row in table.rows)
    return max(_heading(table, place), max(cells, default=0.0))


@cache
def _ems(text: str) -> float:
    """Return about how wide a text is set in Computer Modern, in heights of its letters."""
    return sum(0.3 if c in " .,:;'il()[]|" else 0.8 if c.isupper() or c in "mw±−–+%→" else 0.53 for c in text)


def _lines(row: Sequence[Cell], block: _Block, letter: float) -> int:
    """Return about how many lines a row has."""
    wraps = (1.4 * letter * _ems(row[place].text) / width for place, width in block.wrapped.items())
    return max(1, ceil(max(wraps, default=1.0)))


def _parts(table: Table, heights: Sequence[int], most: int, lead: Sequence[int]) -> Iterator[range]:
    """Yield the rows of each part: those with one head, in pieces where they have more than so many lines."""
    for run in _runs(table, lead) if table.rows else [range(0)]:
        start, lines = run.start, 0
        for row in run:
            if lines + heights[row] > most and row > start:
                yield range(start, row)
                start, lines = row, 0
            lines += heights[row]
        yield range(start, run.stop)


def _tabular(table: Table, rows: range, block: _Block, lead: Sequence[int]) -> str:
    """Return a block of columns for some rows, and above it the words that all of them share."""
    places = block.places
    shared = ", ".join(f"{table.columns[place].heading}: {table.rows[rows[0]][place].text}" for place in lead)
    lines = _head([table.columns[place] for place in places])
    for index in rows:
        if index in table.breaks and index > rows.start:
            lines.append(r"\midrule")
        lines.append(" & ".join(_entry(table.rows[index][place]) for place in places) + r" \\")
    kinds = {"text": "l", "number": "r"}
    spec = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{block.wrapped[place]:.0f}pt}}"
        if place in block.wrapped
        else kinds[table.columns[place].kind]
        for place in places
    )
    head = [rf"\textit{{{latex_escape(shared)}}}\par\smallskip"] if shared else []
    return "\n".join(
        [
            *head,
            rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _head(columns: Sequence[Column]) -> list[str]:
    """Return the lines of the head: groups of columns, and headings in as many lines as their longest has words."""
    lines = []
    if any(column.group for column in columns):
        titles, rules, first = [], "", 1
        for group, own in groupby(columns, lambda column: column.group):
            width = len(list(own))
            titles.append(
                rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(group)}}}" if group else " & " * (width - 1)
            )
            rules += rf"\cmidrule(lr){{{first}-{first + width - 1}}}" if group else ""
            first += width
        lines += [" & ".join(titles) + r" \\", rules]
    headings = [_heading_words(column) for column in columns]
    most = max(map(len, headings), default=1)
    stacked = [[""] * (most - len(words)) + words for words in headings]
    return [
        *lines,
        *(" & ".join(latex_escape(words[n]) for words in stacked) + r" \\" for n in range(most)),
        r"\midrule",
    ]


def _heading_words(column: Column) -> list[str]:
    """Return the words of a heading that stand one below the other; a number and its per cent sign are one."""
    return column.heading.replace(" %", "\u00a0%").split(" ")


def _entry(cell: Cell) -> str:
    text = latex_escape(cell.text)
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
