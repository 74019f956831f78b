"""Named seeds. Every random stream is a pure function of the names that it may depend on.

A stream that is drawn inside training names the step too. So the state of every generator follows from the
step alone: a resumed trial needs no saved generator, and a new component shifts nobody's stream.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive_seed(*names: str | int) -> int:
    """Return a 63-bit seed from names such as ``(seed, "patches", step)``; the same on every machine."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(*names: str | int) -> np.random.Generator:
    """Return NumPy's generator seeded by ``names``."""
    return np.random.default_rng(derive_seed(*names))


def torch_generator(*names: str | int) -> torch.Generator:
    """Return a CPU generator of PyTorch seeded by ``names``; draw on the CPU, then move."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*names))


def seed_everything(*names: str | int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch, which layers such as dropout draw from."""
    import torch

    seed = derive_seed(*names)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party code may draw from the global generator
    torch.manual_seed(seed)


def clean_process(threads: int, kernels: str = "deterministic", precision: str = "fp32") -> None:
    """Put a reused process into the state in which every trial starts.

    Sets the number of threads (one and two threads give different bits), the default dtype, which algorithms may be
    taken, and frees the device cache that an earlier trial left.

    Args:
        threads: of the CPU.
        kernels: ``deterministic``, or ``fast``: what cuDNN's search finds, deterministic or not.
        precision: of the trial; but for ``fp32``, which means fp32 on every device, fast kernels multiply in TF32.
    """
    import os

    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    fast = kernels == "fast"
    torch.use_deterministic_algorithms(not fast, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # debugging aid, 7 % of a step
    torch.backends.cudnn.benchmark = fast
    torch.backends.cudnn.allow_tf32 = fast and precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = fast and precision != "fp32"
    torch.set_grad_enabled(True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
