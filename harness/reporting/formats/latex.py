"""LaTeX of a table: booktabs in black and white, for a text of 122 mm; compiles as it is or as input of a paper.

It has what a paper prints; minor columns are on the page and in CSV. A table that is too wide is printed smaller, down to
7 pt, and then in blocks of columns one below the other. A long one is split where a factor changes, and what rows share
heads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, takewhile
from math import ceil
from unicodedata import normalize

from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Column, Table, breaks_between

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
    9: (9.0, 11.0),
    8: (8.3, 9.5),
    7: (7.6, 8.0),
}  # points, not names: \footnotesize is 9 pt in LNCS; letters (small ones of Computer Modern are broad) and lines
_MOST_NAMES = 0.45 * _WIDTH  # points that columns of words may take beside numbers
_LEAST_PROSE = 75.0
_PAGE = 515.0  # points that a float may be high
_HEIGHT = 470.0  # of them for rows beside a caption
_LEAST_GROUP = 4.0, 1.5  # rows that share a head, on average: where a table is long, and where it is too wide
_RULE = 0.6  # lines
_ACROSS = 0.8  # of a block, for the words that head rows: none may widen its columns
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
    """Columns that fit beside each other, by place, with the width of those that wrap, and about that of all."""

    places: tuple[int, ...]
    wrapped: dict[int, float]
    width: float


def to_latex(table: Table, label: str) -> str:
    """Return the floats of a table; ``label`` goes before its name in LaTeX's label."""
    table = _printed(table)
    size, blocks, lead = _fitted(table)
    letter, line = _SIZES[size]
    letters = rf"\fontsize{{{size}}}{{{line:g}}}\selectfont\setlength{{\tabcolsep}}{{{_GAP / 2:g}pt}}"
    title = latex_escape(f"{table.title}. {table.caption}")
    start = f"\\caption{{{title}}}\n\\label{{tab:{safe_name(label)}-{safe_name(table.name)}}}"
    goes_on = f"\\par {latex_escape(table.title)}, continued.\\par"
    heights = [float(max(_lines(row, block, letter) for block in blocks)) for row in table.rows]
    floats: list[list[str]] = [[]]
    room = _PAGE - 13.0 * ceil(len(title) / 70)
    heads = [_head_lines(table, block) for block in blocks]
    least = _ACROSS * min(block.width for block in blocks)
    for run in _runs(table, lead) if lead and table.rows else []:
        words = _ems(_words(table, run.start, lead)) * letter
        heights[run.start] += _RULE + ceil(words / least)
    for rows in _parts(table, heights, int(_HEIGHT / line - max(heads)), lead):
        own = sum(heights[row] for row in rows)
        for block, head in zip(blocks, heads, strict=True):
            taken = line * (own + head)
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
        f"\\begin{{table}}[tbp]\n\\centering\n{goes_on if n else start}{letters}\\smallskip\n"
        + "\n\\par\\medskip\n".join(own) + "\n\\end{table}\n"
        for n, own in enumerate(floats)
    ]  # fmt: skip
    pages = ["".join(texts[i : i + _MOST_FLOATS]) for i in range(0, len(texts), _MOST_FLOATS)]
    return _ALONE + "\\clearpage\n".join(pages) + "\\medctxend\n"


def _printed(table: Table) -> Table:
    """Return the table without minor columns, rows with the same value of a column that splits it together."""
    kept = [place for place, column in enumerate(table.columns) if not column.minor]
    splitting = [place for place in kept if table.columns[place].splits]
    words = [tuple(row[place].text for place in splitting) for row in table.rows]
    seen = list(dict.fromkeys(words))
    order = sorted(range(len(words)), key=lambda row: seen.index(words[row]))
    group = [sum(start <= row for start in table.breaks) for row in order]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in kept),
        rows=tuple(tuple(table.rows[row][place] for place in kept) for row in order),
        breaks=breaks_between(group),
    )


def _fitted(table: Table) -> tuple[int, list[_Block], list[int]]:
    """Return the largest size of letters at which all columns fit, or the least one with its blocks, and what heads rows.

    What heads rows takes no column: there is such where a table is too wide, or longer than a page.
    """
    kinds = [column.kind for column in table.columns]
    words = list(takewhile(lambda place: kinds[place] == "text", range(len(kinds))))
    whole = _blocks(table, words, [], _SIZES[9][0])
    if len(whole) == 1 and len(table.rows) <= int(_HEIGHT / _SIZES[9][1]) - 4:
        return 9, whole, []
    found: list[tuple[int, list[_Block], list[int]]] = []
    for least in _LEAST_GROUP:
        lead = _lead(table, words, least)
        rest = [place for place in words if place not in lead]
        for size, (points, _) in list(_SIZES.items())[len(whole) == 1 :]:
            found.append((size, _blocks(table, rest, lead, points), lead))
            if len(found[-1][1]) == 1:
                return found[-1]
    return min(found, key=lambda one: len(one[1]))


