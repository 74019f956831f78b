"""What ``report.contrasts`` of a study declares, and which arms each of its contrasts weighs against each other.

A contrast is a weighted sum of the mean scores of arms. Everything here is a pure function on arms as mappings from factor to
value; a factor that an arm does not set is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2
from statistics import fmean
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.parsing import WrongKey
from harness.spec import Frozen, as_tuples
from harness.study.cells import FACTORS

Arm = Mapping[str, Any]
ROLE = "role"
"""A key of a selection beside the factors: the student's scores, or the teacher's."""
DATASET = "dataset"
_OWNED = ("method", "architecture")  # whose parameters another one of them does not have
_UNSET = object()


class ContrastSpec(Frozen):
    """A question that a study asks of its arms.

    ``of`` minus ``to`` is estimated; each is the name of a method, or values of factors. What ``to`` does not say is as in
    ``of``; without it ``of`` is set against the student of the report's baseline. ``pairs`` sets each of its members against each
    earlier one. ``pool`` averages over all values of factors, of several datasets over each by itself first; ``all`` are those that
    are named nowhere else. ``between`` is the difference of the differences at two values of a factor, ``trend`` the slope over a
    numeric one, per unit, or per doubling with ``scale: log2``. There is a contrast for each value of every other factor that
    varies. ``primary`` ones are corrected together, the others are exploratory, and a family of their own.
    """

    name: str = Field(min_length=1)
    of: str | dict[str, Any] = {}
    to: str | dict[str, Any] | None = None
    pairs: tuple[str | dict[str, Any], ...] = ()
    pool: tuple[str, ...] | Literal["all"] = ()
    between: dict[str, tuple[Any, ...]] = {}
    trend: str = ""
    scale: Literal["unit", "log2"] = "unit"
    primary: bool = False

    @field_validator("between")
    @classmethod
    def _one_factor(cls, between: dict[str, Any]) -> dict[str, Any]:
        between = {key: as_tuples(pair) for key, pair in between.items()}
        if len(between) > 1 or any(len({*pair}) != 2 for pair in between.values()):
            raise ValueError("one factor with two of its values")
        return between

    @model_validator(mode="after")
    def _asks_something(self) -> ContrastSpec:
        if self.pairs and (self.of or self.to is not None or self.trend):
            raise WrongKey("pairs", "pairs beside of, to or trend", "pairs alone, or of and to")
        if self.pairs and len(self.pairs) < 2:
            raise WrongKey("pairs", "one arm", "two or more")
        if self.scale == "log2" and not self.trend:
            raise WrongKey("scale", "a scale without trend", "a scale beside trend")
        named = self.named()
        for key in named:
            if named.count(key) > 1 or any(key in selected for selected in self.selections()):
                raise WrongKey(key, f"{key} twice", "each factor in one place of a contrast")
        return self

    def named(self) -> list[str]:
        """Return the factors of ``pool``, ``between`` and ``trend``, as far as they are named."""
        pool = [] if self.pool == "all" else self.pool
        return [*pool, *self.between, *([self.trend] if self.trend else [])]

    def selections(self) -> tuple[dict[str, Any], ...]:
        """Return ``of``, ``to`` and ``pairs`` as values of factors, those that are declared."""
        given = [self.of, *([] if self.to is None else [self.to]), *self.pairs]
        return tuple(_selection(one) for one in given)


def _selection(given: str | Mapping[str, Any]) -> dict[str, Any]:
    chosen = {"method": given} if isinstance(given, str) else given
    return {key: as_tuples(value) for key, value in chosen.items()}


@dataclass(frozen=True)
class Term:
    """The mean score of an arm in a contrast: its weight, its values by factor, and whose scores they are."""

    weight: float
    arm: Arm
    role: str


@dataclass(frozen=True)
class Contrast:
    """A contrast of arms that a study plans.

    Attributes:
        name: as declared.
        primary: whether it belongs to the family that is corrected.
        of, to: what is told apart, by factor; ``to`` is None for the slope of one arm's own scores.
        place: the values of the other factors, which differ between contrasts of one name; a setting that follows from others is left
            out.
        pooled: the factors that are averaged over, as far as they are no consequence of others, and in how many combinations of
            their values.
        between: the factor and its two values of a difference of differences.
        trend: the factor of a slope, and ``scale`` its unit.
        terms: whose weighted sum it is.
    """

    name: str
    primary: bool
    of: Arm
    to: Arm | None
    place: Arm
    pooled: tuple[str, ...]
    levels: int
    between: Mapping[str, tuple[Any, ...]]
    trend: str
    scale: str
    terms: tuple[Term, ...]


def expand(spec: ContrastSpec, arms: Sequence[Arm], baseline: str) -> Iterator[Contrast]:
    """Yield each contrast that a declaration stands for, in the order of arms.

    Args:
        spec: as declared.
        arms: that the study plans.
        baseline: the method that ``of`` is compared with where no ``to`` is declared.
    """
    for of, to in _sides(spec, baseline):
        yield from _Expansion(spec, arms, of, to).contrasts()


def _sides(spec: ContrastSpec, baseline: str) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None]]:
    pairs = [_selection(one) for one in spec.pairs]
    for later, second in enumerate(pairs):
        for first in pairs[:later]:
            yield second, first
    if not pairs:
        default = None if spec.trend else {"method": baseline, ROLE: "student"}
        yield _selection(spec.of), default if spec.to is None else _selection(spec.to)


def default_contrasts(arms: Sequence[Arm], baseline: str, apart: Sequence[str]) -> list[ContrastSpec]:
    """Return what is primary where a study declares nothing: each arm against the baseline, pooled over all but the network.

    Args:
        arms: that the study plans.
        baseline: the method that they are compared with.
        apart: factors beside method, network and their parameters that are not pooled over.
    """
    factors = list(dict.fromkeys(key for arm in arms for key in arm))
    pool = tuple(key for key in factors if key.partition(".")[0] not in _OWNED and key not in apart)
    methods = [name for name in dict.fromkeys(arm["method"] for arm in arms) if name != baseline]
    return [ContrastSpec(name=str(name), of=str(name), pool=pool, primary=True) for name in methods]


@dataclass(frozen=True)
class _Expansion:
    """The contrasts of one ``of`` and ``to``."""

    spec: ContrastSpec
    arms: Sequence[Arm]
    of: Mapping[str, Any]
    to: Mapping[str, Any] | None

    def contrasts(self) -> Iterator[Contrast]:
        """Yield one for each combination of the factors that are neither chosen nor pooled, where all arms are planned."""
        spec, of_role = self.spec, str(self.of.get(ROLE, "student"))
        # datasets weigh the same also where one lacks levels of other factors
        pool = sorted(self._pool, key=lambda key: key != DATASET)
        found = []
        for place in self._places():
            values = {**place, **self._chosen}
            if weighted := list(self._pooled(values, pool, _having(self.arms, values))):
                found.append((place, weighted))
        places = [place for place, _ in found]
        told = {*FACTORS, *_told(dict.fromkeys(key for place in places for key in place), places)}
        for place, weighted in found:
            terms = [
                Term(weight * term.weight, term.arm, term.role) for weight, own in weighted for term in own
            ]
            yield Contrast(
                name=spec.name,
                primary=spec.primary,
                of={**self._chosen, ROLE: of_role},
                to=None if self.to is None else {**self.to, ROLE: self.to.get(ROLE, of_role)},
                place={key: value for key, value in place.items() if key in told},
                pooled=_told(pool, [term.arm for term in terms]),
                levels=len(weighted),
                between=spec.between,
                trend=spec.trend,
                scale=spec.scale,
                terms=tuple(terms),
            )

    @cached_property
    def _chosen(self) -> dict[str, Any]:
        return {key: value for key, value in self.of.items() if key != ROLE}

    def _places(self) -> list[dict[str, Any]]:
        """Return the values of what is neither chosen nor pooled, of each arm that is chosen."""
        settled = {*self.of, *self._pool, *self.spec.between, self.spec.trend}
        places = dict.fromkeys(
            tuple((key, value) for key, value in arm.items() if key not in settled)
            for arm in _having(self.arms, self._chosen)
        )
        return [dict(place) for place in places]

    def _pooled(
        self, values: Mapping[str, Any], pool: Sequence[str], arms: Sequence[Arm]
    ) -> Iterator[tuple[float, list[Term]]]:
        """Yield the weight and the terms of each combination of pooled values; all values of a factor weigh the same.

        ``arms`` are those that have ``values``.
        """
        if not pool:
            terms = self._at(values)
            yield from [(1.0, terms)] if terms else []
            return
        key, *rest = pool
        found: list[list[tuple[float, list[Term]]]] = []
        # what only some arms set, such as a parameter, is not set by all
        for level in dict.fromkeys(arm.get(key, _UNSET) for arm in arms):
            chosen = values if level is _UNSET else {**values, key: level}
            found.append(
                list(self._pooled(chosen, rest, [arm for arm in arms if arm.get(key, _UNSET) == level]))
            )
        found = [own for own in found if own]
        for own in found:
            yield from ((weight / len(found), terms) for weight, terms in own)

    def _at(self, values: Mapping[str, Any]) -> list[Term]:
        """Return the terms where nothing is left to pool: one difference, two of them, or those of a slope."""
        if not self.spec.between:
            return self._slope(values) if self.spec.trend else self._difference(values)
        ((key, (first, second)),) = self.spec.between.items()
        one, other = (self._slope({**values, key: value}) if self.spec.trend else self._difference({**values, key: value})
                      for value in (first, second))  # fmt: skip
        return [*one, *(Term(-term.weight, term.arm, term.role) for term in other)] if one and other else []

    def _slope(self, values: Mapping[str, Any]) -> list[Term]:
        """Return the terms of the least-squares slope over the levels of a factor that are numbers."""
        key = self.spec.trend
        declared = dict.fromkeys(arm[key] for arm in self.arms if key in arm)
        levels = sorted(level for level in declared if is_level(level, self.spec.scale))
        found = [(level, terms) for level in levels if (terms := self._difference({**values, key: level}))]
        if len(found) < 2:
            return []
        places = [level_place(level, self.spec.scale) for level, _ in found]
        middle = fmean(places)
        spread = sum((place - middle) ** 2 for place in places)
        return [
            Term((place - middle) / spread * term.weight, term.arm, term.role)
            for place, (_, terms) in zip(places, found, strict=True)
            for term in terms
        ]

    def _difference(self, values: Mapping[str, Any]) -> list[Term]:
        """Return the arm of ``of``, and minus it that of ``to``; nothing where one is not planned."""
        role = str(self.of.get(ROLE, "student"))
        arm = self._planned(values)
        if self.to is None:
            return [Term(1.0, arm, role)] if arm else []
        own = {key: value for key, value in self.to.items() if key != ROLE}
        changed = [head for head in _OWNED if head in own and own[head] != values.get(head)]
        parameters = {key: value for key, value in values.items() if key.partition(".")[0] in changed}
        kept = {key: value for key, value in values.items() if key not in parameters}
        other = self._planned({**kept, **own}) or self._alike({**kept, **own}, parameters)
        other_role = str(self.to.get(ROLE, role))
        if arm is None or other is None or (arm, role) == (other, other_role):
            return []
        return [Term(1.0, arm, role), Term(-1.0, other, other_role)]

    def _planned(self, values: Mapping[str, Any]) -> Arm | None:
        return self._index.get(frozenset(values.items()))

    def _alike(self, values: Mapping[str, Any], parameters: Mapping[str, Any]) -> Arm | None:
        """Return the arm of another method or network that has ``values``, and of the parameters those that it has; None of several."""
        found = [
            arm
            for arm in _having(self.arms, values)
            if all(key in values or parameters.get(key, _UNSET) == value for key, value in arm.items())
        ]
        return found[0] if len(found) == 1 else None

    @cached_property
    def _index(self) -> dict[frozenset[tuple[str, Any]], Arm]:
        return {frozenset(arm.items()): arm for arm in self.arms}

    @cached_property
    def _pool(self) -> list[str]:
        """The factors that are averaged over."""
        if self.spec.pool != "all":
            return [*self.spec.pool]
        sides = {**self.of, **(self.to or {})}
        settled = {*sides, *self.spec.named()}
        return [key for key in dict.fromkeys(key for arm in self.arms for key in arm) if key not in settled]


def _having(arms: Iterable[Arm], values: Mapping[str, Any]) -> list[Arm]:
    """Return the arms that have these values."""
    return [arm for arm in arms if all(arm.get(key, _UNSET) == value for key, value in values.items())]


def _told(factors: Iterable[str], arms: Sequence[Arm]) -> tuple[str, ...]:
    """Return the factors that vary also where dataset, method, network and the factors before them do not."""
    told: list[str] = []
    named = list(factors)
    for key in sorted(named, key=lambda key: key not in (DATASET, *_OWNED)):
        known: dict[tuple[Any, ...], Any] = {}
        before = [one for one in dict.fromkeys(("method", *told)) if one != key]
        for arm in arms:
            value, *others = (arm.get(one, _UNSET) for one in (key, *before))
            if known.setdefault(tuple(others), value) != value:
                told.append(key)
                break
    return tuple(key for key in named if key in told)


def is_level(value: Any, scale: str) -> bool:
    """Return whether a value has a place on the axis of a trend."""
    return isinstance(value, int | float) and not isinstance(value, bool) and (scale == "unit" or value > 0)


def level_place(value: float, scale: str) -> float:
    """Return the place of a number on the axis of a trend."""
    return log2(value) if scale == "log2" else float(value)
