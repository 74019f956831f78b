"""What figures must not do: cut names off, squeeze panels, hide values, or give two arms one look."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from harness.reporting.figures import (
    boxes,
    contrast_forest,
    cost,
    curves,
    dots,
    gains,
    profiles,
    ranks,
    style,
)
from harness.reporting.figures.planned import Drawing, Style
from harness.reporting.figures.style import arm_styles, panel_title, wrap_text
from harness.reporting.statistics.ranking import drawn_ranks, rank_arms, rank_frequencies
from tests.unit.reporting.figures.texts import faults, laid_out, texts_of

LONG = ["supervised"] + [
    f"medcontext, momentum {momentum}, schedule {schedule}, target own_clean_branch"
    for momentum in (0, 0.9, 0.99, 0.996, 0.999)
    for schedule in ("constant", "cosine")
]
SHORT = ["supervised", "medcontext"]
ARMS = {"short": SHORT, "long": LONG}


def scores(arms: list[str], architectures: tuple[str, ...] = ("unetr", "nnformer")) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"dataset": "synapse", "architecture": architecture, "shots": shots, "arm": arm, "seed": seed, "role": role,
         "id": f"{arm}{architecture}{shots}{seed}", "value": 70 + 10 * rng.uniform(), "training": 18 if shots == "all" else 5,
         "minutes": 30 * rng.uniform(1, 2), "x": np.nan if arm == "supervised" else [0.0, 0.9, 0.999][seed],
         "low": 65.0, "high": 85.0, "kind": "loss", "step": 10 * seed}
        for architecture, shots, arm, seed, role in product(architectures, (5, "all"), arms, range(3), ("student", "teacher"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def values(arms: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        [{"architecture": "unetr", "arm": arm, "region": region, "case": str(case), "value": 100 * rng.uniform()}
         for arm, region, case in product(arms, ("Spl", "Pan"), range(12))]
    )  # fmt: skip
    return frame.assign(region=pd.Categorical(frame["region"], ["Spl", "Pan"]))


def ranked(arms: list[str]) -> list[ranks.RankedArms]:
    found = np.random.default_rng(0).normal(np.arange(len(arms)), 2, (20, len(arms)))
    drawn = drawn_ranks([one[None] for one in found.T], True, True, np.random.default_rng(0))
    stability = rank_frequencies(drawn)
    return [
        ranks.RankedArms(title, arms, rank_arms(found, True), stability) for title in ("unetr", "nnformer")
    ]


def differences(arms: list[str], reach: float = 1.0) -> pd.DataFrame:
    rows = [
        {"dataset": "synapse", "architecture": "unetr", "shots": shots, "arm": arm, "gain": gain,
         "low": gain - reach, "high": gain + reach, "fixed": False, "holds": gain < -reach}
        for shots in (5, "all") for gain, arm in enumerate(arms, -2)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def profile_rows(arms: list[str]) -> pd.DataFrame:
    rows = [
        {"title": title, "arm": arm, "level": level, "value": 100 - level, "low": 95 - level, "high": 105 - level}
        for title, arm, level in product(("unetr", "nnformer"), arms, range(100))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def improvements(arms: list[str]) -> pd.DataFrame:
    rows = profile_rows(arms).query("level == 40")
    return rows.assign(**{name: rows[name] / 100 for name in ("value", "low", "high")})


def contrasts(arms: list[str]) -> pd.DataFrame:
    rows = [
        {"name": f"{arm} against supervised (UNETR, mean over 3 values of training cases)" if place % 3 == 0 else "– Synapse",
         "difference": place - 2.0, "low": place - 3.0, "high": np.nan if place == 5 else place - 0.5, "primary": place < 3,
         "verdict": "loss" if place < 1 else "undecided", "of_dataset": place % 3 > 0, "note": "I² 45 %, p 0.12" if place == 3 else ""}
        for place, arm in enumerate(arms)
    ]  # fmt: skip
    return pd.DataFrame(rows)


BY = ("dataset", "architecture", "shots")
SERIES: dict[str, Callable[[list[str]], tuple[Any, ...]]] = {
    "dice_dots": lambda arms: (dots.score_dots, scores(arms)),
    "role_dots": lambda arms: (dots.role_dots, scores(arms)),
    "few_shot_curves": lambda arms: (curves.few_shot_curves, scores(arms)),
    "gain_forest": lambda arms: (gains.gain_forest, differences(arms), BY, arms),
    "contrast_forest": lambda arms: (
        contrast_forest.contrast_forest,
        contrasts(arms),
        0.5,
        "Difference in Dice (points)",
    ),
    "factor_curves": lambda arms: (curves.factor_curves, scores(arms), "momentum", arms),
    "training_curves": lambda arms: (curves.training_curves, scores(arms)),
    "region_boxes": lambda arms: (boxes.region_boxes, values(arms), "Dice (%)", arms),
    "cost_scatter": lambda arms: (cost.cost_scatter, scores(arms)),
    "critical_difference": lambda arms: (ranks.critical_difference, ranked([*arms, "third"])),
    "performance_profiles": lambda arms: (profiles.performance_profiles, profile_rows(arms)),
    "improvement": lambda arms: (profiles.improvement, improvements(arms), arms),
    "rank_stability": lambda arms: (ranks.rank_stability, ranked([*arms, "third"])),
}


def drawing(name: str, arms: list[str]) -> Drawing:
    """Return a figure as the report plans it."""
    plot, *series = SERIES[name](arms)
    return Drawing(plot, tuple(series), name)


@cache
def drawn(name: str, length: str, size: Style = "page") -> Figure:
    """Return a laid out figure of arms with short or long names."""
    return laid_out(drawing(name, ARMS[length]), size)


@pytest.mark.parametrize("size", style.WIDTHS)
@pytest.mark.parametrize("length", ARMS)
@pytest.mark.parametrize("name", SERIES)
def test_texts_are_large_enough_and_lie_apart(name: str, length: str, size: Style) -> None:
    figure = drawn(name, length, size)
    assert list(texts_of(figure))
    assert faults(figure, style.WIDTHS[size]) == []


def test_texts_that_are_small_or_lie_over_each_other_are_found() -> None:
    figure = Figure(figsize=(3.4, 2))
    figure.text(0.2, 0.5, "one")
    figure.text(0.22, 0.5, "other")
    figure.text(0.5, 0.2, "small", fontsize=5)
    figure.text(0.95, 0.8, "outside")
    figure.draw_without_rendering()
    said = " ".join(faults(figure, 3.0))
    assert all(
        part in said for part in ("3.40 inches", "'one' over 'other'", "'small' has 5", "'outside' leaves")
    )


@pytest.mark.parametrize("name", SERIES)
def test_long_names_do_not_squeeze_panels(name: str) -> None:
    for axis in drawn(name, "long").axes:
        if axis.get_visible():
            box = axis.get_position()
            assert (
                box.height * axis.figure.get_figheight() > 0.9
                and box.width * axis.figure.get_figwidth() > 0.9
            )


def test_names_are_broken_after_commas_and_within_no_word() -> None:
    name = "medcontext, momentum 0.996, schedule cosine"
    assert wrap_text(name, 2.4) == "medcontext, momentum 0.996,\nschedule cosine"
    assert wrap_text(name, 0.6).split("\n") == ["medcontext,", "momentum", "0.996,", "schedule", "cosine"]
    assert wrap_text("unetr\nmean_teacher", 0.7) == "unetr\nmean_\nteacher"
    assert wrap_text("short", 2.0) == "short"


def test_many_arms_have_as_many_looks() -> None:
    found = arm_styles([f"arm {n}" for n in range(35)])
    assert len({(look.colour, look.marker, look.hollow, look.line) for look in found.values()}) == 35


def test_values_too_close_for_their_axis_are_evenly_spaced() -> None:
    axis = drawn("factor_curves", "short").axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "0.9", "0.999"]
    assert axis.get_xticks().tolist() == [0, 1, 2]
    assert axis.get_xlabel() == "momentum (evenly spaced)"
    rows = scores(SHORT).assign(x=lambda frame: frame["x"].map({0.0: 0.2, 0.9: 0.4, 0.999: 0.8}))
    plain = curves.factor_curves(rows, "ratio", SHORT).axes[0]
    assert plain.get_xticks().tolist() == [0.2, 0.4, 0.8] and plain.get_xlabel() == "ratio"


def test_an_interval_far_wider_than_the_others_is_cut_off_and_written() -> None:
    rows = differences(SHORT)
    rows.loc[0, ["gain", "low", "high"]] = -15.0, -70.0, 40.0
    figure = gains.gain_forest(rows, ("dataset", "architecture", "shots"), SHORT)
    left, right = figure.axes[0].get_xlim()
    assert -left == right < 5, "the scale is that of the other intervals"
    assert [text.get_text() for text in figure.axes[0].texts] == [
        "−15.00 (−70.00 to +40.00)",
        "−1.00 (−2.00 to +0.00)",
    ]
    arrows = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in "<>"]
    assert arrows == ["<", ">"]
    first = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert left < first.get_xdata()[0] < 0.9 * left, "a value beyond the axis stands at its end"


def test_each_architecture_has_its_own_scale_of_gains() -> None:
    rows = pd.concat([differences(SHORT), differences(SHORT, 20.0).assign(architecture="unet")])
    axes = gains.gain_forest(rows, ("dataset", "architecture", "shots"), SHORT).axes
    ends = [axis.get_xlim()[1] for axis in axes]
    assert ends[0] == ends[1] and ends[2] == ends[3] and ends[2] > 4 * ends[0]


@pytest.mark.parametrize("draw", [curves.few_shot_curves, cost.cost_scatter])
def test_one_failed_training_squeezes_no_others(draw: Callable[[pd.DataFrame], Figure]) -> None:
    rows = scores(SHORT)
    assert min(axis.get_ylim()[0] for axis in draw(rows).axes) > 60
    first = rows.index[(rows["arm"] == "medcontext") & (rows["architecture"] == "unetr")][0]
    rows.loc[first, "value"] = 5.0
    figure = draw(rows)
    assert min(axis.get_ylim()[0] for axis in figure.axes) > 60
    assert any(line.get_marker() == "v" for axis in figure.axes for line in axis.lines), "it is pointed at"


def test_lines_of_training_under_each_other_are_seen() -> None:
    arms = [f"arm {n}" for n in range(20)]
    (legend,) = curves.training_curves(scores(arms)).legends
    handles = [
        one for one, text in zip(legend.legend_handles, legend.get_texts(), strict=True) if text.get_text()
    ]
    looks_of = {(to_hex(one.get_color()), str(one._dash_pattern)) for one in handles}
    assert len(looks_of) == len(arms)
    assert len({str(one._dash_pattern) for one in handles}) > 5


def test_what_holds_is_filled_and_bold() -> None:
    rows = differences(SHORT)
    figure = gains.gain_forest(rows, ("dataset", "architecture", "shots"), SHORT)
    points = [line for line in figure.axes[0].lines if line.get_markersize() == 4.5]
    assert [point.get_markerfacecolor() == "white" for point in points] == [
        not holds for holds in rows["holds"][:2]
    ]
    assert [text.get_fontweight() for text in figure.axes[0].texts] == ["bold", "normal"]


def test_groups_without_trials_have_no_place() -> None:
    rows = scores(SHORT)
    few = rows[(rows["shots"] == "all") | (rows["architecture"] == "unetr")]
    names = [[tick.get_text() for tick in axis.get_xticklabels()] for axis in dots.score_dots(few).axes]
    assert names == [["unetr"], ["unetr", "nnformer"]]


def test_roles_and_curves_have_the_colours_of_no_arm() -> None:
    taken = {to_hex(look.colour) for look in arm_styles([f"arm {n}" for n in range(10)]).values()}
    roles = {
        to_hex(line.get_color())
        for line in dots.role_dots(scores(SHORT)).axes[0].lines
        if line.get_markersize() == 4.5
    }
    lines = curves.factor_curves(scores(SHORT), "ratio", SHORT).axes[0].lines
    colours = {line.get_linestyle(): to_hex(line.get_color()) for line in lines if line.get_marker() != "None" or line.get_linestyle() == "--"}  # fmt: skip
    assert len(roles) == 2 and not roles & taken
    assert colours["-"] not in taken
    assert colours["--"] == to_hex(arm_styles(SHORT)["supervised"].colour)


@pytest.mark.parametrize(("least", "scale"), [(0.05, "log"), (-0.9, "linear")])
def test_losses_have_a_logarithmic_axis_where_none_is_negative(least: float, scale: str) -> None:
    rows = scores(SHORT).assign(value=lambda frame: least + frame["step"] / 10)
    assert {axis.get_yscale() for axis in curves.training_curves(rows).axes} == {scale}


def test_one_case_is_no_cases() -> None:
    frame = pd.DataFrame({"shots": [1, 5, "all"]})
    titles = [panel_title(frame, {"shots": shots}) for shots in frame["shots"]]
    assert titles == ["1 training case", "5 training cases", "all training cases"]


def test_a_mean_beyond_the_axis_is_marked_and_told_apart_from_a_trial() -> None:
    rows = scores([*SHORT, "third"], ("unetr",))
    far = (rows["arm"] == "third") & (rows["shots"] == 5)
    rows.loc[far, "value"] = 5.0
    axis = dots.score_dots(rows).axes[0]
    arrows = [line for line in axis.lines if line.get_marker() == "v" and line.get_clip_on() is False]
    assert [line.get_markersize() for line in arrows] == [6.0]
    assert [text.get_text() for text in axis.texts] == ["5"]
    rows.loc[far, "value"] = [79.0, 79.0, 79.0, 79.0, 79.0, 40.0]
    axis = dots.score_dots(rows).axes[0]
    arrows = [line for line in axis.lines if line.get_marker() == "v" and line.get_clip_on() is False]
    assert [line.get_markersize() for line in arrows] == [4.0]
