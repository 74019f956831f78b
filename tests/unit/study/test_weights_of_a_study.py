"""The key ``weights`` of an arm: what of it is in a trial's id, what a plan says, and what a worker loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import harness
from harness import registry
from harness.errors import UserError
from harness.records.weights import keep_weights
from harness.spec import TrialSpec
from harness.study.study import Study
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

STUDY = """
question: why?
architectures: {ours: {name: unet, weights: %s}}
base: {dataset: phantom, shots: 2, recipe: {steps: 1, learning_rate: 1.0e-30, weight_decay: 0, patch: [16, 16, 16]}}
grid: {architecture: [ours, unet], method: [%s]}
"""
CHANNELS, CLASSES = 1, 3


def network(architecture: str = "unet", seed: int = 0, patch=(16, 16, 16), **settings: object):
    entry = registry.load("architecture", architecture)
    torch.manual_seed(seed)
    dataset = registry.load("dataset", "phantom")
    options = entry.resolve(settings, "test")
    return entry(options).build(len(dataset.channels), max(dataset.labels) + 1, patch)


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """Return a function that loads a study beside a file of weights, ``w.pt``."""
    torch.save({"state_dict": network(seed=7).state_dict()}, tmp_path / "w.pt")

    def load(weights: str = "{file: w.pt}", method: str = "supervised", folder: Path = tmp_path) -> Study:
        (folder / "s.yaml").write_text(STUDY % (weights, method))
        return harness.load_study(str(folder / "s.yaml"))

    return load


def spec_of(study: Study) -> TrialSpec:
    return study.cells[0].spec


def test_the_content_is_in_the_id_and_the_place_is_not(study, tmp_path: Path) -> None:
    first, other = spec_of(study()), tmp_path / "elsewhere"
    other.mkdir()
    shutil.copy(tmp_path / "w.pt", other / "same.pt")
    assert spec_of(study(f"{{file: {other / 'same.pt'}}}")).id == first.id
    assert spec_of(study("{file: same.pt}", folder=other)).id == first.id
    plain = study().cells[1].spec
    assert plain.weights is None and plain.id != first.id
    assert str(tmp_path) not in first.model_dump_json() and "w.pt" not in first.model_dump_json()
    torch.save(network(seed=8).state_dict(), other / "same.pt")
    assert spec_of(study("{file: same.pt}", folder=other)).id != first.id
    assert spec_of(study("{file: w.pt, share: 0.9}")).id != first.id


def test_a_trial_starts_from_what_was_kept_with_the_records(
    study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDCTX_CACHE", str(tmp_path / "cache"))
    found = study()
    tensors = len(network().state_dict())
    said = f"100% of the network's parameters, {tensors} of the file's {tensors} tensors"
    assert found.weights_lines == (f"weights of architecture ours: w.pt gives {said}",)
    results = tmp_path / "results"
    keep_weights(results, found.weights)
    (tmp_path / "w.pt").unlink()  # a worker elsewhere has not got it
    record = run_trial(spec_of(found), RunSettings(results))
    assert record is not None and record.status == "complete" and record.transfer and record.protocol
    assert record.transfer.source == f"w.pt, sha256 {spec_of(found).weights.sha256[:16]}"
    assert record.transfer.share == 1 and not record.transfer.missing
    assert "sha256" in record.protocol.pretraining and record.protocol.pretraining != "none"
    kept = torch.load(results / "trials" / record.id / "checkpoint.pt", weights_only=True)["method"]
    for name, values in network(seed=7).state_dict().items():
        torch.testing.assert_close(kept[f"student.{name}"], values)


def test_weights_that_are_lost_or_changed_fail_the_trial(study, tmp_path: Path) -> None:
    found, results = study(), tmp_path / "results"
    record = run_trial(spec_of(found), RunSettings(results))
    assert record and record.status == "failed" and record.cause and record.cause.kind == "input"
    assert "no file of weights" in record.cause.message
    other = tmp_path / "other"
    keep_weights(other, found.weights)
    (kept,) = (other / "weights").glob("*/w.pt")
    kept.write_bytes(b"other")
    keep_weights(other, found.weights)  # a copy that is there is not made again
    record = run_trial(spec_of(found), RunSettings(other))
    assert record and record.status == "failed" and record.cause and "another content" in record.cause.message


def test_a_stated_hash_stands_for_a_file_that_is_not_here(study, tmp_path: Path) -> None:
    whole = spec_of(study())
    sha256 = whole.weights.sha256
    assert spec_of(study(f"{{file: w.pt, sha256: {sha256}}}")).id == whole.id
    with pytest.raises(UserError, match=rf"weights\.sha256: found {'0' * 64}; expected that of w\.pt"):
        study(f"{{file: w.pt, sha256: '{'0' * 64}'}}")
    (tmp_path / "w.pt").unlink()
    (tmp_path / "s.yaml").write_text(STUDY % (f"{{file: w.pt, sha256: {sha256}}}", "supervised"))
    found = harness.load_study(str(tmp_path / "s.yaml"))
    assert spec_of(found).id == whole.id and not found.weights and not found.weights_lines


def test_a_method_may_have_them_and_a_pretraining_begins_with_them(study, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "question: why?\nmethods: {given: {name: supervised, weights: {file: w.pt}}, more: {name: masked_volume, weights: {file: w.pt}}}\n"
        "base: {dataset: phantom, architecture: unet, recipe: {steps: 2, patch: [16, 16, 16]}}\ngrid: {method: [given, more, supervised]}\n"
    )
    found = harness.load_study(str(tmp_path / "m.yaml"))
    given, more, plain = (cell.spec for cell in found.cells)
    assert given.weights and more.weights is None and plain.weights is None
    (node,) = found.nodes
    assert node.spec.weights == given.weights and more.pretraining == node.spec.id


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("{file: nowhere.pt}", r"architectures\.ours\.weights\.file: found nowhere\.pt: no such file"),
        ("w.pt", r"architectures\.ours\.weights: found 'w\.pt'; expected a mapping"),
        ("{}", r"weights\.file: found nothing"),
        ("{file: w.pt, prefx: a}", r"weights\.prefx.*Did you mean 'prefix'"),
        ("{file: w.pt, share: 2}", r"weights\.share: found 2"),
        ("{file: w.pt, preset: x}", r"weights\.preset: found 'x'; expected none: the architecture has no checkpoints"),
        ("{file: w.pt, prefix: nothing.}", r"weights\.prefix: found 'nothing\.'"),
        ("{file: w.pt, into: decoder}", r"weights: found no weight that fits"),
        ("{file: s.yaml}", r"weights\.file: found s\.yaml: a file that is no checkpoint"),
        ("{file: w.pt, map: [a]}", r"weights\.map"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_trains(study, weights: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        study(weights)


def test_another_network_is_refused(study, tmp_path: Path) -> None:
    text = (STUDY % ("{file: w.pt}", "supervised")).replace("name: unet,", "name: segresnet,")
    study()
    (tmp_path / "other.yaml").write_text(text)
    with pytest.raises(UserError, match="no weight that fits"):
        harness.load_study(str(tmp_path / "other.yaml"))


def test_both_arms_may_not_have_them(study, tmp_path: Path) -> None:
    text = (STUDY % ("{file: w.pt}", "m")).replace("question: why?", "question: why?\nmethods: {m: {name: supervised, weights: {file: w.pt}}}")  # fmt: skip
    study()
    (tmp_path / "both.yaml").write_text(text)
    with pytest.raises(
        UserError, match=r"methods\.m\.weights: found weights, which the architecture has too"
    ):
        harness.load_study(str(tmp_path / "both.yaml"))


def test_a_plan_says_what_fits(study, tmp_path: Path, medctx: Callable) -> None:
    study()
    outcome = medctx("plan", tmp_path / "s.yaml")
    assert "weights of architecture ours: w.pt gives 100% of the network's parameters" in outcome.out
    told = json.loads(medctx("plan", tmp_path / "s.yaml", "--json").out)
    assert len(told["weights"]) == 1


def test_the_public_swin_unetr_checkpoint_has_a_preset(tmp_path: Path) -> None:
    """A file with the names and shapes that MONAI's own SwinUNETR.load_from reads; what that loads is the oracle."""
    from monai.networks.nets import SwinUNETR

    torch.manual_seed(3)
    made = SwinUNETR(in_channels=1, out_channels=2, feature_size=48).swinViT.state_dict()
    old = {"mlp.linear1": "mlp.fc1", "mlp.linear2": "mlp.fc2"}
    names = {"module." + name.replace("mlp.linear1", old["mlp.linear1"]).replace("mlp.linear2", old["mlp.linear2"]): values
             for name, values in made.items()}  # fmt: skip
    content = {"epoch": 1, "state_dict": {**names, "module.rotation_head.weight": torch.zeros(4, 768)}}
    torch.save(content, tmp_path / "model_swinvit.pt")
    (tmp_path / "s.yaml").write_text(
        "question: why?\narchitectures: {ssl: {name: swin_unetr, preset: paper, weights: {file: model_swinvit.pt, preset: swin_unetr_ssl}}}\n"
        "base: {dataset: phantom, architecture: ssl, recipe: {steps: 1, patch: [64, 32, 32]}}\ngrid: {method: [supervised]}\n"
    )
    study = harness.load_study(str(tmp_path / "s.yaml"))
    assert "126 of the file's 127 tensors; 1 not in the network (swinViT.rotation_head.weight)" in study.weights_lines[0]  # fmt: skip
    from harness.training.weights import load_into, read_weights

    ours = network("swin_unetr", 1, (64, 32, 32), preset="paper")
    theirs = SwinUNETR(in_channels=1, out_channels=3, feature_size=48)
    theirs.load_from(content)
    spec = study.cells[0].spec.weights
    assert spec is not None and spec.share == 0.1
    load_into(ours, read_weights(tmp_path / "model_swinvit.pt", spec.key), spec)
    loaded = {name for name, _ in theirs.swinViT.named_parameters()}
    for name in loaded:
        torch.testing.assert_close(
            ours.swinViT.get_parameter(name), theirs.swinViT.get_parameter(name), rtol=0, atol=0
        )
