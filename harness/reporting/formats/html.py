"""HTML of a table: a part of the page, or a page of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from harness.records.schema import safe_name
from harness.reporting.formats.table import Cell, Column, Table


def to_html(table: Table, alone: bool = False) -> str:
    """Return the table: its caption, ``<table>`` in a box that scrolls, and its footnotes as a list.

    Where it stands ``alone``, the protocol is among them.
    """
    rows = []
    for index, row in enumerate(table.rows):
        shared = _shared_trials(row)
        cells = "".join(_entry(column, cell, shared) for column, cell in zip(table.columns, row, strict=True))
        trials = f' data-trials="{" ".join(shared)}"' if shared else ""
        rows.append(f"<tr{' class=rule' if index in table.breaks else ''}{trials}>{cells}</tr>")
    notes = "".join(f"<li>{escape(note)}</li>" for note in (table.notes if alone else table.footnotes))
    return (
        f'<p class="caption" id="caption-{safe_name(table.name)}"><b>{escape(table.title)}.</b> '
        f"{escape(table.caption)}</p>\n"
        f'<div class="scroll" tabindex="0"><table aria-labelledby="caption-{safe_name(table.name)}">'
        f"<thead>{_head(table)}</thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>\n"
        f'<ul class="notes">{notes}</ul>\n'
    )


def _head(table: Table) -> str:
    groups = "".join(
        f'<th colspan="{width}" class="group" scope="colgroup">{escape(group)}</th>'
        if group
        else f'<td colspan="{width}"></td>'
        for group, width in table.groups()
    )
    headings = "".join(
        f'<th class="{column.kind}" scope="col">{escape(column.heading)}</th>' for column in table.columns
    )
    return (f"<tr>{groups}</tr>" if groups else "") + f'<tr class="headings">{headings}</tr>'


def _shared_trials(row: Sequence[Cell]) -> tuple[str, ...]:
    """Return the trials of a row whose cells all rest on the same ones."""
    found = {cell.trials for cell in row if cell.trials}
    return found.pop() if len(found) == 1 else ()


def _entry(column: Column, cell: Cell, shared: tuple[str, ...]) -> str:
    text = escape(cell.text)
    if cell.trials:
        own = "" if cell.trials == shared else f' data-trials="{" ".join(cell.trials)}"'
        text = f'<a href="#trial-{cell.trials[0]}"{own}>{text}</a>'
    text = f"<b>{text}</b>" if cell.bold else f"<u>{text}</u>" if cell.underlined else text
    value = "" if cell.value is None or math.isnan(cell.value) else f' data-value="{cell.value:.6g}"'
    anchor = f' id="{cell.anchor}"' if cell.anchor else ""
    return f'<td{anchor} class="{" ".join(filter(None, (column.kind, cell.tone)))}"{value}>{text}</td>'


def to_html_page(table: Table) -> str:
    """Return the table as a page of its own."""
    style = (
        "body{font-family:sans-serif;margin:2em;max-width:70em}"
        "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid}"
        "thead{border-bottom:1px solid}th,td{padding:.2em .7em;text-align:left;vertical-align:top}"
        ".number{text-align:right;white-space:nowrap}tr.rule td{border-top:1px solid #999}"
        ".scroll{overflow-x:auto}.notes{font-size:.85em}a{color:inherit;text-decoration:none}"
        "th.group{text-align:center;border-bottom:1px solid #999}.good{color:#00664d}.bad{color:#b33600}"
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(table.title)}</title>'
        f"<style>{style}</style></head>\n<body>\n{to_html(table, alone=True)}</body></html>\n"
    )
