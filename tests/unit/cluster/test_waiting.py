"""Waiting for nodes: when it is enough, what is said when it is not, and whose folders are the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cluster.connection import RayNode, Reply, token, token_file
from harness.cluster.shared_folders import FolderView, marker_files, view_folders
from harness.cluster.waiting import (
    ClusterIncomplete,
    ExpectedNodes,
    differing_views,
    node_table,
    wait_for_cluster,
    wait_for_nodes,
)
from harness.errors import UserError


def node(name: str, gpus: float = 1.0) -> RayNode:
    return RayNode(id=name * 8, name=name, address=f"10.0.0.{ord(name)}", gpus=gpus)


@pytest.mark.parametrize(
    ("nodes", "enough"),
    [
        ([], False),
        ([node("a", 2)], False),
        ([node("a"), node("b", 0)], False),
        ([node("a"), node("b")], True),
    ],
)
def test_nodes_and_gpus_have_to_be_there(nodes: list[RayNode], enough: bool) -> None:
    assert ExpectedNodes(nodes=2, gpus=2).met_by(nodes) == enough


def test_waiting_ends_with_the_last_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cluster.waiting._POLL", 0.0)
    looks: Iterator[list[RayNode]] = iter([[], [node("a")], [node("a")], [node("a"), node("b")], [node("a")]])
    said: list[str] = []
    seen = wait_for_nodes(ExpectedNodes(2, 2), lambda: next(looks), time.monotonic() + 60, said.append)
    assert [one.name for one in seen] == ["a", "b"]
    assert said == ["0 of 2 nodes, 0 of 2 GPUs", "1 of 2 nodes, 1 of 2 GPUs", "2 of 2 nodes, 2 of 2 GPUs"]


def test_waiting_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cluster.waiting._POLL", 0.01)
    begun = time.monotonic()
    assert wait_for_nodes(ExpectedNodes(2), lambda: [node("a")], begun + 0.1, lambda line: None) == [
        node("a")
    ]
    assert 0.1 <= time.monotonic() - begun < 5


def test_expected_and_seen_of_each_node() -> None:
    table = node_table(ExpectedNodes(3, 6, ("a", "b", "c")), [node("a", 2), node("c", 1), node("x", 0)])
    assert [line.split() for line in table.splitlines()] == [
        ["node", "expected", "seen", "address"],
        ["a", "2", "GPUs", "2", "GPUs", "10.0.0.97"],
        ["b", "2", "GPUs", "nothing", "-"],
        ["c", "2", "GPUs", "1", "GPU", "10.0.0.99"],
        ["x", "-", "0", "GPUs", "10.0.0.120"],
    ]


def test_a_head_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    begun = time.monotonic()
    with pytest.raises(ClusterIncomplete, match="has ended"):
        wait_for_cluster("127.0.0.1:1", ExpectedNodes(2), 60, [], None, print, head_lives=lambda: False)
    assert time.monotonic() - begun < 10


def test_tokens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    path = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert token() == "" and token_file() == path
    with pytest.raises(UserError, match="no token"):
        wait_for_cluster("127.0.0.1:1", ExpectedNodes(1), 1, [], None, print)
    path.write_text("of the file\n")
    assert token() == "of the file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of the environment")
    assert token() == "of the environment", "Ray takes it first"


def test_marks_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cluster.shared_folders._PATIENCE", 0.0)
    shared, other = tmp_path / "shared", tmp_path / "other"
    with marker_files([shared, other]) as marks:
        assert [sight.problem for sight in view_folders(marks, None)] == ["", ""]
        shutil.rmtree(other)
        other.mkdir()
        assert view_folders(marks, None)[1] == FolderView(other, "another folder of the same name")
        other.rmdir()
        assert view_folders(marks, None)[1] == FolderView(other, "not there")
    assert not list(shared.iterdir())


def test_data_have_to_be_the_same(tmp_path: Path) -> None:
    (tmp_path / "Task04").mkdir()
    (tmp_path / ".hidden").touch()
    (own,) = view_folders([], tmp_path)
    assert own.listing == ("Task04",)
    assert differing_views(Reply(node("a"), [own]), tmp_path) == []
    (found,) = differing_views(Reply(node("a"), [FolderView(tmp_path, listing=())]), tmp_path)
    assert found.problem == "other files: 0, here 1"
    (found,) = differing_views(Reply(node("a"), None, error="ImportError: no harness"), tmp_path)
    assert found.problem == "ImportError: no harness"
    assert view_folders([], tmp_path / "none")[0].problem.startswith("cannot be read")
