"""Figures to files; of many, every other one in a second process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import IO, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from harness.files.whole import whole
from harness.records.schema import safe_name
from harness.reporting.figures.style import applied

_DPI = 220
_MANY = 16  # figures; of fewer, a process takes longer to start than it saves

WriteFigure = Callable[[Figure, str], None]


@contextmanager
def figure_writer(folder: Path, figures: int) -> Iterator[WriteFigure]:
    """Yield what writes a figure under a name, see :func:`write_figure`; all are written at the end.

    Args:
        folder: where to.
        figures: how many there will be, about.

    Raises:
        RuntimeError: the process that writes them ended early; what it said is on standard error.
    """
    if figures < _MANY:
        yield partial(write_figure, folder=folder)
        return
    with subprocess.Popen([sys.executable, "-m", __name__, str(folder)], stdin=subprocess.PIPE) as other:
        ways: Iterator[WriteFigure] = cycle((_sender(other.stdin), partial(write_figure, folder=folder)))  # type: ignore[arg-type]
        try:
            yield lambda figure, name: next(ways)(figure, name)
        except BaseException:
            other.kill()
            raise
    if other.returncode:
        raise RuntimeError(f"writing the figures below {folder} ended with status {other.returncode}")


def _sender(stream: IO[bytes]) -> WriteFigure:
    def send(figure: Figure, name: str) -> None:
        pickle.dump((figure, name), stream)
        stream.flush()

    return send


@applied
def write_figure(figure: Figure, name: str, folder: Path) -> None:
    """Write ``<folder>/<name>.{pdf,svg,png}``, each whole or not at all, without dates."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(_DPI)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")  # laid out once, not for every format
    # The canvases' own methods: figure.savefig would draw everything twice.
    printers: dict[str, Callable[[BytesIO], Any]] = {
        "png": lambda file: FigureCanvasAgg(figure).print_png(file),
        "svg": lambda file: FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None}),
        "pdf": lambda file: FigureCanvasPdf(figure).print_pdf(file, metadata={"CreationDate": None}),
    }
    for suffix, write in printers.items():
        buffer = BytesIO()
        write(buffer)
        with whole(folder / f"{safe_name(name)}.{suffix}") as partial:
            partial.write_bytes(buffer.getvalue())


def _write_received(stream: IO[bytes], folder: Path) -> None:
    """Write the figures that another process sends, until it ends its stream."""
    while stream.peek(1):  # type: ignore[attr-defined]
        figure, name = pickle.load(stream)  # the pipe is open to the process that started this one alone
        write_figure(figure, name, folder)


if __name__ == "__main__":
    _write_received(sys.stdin.buffer, Path(sys.argv[1]))
