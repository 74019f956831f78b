"""``medctx export``: programs that give the network's logits, and a bundle that MONAI's command line runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

import harness
from harness import registry
from harness.data.numbering import Numbering
from harness.inference import export
from harness.inference.description import describe, numbers_of
from harness.inference.trained import Labelled, Trained, load_trained
from harness.records.schema import TrialRecord
from harness.records.store import Store
from harness.study.resolve import Resolver
from harness.trial.build import build_method
from tests.unit.inference.conftest import Finished


def trained(finished: Finished, trial: int = 0) -> Trained:
    store = Store(finished.results, writable=False)
    return load_trained(finished.trials[trial], store, None, "student", torch.device("cpu"))


def logits(one: Trained, window: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return one.network(window)


def test_torchscript_gives_the_networks_logits(
    finished: Finished, tmp_path: Path, medctx: Callable[..., Any]
) -> None:
    id = finished.trials[0].id
    ended = medctx("export", id, "--output", tmp_path / "x", "--results", finished.results)
    assert ended.code == 0 and "model.ts" in ended.out, ended.err
    program = torch.jit.load(tmp_path / "x" / "model.ts")
    for count in (1, 4):
        window = torch.randn(count, 1, 32, 32, 16)
        torch.testing.assert_close(program(window), logits(trained(finished), window), atol=1e-4, rtol=1e-4)
    described = json.loads((tmp_path / "x" / "preprocessing.json").read_text())
    assert described["trial"] == id and described["settings"]["spacing"] == [1.4, 1.3, 2.5]
    assert described["channels"] == ["intensity"] and described["classes"]["4"] == "twin"
    assert described["batch of windows"] is None


def test_the_description_says_what_happens_to_an_image(finished: Finished) -> None:
    steps = " ".join(describe(trained(finished, 1))["steps"])
    for said in ("RAS", "Crop to the smallest box of what is not 0", "1.2 x 1.4 x 3 mm, linear", "percentiles 0.5 and 99.5",
                 "32 x 32 x 16 voxels", "weights nnunet", "the nearest one is taken"):  # fmt: skip
        assert said in steps
    assert "mirrored axes [0]" in " ".join(describe(trained(finished, 0))["steps"])


def test_numbers_of_files_stand_in_the_order_of_the_classes(finished: Finished) -> None:
    class Renumbered:
        def numbering(self) -> Numbering:
            return Numbering([0, 205, 420, 500], None, "test")

    assert numbers_of(Trained(finished.trials[0], Renumbered(), "student", torch.nn.Module(), "")) == [
        0,
        205,
        420,
        500,
    ]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "caffe"}, "--format: found 'caffe'; expected one of torchscript, onnx, monai-bundle"),
        ({"output": "."}, "a folder or file that exists already"),
        ({"trial": "nothing"}, "0 trials"),
    ],
)
def test_mistakes(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"trial": finished.trials[0].id, "output": "new", **options}
    with pytest.raises(harness.UserError, match=message):
        harness.export(results=finished.results, **given)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(
        harness.UserError, match=r"no package onnx and onnxscript.*pip install onnx onnxscript"
    ):
        harness.export(finished.trials[0].id, tmp_path / "x", format="onnx", results=finished.results)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", registry.names("architecture"))
def test_every_network_can_be_traced(architecture: str, tmp_path: Path) -> None:
    """The program is compared with the network before it is kept, for one window and for three."""
    patch = [64, 32, 32] if architecture == "swin_unetr" else [32, 32, 16]
    spec = Resolver("test").trial({
        "dataset": "phantom", "architecture": architecture, "architecture.preset": "tiny", "method": "supervised",
        "shots": 2, "subset": 0, "seed": 0, "recipe.patch": patch,
    })  # fmt: skip
    assert not isinstance(spec, str), spec
    dataset = registry.load("dataset", "phantom")()
    network = build_method(spec, Labelled(dataset, ()), torch.device("cpu")).roles()["student"].eval()
    record = TrialRecord(id=spec.id, status="complete", kind="train", spec=spec)
    path = export.export_trained(
        Trained(record, dataset, "student", network, ""), "torchscript", tmp_path / "x"
    )
    assert json.loads((path.parent / "preprocessing.json").read_text())["batch of windows"] is None


@pytest.mark.slow
@pytest.mark.skipif(
    not all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs onnx and onnxruntime",
)
def test_onnx_gives_the_networks_logits(finished: Finished, tmp_path: Path) -> None:
    import onnxruntime

    path = harness.export(finished.trials[0].id, tmp_path / "x", format="onnx", results=finished.results)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    window = torch.randn(3, 1, 32, 32, 16)
    (found,) = session.run(None, {"image": window.numpy()})
    np.testing.assert_allclose(found, logits(trained(finished), window).numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("trial", [0, 1])
def test_monais_command_predicts_with_the_bundle_as_predict_does(
    finished: Finished, tmp_path: Path, trial: int
) -> None:
    """It runs in a process that cannot import the harness."""
    id, bundle = finished.trials[trial].id, tmp_path / "bundle"
    harness.export(id, bundle, format="monai-bundle", results=finished.results)
    own = harness.predict(id, finished.images, tmp_path / "own", results=finished.results, probabilities=True)
    program = "import sys; sys.modules['harness'] = None; sys.argv[0] = 'monai.bundle'; import runpy; runpy.run_module('monai.bundle', run_name='__main__')"
    command = [
        sys.executable, "-c", program, "run", "--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json",
        "--dataset_dir", str(finished.images), "--output_dir", str(tmp_path / "theirs"), "--save_probabilities", "true",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert own.cases
    for one in own.cases:
        assert one.probabilities
        theirs = nibabel.load(tmp_path / "theirs" / f"{one.case}_probabilities.nii.gz")
        expected = nibabel.load(one.probabilities)
        np.testing.assert_allclose(theirs.get_fdata(), expected.get_fdata(), atol=1e-4)
        np.testing.assert_allclose(theirs.affine, expected.affine, atol=1e-6)
        labels = nibabel.load(tmp_path / "theirs" / f"{one.case}.nii.gz")
        assert labels.get_data_dtype() == np.uint8
        assert (labels.get_fdata() != nibabel.load(one.labels).get_fdata()).mean() < 1e-3
