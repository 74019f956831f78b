"""From a study file to a study: an ordered, de-duplicated list of cells, and why others are left out.

The keys of the file are explained in :mod:`harness.study.file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, product
from pathlib import Path
from shlex import join
from typing import Any

from harness import registry
from harness.data.caches import data_folder
from harness.errors import UserError, did_you_mean, nearest
from harness.study.cells import DEFAULTS, FACTORS, FOLD, Cell, Trials, node_cell
from harness.study.file import KEYS, StudyFile, find_study, flatten, load_yaml, read_study
from harness.study.report_checks import check_report
from harness.study.resolve import Resolver
from harness.study.searches import Search, expand_arm
from harness.study.study import Skip, Study
from harness.study.tolerances import check_tolerances

_PIPELINE = "recipe.pipeline"


def load_study(name: str, overrides: Sequence[str] = (), data: str | Path | None = None) -> Study:
    """Return an expanded study.

    Args:
        name: a shipped study, or a path.
        overrides: ``PATH=VALUE`` settings that replace those of ``base``; values are YAML.
        data: folder of the datasets, by default ``MEDCTX_DATA``; read only for the default recipe of a folder.

    Raises:
        UserError: anything in the file or the overrides that cannot be.
    """
    path = find_study(name)
    if path.stem in RESERVED:
        raise UserError(
            path, f"a study called {path.stem}", "a name of its own: results have a folder or file of that name",
            "Rename the file.",
        )  # fmt: skip
    file = read_study(path)
    registry.look_in(path.parent)  # where its module:Class names may lie
    own = [_override(file, text) for text in overrides]
    arguments = (name, *(part for override in overrides for part in ("--set", override)))
    try:
        study = _Expansion(path, file, _merged(file.base, own), data_folder(data)).study()
    except UserError as error:
        raise _blamed(error, path, file, own, data_folder(data)) from error.__cause__
    return replace(study, commands=(f"medctx run {join(arguments)}",))


def _override(file: StudyFile, text: str) -> dict[str, Any]:
    """Return the flat settings of one ``PATH=VALUE``."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise UserError("--set", repr(text), "PATH=VALUE", "Write for example recipe.steps=100.")
    if key.partition(".")[0] in KEYS:
        raise UserError(
            f"--set {key}", "a key of the study's file", "a setting of its trials, such as recipe.steps",
            "Change it in a copy of the file.",
        )  # fmt: skip
    try:
        settings = flatten({key: load_yaml(value)})
    except ValueError:
        raise UserError(f"--set {key}", repr(value), "a value in YAML", "Correct this value.") from None
    for one in settings:
        if any(one in entry for entry in (file.grid, *file.also)):
            raise UserError(
                f"--set {one}", "a factor of the study's grid", "a setting that all its trials share",
                f"Choose among its values with --only {one}=VALUE.",
            )  # fmt: skip
    return settings


