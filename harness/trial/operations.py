"""How many operations a network takes."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def multiply_accumulates(network: nn.Module, channels: int, patch: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of one forward pass in evaluation on one image ``(1, channels, *patch)``.

    Convolutions, matrix products and attention count, as PyTorch's counter knows them; the network is left as it was.
    """
    device = next(network.parameters()).device
    modes = {module: module.training for module in network.modules()}
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, channels, *patch, device=device))
    for module, training in modes.items():
        module.training = training
    return counter.get_total_flops() // 2