def _lead(table: Table, words: Sequence[int], least: float) -> list[int]:
    """Return the columns of words that split the table, those that change seldom, and those that never do."""
    if not table.rows:
        return []
    same = [
        place for place in words if len(table.rows) > 1 and len({row[place].text for row in table.rows}) == 1
    ]
    lead = [place for place in words if table.columns[place].splits and place not in same]
    for place in (place for place in words if place not in (*same, *lead)):
        if len(list(_runs(table, [*lead, place]))) * least <= len(table.rows):
            lead.append(place)
    return [*same, *lead]


def _runs(table: Table, places: Sequence[int], rows: range | None = None) -> Iterator[range]:
    """Yield the rows that follow each other with the same words in some columns, of all rows or of some."""
    rows = range(len(table.rows)) if rows is None else rows
    start = rows.start
    for _, group in groupby(rows, lambda row: [table.rows[row][place].text for place in places]):
        stop = start + len(list(group))
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
    widths = [texts.get(place, width) for place, width in enumerate(widths)]
    return [
        _Block(tuple(sorted([*words, *own])), wrapped | texts, named + sum(widths[place] for place in own))
        for own in rows
    ]


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


def _head_lines(table: Table, block: _Block) -> float:
    """Return about how many lines a tabular takes beside its rows: headings, rules, what all rows share, and room."""
    columns = [table.columns[place] for place in block.places]
    return (
        max((len(_heading_words(one)) for one in columns), default=1)
        + 1.2 * any(one.group for one in columns)
        + 4
    )


def _parts(table: Table, heights: Sequence[float], most: int, lead: Sequence[int]) -> Iterator[range]:
    """Yield the rows of each tabular: those that are not split, in pieces of at most so many lines, heads among them."""
    split = [place for place in lead if table.columns[place].splits]
    for run in _runs(table, split) if table.rows else [range(0)]:
        start, lines = run.start, 0.0
        for row in run:
            if lines + heights[row] > most and row > start:
                yield range(start, row)
                start, lines = row, 0.0
            lines += heights[row]
        yield range(start, run.stop)


def _tabular(table: Table, rows: range, block: _Block, lead: Sequence[int]) -> str:
    """Return a block of columns for some rows; above it, and within, stand the words that rows share."""
    places = block.places
    values = {place: {table.rows[row][place].text for row in rows} for place in lead}
    shared = _told(table, rows.start, [place for place in lead if len(values[place]) == 1])
    heading = [place for place in lead if len(values[place]) > 1]
    heads = {run.start for run in _runs(table, heading, rows)} if heading else set()
    lines = _head([table.columns[place] for place in places])
    across = rf"@{{}}>{{\raggedright\arraybackslash}}p{{{_ACROSS * block.width:.0f}pt}}@{{}}"
    for index in rows:
        if index > rows.start and (index in table.breaks or index in heads):
            lines.append(r"\midrule")
        if index in heads:
            lines.append(rf"\multicolumn{{{len(places)}}}{{{across}}}{{{_told(table, index, heading)}}} \\")
        lines.append(" & ".join(_entry(table.rows[index][place]) for place in places) + r" \\")
    kinds = {"text": "l", "number": "r"}
    spec = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{block.wrapped[place]:.0f}pt}}"
        if place in block.wrapped
        else kinds[table.columns[place].kind]
        for place in places
    )
    above = [rf"{shared}\par\smallskip"] if shared else []
    return "\n".join(
        [
            *above,
            rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _told(table: Table, row: int, places: Sequence[int]) -> str:
    """Return the words of some columns of a row, slanted."""
    return rf"\textit{{{latex_escape(_words(table, row, places))}}}" if places else ""


def _words(table: Table, row: int, places: Sequence[int]) -> str:
    """Return the words of some columns of a row: ``Shots: 2, Network: U-Net``."""
    return ", ".join(f"{table.columns[place].heading}: {table.rows[row][place].text}" for place in places)


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
