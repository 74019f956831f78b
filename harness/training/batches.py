"""The batches of a method, as a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harness.data.augmentation import Augmenter
from harness.data.patches import ImageSampler
from harness.data.trial_data import TrialData
from harness.spec import Recipe
from harness.training.loop import DrawBatch
from harness.training.method import Batch, Method


def training_batches(data: TrialData, method: Method[Any], recipe: Recipe, seed: int) -> DrawBatch:
    """Return the function from a step to its batch, with unlabelled patches where the method wants them.

    Labelled patches are the same with and without them.

    Raises:
        UserError: unlabelled patches are wanted, and no training case is withheld.
    """
    labelled, augment = data.sampler(), Augmenter(recipe.augmentation, seed)
    count = method.unlabelled_batch(recipe.batch)
    images = _images(data.unlabelled_sampler(count), count, recipe, seed, "unlabelled") if count else None

    def draw(step: int) -> Batch:
        margin = augment.margin(recipe.patch, recipe.batch, step)
        image, label = augment(*labelled.draw(step, margin), step, margin)
        return Batch(image, label, images(step) if images else None)

    return draw


def pretraining_batches(data: TrialData, recipe: Recipe, seed: int) -> DrawBatch:
    """Return the function from a step of pretraining to its batch: images of all training cases, no labels."""
    sampler = data.image_sampler(data.split.train, recipe.batch, "pretraining")
    images = _images(sampler, recipe.batch, recipe, seed, "pretraining")
    return lambda step: Batch(images(step), _NO_LABEL)


def _images(
    sampler: ImageSampler, count: int, recipe: Recipe, seed: int, source: str
) -> Callable[[int], Tensor]:
    """Return the function from a step to its ``count`` augmented images ``(B, C, D, H, W)`` from ``sampler``."""
    augment = Augmenter(recipe.augmentation, seed, f"{source} augmentation")

    def draw(step: int) -> Tensor:
        margin = augment.margin(recipe.patch, count, step)
        return augment.images(sampler.draw(step, margin), step, margin)

    return draw


def validation_images(data: TrialData, recipe: Recipe) -> list[Batch]:
    """Return fixed batches of validation images, a patch of each case at least, not augmented."""
    cases = data.split.validation
    sampler = data.image_sampler(cases, recipe.batch, "held out")
    count = -(-len(cases) // recipe.batch)
    return [Batch(torch.from_numpy(sampler.draw(index)), _NO_LABEL) for index in range(count)]


_NO_LABEL = torch.empty(0, dtype=torch.long)
