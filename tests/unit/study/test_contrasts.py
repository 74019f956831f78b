"""What declared contrasts stand for, by weights worked out by hand, and by which words they are refused."""

from __future__ import annotations

import re
from itertools import product
from math import log2
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UserError
from harness.study.contrast_checks import planned_arms
from harness.study.contrasts import Contrast, ContrastSpec, default_contrasts, expand
from harness.study.expand import load_study

METHODS = ("supervised", "medcontext")
ARMS = [
    {"architecture": "unet", "method": method, "shots": shots}
    for shots in (2, 4, 16, 64)
    for method in METHODS
]
ARMS += [
    {"architecture": "unetr", "method": method, "shots": shots} for shots in (2, 16) for method in METHODS
]
RATIOS = [{"method": "supervised"}, *({"method": "medcontext", "ratio": ratio} for ratio in (0.0, 0.2, 0.4))]
RATIOS = [
    {key.replace("ratio", "method.masking.ratio"): value for key, value in arm.items()} for arm in RATIOS
]


def contrasts(arms: list[dict[str, Any]], **declared: Any) -> list[Contrast]:
    return list(expand(ContrastSpec(name="one", **declared), arms, "supervised"))


def weights(contrast: Contrast, *keys: str) -> dict[tuple[Any, ...], float]:
    """Return the weight of each arm, told by the values of some factors; those of one arm are added up."""
    found: dict[tuple[Any, ...], float] = {}
    for term in contrast.terms:
        told = tuple(term.role if key == "role" else term.arm.get(key) for key in keys)
        found[told] = found.get(told, 0.0) + term.weight
    return found


def test_what_is_neither_chosen_nor_pooled_has_a_contrast_for_each_value() -> None:
    found = contrasts(ARMS, of="medcontext")
    assert [(one.place["architecture"], one.place["shots"]) for one in found] == [
        ("unet", 2), ("unet", 4), ("unet", 16), ("unet", 64), ("unetr", 2), ("unetr", 16),
    ]  # fmt: skip
    assert weights(found[4], *ARMS[0]) == {("unetr", "medcontext", 2): 1, ("unetr", "supervised", 2): -1}


def test_levels_of_a_pooled_factor_weigh_the_same_and_the_first_factor_goes_before() -> None:
    of_net, of_other = contrasts(ARMS, of="medcontext", pool=["shots"])
    assert weights(of_net, "method", "shots")["medcontext", 4] == 1 / 4 and of_net.levels == 4
    assert weights(of_other, "method", "shots")["supervised", 16] == -1 / 2
    (both,) = contrasts(ARMS, of="medcontext", pool=["architecture", "shots"])
    told = weights(both, "architecture", "method", "shots")
    assert told["unet", "medcontext", 64] == pytest.approx(1 / 8) and both.levels == 6
    assert told["unetr", "medcontext", 2] == pytest.approx(1 / 4)
    assert sum(told.values()) == pytest.approx(0)


def test_a_difference_of_differences_is_pooled_over_what_both_sides_have() -> None:
    (found,) = contrasts(ARMS, of="medcontext", pool=["shots"], between={"architecture": ["unetr", "unet"]})
    assert weights(found, "architecture", "method", "shots") == {
        (net, method, shots): sign * own / 2
        for net, sign in (("unetr", 1), ("unet", -1))
        for method, own in (("medcontext", 1), ("supervised", -1))
        for shots in (2, 16)
    }


def test_a_trend_is_the_least_squares_slope() -> None:
    (found,) = contrasts(RATIOS, of="medcontext", trend="method.masking.ratio")
    assert weights(found, "method.masking.ratio") == pytest.approx({(0.0,): -2.5, (0.2,): 0.0, (0.4,): 2.5})
    (against,) = contrasts(RATIOS, of="medcontext", to="supervised", trend="method.masking.ratio")
    assert weights(against, "method")["supervised",] == pytest.approx(0)
    gain = contrasts(ARMS, of="medcontext", to="supervised", trend="shots", scale="log2")[0]
    places = [log2(shots) - 13 / 4 for shots in (2, 4, 16, 64)]
    told = weights(gain, "method", "shots")
    for shots, place in zip((2, 4, 16, 64), places, strict=True):
        assert told["medcontext", shots] == pytest.approx(place / sum(one**2 for one in places))
        assert told["supervised", shots] == pytest.approx(-told["medcontext", shots])


def test_a_method_without_a_parameter_is_set_against_each_value_of_it() -> None:
    found = contrasts(RATIOS, of="medcontext")
    assert [one.place["method.masking.ratio"] for one in found] == [0.0, 0.2, 0.4]
    assert all(one.terms[1].arm == {"method": "supervised"} for one in found)
    (pooled,) = contrasts(RATIOS, of="medcontext", pool=["method.masking.ratio"])
    assert weights(pooled, "method") == pytest.approx({("medcontext",): 1, ("supervised",): -1})


