"""Networks by torch.compile."""

from __future__ import annotations

import os
import shutil

from torch import nn

from harness.errors import UserError

_COMPILERS = ("g++", "clang++", "c++")


def compiled(network: nn.Module) -> nn.Module:
    """Compile a network in place: names of its parts and weights stay, its first pass then takes minutes and the next less time.

    What was compiled for one network serves the next of the same architecture in the same process: its weights are inputs
    of the program. Files of PyTorch's own cache serve other processes of the machine.

    Raises:
        UserError: there is no C++ compiler.
    """
    named = os.environ.get("CXX")
    if not any(shutil.which(name) for name in ([named] if named else _COMPILERS)):
        raise UserError(
            "recipe.compile", f"no C++ compiler ({named or ', '.join(_COMPILERS)})", "one, by which torch.compile builds",
            "Install g++, or leave recipe.compile out.",
        )  # fmt: skip
    network.compile()
    return network