def _merged(base: Mapping[str, Any], overrides: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return dict(chain(base.items(), *(one.items() for one in overrides)))


def _blamed(
    error: UserError,
    path: Path,
    file: StudyFile,
    overrides: Sequence[Mapping[str, Any]],
    data: Path | None,
) -> UserError:
    """Return the error; as that of an override, where the study is fine without it."""
    for index, override in enumerate(overrides):
        try:
            others = [*overrides[:index], *overrides[index + 1 :]]
            _Expansion(path, file, _merged(file.base, others), data).study()
        except UserError:
            continue
        key, place = next(iter(override)), error.where.removeprefix(f"{path}: ")
        where = f"--set {key}" if place == key else f"--set {key}: {place}"
        return UserError(where, error.found, error.expected, error.remedy)
    return error


RESERVED = ("trials", "running", "published", "launch", "contents", "weights", "shares.json")
"""What lies in a results folder beside the studies' output."""


@dataclass(frozen=True)
class _Exception:
    """Cells that are left out, and the reason."""

    wanted: Mapping[str, Any]
    reason: str

    def covers(self, factors: Mapping[str, Any]) -> bool:
        """Return whether a cell falls under it; a list holds alternatives."""

        def falls_under(key: str, value: Any) -> bool:
            own = factors.get(key)
            return own == value or (isinstance(value, list) and own in value)

        return all(falls_under(key, value) for key, value in self.wanted.items())


@dataclass(frozen=True)
class _Expansion:
    """A study file on its way to a study; ``base`` are its common settings, overrides included."""

    path: Path
    file: StudyFile
    base: Mapping[str, Any]
    data_root: Path | None = None

    def study(self) -> Study:
        exceptions = self._exceptions()
        self._check_arms()
        declared: list[Trials] = []
        skipped: list[Skip] = []
        factors_seen: dict[str, None] = dict.fromkeys(FACTORS)
        for settings in self._settings(self.base):
            factors_seen |= dict.fromkeys(settings)
            factors = _factors(self.base, settings)
            outcome = _excepted(exceptions, factors) or self.resolver.resolve(
                {**DEFAULTS, **self.base, **settings}
            )
            if isinstance(outcome, str):
                skipped.append(Skip(factors, outcome))
                continue
            cell = Cell(outcome.spec, factors, outcome.steps)
            declared.append(Trials((cell,), (node_cell(outcome.node, factors),) if outcome.node else ()))
        search = self._search(exceptions, skipped)
        if search:
            declared += search.confirming_defaults()
            factors_seen |= dict.fromkeys(search.factors())
        if not declared and not skipped:
            raise UserError(
                self.path, "no trial", "a grid or an 'also' that declares at least one", "Add one."
            )
        study = Study(
            name=self.path.stem,
            question=self.file.question,
            cells=(),
            skipped=tuple(skipped),
            report=self.file.report,
            keep=self.file.keep,
            factors=tuple(factors_seen),
            search=search,
            labels=self.file.labels,
            weights=self.resolver.weights,
            weights_lines=self.resolver.weights_lines,
        ).joined_by(declared)
        check_report(str(self.path), study)
        check_tolerances(str(self.path), self.file.tolerances, study.cells, study.report, self.data_root)
        return study

    @cached_property
    def resolver(self) -> Resolver:
        file = self.file
        return Resolver(str(self.path), file.methods, file.architectures, self.data_root, file.tolerances)

    def _settings(self, base: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the factor values of each declared cell, grid first; a search makes its own of the grid.

        Where a split has folds and no fold is named, each of them is a cell. Where some cell names a pipeline, the others
        get that of ``base``: a trial does not tell which one it came from.
        """
        blocks = [(f"also[{index}]", entry) for index, entry in enumerate(self.file.also)]
        if not self.file.search and (self.file.grid or not self.file.also):
            blocks = [("grid", self.file.grid), *blocks]
        several = any(_PIPELINE in block for _, block in blocks)
        for where, block in blocks:
            for settings in self._combinations(where, block):
                if several:
                    settings.setdefault(_PIPELINE, base.get(_PIPELINE))
                folds = self.resolver.folds({**base, **settings})
                yield from [settings] if folds is None else [{**settings, FOLD: k} for k in range(folds)]

    def _combinations(self, where: str, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the product of a block's lists."""
        lists = {key: value if isinstance(value, list) else [value] for key, value in block.items()}
        for key, values in lists.items():
            if not values:
                raise UserError(
                    f"{self.path}: {where}.{key}", "an empty list", "at least one value", "Add one."
                )
        for combination in product(*lists.values()):
            yield dict(zip(lists, combination, strict=True))

    def _declared(self, base: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the factors of all cells that the file declares; those of a search have no seed."""
        cells = [_factors(base, settings) for settings in self._settings(base)]
        for method in self.file.search.arms if self.file.search else ():
            for settings in self._combinations("grid", self.file.grid):
                cells.append(_factors(base, {**settings, "method": method}) | {"seed": None})
        return cells

    def _search(self, exceptions: Sequence[_Exception], skipped: list[Skip]) -> Search | None:
        """Return the searches: of every arm, on every cell of the grid; adds those that cannot be to ``skipped``."""
        if self.file.search is None:
            return None
        for key in ("method", "seed"):
            if key in self.file.grid:
                instead = "arms" if key == "method" else "seeds"
                raise UserError(
                    f"{self.path}: grid.{key}", "a factor that the search sets", f"search.{instead}", "Move it there."
                )  # fmt: skip
        cells = list(self._combinations("grid", self.file.grid))
        for settings in cells:
            if self.resolver.folds({**self.base, **settings}) is not None:
                raise UserError(
                    f"{self.path}: {FOLD}", "nothing", "one fold: a search of all would choose by what it is tested on",
                    f"Set {FOLD}.",
                )  # fmt: skip
        varying = [key for key in cells[0] if any(cell[key] != cells[0][key] for cell in cells)]
        arms = []
        for method, settings in product(self.file.search.arms, cells):
            merged = {**DEFAULTS, **self.base, **settings, "method": method}
            del merged["seed"]
            factors = _factors(self.base, {**settings, "method": method}) | {"seed": None}
            name = ", ".join([method, *(str(settings[key]) for key in varying)])
            arm = _excepted(exceptions, factors) or expand_arm(
                self.file.search, name, merged, self.resolver, tuple(self.file.grid)
            )
            if isinstance(arm, str):
                skipped.append(Skip(factors, arm))
            else:
                arms.append(arm)
        return Search(self.file.search, tuple(arms))

    def _check_arms(self) -> None:
        """Refuse arms that no cell names: a misspelt one would leave its method as it is by default.

        A cell of the file as it is counts, even where ``base`` has been overridden.
        """
        file = self.file
        cells = [*self._declared(file.base), *self._declared(self.base)]
        searched: list[Any] = []
        if file.search:
            for ranges in (file.search.parameters, *file.search.arms.values()):
                searched += ranges["architecture"].choices if "architecture" in ranges else ()
        for key, arms, more in (
            ("method", file.methods, []),
            ("architecture", file.architectures, searched),
        ):
            named = [name for name in [*(cell[key] for cell in cells), *more] if isinstance(name, str)]
            for arm in arms:
                if arm not in named:
                    near = nearest(arm, {*named} - {*arms})
                    raise UserError(
                        f"{self.path}: {key}s.{arm}", "an arm that no trial has", f"{'an' if key == 'architecture' else 'a'} {key} of the grid",
                        f"Did you mean {near!r}?" if near else f"Name it as {key}, or remove it.",
                    )  # fmt: skip

    def _exceptions(self) -> list[_Exception]:
        """Return what is left out, each checked against the cells that the file declares."""
        file = self.file
        cells = self._declared(file.base) if file.except_ else []
        known = {*FACTORS, *chain(file.grid, *file.also, *cells)}
        exceptions = []
        for index, entry in enumerate(file.except_):
            where = f"{self.path}: except[{index}]"
            wanted = {key: entry[key] for key in entry if key != "reason"}
            if not entry.get("reason") or not wanted:
                raise UserError(where, str(entry), "factors and a 'reason'", "Say why it is left out.")
            for key, value in wanted.items():
                if key not in known:
                    raise UserError(
                        f"{where}.{key}", "an unknown key", "a key that the study sets", did_you_mean(key, known)
                    )  # fmt: skip
                _check_value(f"{where}.{key}", value, [cell.get(key) for cell in cells])
            exception = _Exception(wanted, str(entry["reason"]))
            if not any(exception.covers(cell) for cell in cells):
                raise UserError(
                    where, str(wanted), "values that one cell has together", "Correct them, or remove the exception."
                )  # fmt: skip
            exceptions.append(exception)
        return exceptions


def _excepted(exceptions: Sequence[_Exception], factors: Mapping[str, Any]) -> str | None:
    """Return the reason of the first exception that a cell falls under."""
    return next((one.reason for one in exceptions if one.covers(factors)), None)


def _factors(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all factors, and of the keys that a declared cell sets."""
    merged = {**DEFAULTS, **base, **settings}
    return {key: merged.get(key) for key in dict.fromkeys((*FACTORS, *settings))}


def _check_value(where: str, value: Any, values: Sequence[Any]) -> None:
    """Refuse a value of an exception that no cell has; a list that is none itself holds alternatives."""
    for one in value if isinstance(value, list) and value not in values else [value]:
        if one not in values:
            known = {str(value) for value in values}
            raise UserError(where, repr(one), "a value that a cell has", did_you_mean(str(one), known))
