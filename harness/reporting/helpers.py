"""Processes beside the one that writes a report: they help to read records, to compare arms and to draw figures.

They are asked and heard through pipes, and end with their owner, however that ends: where it is killed, after the call that
they are at. They need neither a main module that can be imported, as those of ``concurrent.futures`` do, nor semaphores.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from harness.evaluation.workers import usable_cores

_WORTH = 4  # parts that take twice as long as a process takes to start

Share = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Callable[[], list[Any]]]
"""From a function and the arguments of each call to what takes part in the calls itself, and returns their results in order."""


def cut(items: Sequence[Any], length: int) -> list[list[Any]]:
    """Return items in lists of ``length``, the last one shorter: so much for one call, where each item is little work."""
    return [[*items[first : first + length]] for first in range(0, len(items), length)]


def alone(function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> Callable[[], list[Any]]:
    """Return what makes all calls itself: a :data:`Share` without helpers."""
    return lambda: [function(*arguments) for arguments in parts]


@contextmanager
def helpers(most: int | None = None) -> Iterator[Share]:
    """Yield what has calls made by other processes too, from when it is asked on.

    Args:
        most: processes, which start where there are parts enough; by default one for each further core.

    Raises:
        RuntimeError: as results are taken: a process is lost; what it said is on standard error.
    """
    most = usable_cores() - 1 if most is None else most
    waiting: SimpleQueue[_Call | None] = SimpleQueue()
    with ExitStack() as started:
        count, asked = 0, list[Future[Any]]()

        def share(function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> Callable[[], list[Any]]:
            nonlocal count, asked
            calls: list[_Call] = [(Future(), function, arguments) for arguments in parts]
            asked = [*(one for one in asked if not one.done()), *(future for future, *_ in calls)]
            for call in calls:
                waiting.put(call)
            for _ in range(count, min(most, len(asked) // _WORTH)):
                started.enter_context(_helper(waiting))
                count += 1
            return lambda: _results(calls)

        try:
            yield share
        finally:
            for _ in range(count):
                waiting.put(None)


_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


def _results(calls: Sequence[_Call]) -> list[Any]:
    """Make the calls that no helper has begun, the last ones first, and return the results of all."""
    own = {}
    for number, (future, function, arguments) in reversed([*enumerate(calls)]):
        if future.cancel():  # then no helper takes it any more
            own[number] = function(*arguments)
    return [own[number] if number in own else future.result() for number, (future, *_) in enumerate(calls)]


@contextmanager
def _helper(waiting: SimpleQueue[_Call | None]) -> Iterator[None]:
    """Have another process make the calls that wait, beside what this one does meanwhile."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        asker = Thread(target=_ask, args=(waiting, other.stdin, other.stdout))
        asker.start()
        try:
            yield
        finally:
            other.kill()  # there is nothing to lose
            asker.join()


def _ask(waiting: SimpleQueue[_Call | None], out: IO[bytes], back: IO[bytes]) -> None:
    """Have a process make calls, one after the other, until there is None or it has ended."""
    with suppress(EOFError):
        pickle.load(back)  # it is ready; the pipe is open to the process that this one has started alone
        while call := waiting.get():
            future, *asked = call
            if future.set_running_or_notify_cancel():
                try:
                    out.write(pickle.dumps(asked))
                    out.flush()
                    done, result = pickle.load(back)
                except Exception as error:
                    future.set_exception(
                        RuntimeError(f"a process that helps with the report is lost: {error!r}")
                    )
                    return
                (future.set_result if done else future.set_exception)(result)


def _serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Make the calls that another process asks for, until it ends its stream."""
    answer: Any = True
    with suppress(EOFError):
        while True:
            answers.write(pickle.dumps(answer))
            answers.flush()
            function, arguments = pickle.load(asked)
            try:
                answer = True, function(*arguments)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = False, error


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
