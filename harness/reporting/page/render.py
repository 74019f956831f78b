"""The report page: one self-contained HTML file."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import Image

from harness.records.schema import safe_name
from harness.reporting.figures.planned import FigureEntry
from harness.reporting.figures.style import DPI
from harness.reporting.folds import LACKING
from harness.reporting.formats.html import to_html
from harness.reporting.formats.table import Table
from harness.reporting.frames import row_dicts
from harness.reporting.page.protocol import protocol_tables
from harness.reporting.page.verdicts import PRIMARY, verdicts
from harness.reporting.page.viewer import viewer_data
from harness.reporting.provenance import environment_rows, selection_notes, version_notes
from harness.reporting.report_data import ReportData
from harness.reporting.slices.galleries import Gallery
from harness.reporting.wording import count, metric_of
from harness.study.names import Names

_TRACEBACK_LINES = 12
_WIDE = 4.2  # inches of a figure that takes the page's width, and stands beside no other
_MOST_SVG = 2_000_000  # bytes; a larger drawing is embedded as PNG


def render_page(
    data: ReportData,
    answer: str,
    comparisons: pd.DataFrame,
    contrasts: pd.DataFrame,
    tables: Sequence[Table],
    search_tables: Sequence[Table],
    figures: Sequence[FigureEntry],
    galleries: Mapping[str, Gallery | str],
    figure_folder: Path,
    running: Sequence[str] | None = None,
) -> str:
    """Return the page's HTML.

    Args:
        data: of the report.
        answer: to the study's question.
        comparisons: of ``comparison_frame``.
        contrasts: of ``contrast_frame``.
        tables: in the order of the page.
        search_tables: the tables of the study's searches.
        figures: in the order of the page.
        galleries: of ``all_galleries``.
        figure_folder: of the drawn figures.
        running: a line for each trial that runs, for a page that loads itself again; None for one that does not.
    """
    study, done = data.study, data.complete
    parts = _tables_by_section(tables) | {
        "search": [_table_entry(table) for table in search_tables],
        "viewers": viewer_data(galleries),
        "failures": failed_trials(data.trials, study.varying(), data.names),
        "skipped": [(_words(study.factors, skip.factors, data.names), skip.reason) for skip in study.skipped],
        "protocol": protocol_tables(data),
    }
    return _template().render(
        name=study.name,
        question=study.question,
        answer=answer,
        running=running,
        verdicts=verdicts(data, comparisons, contrasts),
        primary=PRIMARY,
        counts=state_counts(data.trials, len(study.skipped)),
        sections=[(anchor, title) for anchor, title in _SECTIONS.items() if parts.get(anchor, True)],
        drawn=[
            (figure, data_uri(figure_folder, figure.name), _inches(figure_folder, figure.name))
            for figure in figures
            if not figure.reason
        ],
        wide=_WIDE,
        omitted=[figure for figure in figures if figure.reason],
        cautions=_cautions(data),
        environment=environment_rows(done) if len(done) else [],
        commands="\n".join(study.commands),
        names=study.names.typed(),
        css=_read_asset("page.css"),
        script=_read_asset("page.js"),
        **parts,
    )


def _tables_by_section(tables: Sequence[Table]) -> dict[str, Any]:
    """Return the tables that have a place of their own by their names, and all others as ``scores``."""
    placed = ("contrasts", "comparisons", "cost", "trials", "ensembles", "conventions")
    entries = {table.name: _table_entry(table) for table in tables}
    others = [entry for name, entry in entries.items() if name not in placed]
    return {name: entries.get(name) for name in placed} | {"scores": others}


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("harness.reporting.page", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["count"] = count
    return environment.get_template("template.html")


_SECTIONS = {
    "search": "Search", "scores": "Scores", "figures": "Figures", "viewers": "Slice by slice", "comparisons": "Tests", "ensembles": "Ensembles", "conventions": "Conventions",
    "cost": "Cost", "failures": "Failed trials", "skipped": "Skipped cells", "trials": "All trials", "protocol": "Protocol",
    "reproduce": "How to reproduce",
}  # fmt: skip


def _table_entry(table: Table) -> dict[str, Any]:
    return {
        "id": safe_name(table.name),
        "html": Markup(to_html(table)),
        "metric": table.metric,
        "label": metric_of(table.metric).label if table.metric else "",
        "traced": any(cell.trials for row in table.rows for cell in row),
    }


def _read_asset(name: str) -> Markup:
    return Markup(Path(__file__).with_name(name).read_text())


def _cautions(data: ReportData) -> list[str]:
    """Return what readers should know before they compare numbers."""
    done = data.complete
    if not len(done):
        return []
    refusals = [f"Refused: {text}" for text in data.undeclared_differences]
    lacking = [note for note in data.fold_notes if note.startswith(LACKING)]
    return [*refusals, *lacking, *selection_notes(done), *version_notes(done)]


def state_counts(trials: pd.DataFrame, skipped: int) -> dict[str, int]:
    """Return how many trials are planned and in each state; complete, failed and skipped are always there."""
    found = {str(state): int(n) for state, n in trials["status"].value_counts().items()}
    counts = {"planned": len(trials), "complete": found.pop("complete", 0), "failed": found.pop("failed", 0)}
    return {**counts, **found, "skipped": skipped}


def failed_trials(trials: pd.DataFrame, varying: Sequence[str], names: Names) -> list[dict[str, str]]:
    """Return id, factors, cause, message and end of the traceback of trials that failed or are damaged."""
    rows = row_dicts(trials[trials["status"].isin(("failed", "damaged"))])
    return [
        {
            "id": row["id"],
            "status": row["status"],
            "factors": _words(varying, row, names),
            **{part: row[part] if isinstance(row[part], str) else "" for part in ("cause", "message")},
            "traceback": _last_lines(row["traceback"]),
        }
        for row in rows
    ]


def _last_lines(traceback: Any) -> str:
    lines = traceback.rstrip().splitlines() if isinstance(traceback, str) else []
    return "\n".join(lines[-_TRACEBACK_LINES:])


def _words(keys: Sequence[str], values: Mapping[str, Any], names: Names) -> str:
    """Return ``shots 5, method MedContext``, without the factors that are not set."""
    set_keys = [key for key in keys if values.get(key) is not None]
    return ", ".join(f"{names.factor(key).lower()} {names.value(key, values[key])}" for key in set_keys)


def _inches(folder: Path, name: str) -> float:
    with Image.open(folder / f"{name}.png") as picture:
        return picture.width / DPI


def data_uri(folder: Path, name: str) -> str:
    """Return a figure's SVG as a data URI, or its PNG where the SVG is large or holds pictures."""
    svg = (folder / f"{name}.svg").read_bytes()
    if len(svg) > _MOST_SVG or b"<image" in svg:
        return f"data:image/png;base64,{b64encode((folder / f'{name}.png').read_bytes()).decode()}"
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
