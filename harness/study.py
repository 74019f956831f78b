"""Studies: a YAML file that declares a set of trials, expanded to an ordered, de-duplicated list of cells.

The keys of the file are explained in :mod:`harness.study_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from pathlib import Path
from shlex import join
from typing import Any

from harness import registry
from harness.errors import UserError, did_you_mean, nearest
from harness.report_axes import check_axes, check_baseline, check_regions, check_rows, check_tables, row_keys
from harness.resolving import (
    DEFAULTS,
    FACTORS,
    PER_SEED,
    Cell,
    node_cell,
    resolve_with_node,
    setting_of,
)
from harness.search import Search, Trials, expand_arm
from harness.spec import TrialSpec
from harness.study_file import KEYS, ReportSpec, StudyFile, find_study, flatten, load_yaml, read_study

_Exception = tuple[dict[str, Any], str]  # factor values, and the reason why such cells are left out


@dataclass(frozen=True)
class Skip:
    """A declared cell that is not run, and why."""

    factors: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Study:
    """An expanded study.

    ``cells`` are what it compares; ``nodes`` are the pretrainings that cells start from, each once; ``commands`` run it, overrides
    included. Where it searches, ``cells`` are the trials that confirm, as far as they are known.
    """

    name: str
    question: str
    cells: tuple[Cell, ...]
    skipped: tuple[Skip, ...]
    report: ReportSpec
    keep: str
    factors: tuple[str, ...]
    nodes: tuple[Cell, ...] = ()
    commands: tuple[str, ...] = ()
    search: Search | None = None

    def joined_by(self, trials: Sequence[Trials]) -> Study:
        """Return the study with more cells and the pretrainings that they start from, none of them twice."""
        cells, nodes = list(self.cells), list(self.nodes)
        for one in trials:
            cells += one.cells
            nodes += one.nodes
        return replace(
            self,
            cells=tuple(_complete(cell, self.factors) for cell in _distinct(cells)),
            nodes=tuple(_distinct(nodes)),
        )

    def with_nodes(self, cells: Sequence[Cell]) -> tuple[Cell, ...]:
        """Return ``cells`` and before them the pretrainings that they start from."""
        needed = {cell.spec.pretraining for cell in cells} | {cell.spec.id for cell in cells}
        trials = [cell for cell in cells if cell.spec.kind == "train"]
        return (*(node for node in self.nodes if node.spec.id in needed), *trials)

    def varying(self) -> tuple[str, ...]:
        """Return the factors that take more than one value, in the order of declaration."""
        values = {key: {repr(cell.factors.get(key)) for cell in self.cells} for key in self.factors}
        return tuple(key for key in self.factors if len(values[key]) > 1)


def load_study(name: str, overrides: Sequence[str] = ()) -> Study:
    """Return an expanded study.

    Args:
        name: a shipped study, or a path.
        overrides: ``PATH=VALUE`` settings that replace those of ``base``; values are YAML.

    Raises:
        UserError: anything in the file or the overrides that cannot be.
    """
    path = find_study(name)
    file = read_study(path)
    own = [_override(file, text) for text in overrides]
    arguments = (name, *(part for override in overrides for part in ("--set", override)))
    try:
        study = _expand(path, file, _merged(file.base, own))
    except UserError as error:
        raise _blamed(error, path, file, own) from error.__cause__
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
    error: UserError, path: Path, file: StudyFile, overrides: Sequence[Mapping[str, Any]]
) -> UserError:
    """Return the error; as that of an override, where the study is fine without it."""
    for index, override in enumerate(overrides):
        try:
            _expand(path, file, _merged(file.base, [*overrides[:index], *overrides[index + 1 :]]))
        except UserError:
            continue
        key, place = next(iter(override)), error.where.removeprefix(f"{path}: ")
        where = f"--set {key}" if place == key else f"--set {key}: {place}"
        return UserError(where, error.found, error.expected, error.remedy)
    return error


def _distinct(cells: Iterable[Cell]) -> list[Cell]:
    """Return the first of the cells of each trial.

    Raises:
        UserError: one draw of few cases is asked for by its number and as that of a seed: it would be missing in one arm.
    """
    found: dict[str, Cell] = {}
    for cell in cells:
        first = found.setdefault(cell.spec.id, cell)
        if first.factors["subset"] != cell.factors["subset"]:
            raise UserError(
                "subset", f"{PER_SEED} beside {cell.spec.subset}, which is the draw of seed {cell.spec.seed}",
                f"numbers, or {PER_SEED} alone", "Ask the two questions in two studies.",
            )  # fmt: skip
    return list(found.values())


def _expand(path: Path, file: StudyFile, base: Mapping[str, Any]) -> Study:
    declared: list[Trials] = []
    skipped: list[Skip] = []
    factors_seen: dict[str, None] = dict.fromkeys(FACTORS)
    exceptions = _exceptions(path, file)
    _check_arms(path, file, base)
    for settings in _settings(path, file):
        factors_seen |= dict.fromkeys(settings)
        factors = _factors(base, settings)
        reason = _excepted(exceptions, factors)
        outcome = reason or resolve_with_node(path, file, {**DEFAULTS, **base, **settings})
        if isinstance(outcome, str):
            skipped.append(Skip(factors, outcome))
            continue
        cell = Cell(outcome.spec, factors, outcome.steps)
        declared.append(Trials((cell,), (node_cell(outcome.node, factors),) if outcome.node else ()))
    search = _search(path, file, base, exceptions, skipped) if file.search else None
    if search:
        declared += search.confirming_defaults()
        factors_seen |= dict.fromkeys(search.factors())
    if not declared and not skipped:
        raise UserError(path, "no trial", "a grid or an 'also' that declares at least one", "Add one.")
    study = Study(
        name=path.stem,
        question=file.question,
        cells=(),
        skipped=tuple(skipped),
        report=file.report,
        keep=file.keep,
        factors=tuple(factors_seen),
        search=search,
    )
    study = study.joined_by(declared)
    _check_report(str(path), study)
    return study


def _check_report(where: str, study: Study) -> None:
    """Refuse a report that cannot be made, or that would show nothing."""
    report, varying = study.report, study.varying()
    check_rows(where, report, study.factors)
    datasets = {cell.spec.dataset.name for cell in study.cells}
    check_tables(where, report, datasets)
    if not study.cells:
        return
    check_baseline(where, report, [cell.factors for cell in study.cells], row_keys(report, varying))
    classes = [registry.load("dataset", name) for name in datasets]
    if all(one.folder_layout is None for one in classes):  # a folder says itself which regions it has
        check_regions(where, report, [region for one in classes for region in one().scored_regions()])
    for table in report.tables:
        check_axes(where, table, row_keys(report, varying), study.factors if study.search else ())


def _search(
    path: Path,
    file: StudyFile,
    base: Mapping[str, Any],
    exceptions: Sequence[_Exception],
    skipped: list[Skip],
) -> Search:
    """Return the searches of a study: of every arm, on every cell of the grid; adds those that cannot be to ``skipped``."""
    assert file.search is not None
    for key in ("method", "seed"):
        if key in file.grid:
            instead = "arms" if key == "method" else "seeds"
            raise UserError(
                f"{path}: grid.{key}", "a factor that the search sets", f"search.{instead}", "Move it there."
            )
    cells = list(_combinations(path, "grid", file.grid))
    varying = [key for key in cells[0] if any(cell[key] != cells[0][key] for cell in cells)]
    arms = []
    for method in file.search.arms:
        for settings in cells:
            merged = {**DEFAULTS, **base, **settings, "method": method}
            del merged["seed"]
            factors = _factors(base, {**settings, "method": method}) | {"seed": None}
            name = ", ".join([method, *(str(settings[key]) for key in varying)])
            arm = _excepted(exceptions, factors) or expand_arm(path, file, name, merged)
            if isinstance(arm, str):
                skipped.append(Skip(factors, arm))
            else:
                arms.append(arm)
    return Search(file.search, tuple(arms))


def _complete(cell: Cell, keys: Sequence[str]) -> Cell:
    """Return the cell with the resolved value of every key that some cell of the study sets."""
    missing = {key: setting_of(cell.spec, key) for key in keys if key not in cell.factors}
    if "recipe.steps" in missing:
        missing["recipe.steps"] = cell.steps
    return replace(cell, factors={**cell.factors, **missing}) if missing else cell


def _settings(path: Path, file: StudyFile) -> Iterator[dict[str, Any]]:
    """Yield the factor values of each declared cell, grid first; a search makes its own of the grid."""
    if not file.search and (file.grid or not file.also):
        yield from _combinations(path, "grid", file.grid)
    for index, entry in enumerate(file.also):
        yield from _combinations(path, f"also[{index}]", entry)


def _factors(base: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all factors, and of the keys that a declared cell sets."""
    merged = {**DEFAULTS, **base, **settings}
    return {key: merged.get(key) for key in dict.fromkeys((*FACTORS, *settings))}


