"""A Ray cluster that does not answer is told at once."""

from __future__ import annotations

import socket

import pytest

from harness.errors import UserError
from harness.sweep.address import reachable_address


@pytest.fixture
def port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_address_where_nothing_listens_is_refused(port: int) -> None:
    with pytest.raises(UserError, match=f"--address 127.0.0.1:{port}: found nothing that listens there"):
        reachable_address(f"127.0.0.1:{port}")


def test_an_address_that_answers_is_kept_and_auto_is_that_of_the_environment(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert reachable_address(f"127.0.0.1:{port}") == f"127.0.0.1:{port}"
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        assert reachable_address("auto") == f"127.0.0.1:{port}"


def test_other_forms_of_an_address_are_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert reachable_address("auto") == "auto"
