"""What a trial runs on: device, versions and commit."""

from __future__ import annotations

import platform
import socket
import subprocess
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from harness.records.schema import Environment


def pick_device() -> torch.device:
    """Return the GPU, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def environment_of(device: torch.device) -> Environment:
    """Return versions, commit, device and host, as a record holds them."""
    packages = ("medcontext-harness", "torch", "monai", "numpy", "scipy", "nibabel")
    versions = {name: metadata.version(name) for name in packages}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Environment(
        versions={"python": platform.python_version(), **versions},
        commit=commit(),
        device=f"{device.type} {name}",
        host=socket.gethostname(),
    )


@cache
def commit() -> str:
    """Return the commit of the checkout that runs, marked where it has changes; empty for a wheel."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    git: Callable[..., str] = lambda *arguments: subprocess.run(  # noqa: E731
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
    ).stdout.strip()
    return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
