"""Names for print: those of a study's labels, those of registered classes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import registry
from harness.errors import UserError
from harness.study.combine import combine
from harness.study.expand import load_study
from harness.study.names import Names, heading
from harness.study.study import Study

STUDY = """
question: Which is it?
methods:
  released: {name: medcontext, preset: as_released}
  no_teacher: {name: medcontext, consistency: {target: student}}
base: {dataset: phantom, shots: 2, recipe: {steps: 4}}
grid: {architecture: [unet, unetr], method: [supervised, released, no_teacher]}
also:
  - {architecture: unet, method: medcontext, method.masking.ratio: [0.2, 0.4], method.teacher.m0: 0.99}
"""
LABELS = """
labels:
  arms: {released: Released code, unet: Small U-Net}
  factors: {method.masking.ratio: Share hidden}
  values: {method.masking.ratio: {0.2: a fifth}}
  regions: {lobe: Lobe}
"""


@pytest.fixture
def study_of(tmp_path: Path) -> Callable[[str], Study]:
    def made(text: str) -> Study:
        (tmp_path / "named.yaml").write_text(text)
        return load_study(str(tmp_path / "named.yaml"))

    return made


def test_classes_and_fields_have_names_of_their_own(study_of: Callable[[str], Study]) -> None:
    names = study_of(STUDY).names
    assert [names.value("architecture", name) for name in ("unet", "unetr")] == ["U-Net", "UNETR"]
    arms = ("supervised", "medcontext", "released", "no_teacher")
    assert [names.value("method", arm) for arm in arms] == [
        "Supervised",
        "MedContext",
        "released",
        "no teacher",
    ]
    assert names.factor("method.masking.ratio") == "Mask ratio"
    assert names.arm("medcontext", [("method.masking.ratio", 0.2), ("method.teacher.m0", 0.99)]) == (
        "MedContext, mask ratio 0.2, EMA momentum 0.99"
    )


def test_labels_go_before_them(study_of: Callable[[str], Study]) -> None:
    plain, labelled = study_of(STUDY), study_of(STUDY + LABELS)
    names = labelled.names
    assert (
        names.value("method", "released") == "Released code"
        and names.value("method", "supervised") == "Supervised"
    )
    assert names.value("architecture", "unet") == "Small U-Net"
    assert names.factor("method.masking.ratio") == "Share hidden"
    assert (
        names.value("method.masking.ratio", 0.2) == "a fifth"
        and names.value("method.masking.ratio", 0.4) == "0.4"
    )
    assert names.region("lobe") == "Lobe" and names.region("duct") == "duct"
    assert ("Released code", "released") in names.typed() and ("Lobe", "lobe") in names.typed()
    assert [cell.spec.id for cell in labelled.cells] == [cell.spec.id for cell in plain.cells]  # in no id
    assert combine([plain, labelled], "both").names.region("lobe") == "Lobe"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("arms: {relased: R}", r"labels.arms.relased: found unknown name 'relased'.*Did you mean 'released'"),
        ("factors: {masking.ratio: R}", "labels.factors.masking.ratio: .*Did you mean 'method.masking.ratio'"),
        ("values: {method.masking.rato: {0.2: R}}", "labels.values.method.masking.rato: .*Did you mean"),
        ("values: {method.masking.ratio: {0.3: R}}", "labels.values.method.masking.ratio.0.3: found unknown name '0.3'"),
        ("values: {seed: {0: first}}", "labels.values.seed: .*whose values can be named"),
        ("regions: {lob: Lobe}", "labels.regions.lob: .*Did you mean 'lobe'"),
        ("region: {lobe: Lobe}", "labels.region: found unknown key 'region'.*Did you mean 'regions'"),
        ("arms: {released: MedContext}", "labels.values.method: found 'MedContext' for .*a name for each"),
        ("regions: {lobe: duct}", "labels.regions: found 'duct' for"),
        ("arms: [released]", "labels.arms: .*expected a mapping"),
    ],
)  # fmt: skip
def test_a_label_of_nothing_and_a_name_for_two_are_refused(
    study_of: Callable[[str], Study], labels: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        study_of(f"{STUDY}labels: {{{labels}}}\n")


def test_what_is_typed_and_machine_readable_stays(tmp_path: Path, medctx: Callable) -> None:
    (tmp_path / "named.yaml").write_text(STUDY + LABELS)
    plan = json.loads(medctx("plan", tmp_path / "named.yaml", "--json").out)
    assert {entry["arm"] for entry in plan["trials"]} == {
        "supervised",
        "released",
        "no_teacher",
        "medcontext",
    }


def test_what_a_class_inherits_is_not_its_name(study_of: Callable[[str], Study], tmp_path: Path) -> None:
    (tmp_path / "own_of_names.py").write_text(
        "from methods.supervised import Supervised\nclass Own(Supervised):\n    pass\n"
        "class Good(Supervised):\n    print_name = 'Good one'\n"
    )
    names = study_of(
        "question: Q\nbase: {dataset: phantom, architecture: unet}\n"
        "grid: {method: [supervised, 'own_of_names:Own', 'own_of_names:Good']}\n"
    ).names
    shown = [names.value("method", name) for name in ("supervised", "own_of_names:Own", "own_of_names:Good")]
    assert shown == ["Supervised", "own_of_names:Own", "Good one"]


@pytest.mark.parametrize("kind", registry.KINDS)
def test_all_that_is_shipped_has_a_name_of_its_own(kind: registry.Kind) -> None:
    shipped = [registry.load(kind, name) for name in registry._ours(kind) if name not in ("msd", "nnunet")]
    given = [vars(entry).get("print_name") for entry in shipped]
    assert all(given) and len({*given}) == len(given)


def test_a_key_without_a_name_is_shown_in_words() -> None:
    names = Names({}, {}, {})
    assert heading("method") == "Method" and heading("recipe.warmup_steps") == "Warmup steps"
    assert (
        names.factor("method.masking.axis") == "Masking axis"
        and names.within("method.masking.axis") == "axis"
    )
    twice = [("method.masking.block", 4), ("method.other.block", 8), ("method.teacher.enabled", True)]
    assert names.arm("mine", twice) == "mine, masking block 4, other block 8, enabled yes"
