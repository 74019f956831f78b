"""Which kernels a trial may take: in its id only where it is not the default, told by its protocol, and off by default."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness import registry
from harness.architectures.unet import UNet
from harness.data.trial_data import load_trial_data
from harness.errors import UserError
from harness.seeding import clean_process
from harness.spec import TrialSpec, plain
from harness.study.resolve import Resolver
from harness.training.compiling import compiled
from harness.training.pretraining import pretraining_node
from harness.trial.build import build_method, build_trainer
from harness.trial.protocol import protocol_of

CPU = torch.device("cpu")


def resolved(method: str = "supervised", architecture: str = "unet", **recipe: Any) -> TrialSpec | str:
    flat = {
        "dataset": "phantom",
        "architecture": architecture,
        "method": method,
        "shots": 2,
        "subset": 0,
        "seed": 0,
    }
    own = {"recipe.steps": 3, "recipe.patch": [16, 16, 16]}
    own |= {f"recipe.{key}": value for key, value in recipe.items()}
    return Resolver("test").trial({**flat, **own})


def spec_of(**recipe: Any) -> TrialSpec:
    spec = resolved(**recipe)
    assert isinstance(spec, TrialSpec)
    return spec


def history_of(spec: TrialSpec) -> list[Any]:
    clean_process(spec.recipe.threads, spec.recipe.kernels, spec.recipe.precision)
    data = load_trial_data(spec, None)
    return [*build_trainer(spec, data, build_method(spec, data, CPU), CPU).run_until(spec.recipe.steps)]


def test_they_are_in_the_id_only_where_they_are_not_the_default() -> None:
    default, fast = spec_of(), spec_of(kernels="fast")
    assert spec_of(kernels="deterministic", compile=False).id == default.id
    assert len({default.id, fast.id, spec_of(compile=True).id}) == 3
    assert not {"kernels", "compile"} & {*plain(default.recipe)}


def test_the_protocol_says_which_and_a_pretraining_takes_the_same() -> None:
    spec = spec_of(kernels="fast")
    data = load_trial_data(spec, None)
    assert protocol_of(spec, data, build_method(spec, data, CPU), None).training["kernels"] == "fast"  # type: ignore[index]
    plain_one = protocol_of(spec_of(), data, build_method(spec, data, CPU), None).training
    assert plain_one and not {"kernels", "compile"} & {*plain_one}
    node = pretraining_node(spec, {}, registry.load("method", "models_genesis"), "test")
    assert node.recipe.kernels == "fast" and not node.recipe.compile


def test_fast_allows_what_cudnn_finds_and_tf32_but_where_precision_is_fp32() -> None:
    def flags() -> tuple[bool, ...]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        return (
            torch.are_deterministic_algorithms_enabled(),
            cudnn.benchmark,
            cudnn.allow_tf32,
            matmul.allow_tf32,
        )

    found = {}
    for kernels, precision in (("fast", "bf16"), ("fast", "fp32"), ("deterministic", "bf16")):
        clean_process(1, kernels, precision)
        found[kernels, precision] = flags()
    assert found == {
        ("fast", "bf16"): (False, True, True, True),
        ("fast", "fp32"): (False, True, False, False),
        ("deterministic", "bf16"): (True, False, False, False),
    }
    clean_process(1)
    assert flags() == (True, False, False, False)  # nothing of an earlier trial is left


def test_on_a_cpu_fast_kernels_give_the_same_bits() -> None:
    assert history_of(spec_of(kernels="fast")) == history_of(spec_of())
    clean_process(1)


def test_only_what_declares_it_is_compiled() -> None:
    assert "the method does not declare" in str(resolved("models_genesis", compile=True))
    assert "the network does not declare" in str(
        resolved("supervised", "nnformer", compile=True, patch=[32, 32, 32])
    )
    assert isinstance(resolved("mean_teacher", compile=True), TrialSpec)
    image, token = {"method.masking.level": "image"}, {"method.masking.level": "token"}
    flat = {
        "dataset": "phantom",
        "method": "medcontext",
        "shots": 2,
        "subset": 0,
        "seed": 0,
        "recipe.compile": True,
    }
    assert isinstance(Resolver("test").trial({**flat, **image, "architecture": "unet"}), TrialSpec)
    assert isinstance(
        Resolver("test").trial({**flat, **token, "architecture": "unetr", "recipe.patch": [32] * 3}), str
    )


def test_without_a_compiler_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"no C\+\+ compiler .*Install g\+\+"):
        compiled(torch.nn.Linear(1, 1))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        compiled(torch.nn.Linear(1, 1))


@pytest.mark.slow
def test_a_compiled_trial_is_near_the_plain_one_repeats_and_compiles_once_in_a_process() -> None:
    from torch._dynamo.utils import counters

    assert UNet.compiles
    expected = history_of(spec_of())
    first = history_of(spec_of(compile=True))
    programs = counters["stats"]["unique_graphs"]
    assert programs > 0
    assert history_of(spec_of(compile=True)) == first
    assert counters["stats"]["unique_graphs"] == programs  # what the first trial compiled serves the second
    for one, other in zip(first, expected, strict=True):
        assert one.losses == pytest.approx(other.losses, rel=1e-3)
