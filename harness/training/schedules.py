"""Learning rate and EMA momentum as pure functions of the step, so that a resumed trial cannot shift them."""

from __future__ import annotations

import math

from harness.spec import Recipe


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the learning rate of update ``step``, counted from 0.

    Linear warm-up from 0 over ``warmup_steps``, then constant, cosine to 0, or polynomial with power 0.9
    (nnU-Net, Isensee et al. 2021) over what is left. With ``rate_every`` it goes by epochs of so many steps, as in the
    released trainers of nnU-Net, nnFormer and UNETR, and the last epoch of a warm-up has the full rate (UNETR's).
    """
    base, warmup, every = recipe.learning_rate, recipe.warmup_steps, recipe.rate_every
    if every:
        step -= step % every
    if step < warmup:
        return min(base, base * step / max(1, warmup - every))
    done = (step - warmup) / max(1, recipe.steps - warmup)
    if recipe.schedule == "cosine":
        return base * 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "poly":
        return base * (1 - done) ** 0.9
    return base


def ramp_up(step: int, length: float, every: int = 1) -> float:
    """Return ``exp(-5 (1 - t)^2)`` with t = ``step`` / ``length``, at most 1 (Laine and Aila, ICLR 2017).

    It moves at each ``every``-th step alone.
    """
    if length == 0:
        return 1.0
    step -= step % every
    return math.exp(-5 * (1 - min(1.0, step / length)) ** 2)


def ema_momentum(index: int, *, start: float, end: float, steps: int, warmup: int, schedule: str) -> float:
    """Return the share of the old teacher that stays at update ``index``.

    DINO's schedule (Caron et al. 2021) as MedContext uses it: ``warmup`` values evenly from 0 to ``start``,
    then ``end + (start - end) (1 + cos(pi k / K)) / 2`` over the K = ``steps`` - ``warmup`` left
    (``cosine``), or ``start`` (``constant``).
    """
    if index < warmup:
        return start * index / max(1, warmup - 1)
    if schedule == "constant":
        return start
    done = (index - warmup) / max(1, steps - warmup)
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * min(1.0, done)))
