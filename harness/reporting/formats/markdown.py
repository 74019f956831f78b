"""Markdown of a table."""

from __future__ import annotations

from harness.reporting.formats.table import Cell, Table


def to_markdown(table: Table) -> str:
    """Return a GitHub-flavoured Markdown table with caption and footnotes."""
    marks = {"text": ":--", "prose": ":--", "number": "--:"}
    lines = [
        "| " + " | ".join(_markdown(column.full_heading) for column in table.columns) + " |",
        "| " + " | ".join(marks[column.kind] for column in table.columns) + " |",
    ]
    for row in table.rows:
        lines.append("| " + " | ".join(_markdown_cell(cell) for cell in row) + " |")
    notes = "".join(f"- {_markdown(note)}\n" for note in table.notes)
    return f"**{_markdown(table.title)}.** {_markdown(table.caption)}\n\n" + "\n".join(lines) + f"\n\n{notes}"


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    return f"**{text}**" if cell.bold else f"<u>{text}</u>" if cell.underlined else text


def _markdown(text: str) -> str:
    for character in "\\|*_`<[":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
