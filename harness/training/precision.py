"""The precision that networks compute in, and what a half one costs on a device that does not multiply it.

``python -m harness.training.precision bf16 fp16`` prints those costs on this machine's first GPU, else on its CPU, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_PATCH, _CHANNELS = (32, 32, 16), 8  # of the convolution that is timed: some milliseconds of a core in fp32
_TIMES = 3  # of which the quickest counts


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which networks compute in ``precision``."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def cost_of_precision(precision: str, device: torch.device) -> float:
    """Return the seconds of a convolution and its gradients in ``precision``, as a multiple of those in fp32."""
    return _seconds(precision, device) / _seconds("fp32", device)


def _seconds(precision: str, device: torch.device) -> float:
    layer = torch.nn.Conv3d(_CHANNELS, _CHANNELS, 3, padding=1, device=device)
    volume = torch.ones(1, _CHANNELS, *_PATCH, device=device, requires_grad=True)
    taken = []
    for _ in range(1 + _TIMES):
        start = time.perf_counter()
        with autocast(device, precision):
            result = layer(volume)
        result.float().sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])  # the first one prepares


if __name__ == "__main__":
    torch.set_num_threads(1)
    used = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(json.dumps({name: cost_of_precision(name, used) for name in sys.argv[1:]}))
