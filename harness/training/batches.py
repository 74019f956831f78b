"""What a method is fed: batches as a pure function of seed and step."""

from __future__ import annotations

from typing import Any

import torch

from harness.data.augmentation import Augmenter
from harness.data.loading import TrialData
from harness.spec import Recipe
from harness.training.loop import DrawBatch
from harness.training.method import Batch, Method


def draw_batches(data: TrialData, method: Method[Any], recipe: Recipe, seed: int) -> DrawBatch:
    """Return the function from a step to its batch, with unlabelled patches where the method wants them.

    Labelled patches are the same with and without them.

    Raises:
        UserError: unlabelled patches are wanted, and no training case is withheld.
    """
    labelled, augment = data.sampler(), Augmenter(recipe.augmentation, seed)
    count = method.unlabelled_batch(recipe.batch)
    if not count:
        return lambda step: Batch(*augment(*labelled.draw(step), step))
    unlabelled = data.unlabelled_sampler(count)
    augment_images = Augmenter(recipe.augmentation, seed, "unlabelled augmentation")

    def draw(step: int) -> Batch:
        image, label = augment(*labelled.draw(step), step)
        return Batch(image, label, augment_images.images(unlabelled.draw(step), step))

    return draw


def draw_images(data: TrialData, recipe: Recipe, seed: int) -> DrawBatch:
    """Return the function from a step of pretraining to its batch: images of all training cases, no labels."""
    sampler = data.image_sampler(data.split.train, recipe.batch, "pretraining")
    augment = Augmenter(recipe.augmentation, seed, "pretraining augmentation")
    return lambda step: Batch(augment.images(sampler.draw(step), step), _NO_LABEL)


def held_out_images(data: TrialData, recipe: Recipe) -> list[Batch]:
    """Return fixed batches of validation images, a patch of each case at least, not augmented."""
    cases = data.split.validation
    sampler = data.image_sampler(cases, recipe.batch, "held out")
    count = -(-len(cases) // recipe.batch)
    return [Batch(torch.from_numpy(sampler.draw(index)), _NO_LABEL) for index in range(count)]


_NO_LABEL = torch.empty(0, dtype=torch.long)
