"""A trained network in other tools' formats, with the preprocessing described beside it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn

from harness.errors import UserError
from harness.inference.bundle import write_bundle
from harness.inference.description import describe
from harness.inference.trained import Trained
from harness.training.losses import finest

DESCRIPTION = "preprocessing.json"
_CLOSE = 1e-4  # logits, absolute and relative


class _Finest(nn.Module):
    """A network that gives one output, its finest."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, window: Tensor) -> Tensor:
        return finest(self.network(window))


def export_trained(trained: Trained, format: str, output: Path) -> Path:
    """Write a folder with a network, whole or not at all; return the file of the network.

    Args:
        trained: on the CPU.
        format: ``torchscript``, ``onnx`` or ``monai-bundle``.
        output: a folder that is not there yet.

    Raises:
        UserError: an unknown format, a folder that is there, a package that is missing, or a network that cannot be
            written in this format.
    """
    writer = FORMATS.get(format)
    if writer is None:
        raise UserError("--format", repr(format), f"one of {', '.join(FORMATS)}", "Correct the option.")
    if output.exists():
        raise UserError(
            output, "a folder or file that exists already", "a new folder", "Name another one, or remove it."
        )
    partial = output.with_name(f".{uuid4().hex}.{output.name}")
    try:
        partial.mkdir(parents=True)
        network = writer(trained, partial)
        partial.rename(output)
    except OSError as error:
        raise UserError(
            output,
            f"a folder that cannot be made ({error.strerror})",
            "a folder that you may write to",
            "Name another.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return output / network


def _torchscript(trained: Trained, folder: Path) -> str:
    traced, batch = _traced(trained)
    traced.save(str(folder / "model.ts"))
    _write_description(trained, folder, batch)
    return "model.ts"


def _bundle(trained: Trained, folder: Path) -> str:
    traced, batch = _traced(trained)
    (folder / "models").mkdir()
    traced.save(str(folder / "models" / "model.ts"))
    write_bundle(folder, {**describe(trained), "batch of windows": batch})
    return "models/model.ts"


def _onnx(trained: Trained, folder: Path) -> str:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise UserError(
            "--format onnx", f"no package {' and '.join(missing)}", "onnx and onnxscript, which PyTorch needs to write ONNX",
            "Install them (pip install onnx onnxscript), or use --format torchscript.",
        )  # fmt: skip
    network, path = _Finest(trained.network).eval(), folder / "model.onnx"
    window, batch = _windows(trained, 2), torch.export.Dim("batch", min=1)
    options: dict[str, Any] = {
        "dynamo": True, "external_data": False, "input_names": ["image"], "output_names": ["logits"], "verbose": False,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(network, (window,), str(path), dynamic_shapes={"window": {0: batch}}, **options)
            largest = None
        except Exception:  # a network whose program depends on the number of windows
            largest = 1
            try:
                torch.onnx.export(network, (window[:1],), str(path), **options)
            except Exception as error:
                raise _refused(trained, "onnx", str(error)) from error
    if find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        _check(
            trained, "onnx", lambda given: torch.from_numpy(session.run(None, {"image": given.numpy()})[0]), 1
        )
    _write_description(trained, folder, largest)
    return "model.onnx"


FORMATS: dict[str, Callable[[Trained, Path], str]] = {
    "torchscript": _torchscript,
    "onnx": _onnx,
    "monai-bundle": _bundle,
}


def _traced(trained: Trained) -> tuple[Any, int | None]:
    """Return the network as TorchScript, and the largest number of windows at once; None: any.

    Raises:
        UserError: it does not give what the network gives.
    """
    network = _Finest(trained.network).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            traced = torch.jit.trace(network, _windows(trained, 1), check_trace=False)
        except Exception as error:
            raise _refused(trained, "torchscript", str(error)) from error
        _check(trained, "torchscript", traced, 1)
        try:
            _check(trained, "torchscript", traced, 3)
        except (UserError, RuntimeError):
            return traced, 1
    return traced, None


def _check(trained: Trained, format: str, exported: Callable[[Tensor], Tensor], windows: int) -> None:
    """Raise UserError where an exported network gives other logits than the network."""
    given = _windows(trained, windows, seed=1)
    with torch.no_grad():
        expected = finest(trained.network(given))
        apart = (exported(given) - expected).abs() - _CLOSE * expected.abs()
    if not float(apart.max()) <= _CLOSE:
        raise _refused(trained, format, f"its logits differ from the network's by {float(apart.max()):.2g}")


def _windows(trained: Trained, count: int, seed: int = 0) -> Tensor:
    shape = (count, len(trained.dataset.channels), *trained.recipe.patch)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _refused(trained: Trained, format: str, reason: str) -> UserError:
    told = (reason.strip().splitlines() or ["no reason given"])[0][:200]
    return UserError(
        f"--format {format}", f"{trained.record.spec.architecture.name} cannot be exported in this format ({told})",
        "an exported program that gives the same logits", "Choose another format.",
    )  # fmt: skip


def _write_description(trained: Trained, folder: Path, batch: int | None) -> None:
    described = {**describe(trained), "batch of windows": batch}
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=1, ensure_ascii=False))
