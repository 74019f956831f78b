"""What a method is fed: batches as a pure function of seed and step."""

from __future__ import annotations

from typing import Any

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
