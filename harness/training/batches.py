"""The batches of a method, as a pure function of seed and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.data.augmentation import Augmenter
from harness.data.patches import ImageSampler, PatchSampler
from harness.data.trial_data import TrialData
from harness.spec import Recipe, Triple
from harness.training.loaders import DrawBatch
from harness.training.method import Batch, Method


@dataclass(frozen=True)
class _Images:
    """From a step to its ``count`` augmented images ``(B, C, D, H, W)``; such classes, unlike closures, reach loaders."""

    sampler: ImageSampler
    augment: Augmenter
    patch: Triple
    count: int

    @classmethod
    def of(cls, sampler: ImageSampler, count: int, recipe: Recipe, seed: int, source: str) -> _Images:
        augment = Augmenter(recipe.augmentation, seed, f"{source} augmentation")
        return cls(sampler, augment, recipe.patch, count)

    def __call__(self, step: int, into: Tensor | None = None) -> Tensor:
        margins = self.augment.margins(self.patch, self.count, step)
        given = {} if into is None else {"image": into}
        return self.augment.images(self.sampler.pieces(step, margins), step, margins, given)


@dataclass(frozen=True)
class _Labelled:
    """From a step to its batch, with unlabelled patches where the method wants them."""

    sampler: PatchSampler
    augment: Augmenter
    recipe: Recipe
    unlabelled: _Images | None

    def __call__(self, step: int, into: Batch | None = None) -> Batch:
        margins = self.augment.margins(self.recipe.patch, self.recipe.batch, step)
        given = {} if into is None else {"image": into.image, "label": into.label}
        image, label = self.augment(*self.sampler.pieces(step, margins), step, margins, given)
        place = None if into is None else into.unlabelled
        return Batch(image, label, self.unlabelled(step, place) if self.unlabelled else None)


@dataclass(frozen=True)
class _Unlabelled:
    """From a step of pretraining to its batch."""

    images: _Images

    def __call__(self, step: int, into: Batch | None = None) -> Batch:
        return Batch(self.images(step, None if into is None else into.image), _NO_LABEL)


def training_batches(data: TrialData, method: Method[Any], recipe: Recipe, seed: int) -> DrawBatch:
    """Return the function from a step to its batch, with unlabelled patches where the method wants them.

    Labelled patches are the same with and without them.

    Raises:
        UserError: unlabelled patches are wanted, and no training case is withheld.
    """
    count, images = method.unlabelled_batch(recipe.batch), None
    if count:
        images = _Images.of(data.unlabelled_sampler(count), count, recipe, seed, "unlabelled")
    return _Labelled(data.sampler(), Augmenter(recipe.augmentation, seed), recipe, images)


def pretraining_batches(data: TrialData, recipe: Recipe, seed: int) -> DrawBatch:
    """Return the function from a step of pretraining to its batch: images of all training cases, no labels."""
    sampler = data.image_sampler(data.split.train, recipe.batch, "pretraining")
    return _Unlabelled(_Images.of(sampler, recipe.batch, recipe, seed, "pretraining"))


def validation_images(data: TrialData, recipe: Recipe) -> list[Batch]:
    """Return fixed batches of validation images, a patch of each case at least, not augmented."""
    cases = data.split.validation
    sampler = data.image_sampler(cases, recipe.batch, "held out")
    count = -(-len(cases) // recipe.batch)
    return [Batch(torch.from_numpy(sampler.draw(index)), _NO_LABEL) for index in range(count)]


_NO_LABEL = torch.empty(0, dtype=torch.long)
