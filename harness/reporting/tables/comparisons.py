"""How tests are told: the table of all comparisons, and the notes below tables of scores."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.reporting.comparisons import NETWORKS_STAR, RETRAINING_STAR, TARGETS
from harness.reporting.formats.table import Cell, Column, Table, factor_cells, factor_columns
from harness.reporting.frames import row_dicts
from harness.reporting.report_data import ReportData
from harness.reporting.statistics.estimates import STUDENT
from harness.reporting.statistics.significance import LEAST_CASES, LEAST_CASES_RETRAINING, LEAST_SEEDS, LEVEL
from harness.reporting.statistics.verdicts import TONES
from harness.reporting.wording import UNSET, count, metric_of, number, p_text, signed

TARGET_WORDS = {"retraining": "retraining", "networks": "these networks on new cases"}


def comparison_table(data: ReportData, comparisons: pd.DataFrame) -> Table:
    """Return every test of the study in full."""
    has_roles = bool((comparisons["role"] != STUDENT).any())
    grouped = has_grouped_cases(comparisons)
    header = factor_columns(data.names, data.keys) + [Column("Role")] * has_roles
    counts = [*(["Patients"] if grouped else []), "Cases", "Seeds"]
    header += [Column("Metric", splits=True), Column("Difference", "number")]
    header += [Column(text, "number", minor=text == "Cases") for text in counts]
    tested = bool((comparisons["verdict"].fillna("") != "").any())
    for target in TARGETS:
        group = TARGET_WORDS[target].capitalize()
        minor = target == "networks" and tested
        header += [Column(text, "number", group, minor=minor or text == "p") for text in ("95 % interval", "p", "p, Holm")]  # fmt: skip
        if target == "retraining":
            header += [Column("Verdict", "text", group), Column("Detectable", "number", group)]
    header += [Column(text, "number", minor=True) for text in ("Smallest p", "Rank-biserial", "d_z")]
    reasons = [_reason(row) for row in row_dicts(comparisons)]
    apart = len({*reasons}) > 1  # one for all rows is a note
    header += [Column("No test because", "prose")] * apart
    rows = [
        (
            *factor_cells(data.names, {key: row[key] for key in data.keys}),
            *[Cell(row["role"])] * has_roles,
            *_test_cells(row, grouped),
            *[Cell(reason)] * apart,
        )
        for row, reason in zip(row_dicts(comparisons), reasons, strict=True)
    ]
    notes = [f"No test {reasons[0]}."] if reasons and reasons[0] and not apart else []
    return Table(
        name="comparisons",
        title=f"Comparisons with {data.baseline_name}",
        caption=f"Every arm and role against the student of {data.baseline_name}, where both have complete trials.",
        columns=tuple(header),
        rows=tuple(rows),
        footnotes=(
            *notes,
            *_NOTES,
            margin_note(comparisons),
            *data.fold_notes,
            *pairing_notes(comparisons),
        ),
        data=comparisons,
    )


def _test_cells(row: dict[str, Any], grouped: bool) -> list[Cell]:
    metric = metric_of(row["metric"])
    difference = row["difference"] * metric.scale
    cells = [
        Cell(f"{metric.label} ({metric.unit})"),
        Cell(signed(difference) + row["star"], tone=TONES.get(row["verdict"], ""), value=difference),
        *[Cell(str(row["patients"]), value=row["patients"])] * grouped,
        Cell(str(row["cases"]), value=row["cases"]),
        Cell(f"{row['seeds']} vs {row['seeds_baseline']}", value=row["seeds"]),
    ]
    for target in TARGETS:
        cells.append(interval_cell(row, target))
        cells += [Cell(p_text(row[name]), value=row[name]) for name in (f"p_{target}", f"holm_{target}")]
        if target == "retraining":
            cells += [verdict_cell(row), detectable_cell(row)]
    cells.append(Cell(p_text(row["smallest_p"]), value=row["smallest_p"]))
    return [*cells, *(Cell(signed(row[name]), value=row[name]) for name in ("rank_biserial", "standardised"))]


def verdict_cell(row: dict[str, Any]) -> Cell:
    """Return the verdict of a row; coloured where it is a gain or a loss."""
    return Cell(row["verdict"] or UNSET, tone=TONES.get(row["verdict"], ""))


def detectable_cell(row: dict[str, Any]) -> Cell:
    """Return the smallest difference that the design of a row detects, in the metric's printed unit."""
    value = row["detectable"] * metric_of(row["metric"]).scale
    return Cell(number(value), value=value)


def _reason(row: dict[str, Any]) -> str:
    """Return for what a row is not tested, and why."""
    return "; ".join(f"for {TARGET_WORDS[t]}: {row[f'reason_{t}']}" for t in TARGETS if row[f"reason_{t}"])


def interval_cell(row: dict[str, Any], target: str) -> Cell:
    """Return the interval of a comparison for a target, in the metric's printed unit."""
    metric = metric_of(row["metric"])
    low, high = (row[f"{end}_{target}"] * metric.scale for end in ("low", "high"))
    return Cell(UNSET if low != low else f"{signed(low)} to {signed(high)}", value=low)


