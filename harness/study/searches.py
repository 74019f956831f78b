"""What a study lets a sampler choose, for which arms, and which trials a choice stands for.

Nothing here knows Optuna or the disk; :mod:`harness.search.optuna_journal` draws the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from harness import registry
from harness.errors import UserError, did_you_mean
from harness.ranges import Range, declared_ranges
from harness.records.schema import INFERENCE_FIELDS, Protocol
from harness.spec import Recipe, TrialSpec, digest
from harness.study.cells import FACTORS, SETTING, Cell, Trials, node_cell
from harness.study.file import PruneSpec, SearchSpec, flatten
from harness.study.resolve import Resolved, Resolver

DEFAULT = "default"
"""Of the factor ``setting``: the arm's parameters as the study declares them."""
_SEARCHED_FACTORS = ("architecture",)
# keys of the recipe that change how a suggestion is measured
_MEASURE = (
    "pipeline", "spacing", "crop", "resampling", "label_resampling", "selection", "validate_every", "threads",
)  # fmt: skip
_BRANCHES = ("recipe", "method", "architecture")


@dataclass(frozen=True)
class Dimension:
    """One searched parameter: a factor or a dotted path, its range, and whether its values are whole numbers."""

    key: str
    range: Range
    whole: bool = False

    def points(self) -> tuple[Any, ...]:
        """Return all values, in order; none where they are not finitely many."""
        low, high, step = self.range.low, self.range.high, self.range.step or (1 if self.whole else None)
        if self.range.choices or low is None or high is None or step is None:
            return self.range.choices
        number = int((high - low) / step * (1 + 1e-9)) + 1
        return tuple(self.typed(round(low + i * step, 12)) for i in range(number))

    def typed(self, value: Any) -> Any:
        """Return a value of the range as the parameter takes it."""
        return int(value) if self.whole else value


@dataclass(frozen=True)
class SearchedArm:
    """A method, on one cell of the study's grid, whose parameters are searched.

    Attributes:
        name: unique in the study.
        settings: all that is not searched, flat, without a seed.
        dimensions: what is searched.
        spec: of the search.
        resolver: of the study.
        grid: keys of the study's grid, which are factors of every trial.
    """

    name: str
    settings: Mapping[str, Any]
    dimensions: tuple[Dimension, ...]
    spec: SearchSpec
    resolver: Resolver
    grid: tuple[str, ...]

    def suggested(self, values: Mapping[str, Any]) -> Trials | str:
        """Return the trials that a suggestion is scored by, or why there cannot be any."""
        return self._trials(values, self.spec.seeds, tested=False, factors=tuple(values))

    def confirming(self, setting: str, values: Mapping[str, Any]) -> Trials | str:
        """Return the trials that confirm a choice with fresh seeds; ``setting`` names it."""
        declared = tuple(key for key in values if _is_declared(key))
        return self._trials(values, self.spec.confirm.seeds, tested=True, factors=declared, setting=setting)

    def _trials(
        self,
        values: Mapping[str, Any],
        seeds: Iterable[int],
        *,
        tested: bool,
        factors: Sequence[str],
        **own: Any,
    ) -> Trials | str:
        cells, nodes = [], {}
        for seed in seeds:
            merged = {**self.settings, **values, "seed": seed}
            outcome = self.resolver.resolve(merged)
            if isinstance(outcome, str):
                return outcome
            named = {key: merged.get(key) for key in dict.fromkeys((*FACTORS, *self.grid, *factors))} | own
            spec = outcome.spec
            if not tested:  # nor scored at any tolerance
                spec = spec.model_copy(update={"tested": False, "tolerances": None})
            cells.append(Cell(spec, named, outcome.steps))
            if outcome.node:
                nodes[outcome.node.id] = node_cell(outcome.node, named)
        return Trials(tuple(cells), tuple(nodes.values()))

    @property
    def planned(self) -> int:
        """How many suggestions there will be; of a grid no more than its points."""
        if self.spec.sampler != "grid":
            return self.spec.suggestions
        return min(self.spec.suggestions, prod(len(one.points()) for one in self.dimensions))

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides which suggestions come; how many and what follows them does not."""
        default = self.suggested({})
        assert isinstance(default, Trials)
        space = [[one.key, one.range.model_dump(), one.whole] for one in self.dimensions]
        rules = self.spec.model_dump(exclude={"arms", "parameters", "suggestions", "confirm"})
        return digest([[cell.spec.id for cell in default.cells], space, rules])


@dataclass(frozen=True)
class Search:
    """What a study searches."""

    spec: SearchSpec
    arms: tuple[SearchedArm, ...]

    def factors(self) -> tuple[str, ...]:
        """Return the factors that tell the confirming trials of an arm apart."""
        return (*(key for key in self.keys() if _is_declared(key)), *self._grid(), SETTING)

    def keys(self) -> tuple[str, ...]:
        """Return what is searched in any arm."""
        return tuple(dict.fromkeys(one.key for arm in self.arms for one in arm.dimensions))

    def _grid(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for arm in self.arms for key in arm.grid))

    def confirming_defaults(self) -> list[Trials]:
        """Return the trials of every arm's parameters as the study declares them."""
        found = (arm.confirming(DEFAULT, {}) for arm in self.arms)
        return [trials for trials in found if isinstance(trials, Trials)]


