"""Sliding-window inference of one case."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import nn

from harness.spec import Recipe
from harness.training.loop import autocast, memory_format
from harness.training.losses import finest


@torch.no_grad()
def predict(
    network: nn.Module, image: NDArray[np.float32], recipe: Recipe, device: torch.device
) -> NDArray[np.float32]:
    """Return class probabilities ``(K, X, Y, Z)`` of an image ``(C, X, Y, Z)``.

    Windows of the size of the training patch, overlapping and weighted as the recipe says; volumes smaller
    than a window are padded with zeros, as patches are in training. With ``flips``, probabilities are
    averaged over all combinations of mirrored axes.
    """
    tensor = torch.from_numpy(np.array(image))[None].to(device, memory_format=memory_format(recipe))

    def probabilities(window: torch.Tensor) -> torch.Tensor:
        return finest(network(window)).float().softmax(dim=1)

    total: Any = 0.0
    variants = [axes for n in range(len(recipe.flips) + 1) for axes in combinations(recipe.flips, n)]
    with eval_mode(network), autocast(device, recipe.precision):
        for axes in variants:
            dims = [axis + 2 for axis in axes]
            output = sliding_window_inference(
                tensor.flip(dims),
                roi_size=recipe.patch,
                sw_batch_size=recipe.batch,
                predictor=probabilities,
                overlap=recipe.overlap,
                mode=recipe.window,
            )
            total = total + output.flip(dims)
    return (total / len(variants))[0].cpu().numpy()
