"""The guide to the report names every key and value that it can be asked for, and its example is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from harness.evaluation.conventions import RECORDED_METRICS
from harness.reporting.references import PublishedRow, Reference, read_reference
from harness.study.file import Cost, ReportSpec, TableSpec

GUIDE = (Path(__file__).parents[3] / "docs" / "report.md").read_text()


def test_the_guide_names_every_cost_metric_and_key() -> None:
    words = set(re.findall(r"[a-z0-9_@]+", GUIDE))
    fields = {*ReportSpec.model_fields, *TableSpec.model_fields}
    assert {*get_args(Cost), *RECORDED_METRICS, *fields} - words == set()


def test_the_example_of_published_numbers_has_every_key(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(title:.*?)```", GUIDE, flags=re.DOTALL)
    path = tmp_path / "my_numbers.yaml"
    path.write_text(text)
    found = read_reference(str(path), ["acdc"])
    assert found.model_fields_set == Reference.model_fields.keys()
    assert found.rows[0].model_fields_set == PublishedRow.model_fields.keys()
