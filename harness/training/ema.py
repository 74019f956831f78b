"""A teacher that follows its student by exponential moving average."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


def make_teacher(student: nn.Module, teacher: nn.Module) -> nn.Module:
    """Return ``teacher`` with the student's weights, and without gradients."""
    teacher.load_state_dict(student.state_dict())
    return teacher.requires_grad_(False)


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, student: nn.Module, momentum: float, buffers: Literal["skip", "copy", "ema"]
) -> None:
    """Move the teacher: ``theta_t <- m theta_t + (1 - m) theta_s``.

    ``buffers`` says what becomes of floating-point buffers, such as running statistics: left alone, copied
    from the student, or averaged like parameters; integer buffers are copied unless skipped.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - momentum)
    if buffers == "skip":
        return
    for mine, theirs in zip(teacher.buffers(), student.buffers(), strict=True):
        if buffers == "ema" and mine.is_floating_point():
            mine.lerp_(theirs, 1.0 - momentum)
        else:
            mine.copy_(theirs)
