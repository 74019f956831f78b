"""``medctx check-plugin``: what keeps the contract passes, and what breaks it is named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness import registry
from harness.architectures.contract import Architecture
from harness.plugins.check import check_plugin
from harness.plugins.parameters import alternatives
from harness.spec import Frozen
from harness.study.expand import load_study
from harness.training.method import Batch, Losses, Progress
from methods.medcontext import MedContextParameters

PLUGIN = Path(__file__).parents[1] / "example_plugin"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch):
    """Put the example on the path, and forget afterwards what the registry found there."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    yield
    _forget()


def _forget() -> None:
    for function in (registry.load, registry._plugins):
        function.cache_clear()
    sys.modules.pop("example_plugin", None)


def failures(kind: Any, name: str) -> dict[str, str]:
    return {finding.check: finding.seen for finding in check_plugin(kind, name) if not finding.passed}


def test_the_example_method_passes(medctx) -> None:
    done = medctx("check-plugin", "method", "example_plugin:SmoothedSupervised")
    assert done.code == 0 and "all passed" in done.out, done.out
    for line in ("parameter smoothing", "parameter sharpness: with {'squared': True}", "learns two organs"):
        assert f"ok    {line}" in done.out


def test_quick_leaves_out_learning_and_parameters_and_says_so(medctx) -> None:
    for kind, name in (("method", "SmoothedSupervised"), ("architecture", "PlainNet")):
        done = medctx("check-plugin", kind, f"example_plugin:{name}", "--quick")
        assert done.code == 0 and done.out.endswith("all passed, of the quick ones\n"), done.out
        assert "ok    deterministic step" in done.out and "ok    state dict round trip" in done.out
        assert "learns" not in done.out and "parameter smoothing" not in done.out


def test_the_example_architecture_and_dataset_pass(medctx) -> None:
    for kind, name in (("architecture", "example_plugin:PlainNet"), ("dataset", "example_plugin:Spheres")):
        done = medctx("check-plugin", kind, name)
        assert done.code == 0 and "all passed" in done.out, done.out


def test_an_installed_package_is_found_by_its_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [
        line for line in (PLUGIN / "pyproject.toml").read_text().splitlines() if ' = "example_plugin:' in line
    ]
    groups = ("medctx.methods", "medctx.architectures", "medctx.datasets")
    folder = tmp_path / "example_plugin-0.1.0.dist-info"  # what an installation leaves
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: example-plugin\nVersion: 0.1.0\n")
    text = "\n".join(
        f"[{group}]\n{line.replace(chr(34), '')}" for group, line in zip(groups, points, strict=True)
    )
    (folder / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    for kind, name in (("method", "smoothed"), ("architecture", "plain"), ("dataset", "spheres")):
        assert name in registry.names(kind)  # type: ignore[arg-type]
        assert registry.load(kind, name).__module__ == "example_plugin"  # type: ignore[arg-type]
    study = tmp_path / "mine.yaml"
    study.write_text(
        "question: why?\nbase: {dataset: spheres, architecture: plain, method: smoothed, shots: 2}\n"
    )
    (cell,) = load_study(str(study)).cells
    assert cell.spec.method.name == "smoothed"


class Probabilities(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer, self.forgotten = nn.Conv3d(1, classes, 1), nn.Conv3d(1, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image + 0.01 * torch.rand_like(image)).softmax(dim=1)


class BrokenNet(Architecture[Any]):
    """Probabilities, a layer that is never used, and noise in evaluation mode."""

    summary = source = "broken"
    Options = Frozen
    presets = {"tiny": {}}

    def build(self, in_channels: int, out_channels: int, patch: Any) -> nn.Module:
        return Probabilities(out_channels)


def test_a_broken_architecture_is_told_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.plugins.check._SECONDS", 1.0)
    found = failures("architecture", "test_check_plugin:BrokenNet")
    assert "probabilities" in found["raw logits"]
    assert "forgotten" in found["gradient reaches every parameter"]
    assert "another output" in found["state dict round trip"]
    assert "mean Dice" in found["learns two organs to Dice above 0.9"]
    assert "output" not in found and "deterministic step" not in found


@pytest.fixture
def broken_method(monkeypatch: pytest.MonkeyPatch):
    from example_plugin import SmoothedSupervised

    class Broken(SmoothedSupervised):
        """Draws from a generator that nobody seeds, and has lost a parameter's declared condition."""

        acts_with: Any = {}

        def step(self, batch: Batch, progress: Progress) -> Losses:
            noise = torch.rand((), generator=_GENERATOR)
            losses = super().step(batch, progress)
            return Losses(losses.total * (1 + noise), losses.terms)

    return Broken


_GENERATOR = torch.Generator()


def test_a_broken_method_is_told_what_is_wrong(broken_method: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.plugins.check._SECONDS", 1.0)
    monkeypatch.setattr(sys.modules[__name__], "BrokenMethod", broken_method, raising=False)
    monkeypatch.setattr("harness.plugins.check.parameter_findings", lambda *_: iter(()))
    found = failures("method", "test_check_plugin:BrokenMethod")
    assert "differ" in found["deterministic step"]


def test_a_parameter_without_effect_and_without_a_declared_condition_fails(monkeypatch) -> None:
    from example_plugin import SmoothedSupervised

    from harness.plugins.parameters import parameter_findings

    monkeypatch.setattr(SmoothedSupervised, "acts_with", {})
    settings = {"recipe.patch": (16, 16, 16), "recipe.steps": 3, "recipe.batch": 2}
    found = {
        path: (passed, seen)
        for path, passed, seen in parameter_findings(
            "example_plugin:SmoothedSupervised", "example_plugin:PlainNet", settings, False
        )
    }
    assert found["smoothing"][0] and found["squared"][0] and not found["sharpness"][0]
    assert "change nothing" in found["sharpness"][1] and "no condition" in found["sharpness"][1]
    monkeypatch.setattr(SmoothedSupervised, "acts_with", {"sharpness": "other networks"})
    again = {
        path: passed
        for path, passed, _ in parameter_findings(
            "example_plugin:SmoothedSupervised", "example_plugin:PlainNet", settings, False
        )
    }
    assert again == {"smoothing": True, "sharpness": True, "squared": True}


def test_every_parameter_has_another_value_to_try() -> None:
    found = dict(alternatives(MedContextParameters()))
    assert len(found) == 33 and all(found.values())
    assert found["masking.level"] == ["image"] and 1.5 not in found["masking.ratio"]
