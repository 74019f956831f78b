"""The report page: one self-contained HTML file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.records.schema import safe_name
from harness.reporting.figures.planned import FigureEntry
from harness.reporting.formats.html import to_html
from harness.reporting.formats.table import Table
from harness.reporting.frames import row_dicts
from harness.reporting.page.answer import answer
from harness.reporting.page.viewer import viewer_data
from harness.reporting.provenance import environment_rows, protocol_notes, selection_notes, version_notes
from harness.reporting.report_data import ReportData
from harness.reporting.slices.galleries import Gallery
from harness.reporting.tables.study import skip_row
from harness.reporting.wording import UNSET, heading, metric_of, value_text

_TRACEBACK_LINES = 12
_MOST_SVG = 2_000_000  # bytes; a larger drawing is embedded as PNG


def render_page(
    data: ReportData,
    comparisons: pd.DataFrame,
    tables: Sequence[Table],
    pictures: Sequence[FigureEntry],
    galleries: Mapping[str, Gallery | str],
    folder: Path,
    searches: Sequence[Table] = (),
) -> str:
    """Return the page's HTML.

    Args:
        data: what the report is made from.
        comparisons: of ``comparison_frame``.
        tables: in the order of the page.
        pictures: likewise; the files of those that were drawn lie in ``<folder>/figures``.
        galleries: of ``all_galleries``.
        folder: of the study's output.
        searches: the tables of its searches.
    """
    environment = Environment(
        loader=PackageLoader("harness.reporting.page", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    study, done = data.study, data.complete
    entries = {table.name: _entry(table) for table in tables}
    parts = {
        "comparisons": entries.pop("comparisons"),
        "cost": entries.pop("cost"),
        "trials": entries.pop("trials"),
        "scores": list(entries.values()),
        "search": [_entry(table) for table in searches],
        "viewers": viewer_data(galleries),
        "failed": failures(data.trials, study.varying()),
        "skipped": _skipped(data),
        "protocol": protocol_notes(done) if len(done) else [],
    }
    return environment.get_template("template.html").render(
        name=study.name,
        question=study.question,
        answer=answer(data, comparisons),
        counts=state_counts(data.trials, len(study.skipped)),
        sections=[
            (anchor, title)
            for anchor, title in _SECTIONS.items()
            if parts.get(_CONTENT.get(anchor, anchor), True)
        ],
        drawn=[
            (picture, data_uri(folder / "figures", picture.name))
            for picture in pictures
            if not picture.reason
        ],
        omitted=[picture for picture in pictures if picture.reason],
        cautions=_cautions(data),
        environment=environment_rows(done) if len(done) else [],
        commands="\n".join(study.commands),
        css=_asset("page.css"),
        script=_asset("page.js"),
        **parts,
    )


_SECTIONS = {
    "search": "Search", "scores": "Scores", "figures": "Figures", "viewers": "Slice by slice", "comparisons": "Tests", "cost": "Cost",
    "failures": "Failed trials", "skipped": "Skipped cells", "trials": "All trials", "protocol": "Protocol",
    "reproduce": "How to reproduce",
}  # fmt: skip
_CONTENT = {"failures": "failed"}


def _entry(table: Table) -> dict[str, Any]:
    return {
        "id": safe_name(table.name),
        "html": Markup(to_html(table)),
        "metric": table.metric,
        "label": metric_of(table.metric).label if table.metric else "",
        "traced": any(cell.trials for row in table.rows for cell in row),
    }


def _asset(name: str) -> Markup:
    return Markup(Path(__file__).with_name(name).read_text())


def _cautions(data: ReportData) -> list[str]:
    done = data.complete
    if not len(done):
        return []
    refusals = [f"Refused: {text}" for text in data.undeclared_differences]
    return [*refusals, *selection_notes(done), *version_notes(done)]


def state_counts(trials: pd.DataFrame, skipped: int) -> dict[str, int]:
    """Return how many trials are planned and in each state; complete, failed and skipped are always there."""
    found = {str(state): int(n) for state, n in trials["status"].value_counts().items()}
    counts = {"planned": len(trials), "complete": found.pop("complete", 0), "failed": found.pop("failed", 0)}
    return {**counts, **found, "skipped": skipped}


def failures(trials: pd.DataFrame, varying: Sequence[str]) -> list[dict[str, str]]:
    """Return id, factors, cause, message and end of the traceback of trials that failed or are damaged."""
    rows = row_dicts(trials[trials["status"].isin(("failed", "damaged"))])
    return [
        {
            "id": row["id"],
            "status": row["status"],
            "factors": ", ".join(f"{heading(key).lower()} {value_text(row[key])}" for key in varying),
            **{part: row[part] if isinstance(row[part], str) else "" for part in ("cause", "message")},
            "traceback": _end(row["traceback"]),
        }
        for row in rows
    ]


def _end(traceback: Any) -> str:
    return (
        "\n".join(traceback.rstrip().splitlines()[-_TRACEBACK_LINES:]) if isinstance(traceback, str) else ""
    )


def _skipped(data: ReportData) -> list[tuple[str, str]]:
    keys = [key for key in data.study.factors if any(key in skip.factors for skip in data.study.skipped)]
    rows = [skip_row(skip, keys) for skip in data.study.skipped]
    return [
        (
            ", ".join(f"{heading(k).lower()} {value_text(row[k])}" for k in keys if row[k] != UNSET),
            row["cause"],
        )
        for row in rows
    ]


def data_uri(folder: Path, name: str) -> str:
    """Return a figure's SVG as a data URI, or its PNG where the SVG is large or holds pictures."""
    svg = (folder / f"{name}.svg").read_bytes()
    if len(svg) > _MOST_SVG or b"<image" in svg:
        return f"data:image/png;base64,{b64encode((folder / f'{name}.png').read_bytes()).decode()}"
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
