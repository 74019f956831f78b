"""Which figures a study gets: their series and captions, or why there is no figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from harness.records.schema import safe_name
from harness.reporting.comparisons import mean_intervals
from harness.reporting.contrast_words import SLOPE, line_name
from harness.reporting.contrasts import studies_with_contrasts
from harness.reporting.figures import boxes, contrast_forest, cost, curves, dots, gains, gallery, style
from harness.reporting.figures.planned import Drawing, DrawingOrReason, PlannedFigure
from harness.reporting.frames import row_dicts
from harness.reporting.provenance import sample_note
from harness.reporting.report_data import FIGURE_FACTORS, ReportData, with_arm_names, with_print_names
from harness.reporting.slices.galleries import Gallery
from harness.reporting.statistics.estimates import MEAN, STUDENT, train_and_test_seconds
from harness.reporting.tables.cost import uneven_note
from harness.reporting.wording import UNSET, count, is_number, metric_of, p_text, shots_text

MOST_BOXED_ARMS = 10
_POINTS = f"points: trials, where an arm has at most {style.MOST_POINTS}."
_OVER_SEEDS = "mean over seeds; error bars: sample standard deviation over seeds"


def where_comparable(data: ReportData, figures: Iterable[PlannedFigure]) -> Iterator[PlannedFigure]:
    """Yield figures that set arms beside each other: with a note on the sample, or with the reason why there are none."""
    scored = len(_mean_dice(data))
    sample = sample_note(data.complete, map(len, data.ids_by_arm.values())) if scored else ""
    for planned in figures:
        if data.undeclared_differences:
            reason = f"refused: {data.undeclared_differences[0]}"
            yield replace(planned, find=partial(str, reason))
        elif not scored:
            yield replace(planned, find=partial(str, "no trial is complete"))
        else:
            yield replace(planned, find=partial(_with_sample, planned.find, sample))


def _with_sample(find: Callable[[], DrawingOrReason], note: str) -> DrawingOrReason:
    found = find()
    return found if isinstance(found, str) else replace(found, caption=f"{found.caption} {note}")


def plan_difference_figures(
    data: ReportData, comparisons: pd.DataFrame, contrasts: pd.DataFrame
) -> Iterator[PlannedFigure]:
    """Yield the figures of differences between arms.

    Args:
        data: of the report.
        comparisons: of ``comparison_frame``.
        contrasts: of ``contrast_frame``.
    """
    yield PlannedFigure("contrasts", "Contrasts", partial(_find_contrasts, data, contrasts))
    yield PlannedFigure("gains", "Gains over the baseline", partial(_find_gains, data, comparisons))


def plan_score_figures(data: ReportData) -> Iterator[PlannedFigure]:
    """Yield the figures that show what arms reached, and at what cost."""
    typed = dice_series(data)
    scores = with_print_names(typed, data.names)
    students = scores[scores["role"] == STUDENT]
    yield PlannedFigure("dice_dots", "Dice by architecture and method", partial(_find_dots, students))
    shots = "Dice against the number of training cases"
    yield PlannedFigure("few_shot_curves", shots, partial(_find_few_shot, students))
    for key in numeric_factors(data):
        find = partial(_find_factor, data, typed[typed["role"] == STUDENT], key)
        yield PlannedFigure(f"curve_{safe_name(key)}", f"Dice against {data.names.within(key)}", find)
    yield PlannedFigure("role_dots", "Student and teacher at inference", partial(_find_roles, scores))
    yield from _box_figures(data)
    yield PlannedFigure("cost", "Dice against time", partial(_find_cost, data, students))


def plan_example_figures(
    data: ReportData, history: pd.DataFrame, galleries: Mapping[str, Gallery | str]
) -> Iterator[PlannedFigure]:
    """Yield the figures of how trials trained and of what they predict.

    Args:
        data: of the report.
        history: of ``history_frame``.
        galleries: of ``all_galleries``.
    """
    yield PlannedFigure("training_curves", "Training", partial(_find_training, data, history))
    for dataset, found in galleries.items():
        name = "qualitative" if len(galleries) == 1 else f"qualitative_{safe_name(dataset)}"
        yield PlannedFigure(
            name, f"Predictions on {data.names.value('dataset', dataset)}", partial(_find_gallery, found)
        )


def _box_figures(data: ReportData) -> Iterator[PlannedFigure]:
    """Yield one figure per metric, dataset and number of training cases; named by what there are several of."""
    parts = {dataset: data.of_dataset(dataset) for dataset in dict.fromkeys(data.complete["dataset"])}
    means = {dataset: _case_means(part) for dataset, part in parts.items()}
    for metric, (dataset, part) in product(data.study.report.metrics, parts.items()):
        several = list(dict.fromkeys(part.complete["shots"]))
        for shots in several:
            name, title = f"regions_{metric}", f"{metric_of(metric).label} by region"
            if len(parts) > 1:
                name, title = (
                    f"{name}_{safe_name(dataset)}",
                    f"{title} on {data.names.value('dataset', dataset)}",
                )
            if len(several) > 1:
                name, title = f"{name}_{shots}", f"{title}, {shots_text(shots)}"
            yield PlannedFigure(name, title, partial(_find_boxes, part, means[dataset], shots, metric))


def dice_series(data: ReportData) -> pd.DataFrame:
    """Return one row per trial and role: its factors, ``role``, ``arm``, ``value`` (mean Dice, %), ``training``.

    ``training`` is the number of training cases in the protocol.
    """
    rows = _mean_dice(data)
    listed = zip(data.complete["id"], data.complete["training_cases"], strict=True)
    training = {id: len(cases) for id, cases in listed if isinstance(cases, tuple)}
    rows = rows.assign(value=rows["value"] * 100, training=rows["id"].map(training))
    return with_arm_names(rows, data.study)


def _mean_dice(data: ReportData) -> pd.DataFrame:
    scores = data.scores
    return scores[(scores["metric"] == "dice") & (scores["region"] == MEAN) & scores["value"].notna()]


def numeric_factors(data: ReportData) -> list[str]:
    """Return the factors that vary, are numbers where they are set, and have no axis of their own."""
    found = []
    for key in data.study.varying():
        values = [value for value in dict.fromkeys(data.complete[key]) if value != UNSET]
        if key not in FIGURE_FACTORS and len(values) > 1 and all(map(is_number, values)):
            found.append(key)
    return found


def _find_gains(data: ReportData, comparisons: pd.DataFrame) -> DrawingOrReason:
    rows = comparisons[(comparisons["metric"] == "dice") & (comparisons["role"] == STUDENT)]
    if not len(rows):
        return "no arm has a baseline to be compared with"
    every = data.complete_arms
    by = ("dataset", "architecture", "shots", *(["subset"] if "subset" in data.keys else []))
    alone = {key: every[key].iloc[0] for key in by if key not in rows}
    rows = with_print_names(with_arm_names(rows.assign(**alone), data.study), data.names)
    fixed = rows["low_retraining"].isna() & rows["low_networks"].notna()
    ends = {
        end: rows[f"{end}_retraining"].where(~fixed, rows[f"{end}_networks"]) * 100 for end in ("low", "high")
    }
    rows = rows.assign(
        gain=rows["difference"] * 100, **ends, fixed=fixed, holds=rows["verdict"].isin(["gain", "loss"])
    )
    caption = (
        "Difference of the student's mean Dice over test cases and regions to the student of "
        f"{data.baseline_name}, in percentage points, and its 95 % interval for retraining: new seeds and new cases."
    )
    if tested := int(rows["family_retraining"].max()):
        family = count(tested, "comparison")
        caption += f" In colour, filled and bold: a gain or a loss, p < 0.05 for retraining, Holm-corrected over {family}."
    reasons = dict.fromkeys(reason for reason in rows["reason_retraining"] if reason)
    if fixed.any():
        caption += f" In grey: of these networks on new cases, which says nothing of other seeds ({'; '.join(reasons)})."
    elif reasons:
        caption += f" Where there is no interval: {'; '.join(reasons)}."
    caption += " Arrows: the interval goes on beyond the axis; a circle at an arrow: so does the value, which is written."
    most = int(rows.groupby(list(by), sort=False)["arm"].size().max())
    if most > gains.MOST_GAINS:
        shown = f"The first {gains.MOST_GAINS} of {most} arms are shown"
        caption += f" {shown}; the table of comparisons has all."
    return Drawing(gains.gain_forest, (rows, by, style.distinct(every["arm"])), caption + _left_out(rows, by))


def _find_contrasts(data: ReportData, contrasts: pd.DataFrame) -> DrawingOrReason:
    rows = contrasts[
        (contrasts["metric"] == "dice") & (contrasts["kind"] != SLOPE) & contrasts["difference"].notna()
    ]
    if rows["low_retraining"].isna().all():
        return "no contrast of Dice has an interval for retraining"
    if (rows["levels"] == 1).all() and not any(
        one.study.report.contrasts for one in studies_with_contrasts(data)
    ):
        return "each is one arm against the baseline: see the gains"
    points = {end: rows[f"{end}_retraining"] * 100 for end in ("low", "high")}
    of_dataset = rows["dataset"].notna()
    names = [line_name(data.names, row) for row in row_dicts(rows)]
    shown = rows.assign(name=names, difference=rows["difference"] * 100, **points, of_dataset=of_dataset, note=[
        f"I² {100 * one:.0f} %, p {p_text(p)}" if one == one else "" for one, p in zip(rows["i_squared"], rows["p_q"], strict=True)
    ])  # fmt: skip
    margins = rows["margin"].unique()
    columns = ["name", "difference", "low", "high", "verdict", "primary", "of_dataset", "note"]
    most = contrast_forest.MOST_CONTRASTS
    caption = (
        "Differences of mean Dice over test cases and regions, in percentage points, with their 95 % intervals for retraining: new "
        "seeds and new cases; shaded: the margin within which a difference counts as none. Filled: a verdict that holds after "
        "Holm's correction; grey words: exploratory. Arrows: what goes on beyond the axis. The table of contrasts has slopes too, p values and what each rests on."
    )
    if of_dataset.any():
        caption += " Squares: each dataset of the mean above. I²: how much datasets disagree beyond chance, and p of the test that they agree."
    if len(rows) > most:
        caption += f" The first {most} of {len(rows)} are shown."
    series = (
        shown[columns].iloc[:most],
        100 * margins[0] if len(margins) == 1 else float("nan"),
        "Difference in Dice (points)",
    )
    return Drawing(contrast_forest.contrast_forest, series, caption)


def _find_dots(scores: pd.DataFrame) -> DrawingOrReason:
    caption = f"Mean Dice of the student over test cases and regions, in %, on an axis that fits. Dots: {_OVER_SEEDS}; hollow {_POINTS}{_beyond(scores)}"
    return Drawing(dots.score_dots, (scores,), caption + _left_out(scores, dots.DOT_PANELS))


def _find_few_shot(scores: pd.DataFrame) -> DrawingOrReason:
    scores = scores[scores["training"].notna()]
    if scores["training"].nunique() < 2:
        return "complete trials have one number of training cases"
    caption = (
        "Mean Dice of the student over test cases and regions, in %; logarithmic axis. Lines: "
        f"{_OVER_SEEDS}; hollow {_POINTS}{_beyond(scores)}"
    )
    caption += _left_out(scores, curves.FEW_SHOT_PANELS)
    return Drawing(curves.few_shot_curves, (scores.astype({"training": int}),), caption)


def factor_series(data: ReportData, scores: pd.DataFrame, key: str) -> pd.DataFrame:
    """Return ``scores`` for a curve: arms that differ in more than the factor, its value ``x``, intervals ``low``, ``high``.

    ``x`` is NaN for arms with one value of the factor or none. A preset has one; it is no point of a curve, since it differs
    in more than the factor.
    """
    intervals = mean_intervals(data, "dice")
    nothing = (float("nan"), float("nan"))
    arms = scores[list(data.keys)].itertuples(index=False, name=None)
    reach = 100 * np.array([intervals.get((arm, STUDENT, MEAN), nothing) for arm in arms])
    rows = with_arm_names(scores.drop(columns="arm"), data.study, without=key)
    by = [*(name for name in ("dataset", "architecture") if name in data.keys), "arm"]
    planned = with_arm_names(data.trials, data.study, without=key).groupby(by)[key].nunique()
    several = rows[by].merge(planned.rename("planned").reset_index(), how="left")["planned"] > 1
    x = pd.to_numeric(rows[key].where(several.to_numpy()), errors="coerce")
    return rows.assign(x=x, low=reach[:, 0], high=reach[:, 1])


def _find_factor(data: ReportData, scores: pd.DataFrame, key: str) -> DrawingOrReason:
    rows = with_print_names(factor_series(data, scores, key), data.names)
    if rows["x"].isna().all():
        return "no arm has several values of it"
    caption = (
        f"Mean Dice of the student over test cases and regions, in %, against {data.names.within(key)}. Lines: mean over "
        f"seeds; error bars: 95 % interval for new seeds and cases, where they are enough; hollow {_POINTS} Dashed: "
        "arms with one value of it or none, the band their interval. Intervals of two arms may overlap although their "
        "difference, taken case by case, holds: see the gains."
    )
    series = (rows, data.names.factor(key), style.distinct(scores["arm"]))
    return Drawing(curves.factor_curves, series, caption + _left_out(rows, curves.FACTOR_PANELS))


def _find_roles(scores: pd.DataFrame) -> DrawingOrReason:
    roles = scores.groupby("arm", sort=False)["role"].transform("nunique")
    rows = scores[roles > 1]
    if not len(rows):
        return "no arm has scores of more than one role"
    caption = (
        "Mean Dice over test cases and regions, in %, of each network that an arm can predict with. Dots: "
        f"{_OVER_SEEDS}; hollow {_POINTS}{_beyond(rows)}"
    )
    return Drawing(dots.role_dots, (rows,), caption + _left_out(rows, dots.role_panels(rows)))


def _case_means(data: ReportData) -> pd.DataFrame:
    """Return the mean over trials of each case's value, by ``metric``, ``unit``, ``shots``, ``architecture``, ``arm`` and ``region``."""
    arms = data.complete_arms.set_index("id")[["shots", "architecture", "arm"]]
    cases = data.cases
    cases = cases[(cases["role"] == STUDENT) & cases["id"].isin(arms.index) & cases["value"].notna()]
    joined = cases[["metric", "unit", "region", "case", "value"]].assign(
        **{key: _of_trials(cases["id"], arms[key]) for key in arms}
    )
    by = ["metric", "unit", "shots", "architecture", "arm", "region", "case"]
    return joined.groupby(by, sort=False, observed=True)["value"].mean().reset_index()


