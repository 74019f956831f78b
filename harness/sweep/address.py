"""Where a running Ray cluster is, and whether anything answers there. Imports no Ray."""

from __future__ import annotations

import os
import socket

from harness.errors import UserError

_REACH = 5.0  # seconds for a first sign of life; Ray itself goes on trying for many minutes


def resolved(address: str) -> str:
    """Return the address that ``auto`` stands for, where Ray's environment says so."""
    return os.environ.get("RAY_ADDRESS", address) if address == "auto" else address


def is_reachable(address: str) -> bool:
    """Return whether something listens at ``HOST:PORT``; other forms of an address are left to Ray."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return True
    try:
        with socket.create_connection((host, int(port)), timeout=_REACH):
            return True
    except OSError:
        return False


def reachable_address(address: str) -> str:
    """Return an address, resolved, at which something listens.

    Raises:
        UserError: nothing does.
    """
    address = resolved(address)
    if not is_reachable(address):
        raise UserError(
            f"--address {address}",
            "nothing that listens there",
            "the address of a running Ray cluster",
            "Start it, or correct the address.",
        )
    return address