def test_what_to_does_not_say_is_as_in_of_and_pairs_are_all_pairs() -> None:
    later = contrasts(ARMS, of={"shots": 16}, to={"shots": 2})
    assert [(one.place["architecture"], one.place["method"]) for one in later] == [
        (net, method) for net in ("unet", "unetr") for method in METHODS
    ]
    (teacher, *_) = contrasts(ARMS, of={"method": "medcontext", "role": "teacher"}, to={"role": "student"})
    assert weights(teacher, "method", "role") == {("medcontext", "teacher"): 1, ("medcontext", "student"): -1}
    (against_baseline, *_) = contrasts(ARMS, of={"method": "medcontext", "role": "teacher"})
    assert weights(against_baseline, "method", "role") == {
        ("medcontext", "teacher"): 1,
        ("supervised", "student"): -1,
    }
    pairs = contrasts(
        RATIOS,
        pairs=["supervised", *({"method": "medcontext", "method.masking.ratio": r} for r in (0.0, 0.4))],
    )
    told = [[term.arm.get("method.masking.ratio") for term in one.terms] for one in pairs]
    assert told == [[0.0, None], [0.4, None], [0.4, 0.0]]


def test_all_factors_that_are_not_named_are_pooled_and_those_that_follow_from_others_are_not_told() -> None:
    """Each dataset has a recipe of its own, and a mask ratio; one of them has two numbers of cases."""
    own = {"one": (100, 0.6, (2, 4)), "two": (900, 0.3, (8,))}
    arms = [
        {"dataset": name, "recipe.steps": steps, "shots": few, "architecture": network, "method": method, **masked}
        for name, (steps, ratio, shots) in own.items()
        for few, network in product(shots, ("unet", "unetr"))
        for method, masked in (("supervised", {}), *((one, {"method.masking.ratio": ratio}) for one in ("medcontext", "masked")))
    ]  # fmt: skip
    chosen = {"method": "medcontext", "architecture": "unetr"}
    for to in ("supervised", "masked"):
        (found,) = contrasts(arms, of=chosen, to=to, pool="all")
        assert found.pooled == ("dataset", "shots") and found.levels == 3 and not found.place
        expected = {(name, few): 0.5 / len(shots) for name, (_, _, shots) in own.items() for few in shots}
        assert {
            (term.arm["dataset"], term.arm["shots"]): term.weight for term in found.terms if term.weight > 0
        } == expected
        assert {term.arm["architecture"] for term in found.terms} == {"unetr"}
    (both,) = contrasts(arms, of="medcontext", pool="all")
    assert both.pooled == ("dataset", "shots", "architecture") and both.levels == 6
    each = contrasts(arms, of=chosen, pool=["shots"])
    assert [one.place for one in each] == [{"dataset": "one"}, {"dataset": "two"}]
    (apart,) = contrasts(arms, of="medcontext", pool="all", between={"architecture": ["unetr", "unet"]})
    assert apart.pooled == ("dataset", "shots") and apart.levels == 3
    (methods,) = contrasts(
        arms[:3] + arms[6:9], of={"shots": 4}, to={"shots": 2}, pool=["method", "method.masking.ratio"]
    )
    assert methods.pooled == ("method",) and methods.levels == 3


@given(planned=st.sets(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=30))
def test_whatever_is_planned_what_is_pooled_weighs_one_on_each_side_and_datasets_weigh_the_same(
    planned: set[tuple[int, ...]],
) -> None:
    """Some combinations of dataset, network, number of cases and steps have both methods; the dataset sets a parameter."""
    arms = [
        {"method": method, "dataset": f"set{place}", "architecture": f"net{net}", "shots": shots, "recipe.steps": steps,
         **({"method.ratio": place / 10} if method == "medcontext" and place else {})}
        for place, net, shots, steps in planned
        for method in METHODS
    ]  # fmt: skip
    (found,) = contrasts(arms, of="medcontext", pool="all")
    assert found.levels == len(planned)
    datasets = {place for place, *_ in planned}
    of_each = weights(found, "method", "dataset")
    for method, sign in (("medcontext", 1), ("supervised", -1)):
        for place in datasets:
            assert of_each[method, f"set{place}"] == pytest.approx(sign / len(datasets))
    several = {
        key
        for key, values in zip(
            ("dataset", "architecture", "shots", "recipe.steps"), zip(*planned, strict=True), strict=True
        )
        if len({*values}) > 1
    }
    assert {*found.pooled} <= several and ("dataset" in found.pooled) == ("dataset" in several)


