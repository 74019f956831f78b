"""The command ``medctx``: which commands there are, and how a mistake ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness import __version__, registry
from harness.cli import cluster, data, evaluate, listing, plan, plugins, predict, report, run, status
from harness.console import replace_what_cannot_be_shown
from harness.errors import UserError

_ANY_WIDTH = 1000  # columns: help is as wide as the terminal

app = typer.Typer(
    help="Benchmarks and ablations for 3D medical image segmentation: from a study file to a report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": _ANY_WIDTH},
)


def main() -> None:
    """Run the command line; a mistake of the user's ends in one line and exit status 2."""
    replace_what_cannot_be_shown()
    registry.look_in(Path.cwd())  # where a study's module:Class names may lie
    try:
        app()
    except UserError as error:
        print(f"medctx: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"medctx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(plan.plan)
app.command()(run.run)
app.command()(status.status)
app.command("list")(listing.list_)
app.command()(report.report)
app.command()(report.rescore)
app.command()(report.publish)
app.command()(report.compare)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command()(predict.ensemble)
app.command()(predict.export)
app.command()(cluster.doctor)
app.command(hidden=True)(cluster.cluster_wait)
app.add_typer(data.app, name="data")
app.add_typer(cluster.app, name="launch")
app.command()(run.trial)
app.command("check-plugin")(plugins.check_plugin)
