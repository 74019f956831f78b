"""What there is to run, in portions: a search knows its next trials only when the earlier ones have ended."""

from __future__ import annotations

from dataclasses import dataclass

from harness.settings import Cell


@dataclass(frozen=True)
class Work:
    """Trials to run until each is complete, failed or pruned, or has paused at step ``pause_at`` or later."""

    cells: tuple[Cell, ...]
    pause_at: int | None = None