def test_parameters_that_two_methods_share_are_alike_and_without_one_such_arm_there_is_none() -> None:
    arms = [{"method": "medcontext", "method.ratio": ratio, "method.weight": 1.0} for ratio in (0.2, 0.4)]
    arms += [{"method": "masked", "method.ratio": ratio} for ratio in (0.2, 0.6)]
    (found,) = contrasts(arms, of="medcontext", to="masked")
    assert [(term.arm["method"], term.arm["method.ratio"]) for term in found.terms] == [
        ("medcontext", 0.2),
        ("masked", 0.2),
    ]
    several = [*arms, {"method": "masked", "method.ratio": 0.2, "recipe.steps": 5}]
    assert [len(contrasts(one, of="medcontext", to="masked")) for one in (several, arms[2:])] == [1, 0]


def test_undeclared_each_method_is_primary_for_each_network_pooled_over_the_rest() -> None:
    (spec,) = default_contrasts(ARMS, "supervised", ())
    assert spec.primary and spec.pool == ("shots",)
    assert [one.place for one in expand(spec, ARMS, "supervised")] == [
        {"architecture": "unet"},
        {"architecture": "unetr"},
    ]


STUDY = {
    "question": "why?",
    "base": {"dataset": "phantom", "architecture": "unet"},
    "grid": {"method": [*METHODS], "shots": [2, 5, "all"], "seed": [0, 1, 2]},
}


def write(path: Path, *declared: dict[str, Any], **report: Any) -> str:
    path.write_text(yaml.safe_dump({**STUDY, "report": {"contrasts": [*declared], **report}}))
    return str(path)


def test_a_study_declares_contrasts_and_margins_and_its_trials_stay_the_same(tmp_path: Path) -> None:
    plain = load_study(write(tmp_path / "plain.yaml"))
    declared = {"name": "gain", "of": "medcontext", "pool": ["shots"], "primary": True}
    study = load_study(write(tmp_path / "mine.yaml", declared, margin={"dice": 0.25}))
    assert [cell.spec.id for cell in study.cells] == [cell.spec.id for cell in plain.cells]
    assert (study.report.margin_of("dice"), study.report.margin_of("hd95")) == (0.25, 0.5)
    (found,) = expand(study.report.contrasts[0], planned_arms(study), study.report.baseline)
    assert found.levels == 3 and found.primary


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"of": "medcontxt"}, r"contrasts\[one\].method: found 'medcontxt'.* Did you mean 'medcontext'"),
        ({"of": {"shots": 3}}, r"contrasts\[one\].shots: found 3; expected one of 2, 5, all"),
        ({"of": "medcontext", "pool": ["shot"]}, r"contrasts\[one\]: found 'shot'.* Did you mean 'shots'"),
        ({"of": "medcontext", "pool": ["seed"]}, "found 'seed'.* Leave it out: all of them count"),
        ({"of": "medcontext", "trend": "architecture"}, r"\.trend: found architecture, with 0 numbers as its values"),
        ({"of": "medcontext", "between": {"shots": [2]}}, "between: .*one factor with two of its values"),
        ({"of": "medcontext", "between": {"shots": [2, 55]}}, r"\[one\].shots: found 55"),
        ({"of": {"method": "medcontext", "role": "techer"}}, r"role: found 'techer'.* Did you mean 'teacher'"),
        ({"of": "supervised"}, "found no two planned arms that it compares"),
        ({"of": {"shots": 2}, "pool": ["shots"]}, "shots twice; expected each factor in one place"),
        ({"pairs": ["medcontext"]}, "pairs: found one arm"),
        ({"pairs": [*METHODS], "of": "medcontext"}, "pairs beside of, to or trend"),
        ({"of": "medcontext", "scale": "log2"}, "found a scale without trend"),
        ({"of": "medcontext", "too": "supervised"}, "unknown key 'too'.* Did you mean 'to'"),
    ],
)  # fmt: skip
def test_contrasts_of_what_a_study_does_not_have(declared: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_study(write(tmp_path / "mine.yaml", {"name": "one", **declared}))
    assert re.search(said, str(caught.value))


def test_two_contrasts_of_one_name_and_a_margin_that_is_none(tmp_path: Path) -> None:
    one = {"name": "one", "of": "medcontext"}
    with pytest.raises(UserError, match="'one' 2 times"):
        load_study(write(tmp_path / "mine.yaml", one, one))
    for margin in ({"dice": 0}, {"dise": 1}):
        with pytest.raises(UserError, match=r"report\.margin"):
            load_study(write(tmp_path / "mine.yaml", margin=margin))
