"""Loaders: processes that draw batches ahead of the steps that take them.

A batch is a pure function of seed and step, so their number changes no bit. The pool is that of ``concurrent.futures``
and not PyTorch's DataLoader, which cannot do four things that trials need: tell at once that a process has died while it
waits with a time limit, hand on an error with its ``errno`` (a full disk has a rule of its own), end processes of a fork
server whose owner was killed, and use memory again: it hands over each tensor in new pages, which takes longer than to
draw one that is not augmented.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from mmap import mmap
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.context import BaseContext
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.multiprocessing  # from here on tensors are sent through shared memory
from torch import Tensor

from harness.errors import TrialFailure
from harness.training.memory import keep_freed_memory
from harness.training.method import Batch

DrawBatch = Callable[[int], Batch]
LOST = "loader_lost"
"""The kind of fault that a dead or hung loader is."""
_AHEAD = 2  # batches of each loader that are drawn or wait to be taken
_AHEAD_IN_THREAD = 4
PATIENCE = 300.0  # seconds for one batch, after which its loader counts as hung
_SHARED = Path("/dev/shm")


def drawn_ahead(
    draw: DrawBatch, steps: Sequence[int], loaders: int, threads: int, pin: bool
) -> Generator[Batch, None, None]:
    """Yield the batches of ``steps`` in order, drawn ahead by ``loaders`` processes, or for 0 by one thread of this one.

    The first is drawn here, and shows how much memory one takes.

    Args:
        draw: returns the batch of a step, on the CPU, of labels up to 255, all batches of one shape; with loaders it has to
            be picklable.
        steps: numbers of updates.
        loaders: processes.
        threads: of PyTorch in each, as where the batch is drawn without loaders: other numbers give other bits.
        pin: give pages of memory that a GPU can read from while it computes; their labels are bytes.

    Raises:
        TrialFailure: ``loader_lost``: a loader has died, or needs more than five minutes for a batch.
    """
    if not steps:
        return
    first = draw(steps[0])
    source = _processes(draw, first, loaders, threads) if loaders else _thread(draw)
    with ThreadPoolExecutor(1) as taker, source as ask:  # copies out of slots are made ahead too

        def asked_for(step: int) -> Callable[[], Batch]:
            take = ask(step)
            return taker.submit(lambda: take().pin_memory() if pin else take()).result

        waiting = iter(steps[1:])
        asked = deque(map(asked_for, islice(waiting, loaders * _AHEAD or _AHEAD_IN_THREAD)))
        yield first.pin_memory() if pin else first
        while asked:
            batch = asked.popleft()()
            asked.extend(map(asked_for, islice(waiting, 1)))
            yield batch


_Ask = Callable[[int], Callable[[], Batch]]  # from a step to what waits for its batch


@contextmanager
def _thread(draw: DrawBatch) -> Iterator[_Ask]:
    """Yield what has a step's batch drawn by one thread of this process."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda step: pool.submit(draw, step).result


@contextmanager
def _processes(draw: DrawBatch, first: Batch, loaders: int, threads: int) -> Iterator[_Ask]:
    """Yield what has a step's batch drawn by processes, which are gone when this context ends.

    Each batch that is asked for has a slot of shared memory, which is used again once it is taken out.
    """
    count = loaders * _AHEAD
    slots = _slots_like(first, count)
    others = {*active_children()}
    with ProcessPoolExecutor(loaders, _context(draw), _begin, (draw, threads, slots)) as pool:
        asked = 0

        def ask(step: int) -> Callable[[], Batch]:
            nonlocal asked
            slot, asked = asked % count, asked + 1
            drawn = _submit(pool, step, slot)
            return lambda: _taken(drawn, _slot(slots, slot))

        try:
            yield ask
        except BrokenProcessPool as error:  # of a batch that is taken, or of one that is asked for
            free = (
                f"; {_SHARED} has {shutil.disk_usage(_SHARED).free / 2**20:.0f} MiB free" * _SHARED.is_dir()
            )
            raise TrialFailure(LOST, f"a loader has died{free}") from error
        finally:
            for process in {*active_children()} - others:
                process.kill()  # there is nothing to lose, and one that hangs hears nothing else


def _taken(drawn: Future[None], slot: Batch) -> Batch:
    """Return a copy of what a loader puts into a slot, when it is there."""
    if not wait([drawn], PATIENCE).done:
        raise TrialFailure(LOST, f"a loader has drawn no batch for {PATIENCE:.0f} s")
    drawn.result()
    return _each(slot, torch.clone)


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return a batch of changed tensors."""
    unlabelled = None if batch.unlabelled is None else change(batch.unlabelled)
    return Batch(change(batch.image), change(batch.label), unlabelled)


def _slots_like(batch: Batch, count: int) -> Batch:
    """Return shared memory for ``count`` batches, along a first axis; labels in a byte each."""
    one = Batch(batch.image, batch.label.byte(), batch.unlabelled)
    return _each(one, lambda values: torch.empty((count, *values.shape), dtype=values.dtype).share_memory_())


def _slot(slots: Batch, number: int) -> Batch:
    return _each(slots, lambda values: values[number])


def _context(draw: DrawBatch) -> BaseContext:
    """Return how loaders are started: as forks of a clean process that has the imports, and none of a trial's threads.

    It is started once, in some three seconds; the loaders of each trial then take a quarter of a second.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, type(draw).__module__])
    return context


def _submit(pool: ProcessPoolExecutor, step: int, slot: int) -> Future[None]:
    """Ask for a batch, for which a process may be started: it is not to import the main module of this one, Ray's or a user's."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        return pool.submit(_draw_into, slot, step)
    finally:
        sys.modules["__main__"] = main


_mine: tuple[DrawBatch, Batch] | None = None  # of a loader: what draws, and all slots


def _begin(draw: DrawBatch, threads: int, slots: Batch) -> None:
    """Make this process a loader."""
    global _mine
    Thread(target=_end_with_owner, daemon=True).start()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of a terminal, meant for the trial, which then saves its state
    torch.set_num_threads(threads)
    keep_freed_memory()
    _mine = draw, slots


def _draw_into(number: int, step: int) -> None:
    assert _mine is not None
    draw, slots = _mine
    batch, slot = draw(step), _slot(slots, number)
    slot.image.copy_(batch.image)
    slot.label.copy_(batch.label)
    if slot.unlabelled is not None and batch.unlabelled is not None:
        slot.unlabelled.copy_(batch.unlabelled)


def _end_with_owner() -> None:
    """End this process as soon as the trial's has, however that ended; its parent is the fork server."""
    owner = parent_process()
    assert owner is not None
    owner.join()
    os._exit(1)


def _reduce_map(array: np.memmap[Any, Any]) -> tuple[Any, ...]:
    """Send a memory map as the name of its file; a part of one, as ever, by its values."""
    if not isinstance(array.base, mmap) or not array.flags.c_contiguous:
        return array.__reduce__()  # type: ignore[return-value]
    return np.memmap, (array.filename, array.dtype, "r", array.offset, array.shape)


ForkingPickler.register(np.memmap, _reduce_map)
