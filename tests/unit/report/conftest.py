"""The fixture of the report's tests."""

from __future__ import annotations

import pytest
from fake_results import Fake, build_fake


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    """Two architectures, two methods, two numbers of cases, two seeds; one failed, one pending, one skipped."""
    return build_fake(tmp_path_factory.mktemp("results"))
