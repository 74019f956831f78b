"""One case predicted by one or several networks: the mean of their probabilities, on the grid of the image's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from harness.data.images import preprocess_image
from harness.data.native_grid import NativeGrid, mean_of, most_probable
from harness.data.volume import Volume
from harness.evaluation.prediction import class_probabilities
from harness.evaluation.probabilities import IN_MEMORY, Probabilities
from harness.inference.trained import Trained


@dataclass(frozen=True)
class Member:
    """What one network says of a case, on its own grid, and how that comes to the grid of the file."""

    probabilities: Probabilities
    grid: NativeGrid
    rule: str

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield each class ``(X, Y, Z)`` on the grid of the file, in RAS order."""
        return self.grid.native(self.probabilities, self.rule)


@dataclass(frozen=True)
class Prediction:
    """What several networks say of a case, on the grid of its file; nothing is computed before it is asked for."""

    members: Sequence[Member]

    def labels(self) -> Volume:
        """Return the most probable label ``(X, Y, Z)``, a training number: of one network, as its trial tests it."""
        grid = self.members[0].grid
        if len(self.members) == 1:
            array = grid.labels(self.members[0].probabilities, self.members[0].rule)
        else:
            array = grid.turned_back(most_probable(mean_of(self.members)))
        return Volume(array, grid.affine, grid.spacing)

    def probabilities(self) -> Iterator[NDArray[np.float32]]:
        """Yield the mean probability of each class ``(X, Y, Z)``, in the order of training numbers, axes as in the file."""
        return (self.members[0].grid.turned_back(channel) for channel in mean_of(self.members))


def predict_case(networks: Sequence[Trained], image: Volume, device: torch.device) -> Prediction:
    """Return what networks say of an image ``(C, X, Y, Z)``, each preprocessing and predicting as in its trial.

    Args:
        networks: of trials with the same labels.
        image: as its file has it.
        device: of the networks.
    """
    members: list[Member] = []
    for number, trained in enumerate(networks, start=1):
        array, grid = preprocess_image(image, trained.recipe)
        if number == len(networks):
            del image  # of a large file: what is to come needs the room
        found = class_probabilities(
            trained.network, array, trained.recipe, device, IN_MEMORY // len(networks)
        )
        members.append(Member(found, grid, trained.recipe.output_resampling))
    return Prediction(members)
