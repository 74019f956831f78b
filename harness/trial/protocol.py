"""The protocol of a trial, as its record holds it."""

from __future__ import annotations

from typing import Any, Literal

from harness.data.trial_data import TrialData
from harness.evaluation.conventions import HARNESS
from harness.records.schema import INFERENCE_FIELDS, SPEED_FIELDS, TRAINING_FIELDS, Protocol, TrialRecord
from harness.spec import TrialSpec, plain
from harness.training.method import Method


def protocol_of(spec: TrialSpec, data: TrialData, method: Method[Any], node: TrialRecord | None) -> Protocol:
    """Return what every number of a trial rests on; ``node`` is the record of its pretraining."""
    recipe, settings = spec.recipe, plain(spec.recipe)
    images = len(data.withheld) if method.unlabelled_batch(recipe.batch) else 0
    return Protocol(
        dataset=spec.dataset.name,
        dataset_version=spec.dataset.version,
        content_hash=data.content,
        split_hash=data.split.hash,
        split_rule=data.split.rule,
        training_cases=list(data.split.train if spec.kind == "pretrain" else data.training),
        validation_cases=list(data.split.validation),
        test_cases=list(data.split.test),
        spacing=list(recipe.spacing),
        patch=list(recipe.patch),
        intensity=recipe.intensity,
        crop=recipe.crop,
        resampling=recipe.resampling,
        label_resampling=recipe.label_resampling,
        augmentation=plain(recipe.augmentation),
        steps=recipe.steps,
        batch=recipe.batch,
        training={name: getattr(recipe, name) for name in TRAINING_FIELDS}
        | {name: settings[name] for name in SPEED_FIELDS if name in settings},
        selection=recipe.selection,
        inference={name: settings[name] for name in INFERENCE_FIELDS if name in settings},
        convention=HARNESS.name,
        ignore="none" if data.dataset.ignore is None else data.dataset.ignore,
        patients=_patients(data),
        tolerances=dict(data.dataset.tolerances) or "none",
        extra_data=f"images of {images} training cases without their labels" if images else "none",
        pretraining=_pretraining(node.spec) if node else _weights(spec),
    )


def _patients(data: TrialData) -> dict[str, str] | Literal["one for each case", "not known"]:
    if data.patients is None:
        return "not known"
    several = len({*data.patients.values()}) < len(data.patients)
    return dict(sorted(data.patients.items())) if several else "one for each case"


def _pretraining(node: TrialSpec) -> str:
    started = "" if node.weights is None else f", from {_weights(node)}"
    return f"{node.method.name}, {node.recipe.steps} steps on the images of all training cases{started}"


def _weights(spec: TrialSpec) -> str:
    return f"weights of a file, sha256 {spec.weights.sha256[:16]}" if spec.weights else "none"
