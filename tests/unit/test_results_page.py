"""What results/README.md says in numbers stands in the tables of the study that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pandas
import pytest

RESULTS = Path(__file__).parents[2] / "results"
SIGNED = r"[−+]\d+\.\d\d"
INTERVAL = re.compile(rf"({SIGNED})(?:(?!{SIGNED})[^()])*\((?:[^()−+]*; )?({SIGNED}) to ({SIGNED})")


def passages() -> list[tuple[str, str]]:
    """Return the studies that the page answers, each with the passage that its command closes."""
    page = (RESULTS / "README.md").read_text()
    found = re.findall(r"^(\*\*(?:(?!^\*\*).)*?)^    medctx run (\w+)$", page, re.M | re.S)
    return [(study, text) for text, study in found]


def number(printed: str) -> float:
    return float(printed.replace("−", "-"))


def gains(study: str) -> pandas.DataFrame:
    """Return all comparisons of Dice that the study published, in percentage points."""
    table = pandas.read_csv(RESULTS / "published" / study / "tables" / "comparisons.csv")
    columns = ["difference", "low_retraining", "high_retraining"]
    return table.loc[table["metric"] == "dice", columns] * 100


@pytest.mark.parametrize(("study", "text"), passages(), ids=[study for study, _ in passages()])
def test_gains_and_intervals_stand_in_the_table_of_their_study(study: str, text: str) -> None:
    rows = {tuple(round(value, 2) for value in row) for row in gains(study).to_numpy()}
    said = [tuple(number(part) for part in match) for match in INTERVAL.findall(text)]
    assert said, f"no gain with its interval is said of {study}"
    assert set(said) <= rows
    alone = {number(part) for part in re.findall(SIGNED, text)}
    assert alone <= {value for row in rows for value in row}


def test_every_published_study_is_answered() -> None:
    page = (RESULTS / "README.md").read_text()
    for folder in (RESULTS / "published").iterdir():
        assert f"(published/{folder.name}/README.md)" in page


def test_the_table_of_answers_says_what_the_passages_say() -> None:
    page = (RESULTS / "README.md").read_text()
    table, passages_below = page.split("### How it was made", 1)
    assert (summed_up := {*re.findall(SIGNED, table)})
    assert summed_up <= {*re.findall(SIGNED, passages_below)}
