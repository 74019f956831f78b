"""Cells: the trials of a study, each with the values of the study's keys that lead to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.spec import TrialSpec, plain

FACTORS = ("method", "architecture", "dataset", "shots", "subset", "seed")
DEFAULTS: dict[str, Any] = {"shots": "all", "subset": 0, "seed": 0}
PER_SEED = "per_seed"  # a value of the factor subset: each seed draws its own few cases
GENERATED = "generated"  # the name of a split that is not shipped
FOLD = "split.fold"
"""The factor that tells the folds of a cross-validation apart."""
SETTING = "setting"
"""The factor that tells an arm's confirmed parameters apart, where a study searches."""


@dataclass(frozen=True)
class Cell:
    """One trial of a study, with the values of the study's keys that lead to it.

    ``factors`` always has :data:`FACTORS`; ``method`` and ``architecture`` are the study's names for them
    (arms), ``spec`` has the registered ones. ``steps`` are the updates that the study declares: of the trial, and
    of a pretraining within them.
    """

    spec: TrialSpec
    factors: Mapping[str, Any]
    steps: int

    def label(self) -> str:
        """Return a short name for people."""
        factors = self.factors
        pretraining = " pretraining" if self.spec.kind == "pretrain" else ""
        parts = [
            factors["architecture"], f"{factors['method']}{pretraining}", f"{factors['shots']} shots", f"seed {factors['seed']}"
        ]  # fmt: skip
        # None: a parameter that the cell's method or network does not have
        parts += [f"{key}={value}" for key, value in self.own_settings().items() if value is not None]
        return " · ".join(map(str, parts))

    def own_settings(self) -> dict[str, Any]:
        """Return the values of the keys beside :data:`FACTORS` that tell the cell apart."""
        return {key: value for key, value in self.factors.items() if "." in key or (key == SETTING and value)}


@dataclass(frozen=True)
class Trials:
    """What a choice of parameters stands for: a cell for each seed, and the pretrainings that they start from."""

    cells: tuple[Cell, ...]
    nodes: tuple[Cell, ...] = ()


def node_cell(node: TrialSpec, factors: Mapping[str, Any]) -> Cell:
    """Return the cell of a pretraining that a trial with ``factors`` starts from."""
    own = {"shots": node.shots, "subset": node.subset, "seed": node.seed}
    return Cell(node, {key: factors[key] for key in FACTORS} | own, node.recipe.steps)


def setting_of(spec: TrialSpec, key: str) -> Any:
    """Return the value of a dotted key in a spec, or None where its branch has no such key."""
    head, *rest = key.split(".")
    roots = {"recipe": plain(spec.recipe), "method": spec.method.parameters}
    split = spec.dataset
    roots |= {
        "architecture": spec.architecture.options,
        "split": {
            "seed": split.split_seed,
            "name": None if split.split_parts else split.split_name or GENERATED,
            "exclude": list(split.split_exclude),
            "fractions": list(split.split_fractions) if split.split_fractions else None,
            "folds": None if split.split_parts else split.split_folds,
            "fold": split.split_fold,
        },
    }
    value: Any = roots.get(head)
    for part in rest:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
