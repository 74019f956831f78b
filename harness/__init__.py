"""MedContext harness: benchmarks and ablations for 3D medical image segmentation.

What the command ``medctx`` does, from Python::

    import harness

    study = harness.load_study("quickstart")
    found = harness.run(study)
    found.cases.groupby("method")["value"].mean()

Importing it is cheap: PyTorch, Ray and pandas are imported by what needs them. docs/python.md is the guide.
"""

import getpass
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers; at run time each name is imported when it is asked for
    from harness.commands.compare import compare
    from harness.commands.ensemble import ensemble
    from harness.commands.evaluate import evaluate
    from harness.commands.export import export
    from harness.commands.plan import plan
    from harness.commands.predict import predict
    from harness.commands.publish import publish
    from harness.commands.report import report
    from harness.commands.rescore import rescore
    from harness.commands.results import StudyResults, results
    from harness.commands.run import run
    from harness.commands.status import status
    from harness.commands.suggest import suggest
    from harness.errors import Interrupted, UserError
    from harness.study.expand import load_study
    from harness.study.study import Study

    __all__ = [
        "Interrupted", "Study", "StudyResults", "UserError", "compare", "ensemble", "evaluate", "export", "load_study", "plan", "predict", "publish", "report",
        "rescore", "results", "run", "status", "suggest",
    ]  # fmt: skip

__version__ = "0.1.0"

try:
    getpass.getuser()
except (
    KeyError,
    OSError,
):  # a container's user without a name: MONAI and PyTorch ask for one as they are imported
    os.environ["USER"] = str(os.getuid())

COMMANDS = (
    "compare",
    "ensemble",
    "evaluate",
    "export",
    "plan",
    "predict",
    "publish",
    "report",
    "rescore",
    "results",
    "run",
    "status",
    "suggest",
)
"""Functions that are named as the commands; each lies in :mod:`harness.commands`."""
_HOMES = {
    "Interrupted": "harness.errors",
    "Study": "harness.study.study",
    "StudyResults": "harness.commands.results",
    "UserError": "harness.errors",
    "load_study": "harness.study.expand",
    **{name: f"harness.commands.{name}" for name in COMMANDS},
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
