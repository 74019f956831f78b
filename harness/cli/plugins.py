"""``medctx check-plugin``: does a method, an architecture or a dataset keep its contract."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from harness.cli.options import Data
from harness.console import console

out = console()


def check_plugin(
    kind: Annotated[Literal["method", "architecture", "dataset"], typer.Argument()],
    name: Annotated[str, typer.Argument(help="A registered name, or module:Class, as in a study.")],
    data: Data = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Leave out the two longest checks: whether it learns, and whether every parameter has an effect.",
        ),
    ] = False,
) -> None:
    """Check that a method, architecture or dataset keeps its contract, and can learn or be read."""
    from harness.plugins.check import check_plugin as findings

    failed = 0
    for finding in findings(kind, name, data, quick=quick):
        failed += not finding.passed
        out.print(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.check}: {finding.seen}", markup=False)
    out.print((f"{failed} failed" if failed else "all passed") + (", of the quick ones" if quick else ""))
    if failed:
        raise typer.Exit(1)
