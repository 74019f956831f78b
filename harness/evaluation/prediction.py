"""Class probabilities of one case by sliding windows, and their mean over several networks."""

from __future__ import annotations

import numpy as np
import torch
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.evaluation.probabilities import IN_MEMORY, Probabilities
from harness.evaluation.windows import predict_by_windows
from harness.spec import Recipe
from harness.training.loop import memory_format
from harness.training.losses import finest
from harness.training.precision import autocast


def predict(
    network: nn.Module, image: NDArray[np.float32], recipe: Recipe, device: torch.device
) -> NDArray[np.float32]:
    """Return class probabilities ``(K, X, Y, Z)`` of an image ``(C, X, Y, Z)``; as :func:`class_probabilities` does."""
    return class_probabilities(network, image, recipe, device).array()


@torch.no_grad()
def class_probabilities(
    network: nn.Module,
    image: NDArray[np.float32],
    recipe: Recipe,
    device: torch.device,
    in_memory: int = IN_MEMORY,
) -> Probabilities:
    """Return class probabilities ``(K, X, Y, Z)`` of an image ``(C, X, Y, Z)``, on its grid.

    Windows of the size of the training patch, overlapping and weighted as the recipe says; volumes smaller
    than a window are padded with zeros, as patches are in training. With ``flips``, probabilities are
    averaged over all combinations of mirrored axes.

    Args:
        network: gives logits, or a list of them, the finest first.
        image: preprocessed.
        recipe: its patch, batch, overlap, window, window_average, flips, precision and memory_format are read.
        device: of the network.
        in_memory: bytes above which the probabilities lie in a temporary file, where a GPU has no room for them.
    """
    own = image if image.flags.writeable else np.array(image)  # a cache is read-only
    tensor = torch.from_numpy(own)[None].to(device, memory_format=memory_format(recipe))
    written: list[Probabilities] = []

    def new_sums(classes: int) -> Probabilities:
        x, y, z = image.shape[1:]
        written.append(
            Probabilities((classes, x, y, z), in_memory, device if device.type == "cuda" else None)
        )
        return written[0]

    def logits(window: Tensor) -> Tensor:
        return finest(network(window)).float()

    with eval_mode(network), autocast(device, recipe.precision):
        predict_by_windows(logits, tensor, recipe, new_sums)
    return written[0]
