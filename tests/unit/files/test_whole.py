"""Files that are written whole or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.files.whole import whole, write_text


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_text(path, "before")
    with pytest.raises(OSError, match="full"), whole(path) as partial:
        partial.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(number) * 100_000 for number in range(10)] * 5
    with ThreadPoolExecutor(8) as pool:  # of one process: what only a process id tells apart would meet here
        list(pool.map(lambda text: write_text(path, text), texts))
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_to_write_to_ends_like_the_file(tmp_path: Path) -> None:
    with whole(tmp_path / "label.nii.gz") as partial:
        assert partial.name.startswith(".")
        assert partial.name.endswith("label.nii.gz")  # what writes it chooses its format by that
        partial.touch()