_NOTES = (
    "Differences of the patients' means over cases, regions and seeds; patients that a network has no value for are left out.",
    "Retraining: new seeds and new patients; two-way model with random seeds and patients, t with Satterthwaite's degrees "
    f"of freedom, from {LEAST_SEEDS} seeds and {LEAST_CASES_RETRAINING} patients on. These networks on new cases: Wilcoxon's "
    f"signed-rank test over patients, interval by studentised paired bootstrap, from {LEAST_CASES} patients on.",
    "Holm: corrected over all comparisons of one metric, those of students and those of other roles apart; all of them are "
    "exploratory (table of contrasts). Smallest p: that the signed-rank test could have reached, before correction. "
    "Rank-biserial: matched-pairs rank-biserial correlation. d_z: mean over standard deviation of the patients' differences.",
)


def has_grouped_cases(tests: pd.DataFrame) -> bool:
    """Return whether some patient has several cases."""
    return bool((tests["patients"] != tests["cases"]).any())


def pairing_notes(tests: pd.DataFrame) -> list[str]:
    """Return how seeds are used: paired where all arms have them, and which are left out."""
    notes = []
    if tests["paired"].fillna(False).astype(bool).any():
        notes.append(
            "Seeds are paired: a seed gives all arms the same first weights, patches and few cases, so the test is one of differences."
        )
    if (tests["paired"] == False).any():  # noqa: E712
        notes.append(
            "Arms with fewer than three common seeds are not paired; each has a variance of its own (Welch)."
        )
    if most := int(max(tests["left_out"].dropna(), default=0)):
        notes.append(f"Seeds that only some arms have are left out (up to {count(most, 'seed')}).")
    return notes


def margin_note(tests: pd.DataFrame) -> str:
    """Return what the verdicts mean, with the margin of each metric."""
    margins = tests[["metric", "margin"]].dropna().drop_duplicates().groupby("metric", sort=False)["margin"]
    texts = []
    for name, own in margins:  # studies of one report may have their own
        metric = metric_of(str(name))
        told = " or ".join(f"{margin * metric.scale:g}" for margin in own)
        texts.append(f"{told} {'points' if metric.unit == '%' else metric.unit} of {metric.label}")
    within = ", ".join(texts)
    return (
        "Verdict, for retraining, after Holm's correction: gain or loss where the difference holds at 5 %; equivalent where two one-sided "
        f"tests show it to be within the margin ({within or 'none'}); else undecided. Detectable: the smallest true difference that such a design finds "
        "four times out of five (5 %, uncorrected), estimated from these scores."
    )  # fmt: skip


def significance_notes(comparisons: pd.DataFrame, interval: str) -> list[str]:
    """Return what stars and intervals mean, of how many tests they are, and why some are missing.

    Args:
        comparisons: of :func:`comparison_frame`, of one metric.
        interval: the target whose intervals are printed, or ``""``.
    """
    if not len(comparisons):
        return []
    tests = {
        "retraining": f"{RETRAINING_STAR}: p < {LEVEL} for retraining (new seeds and new patients; two-way model with random "
        "seeds and patients, t with Satterthwaite's degrees of freedom)",
        "networks": f"{NETWORKS_STAR}: p < {LEVEL} for these networks on new cases (Wilcoxon signed-rank over patients, means "
        "over seeds)",
    }
    intervals = {
        "retraining": "95 % interval: of the difference for retraining, by the two-way model.",
        "networks": "95 % interval: of the difference of these networks on new cases (studentised paired bootstrap over patients); it "
        "says nothing of other seeds.",
    }
    notes = []
    for target in TARGETS:
        # where retraining is tested it is what counts, and the other test stands in the table of tests alone
        shown = comparisons if target == "retraining" else comparisons[comparisons["p_retraining"].isna()]
        if not len(shown):
            continue
        tested = shown[shown[f"p_{target}"].notna()]
        refused = shown[f"reason_{target}"][shown[f"reason_{target}"] != ""]
        why = ", ".join(f"{reason} ({n}×)" for reason, n in refused.value_counts().items())
        if not len(tested):
            notes.append(f"No star and no interval for {TARGET_WORDS[target]}: {why}.")
            continue
        note = f"{tests[target]}, Holm-corrected over {_families(tested, target)}."
        if target == "networks":
            smallest = float((tested["smallest_p"] * tested[f"family_{target}"]).min())
            note += f" Smallest p that so many cases can reach after correction: {p_text(min(1.0, smallest))}"
            note += "; no star is possible." if smallest >= LEVEL else "."
        notes.append(note + (f" Without a test: {why}." if why else ""))
    notes += [intervals[interval]] if interval else []
    notes += pairing_notes(comparisons)
    if most := int(comparisons["dropped"].max()):
        notes.append(
            f"Tests leave out patients that some network has no value for (up to {count(most, 'patient')})."
        )
    return notes


def _families(tested: pd.DataFrame, target: str) -> str:
    """Return how many p values were corrected together: those of students, and those of other roles."""
    sizes: dict[str, int] = {}
    for of_students, rows in tested.groupby(tested["role"] == STUDENT, sort=False):
        others = " and ".join(f"{role}s" for role in dict.fromkeys(rows["role"]))
        sizes["students" if of_students else others] = int(rows[f"family_{target}"].max())
    (first, size), *rest = sizes.items()
    if not rest:
        return count(size, "comparison")
    return "; ".join([f"{count(size, 'comparison')} of {first}", *(f"{n} of {roles}" for roles, n in rest)])
