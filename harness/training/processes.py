"""Processes beside a trial's own: forks of a clean one, which end when the trial does, however that ends.

The pool is that of ``concurrent.futures``. What it does not do is done here: the processes see neither the main module nor
the threads of their trial, they end with it also where it is killed, and one that dies is a fault with a rule. Where half
a millisecond of the trial for each call counts, which is what the pool's threads take, there is ``connected``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain
from mmap import mmap
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import torch

from harness.errors import TrialFailure
from harness.training.memory import keep_freed_memory

Submit = Callable[..., Future[Any]]
"""From a function of some module and its arguments to what will hold its result."""
LOST = "loader_lost"
"""The kind of fault that a dead or hung process is."""
_SHARED = Path("/dev/shm")


@contextmanager
def processes(count: int, imports: Sequence[str], threads: int) -> Iterator[Submit]:
    """Yield what hands calls to ``count`` processes, which start as they are needed and are gone when this context ends.

    Args:
        count: of processes.
        imports: modules that the clean process has, if none has been started: that takes some three seconds, and a fork of
            it a quarter of a second.
        threads: of PyTorch in each.

    Raises:
        TrialFailure: ``loader_lost``: a process has died.
    """
    context = _Context(imports)
    with ProcessPoolExecutor(count, context, _begin, (threads,)) as pool:
        try:
            with deaths_told():
                yield partial(_submit, pool)
        finally:
            context.end()


@contextmanager
def connected(
    count: int, imports: Sequence[str], threads: int, run: Callable[..., object], *given: Any
) -> Iterator[list[Connection]]:
    """Yield what each of ``count`` processes says; they are gone when this context ends.

    Args:
        count: of processes.
        imports: as of ``processes``.
        threads: of PyTorch in each.
        run: called in each, with the connection to write to and ``given``.
    """
    context = _Context(imports)
    ends = [context.Pipe(duplex=False) for _ in range(count)]
    try:
        for _, write in ends:
            with write, _main_hidden():  # this process closes its copy, so that a death ends the connection
                context.Process(target=_run, args=(threads, run, write, *given)).start()
        yield [read for read, _ in ends]
    finally:
        context.end()
        for end in chain(*ends):
            end.close()


@contextmanager
def deaths_told() -> Iterator[None]:
    """Say of a broken pool or an ended connection, as results are taken or asked for, that a loader has died.

    Raises:
        TrialFailure: ``loader_lost``.
    """
    try:
        yield
    except (BrokenProcessPool, EOFError) as error:
        free = f"; {_SHARED} has {shutil.disk_usage(_SHARED).free / 2**20:.0f} MiB free" * _SHARED.is_dir()
        raise TrialFailure(LOST, f"a loader has died{free}") from error


class _Context(ForkServerContext):
    """Starts processes as forks of a clean one that has the imports, and knows those that it has started."""

    def __init__(self, imports: Sequence[str]) -> None:
        super().__init__()
        self.set_forkserver_preload([*imports])
        self.started: list[ForkServerProcess] = []

    def Process(self, *arguments: Any, **named: Any) -> ForkServerProcess:  # type: ignore[override]
        process = ForkServerProcess(*arguments, **named)
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill those that still live: there is nothing to lose, and one that hangs hears nothing else."""
        for process in self.started:
            if process.pid and process.is_alive():
                process.kill()
                process.join()


def _submit(pool: ProcessPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Ask for a call, for which a process may be started."""
    with _main_hidden():
        return pool.submit(function, *arguments)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Let a process that starts meanwhile not import the main module of this one, Ray's or a user's."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _run(threads: int, run: Callable[..., object], *given: Any) -> None:
    _begin(threads)
    run(*given)


def _begin(threads: int) -> None:
    """Make this process one that works for its owner alone."""
    Thread(target=_end_with_owner, daemon=True).start()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of a terminal, meant for the trial, which then saves its state
    torch.set_num_threads(threads)
    keep_freed_memory()


def _end_with_owner() -> None:
    """End this process as soon as the trial's has, however that ended; its parent is the fork server."""
    owner = parent_process()
    assert owner is not None
    owner.join()
    os._exit(1)


def _reduce_map(array: np.memmap[Any, Any]) -> tuple[Any, ...]:
    """Send a memory map as the name of its file; a part of one, as ever, by its values."""
    if not isinstance(array.base, mmap):
        return array.__reduce__()  # type: ignore[return-value]
    order = "C" if array.flags.c_contiguous else "F"
    if not array.flags[order + "_CONTIGUOUS"]:
        return array.__reduce__()
    return np.memmap, (array.filename, array.dtype, "r", array.offset, array.shape, order)


ForkingPickler.register(np.memmap, _reduce_map)
