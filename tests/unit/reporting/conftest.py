"""The fixture of the report's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_results import Fake, build_fake

from harness.reporting.write import write_report


@pytest.fixture(scope="session")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    """Two architectures, two methods, two numbers of cases, two seeds; one failed, one pending, one skipped."""
    return build_fake(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def fake_page(fake: Fake) -> Path:
    """The report of the fake study, written once: ``report.html``, beside it ``tables`` and ``figures``."""
    return write_report(fake.study, fake.results).page
