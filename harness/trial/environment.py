"""What a trial runs on: device, versions and commit."""

from __future__ import annotations

import platform
import socket
import subprocess
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
    versions = {name: _version(name) for name in packages}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Environment(
        versions={"python": platform.python_version(), **versions},
        commit=commit(),
        device=f"{device.type} {name}",
        host=socket.gethostname(),
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # code that runs from a plain copy
        return "unknown"


@cache
def commit() -> str:
    """Return the commit of the checkout that runs, marked where it has changes; empty for a wheel."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return ""
    return _git(folder, "rev-parse", "HEAD") + (
        "+changes" if _git(folder, "status", "--porcelain", "-uno") else ""
    )


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says; nothing where there is no git, or where it refuses the folder."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