def _find_boxes(data: ReportData, means: pd.DataFrame, shots: Any, metric_name: str) -> DrawingOrReason:
    every = data.complete_arms
    arms = every.loc[[value == shots for value in every["shots"]], "arm"]
    if arms.nunique() > MOST_BOXED_ARMS:
        return f"{arms.nunique()} arms, {MOST_BOXED_ARMS} at most"
    means = means[(means["metric"] == metric_name) & np.array([value == shots for value in means["shots"]])]
    if not len(means):
        return f"no case has a value of {metric_name}"
    metric = metric_of(metric_name, str(means["unit"].iloc[0]))
    means = means[["architecture", "arm", "region", "case", "value"]].reset_index(drop=True)
    means["value"] *= metric.scale
    order = [region for region in dict.fromkeys(data.scores["region"]) if region in set(means["region"])]
    means["region"] = pd.Categorical(means["region"], order).rename_categories(data.names.region)
    means["architecture"] = [data.names.value("architecture", name) for name in means["architecture"]]
    caption = (
        f"{metric.label} of the student in {metric.unit} over test cases. Boxes: quartiles and median; "
        "whiskers: the last case within 1.5 box lengths; points: cases."
    )
    if any(len(ids) > 1 for ids in data.ids_by_arm.values()):
        caption += " A case's value is the mean over an arm's seeds, which no single network need have."
    caption += boxes.axis_note(means["value"])
    series = (means, f"{metric.label} ({metric.unit})", style.distinct(every["arm"]))
    caption += _left_out(means, boxes.BOX_PANELS, boxes.MOST_BOX_PANELS)
    return Drawing(boxes.region_boxes, series, caption)


