"""Half precisions on a device that does not multiply them: found before a study takes ten times as long there."""

from __future__ import annotations

from collections.abc import Iterable

from harness.study.cells import Cell

_SLOW = 2.0  # times as long as in fp32: it is emulated then, since where it is multiplied it saves time
OTHER_PRECISION = "Run on a machine that multiplies it, or leave recipe.precision out: that is fp32, and makes other trials."


def half_precisions(cells: Iterable[Cell]) -> list[str]:
    """Return the precisions of trials, but fp32."""
    return sorted({cell.spec.recipe.precision for cell in cells} - {"fp32"})


def slow_precision(name: str, cost: float) -> str:
    """Return a sentence on a precision that takes ``cost`` times as long as fp32; none where that is no reason to worry."""
    return f"a convolution in {name} takes {cost:.0f} times as long as in fp32" if cost >= _SLOW else ""
