"""A precision that a device has to emulate is told before a study takes ten times as long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.cluster.doctor import CheckedNode, check_precisions
from harness.cluster.node import cost_of_precisions, describe_node
from harness.cluster.precisions import half_precisions
from harness.commands import run
from harness.study.expand import load_study


def test_it_is_measured_where_a_study_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = cost_of_precisions(["bf16", "fp32"])
    assert costs["bf16"] > 0 and 0.2 < costs["fp32"] < 5  # of fp32 itself about 1
    monkeypatch.setattr("harness.cluster.node.sys.executable", "/bin/false")
    assert cost_of_precisions([]) == cost_of_precisions(["bf16"]) == {}  # no torch: told as such elsewhere


def test_precisions_of_a_study() -> None:
    assert half_precisions(load_study("quickstart").cells) == []
    assert half_precisions(load_study("quickstart", ["recipe.precision=fp16"]).cells) == ["fp16"]


def test_every_node_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.cluster.node.usable_gpus", lambda: ((), ""))
    monkeypatch.setattr("harness.cluster.node.cost_of_precisions", lambda names: dict.fromkeys(names, 8.97))
    slow = CheckedNode("slow", describe_node([], None, precisions=["bf16"]))
    monkeypatch.setattr("harness.cluster.node.cost_of_precisions", lambda names: dict.fromkeys(names, 0.5))
    quick = CheckedNode("quick", describe_node([], None, precisions=["bf16"]))
    one, other = check_precisions([slow, quick])
    assert (one.node, one.grade) == (
        "slow",
        "warning",
    ) and "bf16 takes 9 times as long as in fp32" in one.found
    assert "recipe.precision" in one.remedy
    assert (other.node, other.grade, other.remedy) == ("quick", "ok", "")
    assert other.found == "bf16 takes 0.5 times as long as fp32"


@pytest.mark.parametrize(("cost", "told"), [(9.0, 1), (1.9, 0)])
def test_a_run_says_it_first(monkeypatch: pytest.MonkeyPatch, cost: float, told: int) -> None:
    monkeypatch.setattr(run, "cost_of_precisions", lambda names: dict.fromkeys(names, cost))
    lines: list[str] = []
    cells = load_study("quickstart", ["recipe.precision=bf16"]).cells
    watch: Any = SimpleNamespace(say=lines.append)
    run._tell_slow_precisions(cells, watch)
    assert len(lines) == told
    assert all(line.startswith("warning: a convolution in bf16 takes 9 times") for line in lines)
