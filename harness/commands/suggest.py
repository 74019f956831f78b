"""What ``medctx data suggest`` does: write a study for a dataset by nnU-Net's rules."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import join

from harness import registry
from harness.commands.arguments import Folder
from harness.data.caches import data_folder
from harness.data.suggestion import CPU_MEMORY, Suggestion, suggest_recipe
from harness.data.topology import LEAST_MEMORY
from harness.errors import UserError
from harness.files.whole import write_text
from harness.study.suggested import Device, study_text

_UNITS = {"": 1.0, "gb": 1.0, "gib": 1.024**3, "mb": 1e-3, "mib": 1.024**2 * 1e-3}
_OF_A_GPU = 0.8  # of its memory: the rest is for CUDA and for others


@dataclass(frozen=True)
class SuggestedStudy:
    """A study for a dataset.

    Attributes:
        dataset: its name.
        suggestion: the recipe, key by key with the rule that gave each, and the network that the patch is made for.
        text: the study's file.
        path: where it was written; None where it was not.
    """

    dataset: str
    suggestion: Suggestion
    text: str
    path: Path | None = None


def suggest(
    dataset: str,
    *,
    data: Folder | None = None,
    memory: str | float | None = None,
    output: Folder | None = None,
    on_progress: Callable[[int, int], None] = lambda done, planned: None,
) -> SuggestedStudy:
    """Return a study for a dataset by nnU-Net's rules: patch, spacing, batch, intensities, augmentation, network.

    Args:
        dataset: as a study names it.
        data: folder of the datasets; by default ``MEDCTX_DATA``.
        memory: of the device that will train, such as ``8GB``, or a number of GB; by default that of this machine's GPU,
            or, where there is none, so little that a CPU core takes seconds for a step.
        output: a ``.yaml`` file to write it to, which is not there yet.
        on_progress: told how many cases were read, of how many.

    Raises:
        UserError: the data are not there or broken, or ``memory`` or ``output`` is none that can be.
    """
    device = this_device() if memory is None else Device(*_stated(memory))
    target = _new_file(output)
    entry = registry.load("dataset", dataset)()
    from harness.data.fingerprint import read_voxels

    fingerprint = read_voxels(entry, dataset, data_folder(data), on_progress)
    if not fingerprint.grids:
        raise UserError(
            f"dataset {dataset!r}",
            "no case to train on",
            "at least one",
            "Add cases, or name another folder.",
        )
    suggestion = suggest_recipe(fingerprint, device.memory, entry.recipe)
    words = ["medctx", "data", "suggest", dataset, *([] if memory is None else ["--memory", str(memory)])]
    text = study_text(dataset, suggestion, device, join(words))
    if target:
        write_text(target, text)
    return SuggestedStudy(dataset, suggestion, text, target)


def this_device() -> Device:
    """Return this machine's GPU, or else a budget for a CPU core."""
    import torch

    if not torch.cuda.is_available():
        return Device(CPU_MEMORY, "a CPU core of this machine, which has no GPU", has_gpu=False)
    memory = round(torch.cuda.get_device_properties(0).total_memory / 1e9 * _OF_A_GPU, 1)
    return Device(memory, f"80 % of this machine's GPU ({torch.cuda.get_device_name(0)})", has_gpu=True)


def _stated(memory: str | float) -> tuple[float, str, bool]:
    """Return what ``--memory`` says in GB, in words, and that it is a GPU's."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(memory).casefold())
    if not found or found[2] not in _UNITS:
        raise UserError("--memory", repr(memory), "a size such as 8GB", "Correct this value.")
    size = float(found[1]) * _UNITS[found[2]]
    if size < LEAST_MEMORY:
        raise UserError(
            "--memory", repr(memory), f"at least {LEAST_MEMORY:g}GB", "Name the memory of a whole device."
        )
    return size, f"a device of {size:g} GB", True


def _new_file(output: Folder | None) -> Path | None:
    path = Path(output) if output is not None else None
    if path is None:
        return None
    if path.suffix not in (".yaml", ".yml") or not path.parent.is_dir():
        raise UserError("--output", str(path), "a .yaml file in a folder that exists", "Name another file.")
    if path.exists():
        raise UserError("--output", f"{path}, which is there", "a new file", "Remove it, or name another.")
    return path
