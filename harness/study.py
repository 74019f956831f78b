"""Studies: a YAML file that declares a set of trials, expanded to an ordered, de-duplicated list of cells.

The keys of the file are explained in :mod:`harness.study_file`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from shlex import join
from typing import Any

import yaml

from harness import registry
from harness.data.splits import shipped_split
from harness.errors import UserError, did_you_mean
from harness.spec import (
    ArchitectureSpec,
    MethodSpec,
    Recipe,
    TrialSpec,
    merge,
    parse,
    plain,
)
from harness.study_file import ReportSpec, StudyFile, find_study, read_study
from harness.training.method import Setting
from harness.training.pretraining import pretraining_node

FACTORS = ("method", "architecture", "dataset", "shots", "subset", "seed")
_BRANCHES = ("recipe", "method", "architecture", "split")
GENERATED = "generated"  # the name of a split that is not shipped
_DEFAULTS: dict[str, Any] = {"shots": "all", "subset": 0, "seed": 0}


@dataclass(frozen=True)
class Cell:
    """One trial of a study, with the values of the study's keys that lead to it.

    ``factors`` always has :data:`FACTORS`; ``method`` and ``architecture`` are the study's names for them
    (arms), ``spec`` has the registered ones.
    """

    spec: TrialSpec
    factors: Mapping[str, Any]


@dataclass(frozen=True)
class Skip:
    """A declared cell that is not run, and why."""

    factors: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Study:
    """An expanded study.

    ``cells`` are what it compares; ``nodes`` are the pretrainings that cells start from, each once; ``commands`` run it, overrides
    included.
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

    def node_of(self, cell: Cell) -> Cell | None:
        """Return the pretraining that a cell starts from, if it does."""
        return next((node for node in self.nodes if node.spec.id == cell.spec.pretraining), None)

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
    base = _flatten(file.base)
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign:
            raise UserError("--set", repr(override), "PATH=VALUE", "Write for example recipe.steps=100.")
        if any(key in _flatten(entry) for entry in (file.grid, *file.also)):
            raise UserError(
                f"--set {key}", "a factor of the study's grid", "a setting that all its trials share",
                f"Choose among its values with --only {key}=VALUE.",
            )  # fmt: skip
        try:
            base[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {key}", repr(text), "a value in YAML", "Correct this value.") from None
    arguments = (name, *(part for override in overrides for part in ("--set", override)))
    return replace(_expand(path, file, base), commands=(f"medctx run {join(arguments)}",))


def _expand(path: Path, file: StudyFile, base: Mapping[str, Any]) -> Study:
    cells: dict[str, Cell] = {}
    nodes: dict[str, Cell] = {}
    skipped: list[Skip] = []
    settings_seen: dict[str, None] = dict.fromkeys(FACTORS)
    exceptions = _exceptions(path, file)
    for settings in _settings(path, file):
        merged = {**_DEFAULTS, **base, **settings}
        settings_seen |= dict.fromkeys(settings)
        factors = {key: merged.get(key) for key in (*FACTORS, *(k for k in settings if k not in FACTORS))}
        reason = _excepted(exceptions, factors)
        outcome = reason or resolve_with_node(path, file, merged)
        if isinstance(outcome, str):
            skipped.append(Skip(factors, outcome))
            continue
        spec, node = outcome
        cells.setdefault(spec.id, Cell(spec, factors))
        if node:
            own = {"shots": node.shots, "subset": node.subset, "seed": node.seed}
            nodes.setdefault(node.id, Cell(node, {key: factors[key] for key in FACTORS} | own))
    if not cells and not skipped:
        raise UserError(path, "no trial", "a grid or an 'also' that declares at least one", "Add one.")
    keys = tuple(settings_seen)
    _check_report(path, file.report, keys, {cell.factors["method"] for cell in cells.values()})
    return Study(
        name=path.stem,
        question=file.question,
        cells=tuple(_complete(cell, keys) for cell in cells.values()),
        skipped=tuple(skipped),
        report=file.report,
        keep=file.keep,
        factors=keys,
        nodes=tuple(nodes.values()),
    )


def _check_report(path: Path, report: ReportSpec, keys: Sequence[str], arms: set[str]) -> None:
    """Refuse rows that no cell sets, and a baseline that is no arm of the study."""
    for key in report.rows:
        if key not in keys:
            raise UserError(
                f"{path}: report.rows", repr(key), "a factor of the study", did_you_mean(key, keys)
            )
    if arms and "baseline" in report.model_fields_set and report.baseline not in arms:
        raise UserError(
            f"{path}: report.baseline", repr(report.baseline), "a method of the study",
            did_you_mean(report.baseline, arms),
        )  # fmt: skip


def _complete(cell: Cell, keys: Sequence[str]) -> Cell:
    """Return the cell with the resolved value of every key that some cell of the study sets."""
    missing = {key: _resolved(cell.spec, key) for key in keys if key not in cell.factors}
    return Cell(cell.spec, {**cell.factors, **missing}) if missing else cell


def _resolved(spec: TrialSpec, key: str) -> Any:
    """Return the value of a dotted key in a spec, or None where its branch has no such key."""
    head, *rest = key.split(".")
    roots = {"recipe": plain(spec.recipe), "method": spec.method.parameters}
    roots |= {
        "architecture": spec.architecture.options,
        "split": {
            "seed": spec.dataset.split_seed,
            "name": spec.dataset.split_name or GENERATED,
            "exclude": list(spec.dataset.split_exclude),
        },
    }
    value: Any = roots.get(head)
    for part in rest:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _settings(path: Path, file: StudyFile) -> Iterator[dict[str, Any]]:
    """Yield the factor values of each declared cell, grid first."""
    blocks: list[tuple[str, dict[str, Any]]] = [(f"also[{i}]", entry) for i, entry in enumerate(file.also)]
    if file.grid or not file.also:
        blocks.insert(0, ("grid", dict(file.grid)))
    for where, block in blocks:
        flat = _flatten(block)
        lists = {key: value if isinstance(value, list) else [value] for key, value in flat.items()}
        for key, values in lists.items():
            if not values:
                raise UserError(f"{path}: {where}.{key}", "an empty list", "at least one value", "Add one.")
        for combination in product(*lists.values()):
            yield dict(zip(lists, combination, strict=True))


def _exceptions(path: Path, file: StudyFile) -> list[tuple[dict[str, Any], str]]:
    """Return the factor values and the reason of each exception."""
    known = {*FACTORS, *(key for block in (file.grid, *file.also) for key in _flatten(block))}
    exceptions = []
    for index, entry in enumerate(file.except_):
        wanted = _flatten({key: value for key, value in entry.items() if key != "reason"})
        if not entry.get("reason") or not wanted:
            raise UserError(
                f"{path}: except[{index}]", str(entry), "factors and a 'reason'", "Say why it is left out."
            )
        for key in wanted:
            if key not in known:
                raise UserError(
                    f"{path}: except[{index}].{key}", "an unknown key", "a key that the study sets",
                    did_you_mean(key, known),
                )  # fmt: skip
        exceptions.append((wanted, str(entry["reason"])))
    return exceptions


def _excepted(exceptions: Sequence[tuple[dict[str, Any], str]], factors: Mapping[str, Any]) -> str | None:
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
    return outcome if isinstance(outcome, str) else outcome[0]


def resolve_with_node(
    path: Path, file: StudyFile, settings: Mapping[str, Any]
) -> tuple[TrialSpec, TrialSpec | None] | str:
    """Return the trial of flat ``settings`` and the pretraining that it starts from, or why there is none.

    Raises:
        UserError: an unknown name or key, or a wrong value.
    """
    where = str(path)
    branches: dict[str, dict[str, Any]] = {name: {} for name in _BRANCHES}
    for key, value in settings.items():
        head, _, rest = key.partition(".")
        if rest and head in _BRANCHES:
            branches[head] = merge(branches[head], _nest(rest, value))
        elif rest or key not in FACTORS:
            raise UserError(
                f"{where}: {key}", "an unknown key", "a factor or a path below " + ", ".join(_BRANCHES),
                did_you_mean(key, [*FACTORS, *(f"recipe.{field}" for field in Recipe.model_fields)]),
            )  # fmt: skip
    for key in ("dataset", "architecture", "method"):
        if not isinstance(settings.get(key), str):
            raise UserError(
                f"{where}: {key}",
                repr(settings.get(key)),
                f"the name of one {key}",
                "Set it in base or grid; settings go under 'methods' or 'architectures'.",
            )
    dataset_name = settings["dataset"]
    dataset = registry.load("dataset", dataset_name)
    recipe = _recipe(dataset, branches["recipe"], f"{where}: recipe")
    arch_name, arch_settings = _arm(file.architectures, settings["architecture"], f"{where}: architectures")
    architecture_class = registry.load("architecture", arch_name)
    options = architecture_class.resolve(
        merge(arch_settings, branches["architecture"]), f"{where}: architecture"
    )
    architecture = architecture_class(options)
    method_name, method_settings = _arm(file.methods, settings["method"], f"{where}: methods")
    method_class = registry.load("method", method_name)
    setting = Setting(arch_name, architecture, dataset_name, recipe.patch, recipe.precision)
    own, place = merge(method_settings, branches["method"]), f"{where}: method {settings['method']}"
    pretrains = "pretrain" in method_class.stages
    pretraining = own.pop("pretrain", {}) if pretrains else {}
    parameters = method_class.resolve(own, place, setting)
    method = method_class(parameters)
    reason = architecture.supports(recipe.patch) or method.supports(setting)
    if not reason and settings["shots"] == "all" and method.unlabelled_batch(recipe.batch):
        reason = "it learns from training cases without labels, and shots all withholds none"
    if reason:
        return f"{settings['method']} on {settings['architecture']}: {reason}"
    split = _split(dataset, branches["split"], settings["shots"], f"{where}: split")
    spec = parse(
        TrialSpec,
        {
            "dataset": {"name": dataset_name, "version": dataset.version} | split,
            "architecture": ArchitectureSpec(
                name=arch_name, version=architecture_class.version, options=plain(options)
            ),
            "method": MethodSpec(
                name=method_name, version=method_class.version, parameters=plain(parameters)
            ),
            "shots": settings["shots"],
            "subset": settings["subset"],
            "seed": settings["seed"],
            "recipe": recipe,
        },
        where,
    )
    if not pretrains:
        return spec, None
    node = pretraining_node(spec, pretraining, method_class, f"{place}: pretrain")
    return spec.model_copy(update={"pretraining": node.id}), node


def _recipe(dataset: type[Any], own: dict[str, Any], where: str) -> Recipe:
    """Return the recipe: that of the dataset or of its named pipeline, with a study's own keys laid on it."""
    own = dict(own)
    pipeline = own.pop("pipeline", None)
    if pipeline is not None and pipeline not in dataset.pipelines:
        raise UserError(
            f"{where}.pipeline", repr(pipeline), "a pipeline of the dataset",
            did_you_mean(str(pipeline), dataset.pipelines),
        )  # fmt: skip
    return parse(Recipe, merge(dataset.pipelines[pipeline] if pipeline else dataset.recipe, own), where)


def _split(dataset: type[Any], own: Mapping[str, Any], shots: Any, where: str) -> dict[str, Any]:
    """Return the fields of a DatasetSpec that say how cases are divided."""
    for key in own:
        if key not in ("seed", "name", "exclude"):
            raise UserError(
                f"{where}.{key}", "an unknown key", "seed, name or exclude",
                did_you_mean(key, ["seed", "name", "exclude"]),
            )  # fmt: skip
    names = [*dataset.splits, GENERATED]
    name = own.get("name", names[0])
    if name not in names:
        raise UserError(f"{where}.name", repr(name), "a split of the dataset", did_you_mean(str(name), names))
    if name != GENERATED and "seed" in own:
        raise UserError(
            f"{where}.seed", repr(own["seed"]), f"none: the split {name!r} is a fixed list",
            f"Remove it, or set split.name to {GENERATED}.",
        )  # fmt: skip
    known = shipped_split(dataset.name(), name).subsets if name != GENERATED else {}
    if isinstance(shots, str) and shots != "all" and shots not in known:
        raise UserError(
            f"{where.removesuffix(': split')}: shots", repr(shots), "a number, 'all' or a published subset",
            did_you_mean(shots, [*known, "all"]),
        )  # fmt: skip
    fields = {f"split_{key}": value for key, value in own.items() if key != "name"}
    return fields | ({} if name == GENERATED else {"split_name": name})


def _arm(declared: Mapping[str, Mapping[str, Any]], key: str, where: str) -> tuple[str, dict[str, Any]]:
    """Return the registered name and the settings behind a study's name."""
    settings = dict(declared.get(key, {}))
    name = settings.pop("name", key)
    if not isinstance(name, str):
        raise UserError(f"{where}.{key}.name", repr(name), "a registered name", "Correct this value.")
    return name, settings


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys for the mappings below recipe, method, architecture and split."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _nest(path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {head: _nest(rest, value) if rest else value}
