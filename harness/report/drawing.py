"""Which figures a study gets: prepares their series, draws and saves them, or says why not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.report import figures
from harness.report.estimates import MEAN, STUDENT
from harness.report.frames import records
from harness.report.page import Picture
from harness.report.provenance import undeclared_differences
from harness.report.qualitative import gallery
from harness.report.results import Results, with_arms
from harness.report.wording import safe_name


def draw_all(
    results: Results, cases: pd.DataFrame, history: pd.DataFrame, folder: Path, data_root: Path | None
) -> list[Picture]:
    """Draw every figure of a study; files of those that cannot be drawn (any more) are removed.

    Args:
        results: what the study found.
        cases: of ``case_frame``.
        history: of ``history_frame``.
        folder: the results folder.
        data_root: where datasets lie, if they do.
    """
    study, target = results.study, folder / results.study.name / "figures"
    target.mkdir(parents=True, exist_ok=True)
    differences = undeclared_differences(results.complete, study.factors)
    refusal = f"refused: {differences[0]}" if differences else ""
    scores = dice_series(results)
    curves = history[
        ((history["kind"] == "loss") & (history["name"] == "total"))
        | ((history["kind"] == "dice") & (history["name"] == MEAN))
    ]
    pictures = [
        _bars(scores, target, refusal),
        _few_shot(scores, target, refusal),
        _training(with_arms(curves.merge(results.trials[["id", *study.factors]], on="id"), study), target),
    ]
    trials = with_arms(results.trials, study)
    datasets = list(dict.fromkeys(trials["dataset"]))
    for dataset in datasets:
        name = "qualitative" if len(datasets) == 1 else f"qualitative_{safe_name(dataset)}"
        title = f"Predictions on {dataset}"
        found = gallery(
            trials[trials["dataset"] == dataset],
            cases,
            study.report.baseline,
            folder,
            target.parent,
            data_root,
        )
        if isinstance(found, str):
            pictures.append(_left_out(target, name, title, found))
        else:
            width = figures.save(figures.qualitative(found), target, name)
            pictures.append(Picture(name, title, found.caption, width))
    return pictures


def dice_series(results: Results) -> pd.DataFrame:
    """Return one row per trial: its factors, ``arm``, ``value`` (mean Dice of the student, %), ``training``.

    ``training`` is the number of training cases in the protocol.
    """
    scores = results.scores
    chosen = (scores["metric"] == "dice") & (scores["role"] == STUDENT) & (scores["region"] == MEAN)
    rows = scores[chosen & scores["value"].notna()]
    training = {row["id"]: len(row["training_cases"]) for row in records(results.complete)
                if isinstance(row["training_cases"], tuple)}  # fmt: skip
    rows = rows.assign(value=rows["value"] * 100, training=rows["id"].map(training))
    return with_arms(rows, results.study)


def _bars(scores: pd.DataFrame, target: Path, refusal: str) -> Picture:
    name, title = "dice_bars", "Dice by architecture and method"
    if refusal or not len(scores):
        return _left_out(target, name, title, refusal or "no trial is complete")
    width = figures.save(figures.dice_bars(scores), target, name)
    caption = (
        "Mean Dice of the student over test cases and regions, in %. Bars: mean over seeds; error bars: sample "
        "standard deviation over seeds; points: trials, where an arm has at most 20."
    )
    return Picture(name, title, caption, width)


def _few_shot(scores: pd.DataFrame, target: Path, refusal: str) -> Picture:
    name, title = "few_shot_curves", "Dice against the number of training cases"
    scores = scores[scores["training"].notna()]
    if refusal or scores["training"].nunique() < 2:
        return _left_out(target, name, title, refusal or "complete trials have one number of training cases")
    width = figures.save(figures.few_shot_curves(scores.astype({"training": int})), target, name)
    caption = (
        "Mean Dice of the student over test cases and regions, in %; logarithmic axis. Lines: mean over seeds; "
        "error bars: sample standard deviation over seeds; hollow points: trials, where an arm has at most 20."
    )
    return Picture(name, title, caption, width)


def _training(curves: pd.DataFrame, target: Path) -> Picture:
    name, title = "training_curves", "Training"
    if not len(curves):
        return _left_out(target, name, title, "no complete trial has a history")
    width = figures.save(figures.training_curves(curves), target, name)
    caption = (
        "Total loss, and validation Dice of the student in % where it was measured, by step. Thick lines: mean "
        "over seeds; thin lines: seeds; the loss in at most 150 bins of steps. Methods differ in the terms of "
        "their total loss, so its height does not compare them."
    )
    return Picture(name, title, caption, width)


def _left_out(target: Path, name: str, title: str, reason: str) -> Picture:
    for suffix in figures.SUFFIXES:
        (target / f"{name}.{suffix}").unlink(missing_ok=True)
    return Picture(name, title, reason=reason.rstrip("."))
