"""Loaders: processes that draw batches ahead of the steps that take them.

A batch is a pure function of seed and step, so their number changes no bit. They are processes of our own and not of
PyTorch's DataLoader, which cannot do four things that trials need: tell at once that a process has died while it waits
with a time limit, hand on an error with its ``errno`` (a full disk has a rule of its own), end processes of a fork server
whose owner was killed, and use memory again: it hands over each tensor in new pages, which takes longer than to draw one
that is not augmented.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Lock
from typing import Protocol

import torch
import torch.multiprocessing  # from here on tensors are sent through shared memory
from torch import Tensor

from harness.errors import TrialFailure
from harness.training.method import Batch
from harness.training.processes import LOST, connected, deaths_told


class DrawBatch(Protocol):
    """Draws batches."""

    def __call__(self, step: int, into: Batch | None = None) -> Batch:
        """Return the batch of a step; its tensors may be those of ``into``, written to."""


PATIENCE = 300.0  # seconds for one batch, after which its loader counts as hung


def _ahead(loaders: int) -> int:
    """Return how many batches are drawn or wait to be taken: a few that take long are not to keep those after them waiting."""
    return max(2 * loaders, loaders + 4)


def drawn_ahead(
    draw: DrawBatch, steps: Sequence[int], loaders: int, threads: int, pin: bool
) -> Generator[Batch, None, None]:
    """Yield the batches of ``steps`` in order, drawn ahead by ``loaders`` processes, or for 0 by one thread of this one.

    The first is drawn here, and shows how much memory one takes. A batch holds until the next one is taken: what is not
    pinned lies in the memory that its loader has written to.

    Args:
        draw: returns the batch of a step, on the CPU, all batches of one shape and type; with loaders it has to be
            picklable.
        steps: numbers of updates.
        loaders: processes.
        threads: of PyTorch in each, as where the batch is drawn without loaders: other numbers give other bits.
        pin: give pages of memory that a GPU can read from while it computes.

    Raises:
        TrialFailure: ``loader_lost``: a loader has died, or needs more than five minutes for a batch.
    """
    if not steps:
        return
    first = draw(steps[0])
    source = _processes(draw, first, loaders, threads) if loaders else _thread(draw)
    with ThreadPoolExecutor(1) as pinner, source as ask:

        def asked_for(step: int) -> Callable[[], Batch]:
            take = ask(step)
            return pinner.submit(lambda: take().pin_memory()).result if pin else take

        waiting = iter(steps[1:])
        asked = deque(map(asked_for, islice(waiting, _ahead(loaders))))
        yield first.pin_memory() if pin else first
        while asked:
            batch = asked.popleft()()
            asked.extend(
                map(asked_for, islice(waiting, 1))
            )  # into the slot of the batch that was yielded last
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

    Each batch that is asked for has a slot of shared memory, which is used again once the batch after it is taken.
    """
    count = _ahead(loaders) + 1  # and the one that is out
    slots = _slots_like(first, count)
    context = get_context("forkserver")
    requests, asking = context.Pipe(duplex=False)
    imports = [__name__, type(draw).__module__]
    with (
        requests,
        asking,
        connected(loaders, imports, threads, _serve, requests, context.Lock(), draw, slots) as answers,
    ):
        free, drawn = cycle(range(count)), dict[int, Exception | None]()

        def ask(step: int) -> Callable[[], Batch]:
            slot = next(free)
            asking.send((slot, step))
            return lambda: take(slot)

        def take(slot: int) -> Batch:
            while slot not in drawn:
                drawn.update(_answers(answers))
            if error := drawn.pop(slot):
                raise error
            return _slot(slots, slot)

        yield ask


def _answers(connections: Sequence[Connection]) -> Iterator[tuple[int, Exception | None]]:
    """Yield, once there are any, the slots that hold a batch, or the errors instead of it."""
    ready = wait(connections, PATIENCE)
    if not ready:
        raise TrialFailure(LOST, f"a loader has drawn no batch for {PATIENCE:.0f} s")
    for connection in [one for one in connections if one in ready]:
        with deaths_told():
            yield connection.recv()


def _serve(answers: Connection, requests: Connection, turn: Lock, draw: DrawBatch, slots: Batch) -> None:
    """Draw batches as a loader, whichever is the next that is asked for."""
    while True:
        with turn:
            number, step = requests.recv()
        error = None
        try:
            _draw_into(_slot(slots, number), draw, step)
        except Exception as found:
            found.add_note(traceback.format_exc())
            error = found
        answers.send((number, error))


def _draw_into(slot: Batch, draw: DrawBatch, step: int) -> None:
    batch = draw(step, slot)
    pairs = (slot.image, batch.image), (slot.label, batch.label), (slot.unlabelled, batch.unlabelled)
    for place, values in pairs:
        if place is not None and values is not None and values is not place:
            place.copy_(values)


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return a batch of changed tensors."""
    unlabelled = None if batch.unlabelled is None else change(batch.unlabelled)
    return Batch(change(batch.image), change(batch.label), unlabelled)


def _slots_like(batch: Batch, count: int) -> Batch:
    """Return shared memory for ``count`` batches, along a first axis."""
    return _each(
        batch, lambda values: torch.empty((count, *values.shape), dtype=values.dtype).share_memory_()
    )


def _slot(slots: Batch, number: int) -> Batch:
    return _each(slots, lambda values: values[number])
