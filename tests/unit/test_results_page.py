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


def published_tests(study: str) -> pandas.DataFrame:
    """Return all comparisons and contrasts of Dice and HD95 that the study published, in points or mm, with their verdicts."""
    tables = RESULTS / "published" / study / "tables"
    frame = pandas.concat(pandas.read_csv(tables / f"{name}.csv") for name in ("comparisons", "contrasts"))
    columns = ["difference", "low_retraining", "high_retraining"]
    scale = frame["metric"].map({"dice": 100, "hd95": 1})  # as printed: points, mm
    return frame[columns].mul(scale, axis=0).round(2).assign(verdict=frame["verdict"])


@pytest.mark.parametrize(("study", "text"), passages(), ids=[study for study, _ in passages()])
def test_gains_and_intervals_stand_in_the_table_of_their_study(study: str, text: str) -> None:
    rows = {tuple(row[:3]) for row in published_tests(study).to_numpy()}
    said = [tuple(number(part) for part in match) for match in INTERVAL.findall(text)]
    assert said, f"no gain with its interval is said of {study}"
    assert set(said) <= rows
    alone = {number(part) for part in re.findall(SIGNED, text)}
    assert alone <= {value for row in rows for value in row}


VERDICT = re.compile(rf"(gain|loss|equivalent|undecided), ({SIGNED})(?: [a-z ]+)? \(({SIGNED}) to ({SIGNED})")


@pytest.mark.parametrize(("study", "text"), passages(), ids=[study for study, _ in passages()])
def test_verdicts_are_those_of_their_tables(study: str, text: str) -> None:
    rows = {tuple(row) for row in published_tests(study).to_numpy()}
    said = {(*map(number, match[1:]), match[0]) for match in VERDICT.findall(" ".join(text.split()))}
    assert said, f"no verdict is said of {study}"
    assert said <= rows


def test_verdicts_of_the_tables_of_answers_are_published() -> None:
    """Each row of the first table has a verdict, and each that has its numbers beside it is one of some study."""
    table = (
        (RESULTS / "README.md")
        .read_text()
        .split("## What was found", 1)[1]
        .split("### How it was made", 1)[0]
    )
    rows = {
        tuple(row)
        for path in (RESULTS / "published").iterdir()
        for row in published_tests(path.name).to_numpy()
    }
    said = {(*map(number, match[1:]), match[0]) for match in VERDICT.findall(table)}
    assert len(said) > 12 and said <= rows
    answers = [line for line in table.split("### What changed")[0].splitlines() if line.startswith("| [")]
    assert all(re.search("gain|loss|equivalent|undecided", line.lower()) for line in answers)


def test_every_published_study_is_answered() -> None:
    page = (RESULTS / "README.md").read_text()
    for folder in (RESULTS / "published").iterdir():
        assert f"(published/{folder.name}/README.md)" in page


def test_the_table_of_answers_says_what_the_passages_say() -> None:
    page = (RESULTS / "README.md").read_text()
    table, passages_below = page.split("### How it was made", 1)
    assert (summed_up := {*re.findall(SIGNED, table)})
    assert summed_up <= {*re.findall(SIGNED, passages_below)}
