"""What several commands take, in the forms in which a person gives it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.study.expand import load_study
from harness.study.study import Study

StudyLike = Study | str | Path
"""A study, the name of a shipped one, or the path of a file."""
Folder = str | Path
Say = Callable[[str], None]
"""Told in a sentence what a command does beside its result."""


def silent(sentence: str) -> None:
    """Say nothing."""


def study_of(study: StudyLike, data: Folder | None = None) -> Study:
    """Return a study, which is loaded where its name or path is given; ``data`` is the folder of the datasets.

    Raises:
        UserError: there is none, or its file is wrong.
    """
    return study if isinstance(study, Study) else load_study(str(study), data=data)