def _declared(path: Path, file: StudyFile, base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the factors of all cells that the file declares; those of a search have no seed."""
    cells = [_factors(base, settings) for settings in _settings(path, file)]
    for method in file.search.arms if file.search else ():
        for settings in _combinations(path, "grid", file.grid):
            cells.append(_factors(base, {**settings, "method": method}) | {"seed": None})
    return cells


def _combinations(path: Path, where: str, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the product of a block's lists."""
    lists = {key: value if isinstance(value, list) else [value] for key, value in block.items()}
    for key, values in lists.items():
        if not values:
            raise UserError(f"{path}: {where}.{key}", "an empty list", "at least one value", "Add one.")
    for combination in product(*lists.values()):
        yield dict(zip(lists, combination, strict=True))


def _check_arms(path: Path, file: StudyFile, base: Mapping[str, Any]) -> None:
    """Refuse arms that no cell names: a misspelt one would leave its method as it is by default.

    A cell of the file as it is counts, even where ``base`` has been overridden.
    """
    cells = [*_declared(path, file, file.base), *_declared(path, file, base)]
    searched: list[Any] = []
    if file.search:
        for ranges in (file.search.parameters, *file.search.arms.values()):
            searched += ranges["architecture"].choices if "architecture" in ranges else ()
    for key, arms, more in (("method", file.methods, []), ("architecture", file.architectures, searched)):
        named = [name for name in [*(cell[key] for cell in cells), *more] if isinstance(name, str)]
        for arm in arms:
            if arm not in named:
                near = nearest(arm, {*named} - {*arms})
                raise UserError(
                    f"{path}: {key}s.{arm}", "an arm that no trial has", f"a name that is a {key} in the grid",
                    f"Did you mean {near!r}?" if near else f"Name it as {key}, or remove it.",
                )  # fmt: skip


def _exceptions(path: Path, file: StudyFile) -> list[_Exception]:
    """Return the factor values and the reason of each exception."""
    known = {*FACTORS, *(key for block in (file.grid, *file.also) for key in block)}
    cells = _declared(path, file, file.base) if file.except_ else []
    exceptions = []
    for index, entry in enumerate(file.except_):
        where, wanted = f"{path}: except[{index}]", {key: entry[key] for key in entry if key != "reason"}
        if not entry.get("reason") or not wanted:
            raise UserError(where, str(entry), "factors and a 'reason'", "Say why it is left out.")
        for key, value in wanted.items():
            if key not in known:
                raise UserError(
                    f"{where}.{key}", "an unknown key", "a key that the study sets", did_you_mean(key, known)
                )
            _check_value(f"{where}.{key}", value, [cell.get(key) for cell in cells])
        exceptions.append((wanted, str(entry["reason"])))
        if not any(_excepted(exceptions[-1:], cell) for cell in cells):
            raise UserError(
                where,
                str(wanted),
                "values that one cell has together",
                "Correct them, or remove the exception.",
            )
    return exceptions


def _check_value(where: str, value: Any, values: Sequence[Any]) -> None:
    """Refuse a value of an exception that no cell has; a list that is none itself holds alternatives."""
    for one in value if isinstance(value, list) and value not in values else [value]:
        if one not in values:
            known = {str(value) for value in values}
            raise UserError(where, repr(one), "a value that a cell has", did_you_mean(str(one), known))


def _excepted(exceptions: Sequence[_Exception], factors: Mapping[str, Any]) -> str | None:
    """Return the reason of the first exception that a cell falls under; a list holds alternatives."""

    def falls_under(key: str, value: Any) -> bool:
        own = factors.get(key)
        return own == value or (isinstance(value, list) and own in value)

    for wanted, reason in exceptions:
        if all(falls_under(key, value) for key, value in wanted.items()):
            return reason
    return None


def resolve(path: Path, file: StudyFile, settings: Mapping[str, Any]) -> TrialSpec | str:
    """Return the trial of flat ``settings``, or the reason why there cannot be one.

    Raises:
        UserError: an unknown name or key, or a wrong value.
    """
    outcome = resolve_with_node(path, file, settings)
    return outcome if isinstance(outcome, str) else outcome.spec
