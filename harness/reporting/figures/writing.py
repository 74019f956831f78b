"""Figures to files, in as many processes as are worth starting."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from harness.evaluation.workers import usable_cores
from harness.files.whole import whole
from harness.reporting.figures import style
from harness.reporting.figures.planned import Drawing, Style

_WORTH = 4  # figures that take twice as long as a process takes to start


@contextmanager
def figures_written(
    drawings: Mapping[str, Drawing], folder: Path, size: Style, processes: int | None = None
) -> Iterator[None]:
    """Draw figures, and write each as ``<folder>/<name>.{pdf,svg,png}``; all are there when this context ends.

    Other processes draw from its beginning on, this one what is left at its end.

    Args:
        drawings: by name.
        folder: where to.
        size: what they fit.
        processes: by default one for each core, as far as there are figures for them.

    Raises:
        RuntimeError: another process ended early; what it said is on standard error.
    """
    most = usable_cores() if processes is None else processes
    waiting: SimpleQueue[tuple[str, Drawing]] = SimpleQueue()
    for named in drawings.items():
        waiting.put(named)
    with ExitStack() as started:
        for _ in range(min(most - 1, len(drawings) // _WORTH) if processes is None else most - 1):
            started.enter_context(_helper(waiting, folder, size))
        yield
        gc.freeze()  # a figure is full of cycles: looked for without what the report is made of, it is let go at once
        try:
            for name, drawing in _taken(waiting):
                write_figure(drawing, name, folder, size)
                gc.collect()
        finally:
            gc.unfreeze()


def _taken(waiting: SimpleQueue[tuple[str, Drawing]]) -> Iterator[tuple[str, Drawing]]:
    while True:
        try:
            yield waiting.get_nowait()
        except Empty:
            return


@contextmanager
def _helper(waiting: SimpleQueue[tuple[str, Drawing]], folder: Path, size: Style) -> Iterator[None]:
    """Have another process draw what waits, beside what this one does meanwhile."""
    command = [sys.executable, "-m", __name__, str(folder), size]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        sender = Thread(target=_send, args=(waiting, other.stdin, other.stdout))
        sender.start()
        try:
            yield
        except BaseException:
            other.kill()
            raise
        finally:
            sender.join()
    if other.returncode:
        raise RuntimeError(f"drawing the figures below {folder} ended with status {other.returncode}")


def _send(waiting: SimpleQueue[tuple[str, Drawing]], out: IO[bytes], back: IO[bytes]) -> None:
    """Send a figure whenever the other process has written one, until none waits or that process has ended."""
    try:
        with out:
            while back.read(1):  # it is ready for the next
                pickle.dump(waiting.get_nowait(), out)
                out.flush()
    except (Empty, BrokenPipeError):
        pass


def _drawn(drawing: Drawing, size: Style) -> Figure:
    """Return a figure; one that would be longer than a page in a column takes the page's width."""
    with style.fitting(size):
        figure = drawing.plot(*drawing.series)
    too_long = size == "column" and figure.get_figheight() > style.MOST_HEIGHT
    return _drawn(drawing, "page") if too_long else figure


@style.applied
def write_figure(drawing: Drawing, name: str, folder: Path, size: Style) -> None:
    """Draw a figure and write its three files, each whole or not at all, without dates."""
    figure = _drawn(drawing, size)
    figure.set_dpi(style.DPI)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")  # laid out once, not for every format
    for suffix, write in _PRINTERS.items():
        buffer = BytesIO()
        write(figure, buffer)
        with whole(folder / f"{name}.{suffix}") as partial:
            partial.write_bytes(buffer.getvalue())


# The canvases' own methods: figure.savefig would draw everything twice.
_PRINTERS: dict[str, Callable[[Figure, BytesIO], Any]] = {
    "png": lambda figure, file: FigureCanvasAgg(figure).print_png(file),
    "svg": lambda figure, file: FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None}),
    "pdf": lambda figure, file: FigureCanvasPdf(figure).print_pdf(file, metadata={"CreationDate": None}),
}


def _draw_received(stream: IO[bytes], answers: IO[bytes], folder: Path, size: Style) -> None:
    """Draw what another process sends, and ask for more, until it ends its stream."""
    while True:
        answers.write(b".")
        answers.flush()
        if not stream.peek(1):  # type: ignore[attr-defined]
            return
        name, drawing = pickle.load(stream)  # the pipe is open to the process that started this one alone
        write_figure(drawing, name, folder, size)


if __name__ == "__main__":
    _draw_received(sys.stdin.buffer, sys.stdout.buffer, Path(sys.argv[1]), sys.argv[2])  # type: ignore[arg-type]
