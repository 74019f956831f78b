"""Weights from a file: how it is read, how names become a network's, what fits, and what is refused."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.errors import UserError
from harness.spec import WeightsSpec
from harness.training.weights import check_fit, hash_of, load_into, read_weights, renamed


def spec(**settings: object) -> WeightsSpec:
    return WeightsSpec(sha256="0" * 64, **settings)


class Network(nn.Module):
    """An encoder of 90 parameters and a head of 10."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict(
            {"one": nn.Linear(8, 10, bias=False), "two": nn.Linear(10, 1, bias=False)}
        )
        self.head = nn.Linear(10, 1, bias=False)


def state(prefix: str = "") -> dict[str, torch.Tensor]:
    return {f"{prefix}encoder.one.weight": torch.full((10, 8), 1.0), f"{prefix}encoder.two.weight": torch.full((1, 10), 2.0)}  # fmt: skip


def test_what_fits_is_loaded_and_the_rest_left() -> None:
    network = Network()
    head = network.head.weight.clone()
    weights = {**state(), "encoder.two.weight": torch.zeros(2, 10), "other": torch.zeros(3)}
    fit = load_into(network, weights, spec())
    assert fit.transfer.share == pytest.approx(80 / 100) and (fit.tensors, fit.used) == (3, 1)
    assert (network.encoder["one"].weight == 1).all() and torch.equal(network.head.weight, head)
    assert fit.transfer.unfit == ["encoder.two.weight"] and fit.transfer.unexpected == ["other"]
    assert str(fit) == (
        "80% of the network's parameters, 1 of the file's 3 tensors; "
        "1 of another shape (encoder.two.weight); 1 not in the network (other)"
    )


def test_names_become_those_of_the_network() -> None:
    weights = {
        "module.a.mlp.fc1.weight": torch.zeros(1),
        "module.fc1x.b": torch.zeros(1),
        "head.b": torch.zeros(1),
    }
    found = renamed(
        weights, spec(prefix="module.", into="net.vit", renamed=(("mlp.fc1", "mlp.linear1"), ("fc1", "no")))
    )
    assert [*found] == ["net.vit.a.mlp.linear1.weight", "net.vit.fc1x.b"], "parts between dots alone"
    assert [*renamed({"a.b.c": torch.zeros(1)}, spec(renamed=(("b", ""),)))] == ["a.c"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"network_weights": weights, "optimizer_state": {"state": {}}},
        lambda weights: {"student": weights},
        lambda weights: {"model": weights, "ema": weights},
    ],
)
def test_the_usual_places_are_found(tmp_path: Path, wrap) -> None:
    torch.save(wrap(state()), tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    assert found.keys() == state().keys() and torch.equal(found["encoder.one.weight"], torch.ones(10, 8))
    assert hash_of(tmp_path / "w.pt") == hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()


class Code:
    """What a pickle can do."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": Code()}))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "no checkpoint"),
        (lambda path: path.write_bytes(b"not a checkpoint at all"), "no checkpoint"),
        (lambda path: path.mkdir(), "cannot be read|no checkpoint"),
        (lambda path: torch.save({"a": Code()}, path), "more than weights, which may run code"),
        (write_pickle, "more than weights, which may run code"),
        (lambda path: torch.save(nn.Linear(1, 1), path), "more than weights"),
        (lambda path: torch.save([1, 2], path), "no weights .a list."),
        (lambda path: torch.save({"epoch": 1, "lr": 2.0}, path), "no weights .keys 'epoch', 'lr'."),
        (lambda path: torch.save({}, path), "no weights .an empty mapping"),
        (lambda path: torch.save({"one": state(), "two": state()}, path), "weights under 'one', 'two'.*weights.key"),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "w.pt")
    with pytest.raises(UserError, match=said):
        hash_of(tmp_path / "w.pt") and read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_a_cut_file_and_a_key(tmp_path: Path) -> None:
    torch.save({"one": state(), "two": {"x": torch.zeros(1)}}, tmp_path / "w.pt")
    assert [*read_weights(tmp_path / "w.pt", "two")] == ["x"]
    with pytest.raises(UserError, match=r"no weights under 'tow'.*Did you mean 'two'"):
        read_weights(tmp_path / "w.pt", "tow")
    whole = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="no checkpoint"):
        read_weights(tmp_path / "w.pt", "one")


def test_safetensors_need_their_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"x")
    monkeypatch.setattr("harness.training.weights.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"no package safetensors.*pip install safetensors"):
        read_weights(path)
    monkeypatch.setattr("harness.training.weights.find_spec", lambda name: object())
    stand_in = types.SimpleNamespace(load_file=lambda path: state())
    monkeypatch.setitem(sys.modules, "safetensors.torch", stand_in)  # type: ignore[arg-type]
    assert read_weights(path).keys() == state().keys()


@pytest.mark.parametrize(
    ("settings", "weights", "said"),
    [
        ({}, state("module."), "no weight that fits.*Did you mean prefix: 'module.'"),
        ({"prefix": "modul."}, state("module."), "prefix: found 'modul.'.*Did you mean 'module.'"),
        ({"prefix": "encoder."}, state(), "no weight that fits.*Did you mean prefix: ''"),
        ({}, {"encoder.one.weight": torch.zeros(3, 3)}, "no weight that fits, 1 of another shape"),
        ({}, {"x": torch.zeros(1)}, "no weight that fits.*such as encoder.one.weight.*Correct prefix, into and map"),
        ({"share": 0.95}, state(), "90% of the network's parameters.*at least 95%.*share to less than 0.9"),
    ],
)  # fmt: skip
def test_what_does_not_fit(settings: dict, weights: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_fit(Network(), weights, spec(**settings), "study: weights")


def test_the_least_share_is_enough() -> None:
    assert check_fit(Network(), state(), spec(share=0.9), "here").used == 2
