"""What the doctor finds: one line each, graded, with what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Grade = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at.

    Attributes:
        check: what was looked at.
        grade: an ``error`` stops a study or spoils its records, a ``warning`` may.
        found: what was seen.
        remedy: what to do, where it is not ok.
        node: which node it is about; empty where it is about all.
    """

    check: str
    grade: Grade
    found: str
    remedy: str = ""
    node: str = ""


def gpu_count(number: float) -> str:
    """Return a number of GPUs in words."""
    return f"{number:g} GPU{'' if number == 1 else 's'}"