def _of_trials(ids: pd.Series, values: pd.Series) -> pd.Categorical:
    """Return what each of many ids stands for; fast where ids are categories."""
    ids = ids.astype("category").cat.remove_unused_categories()
    codes, names = pd.factorize(values.loc[ids.cat.categories].to_numpy())
    return pd.Categorical.from_codes(codes[ids.cat.codes.to_numpy()], names)


def _find_cost(data: ReportData, scores: pd.DataFrame) -> DrawingOrReason:
    complete = data.complete
    seconds = train_and_test_seconds(complete) + complete["pretraining_seconds"].astype(float)
    minutes = dict(zip(complete["id"], seconds / 60, strict=True))
    rows = scores.assign(minutes=scores["id"].map(minutes))
    rows = rows[rows["minutes"] > 0]
    if not len(rows):
        return "no time was recorded"
    caption = (
        "Mean Dice of the student over test cases and regions, in %, against the time that an arm's "
        f"fastest trial trained and tested for; {_OVER_SEEDS.partition('; ')[2]}.{_beyond(rows)} Times of different machines do not compare."
        f"{uneven_note(data)}"
    )
    return Drawing(cost.cost_scatter, (rows,), caption + _left_out(rows, cost.COST_PANELS))


def _find_training(data: ReportData, history: pd.DataFrame) -> DrawingOrReason:
    total = (history["kind"] == "loss") & (history["name"] == "total")
    chosen = total | ((history["kind"] == "dice") & (history["name"] == MEAN))
    rows = history.loc[chosen, ["id", "step", "kind", "value"]]
    if not len(rows):
        return "no complete trial has a history"
    arms = with_print_names(data.complete_arms, data.names).set_index("id")
    series = rows.assign(
        **{key: _of_trials(rows["id"], arms[key]) for key in (*curves.TRAINING_PANELS, "arm")}
    )
    caption = (
        "Total loss (on a logarithmic axis where none is negative), and validation Dice of the student in % where it was measured, by step. Thick lines: mean "
        f"over seeds, with gaps that show a line below; thin lines: seeds, where they are at most {style.MOST_POINTS}; the loss in at most 150 bins of steps. "
        "Methods differ in the terms of their total loss, so its height does not compare them."
    )
    left_out = _left_out(series, curves.TRAINING_PANELS, curves.MOST_TRAINING_PANELS)
    return Drawing(curves.training_curves, (series,), caption + left_out)


def _find_gallery(found: Gallery | str) -> DrawingOrReason:
    if isinstance(found, str):
        return found
    return Drawing(gallery.qualitative, (found.columns, found.rows, found.labels), found.caption)


def _beyond(scores: pd.DataFrame) -> str:
    """Return a sentence on arrows, where some values are so far from most that their axis leaves them out."""
    if style.robust_limits(scores["value"]) is None:
        return ""
    return " Arrows with a number: what lies beyond the axis, which has no error bar; large arrows: a mean that does."


def _left_out(frame: pd.DataFrame, keys: Sequence[str], most: int = style.MOST_PANELS) -> str:
    """Return a sentence on the panels that had no room, if any."""
    return style.left_out_note(len(frame[list(keys)].drop_duplicates()), most, "; the tables have all")