def expand_arm(
    spec: SearchSpec, name: str, settings: Mapping[str, Any], resolver: Resolver, grid: tuple[str, ...]
) -> SearchedArm | str:
    """Return the search of a method with flat ``settings``, or why it cannot run there.

    Args:
        spec: what the study says of its searches.
        name: of the arm.
        settings: all that is not searched, without a seed.
        resolver: of the study.
        grid: keys of the study's grid.

    Raises:
        UserError: a parameter that cannot be searched, or a range that holds impossible values.
    """
    method = settings["method"]
    path, where = resolver.where, f"{resolver.where}: search.arms.{method}"
    default = resolver.resolve({**settings, "seed": spec.seeds[0]})
    if isinstance(default, str):
        return default
    _check_objective(path, spec, default.spec.recipe)
    ranges = {**spec.parameters, **spec.arms[method]}
    if not ranges:
        raise UserError(where, "nothing to search", "at least one parameter", "Name one, or remove the arm.")
    dimensions = []
    for key, declared in ranges.items():
        place = f"{where}.{key}" if key in spec.arms[method] else f"{path}: search.parameters.{key}"
        if key in grid:
            raise UserError(
                place, "a factor of the grid too", "a parameter that the search alone sets",
                "Take it out of grid, or do not search it: each cell of the grid gets a search of its own.",
            )  # fmt: skip
        dimension = _dimension(key, declared, default, place)
        if spec.sampler == "grid" and not dimension.points():
            raise UserError(place, str(dimension.range), "choices or a step, for a grid", "Add one of them.")
        for value in dimension.range.ends():
            resolver.resolve({**settings, key: dimension.typed(value), "seed": spec.seeds[0]})
        dimensions.append(dimension)
    arm = SearchedArm(name, settings, tuple(dimensions), spec, resolver, grid)
    if spec.confirm.best > arm.planned:
        raise UserError(
            f"{path}: search.confirm.best", str(spec.confirm.best),
            f"no more than the {arm.planned} suggestions that {name} gets", "Lower it, or search longer.",
        )  # fmt: skip
    return arm


def _check_objective(path: str, spec: SearchSpec, recipe: Recipe) -> None:
    """Refuse a recipe that yields no validation Dice, or lets a search see test labels."""
    if recipe.selection == "test_oracle":
        raise UserError(
            f"{path}: recipe.selection", "test_oracle in a study that searches", "a rule that opens no test labels",
            "Set best_validation or last.",
        )  # fmt: skip
    if not recipe.validate_every:
        raise UserError(
            f"{path}: recipe.validate_every", "0 in a study that searches", "steps between validations: they are the objective",
            f"Set for example {recipe.steps}.",
        )  # fmt: skip
    if spec.prune and rung_of(spec.prune, recipe) is None:
        raise UserError(
            f"{path}: search.prune.at", f"{spec.prune.at:g} of {recipe.steps} steps, validated every {recipe.validate_every}",
            "a validation before the last step at or below it", "Validate more often, or prune later.",
        )  # fmt: skip


def rung_of(prune: PruneSpec, recipe: Recipe) -> int | None:
    """Return the step at which a suggestion is judged: the last validation up to it, or None before the first."""
    step = int(prune.at if prune.at >= 1 else prune.at * recipe.steps)
    rung = step - step % recipe.validate_every
    return rung if 0 < rung < recipe.steps else None


def _dimension(key: str, declared: Range, default: Resolved, where: str) -> Dimension:
    head, _, rest = key.partition(".")
    allowed = key in _SEARCHED_FACTORS or (rest and head in _BRANCHES)
    if not allowed or (head == "recipe" and rest in _MEASURE):
        raise UserError(
            where, "what changes the objective and not the model" if allowed or head in (*FACTORS, "split") else "an unknown key",
            f"{_SEARCHED_FACTORS[0]}, or a path below {', '.join(_BRANCHES)}", "Search another parameter.",
        )  # fmt: skip
    if declared.is_declared:
        declared = _declared_range(head, rest, default.spec, where)
    if declared.choices:
        return Dimension(key, declared)
    value = _default_of(key, default, where)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(
            where, f"a range of numbers for {value!r}", "choices", "Write for example {choices: [a, b]}."
        )
    whole = isinstance(value, int)
    if whole and declared.complement:
        raise UserError(where, "complement for whole numbers", "a range without it", "Remove it.")
    if whole and any(part is not None and part % 1 for part in (declared.low, declared.high, declared.step)):
        raise UserError(where, str(declared), f"whole numbers, like {value}", "Correct the range.")
    return Dimension(key, declared, whole)


def _default_of(key: str, default: Resolved, where: str) -> Any:
    """Return the declared value of a searched key."""
    spec = default.spec
    method = registry.load("method", spec.method.name).Parameters
    architecture = registry.load("architecture", spec.architecture.name).Options
    known = flatten({
        "recipe": spec.recipe.model_dump(),
        "method": method.model_validate(spec.method.parameters).model_dump(),
        "method.pretrain": default.node.recipe.model_dump() if default.node else {},
        "architecture": architecture.model_validate(spec.architecture.options).model_dump(),
    })  # fmt: skip
    if key not in known:
        raise UserError(where, "an unknown key", "a key of the arm's trials", did_you_mean(key, known))
    return known[key]


def _declared_range(head: str, rest: str, default: TrialSpec, where: str) -> Range:
    known = (
        declared_ranges(registry.load("method", default.method.name).Parameters) if head == "method" else {}
    )
    if rest not in known:
        raise UserError(
            where, "no range", "low and high, choices, or a parameter whose method declares a range",
            did_you_mean(rest, known) if known else "Write for example {low: 0.001, high: 0.1, log: true}.",
        )  # fmt: skip
    return known[rest]


def _is_declared(key: str) -> bool:
    """Return whether a setting has to be a factor for numbers of trials that differ in it to stand in one table."""
    head, _, rest = key.partition(".")
    of_protocol = rest.partition(".")[0] in (*Protocol.model_fields, *INFERENCE_FIELDS)
    return key in FACTORS or (head == "recipe" and of_protocol)
