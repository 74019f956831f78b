"""What a network needs around it, in words and as settings: how an image is preprocessed, and what its output means."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from harness.data.images import CT_WINDOW, SYNAPSE_LEVELS
from harness.inference.trained import Trained
from harness.records.schema import INFERENCE_FIELDS
from harness.spec import plain

RULES = (
    "spacing",
    "crop",
    "resampling",
    "intensity",
    "intensity_levels",
    "patch",
    "batch",
    "precision",
    *INFERENCE_FIELDS,
)
"""Fields of the recipe that prediction depends on."""
_INTENSITY = {
    "zscore": "subtract the channel's mean, divide by its standard deviation",
    "zscore_clipped": "clip the channel at its percentiles 0.5 and 99.5; subtract its mean, divide by its standard deviation",
    "zscore_nonzero": "subtract mean and divide by standard deviation of the channel's voxels that are not 0; those stay 0",
    "ct_soft_tissue": f"clip at {CT_WINDOW[0]:g} and {CT_WINDOW[1]:g} HU, scale to 0 to 1",
    "ct_synapse": "clip at {} and {} HU, subtract {}, divide by {}".format(*SYNAPSE_LEVELS),
    "none": "as they are",
}


def rules_of(trained: Trained) -> dict[str, Any]:
    """Return the settings that prediction depends on, as plain data."""
    values = trained.recipe.model_dump(mode="json")
    return {name: values[name] for name in RULES}


def describe(trained: Trained) -> dict[str, Any]:
    """Return what a network is, how an image gets to it, and what its output means, as plain data."""
    record, dataset = trained.record, trained.dataset
    spec, protocol = record.spec, record.protocol
    return {
        "trial": record.id,
        "role": trained.role,
        "weights": trained.weights,
        "step": record.selected_step,
        "dataset": {
            "name": spec.dataset.name,
            "version": spec.dataset.version,
            "source": dataset.source,
            "training cases": len(protocol.training_cases) if protocol else None,
        },
        "architecture": plain(spec.architecture),
        "method": plain(spec.method),
        "channels": list(dataset.channels),
        "classes": {str(index): name for index, name in dataset.training_labels().items()},
        "numbers in files": numbers_of(trained),
        "input": f"(B, {len(dataset.channels)}, {', '.join(map(str, trained.recipe.patch))}) float32",
        "output": f"(B, {len(numbers_of(trained))}, {', '.join(map(str, trained.recipe.patch))}) float32, logits",
        "settings": rules_of(trained),
        "steps": steps(trained),
        "versions": {"medcontext-harness": metadata.version("medcontext-harness")},
    }


def numbers_of(trained: Trained) -> list[int]:
    """Return the number in files of each class, in the order of the network's output."""
    values = {training: value for value, training in trained.dataset.numbering().values.items()}
    return [values.get(index, 0) for index in range(max(values) + 1)]


def steps(trained: Trained) -> list[str]:
    """Return what happens to an image, in order, as sentences."""
    recipe = trained.recipe
    level = "what is not 0" if recipe.intensity != "ct_soft_tissue" else f"what is above {CT_WINDOW[0]:g} HU"
    slices = "; across slices whose spacing is more than three times the smallest, the nearest one is taken"
    intensity = _INTENSITY.get(recipe.intensity) or (
        "clip at {} and {}, subtract {}, divide by {}".format(*(recipe.intensity_levels or ()))
    )
    lines = [
        "Turn the axes to RAS: the first to the right, the second forwards, the third upwards.",
        f"Crop to the smallest box of {level}." if recipe.crop == "foreground" else "",
        f"Resample to {' x '.join(f'{mm:g}' for mm in recipe.spacing)} mm, {recipe.resampling}: the outer faces stay, and the "
        "number of voxels along an axis is length / spacing, rounded half to even"
        + (slices if recipe.resampling.startswith("cubic") else "") + ".",
        f"Intensities: {intensity}.",
        f"Windows of {' x '.join(map(str, recipe.patch))} voxels; smaller volumes are padded with 0 on both sides. Overlap "
        f"{recipe.overlap:g}, weights {recipe.window}; the mean of {recipe.window_average} is taken"
        + (f", also over all combinations of mirrored axes {list(recipe.flips)}" if recipe.flips else "") + ".",
        "Resample the probability of each class to the grid of the box, linear"
        + (slices if recipe.output_resampling == "within_slices" else "") + ". Outside of the box is background.",
        "Take the most probable class, the first of equals; turn the axes back.",
    ]  # fmt: skip
    return [line for line in lines if line]
