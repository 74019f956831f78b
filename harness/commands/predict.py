"""What ``medctx predict`` does: the networks of finished trials on any images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.arguments import Folder, Say, silent
from harness.data.caches import data_folder
from harness.errors import UserError
from harness.files.whole import write_text
from harness.spec import digest

if TYPE_CHECKING:
    import torch

    from harness.data.datasets.contract import Case, Dataset
    from harness.data.volume import Volume
    from harness.inference.trained import Trained

_SUFFIX, _PROBABILITIES, CARD = ".nii.gz", ".probabilities.nii.gz", "predictions.json"


@dataclass(frozen=True)
class PredictedCase:
    """One image, and what was predicted of it.

    Attributes:
        case: its name.
        labels: the file of the most probable labels.
        probabilities: the file of all classes' probabilities, where they were asked for.
        kept: whether the files were there already, from the same networks and image.
    """

    case: str
    labels: Path
    probabilities: Path | None
    kept: bool


@dataclass(frozen=True)
class Predictions:
    """What was predicted, and which images could not be, by name."""

    cases: tuple[PredictedCase, ...]
    problems: dict[str, str]


def predict(
    trials: str | Sequence[str],
    inputs: Folder | Sequence[Folder],
    output: Folder,
    *,
    results: Folder = "results",
    data: Folder | None = None,
    role: str = "student",
    probabilities: bool = False,
    device: str | None = None,
    threads: int | None = None,
    say: Say = silent,
) -> Predictions:
    """Predict images with the networks of finished trials; of several, the mean of their probabilities counts.

    Each network gets an image preprocessed as in its training. Files lie on the grid of the image's file. What an earlier
    call has finished, with the same networks and the same image, is kept.

    Args:
        trials: ids, or their first characters.
        inputs: images, or folders of them; the channels of a case are ``<case>_0000``, ``<case>_0001``, …
        output: folder to write ``<case>.nii.gz`` to.
        results: folder of the records.
        data: folder of the datasets, for one that may be any folder; by default ``MEDCTX_DATA``.
        role: ``student`` or ``teacher``.
        probabilities: write ``<case>.probabilities.nii.gz`` too, of all classes.
        device: such as ``cpu`` or ``cuda:1``; by default a GPU, where there is one.
        threads: of the CPU; by default those of the trial. Other numbers may change the last bits.
        say: told what is done.

    Raises:
        UserError: a trial has no weights, an image lacks a channel, or a file in ``output`` is not of this command.
    """
    names = [trials] if isinstance(trials, str) else list(trials)
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    from harness.inference.inputs import cases_of
    from harness.inference.trained import changed_since, load_networks

    networks, chosen = load_networks(names, Path(results), data_folder(data), role, device, threads)
    for sentence in (one for network in networks for one in changed_since(network.record)):
        say(sentence)

    cases = cases_of([Path(path) for path in given], networks[0].dataset.channels)
    folder = Path(output)
    targets = {case.id: _target(case, folder) for case in cases}
    _write_card(folder, networks)
    done, problems = [], {}
    for case in cases:
        try:
            one = _predict(case, targets[case.id], networks, probabilities, chosen)
        except UserError as error:
            problems[case.id] = str(error)
            say(f"not predicted: {case.id}: {error}")
            continue
        done.append(one)
        what = "kept, as the same trials have predicted it" if one.kept else "predicted"
        say(f"{what}: {one.labels}")
    return Predictions(tuple(done), problems)


def _target(case: Case, folder: Path) -> Path:
    """Return the file for a case's labels.

    Raises:
        UserError: another tool has written it, or it is the image.
    """
    from harness.inference.outputs import made_from

    target = folder / f"{case.id}{_SUFFIX}"
    for path in (target, folder / f"{case.id}{_PROBABILITIES}"):
        if made_from(path) == "":
            raise UserError(
                path, "a file that 'medctx predict' has not written", "a folder for predictions alone",
                "Name another folder with --output.",
            )  # fmt: skip
    return target


def _predict(
    case: Case, target: Path, networks: Sequence[Trained], probabilities: bool, device: torch.device
) -> PredictedCase:
    """Write the files of a case, or keep those that are there.

    Raises:
        UserError: the image cannot be read, or is no volume.
    """
    from harness.inference.averaging import predict_case
    from harness.inference.outputs import made_from, write_labels, write_probabilities

    dataset = networks[0].dataset
    note = digest([[_origin(network) for network in networks], _content(case)])
    beside = target.with_name(f"{case.id}{_PROBABILITIES}") if probabilities else None
    if all(made_from(path) == note for path in (target, beside) if path):
        return PredictedCase(case.id, target, beside, kept=True)
    assert case.image is not None
    found = predict_case(networks, _read(dataset, case), device)
    affine = found.members[0].grid.affine
    if beside:
        count = max(dataset.training_labels()) + 1
        write_probabilities(beside, found.probabilities(), count, affine, case.image, note)
    write_labels(target, dataset.to_file(found.labels().array), affine, case.image, note)
    return PredictedCase(case.id, target, beside, kept=False)


def _read(dataset: Dataset, case: Case) -> Volume:
    """Return the image of a case.

    Raises:
        UserError: it cannot be read, or is no volume.
    """
    from harness.data.grid_rules import grid_shape, one_slice

    image = dataset.read(case)
    flat = one_slice(grid_shape(image))
    if flat is not None:
        raise flat.error(case.image)
    return image


def _origin(trained: Trained) -> list[str]:
    return [trained.record.id, trained.role, trained.weights]


def _content(case: Case) -> list[str]:
    """Return the hashes of a case's files."""
    import hashlib

    hashes = []
    for path in case.sources:
        with path.open("rb") as file:
            hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashes


def _write_card(folder: Path, networks: Sequence[Trained]) -> None:
    """Write what the files of the folder are.

    Raises:
        UserError: the folder cannot be written.
    """
    dataset = networks[0].dataset
    card = {
        "trials": [
            {
                "id": one.record.id,
                "dataset": one.record.spec.dataset.name,
                "architecture": one.record.spec.architecture.name,
                "method": one.record.spec.method.name,
                "role": one.role,
                "step": one.record.selected_step,
                "weights": one.weights,
            }
            for one in networks
        ],
        "average": "mean of probabilities" if len(networks) > 1 else "none",
        "labels": {str(value): name for value, name in dataset.labels.items()},
        "classes of probabilities": {str(value): name for value, name in dataset.training_labels().items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CARD, json.dumps(card, indent=1, ensure_ascii=False))
    except OSError as error:
        raise UserError(
            folder,
            f"a folder that cannot be written ({error.strerror})",
            "a folder to write to",
            "Name another.",
        ) from error
