"""What ``medctx export`` does: a trained network in another tool's format."""

from __future__ import annotations

from pathlib import Path

from harness.commands.arguments import Folder
from harness.data.caches import data_folder


def export(
    trial: str,
    output: Folder,
    *,
    format: str = "torchscript",
    results: Folder = "results",
    data: Folder | None = None,
    role: str = "student",
) -> Path:
    """Write a trained network in another tool's format, with the preprocessing described beside it.

    Args:
        trial: id, or its first characters.
        output: a folder that is not there yet.
        format: ``torchscript``, ``onnx``, or ``monai-bundle``: a folder that ``python -m monai.bundle run`` predicts with.
        results: folder of the records.
        data: folder of the datasets, for one that may be any folder; by default ``MEDCTX_DATA``.
        role: ``student`` or ``teacher``.

    Returns:
        the file of the network.

    Raises:
        UserError: the trial has no weights, or its network cannot be written so.
    """
    from harness.inference.export import export_trained
    from harness.inference.trained import load_networks

    (trained,), _ = load_networks([trial], Path(results), data_folder(data), role, "cpu")
    return export_trained(trained, format, Path(output))
