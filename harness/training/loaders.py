"""Loaders: processes that draw batches ahead of the steps that take them.

A batch is a pure function of seed and step, so their number changes no bit. The pool is that of ``concurrent.futures``
and not PyTorch's DataLoader, which cannot do three things that trials need: tell at once that a process has died while
it waits with a time limit, hand on an error with its ``errno`` (a full disk has a rule of its own), and end processes
of a fork server whose owner was killed. Tensors travel through shared memory, as PyTorch's own reductions send them.
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

    Args:
        draw: returns the batch of a step, on the CPU; with loaders it has to be picklable.
        steps: numbers of updates.
        loaders: processes.
        threads: of PyTorch in each, as where the batch is drawn without loaders: other numbers give other bits.
        pin: give pages of memory that a GPU can read from while it computes.

    Raises:
        TrialFailure: ``loader_lost``: a loader has died, or needs more than five minutes for a batch.
    """
    with ThreadPoolExecutor(1) as pinner, _started(draw, loaders, threads) as submit:

        def ask(step: int) -> Future[Batch]:
            drawn = submit(step)
            return pinner.submit(_pinned, drawn) if pin else drawn

        waiting = iter(steps)
        asked = deque(ask(step) for step in islice(waiting, loaders * _AHEAD or _AHEAD_IN_THREAD))
        while asked:
            batch = _taken(asked.popleft())
            asked.extend(ask(step) for step in islice(waiting, 1))
            yield batch


def _pinned(drawn: Future[Batch]) -> Batch:
    return _taken(drawn).pin_memory()


def _taken(drawn: Future[Batch]) -> Batch:
    if not wait([drawn], PATIENCE).done:
        raise TrialFailure(LOST, f"a loader has drawn no batch for {PATIENCE:.0f} s")
    try:
        return drawn.result()
    except BrokenProcessPool as error:
        free = f"; {_SHARED} has {shutil.disk_usage(_SHARED).free / 2**20:.0f} MiB free" * _SHARED.is_dir()
        raise TrialFailure(LOST, f"a loader has died{free}") from error


@contextmanager
def _started(draw: DrawBatch, loaders: int, threads: int) -> Iterator[Callable[[int], Future[Batch]]]:
    """Yield what has a step's batch drawn: by one thread, or by processes, which are gone when this context ends."""
    if not loaders:
        with ThreadPoolExecutor(1) as thread:
            yield lambda step: thread.submit(draw, step)
            return
    others = {*active_children()}
    with ProcessPoolExecutor(loaders, _context(draw), _begin, (draw, threads)) as pool:
        try:
            yield lambda step: _submit(pool, step)
        finally:
            for process in {*active_children()} - others:
                process.kill()  # there is nothing to lose, and one that hangs hears nothing else


def _context(draw: DrawBatch) -> BaseContext:
    """Return how loaders are started: as forks of a clean process that has the imports, and none of a trial's threads.

    It is started once, in some three seconds; the loaders of each trial then take a quarter of a second.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, type(draw).__module__])
    return context


def _submit(pool: ProcessPoolExecutor, step: int) -> Future[Batch]:
    """Ask for a batch, for which a process may be started: it is not to import the main module of this one, Ray's or a user's."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        return pool.submit(_draw_here, step)
    finally:
        sys.modules["__main__"] = main


_draw: DrawBatch | None = None  # of a loader


def _begin(draw: DrawBatch, threads: int) -> None:
    """Make this process a loader."""
    global _draw
    Thread(target=_end_with_owner, daemon=True).start()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of a terminal, meant for the trial, which then saves its state
    torch.set_num_threads(threads)
    keep_freed_memory()
    _draw = draw


def _draw_here(step: int) -> Batch:
    assert _draw is not None
    return _draw(step)


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
