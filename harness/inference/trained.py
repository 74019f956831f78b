"""The network of a finished trial, read from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness import registry
from harness.data.datasets.contract import Dataset
from harness.errors import UserError
from harness.records.schema import TrialRecord
from harness.records.store import CHECKPOINT, Store
from harness.seeding import clean_process
from harness.spec import Recipe, digest
from harness.training.checkpoint import DamagedCheckpointError, load_checkpoint
from harness.trial.build import build_architecture, build_method
from harness.trial.environment import pick_device


@dataclass(frozen=True)
class Trained:
    """One network of a finished trial, on a device, in evaluation mode.

    Attributes:
        record: of the trial.
        dataset: that it was trained on; says channels and labels.
        role: which of the trial's networks it is.
        network: gives logits of a window.
        weights: hash of its weights.
    """

    record: TrialRecord
    dataset: Dataset
    role: str
    network: nn.Module
    weights: str

    @property
    def recipe(self) -> Recipe:
        """How it was trained and how it predicts."""
        return self.record.spec.recipe


@dataclass(frozen=True)
class Labelled:
    """What a network's shape depends on, where no data are at hand."""

    dataset: Dataset
    training: Sequence[str]


def finished_trial(id: str, store: Store) -> TrialRecord:
    """Return the record of a complete trial.

    Args:
        id: of the trial, or its first characters.
        store: the records.

    Raises:
        UserError: not one trial has such an id, or it is not complete, or it is a pretraining.
    """
    known = [path.name for path in store.trials.glob("[!.]*")]
    matching = sorted(name for name in known if name.startswith(id))
    if len(matching) != 1:
        raise UserError(
            f"trial {id!r}", f"{len(matching)} trials in {store.trials} with this id", "one",
            "See the ids with 'medctx plan', or name another folder of results with --results.",
        )  # fmt: skip
    record = store.record(matching[0])
    if record is None or record.status != "complete" or record.kind != "train":
        unread = store.damage(matching[0]) or "it may be of another version of the tool"
        state = (
            f"a record that cannot be read ({unread})"
            if record is None
            else f"a {record.status} {record.kind}ing"
        )
        raise UserError(
            f"trial {matching[0]}", state, "a complete trial that was tested or validated",
            "See 'medctx status', or choose another.",
        )  # fmt: skip
    return record


def dataset_of(record: TrialRecord, data_root: Path | None) -> Dataset:
    """Return the dataset of a trial, which says channels and labels.

    Raises:
        UserError: it is a folder with a description of its own, which is not below the data root.
    """
    dataset: Dataset = registry.load("dataset", record.spec.dataset.name)()
    dataset.learn_labels(data_root)
    return dataset


def changed_since(record: TrialRecord) -> list[str]:
    """Return what this version of the tool has in another version than the trial was trained with, in sentences."""
    spec = record.spec
    parts: dict[str, Any] = {
        "architecture": spec.architecture,
        "method": spec.method,
        "dataset": spec.dataset,
    }
    current = {kind: registry.load(kind, part.name).version for kind, part in parts.items()}
    current["architecture"] = build_architecture(spec.architecture).spec_version()
    return [
        f"{kind} {part.name} is at version {current[kind]} here, and trial {record.id} had {part.version}: what it predicts "
        "may differ from what was scored"
        for kind, part in parts.items()
        if part.version != current[kind]
    ]


def load_trained(
    record: TrialRecord, store: Store, data_root: Path | None, role: str, device: torch.device
) -> Trained:
    """Return a network of a finished trial.

    Args:
        record: of the trial.
        store: where its weights lie.
        data_root: folder of the datasets; only a dataset that may be any folder is looked for there.
        role: ``student`` or ``teacher``.
        device: where to put it.

    Raises:
        UserError: the weights were not kept, are damaged or do not fit, or the trial has no such network.
    """
    dataset, path = dataset_of(record, data_root), store.trials / record.id / CHECKPOINT
    training = record.protocol.training_cases if record.protocol else ()
    method = build_method(record.spec, Labelled(dataset, training), device)
    roles = method.roles()
    if role not in roles:
        raise UserError(
            f"trial {record.id}", f"no {role}: method {record.spec.method.name} has {', '.join(roles)}",
            "a network of the trial", f"Give --role {next(iter(roles))}.",
        )  # fmt: skip
    state = _weights(path)
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            path, f"weights that do not fit the network ({str(error).splitlines()[0]})",
            "those that this version builds", "Use the version of the tool that trained it; its record names the commit.",
        ) from error  # fmt: skip
    return Trained(record, dataset, role, roles[role].eval(), _hash_of(state))


def load_networks(
    trials: Sequence[str],
    results: Path,
    data: Path | None,
    role: str,
    device: str | None,
    threads: int | None = None,
) -> tuple[list[Trained], torch.device]:
    """Return the networks of trials, and their device; this process computes from now on as a trial does.

    Raises:
        UserError: a trial is not there, has no weights, or has other labels than the first.
    """
    store = Store(results, writable=False)
    records = [finished_trial(id, store) for id in trials]
    if len({record.id for record in records}) < max(len(records), 1):
        raise UserError(
            "trials", ", ".join(trials) or "none", "one trial or more, each once", "Correct the ids."
        )
    chosen = chosen_device(device)
    clean_process(threads or max(record.spec.recipe.threads for record in records))
    networks = [load_trained(record, store, data, role, chosen) for record in records]
    first = networks[0]
    for other in networks[1:]:
        if _answers(other) != _answers(first):
            raise UserError(
                f"trials {first.record.id} and {other.record.id}", "other channels or labels", "the same of both",
                "Average trials of one dataset.",
            )  # fmt: skip
    return networks, chosen


def chosen_device(name: str | None) -> torch.device:
    """Return a device by its name, by default a GPU, where there is one.

    Raises:
        UserError: this machine has no such device.
    """
    try:
        chosen = torch.device(name) if name else pick_device()
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            "--device", f"{name} ({reason})", "a device of this machine, such as cpu or cuda", "Name another."
        ) from error
    return chosen


def _answers(trained: Trained) -> tuple[Any, ...]:
    """Return what a network is given and what its classes mean."""
    return tuple(trained.dataset.channels), dict(trained.dataset.labels), trained.dataset.ignore


def _weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_checkpoint(path)["method"]
    except FileNotFoundError:
        raise UserError(
            path, "no weights: the trial was run with 'keep: scores', or its record was taken over without them",
            "a trial that has kept its weights",
            "Run its study with 'keep: all' or 'keep: none' in another folder: medctx run STUDY --results NEW.",
        ) from None  # fmt: skip
    except DamagedCheckpointError as error:
        raise UserError(
            path, str(error), "what the trial wrote", f"Remove {path.parent}, and run the study again."
        ) from error


def _hash_of(state: dict[str, Any]) -> str:
    return digest([[name, tuple(values.shape), _bytes_hash(values)] for name, values in state.items()])


def _bytes_hash(values: torch.Tensor) -> str:
    import hashlib

    flat = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()
