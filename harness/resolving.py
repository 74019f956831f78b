"""From the settings of a study file to trials: names looked up, parameters, recipe and split resolved to a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from harness.study_file import StudyFile
from harness.training.method import Setting
from harness.training.pretraining import pretraining_node

FACTORS = ("method", "architecture", "dataset", "shots", "subset", "seed")
_BRANCHES = ("recipe", "method", "architecture", "split")
GENERATED = "generated"  # the name of a split that is not shipped
DEFAULTS: dict[str, Any] = {"shots": "all", "subset": 0, "seed": 0}
PER_SEED = "per_seed"  # a value of the factor subset: each seed draws its own few cases


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


@dataclass(frozen=True)
class Resolved:
    """A trial, the pretraining that it starts from, and the updates that both make, or it alone, as the study declares."""

    spec: TrialSpec
    node: TrialSpec | None
    steps: int


def node_cell(node: TrialSpec, factors: Mapping[str, Any]) -> Cell:
    """Return the cell of a pretraining that a trial with ``factors`` starts from."""
    own = {"shots": node.shots, "subset": node.subset, "seed": node.seed}
    return Cell(node, {key: factors[key] for key in FACTORS} | own, node.recipe.steps)


def resolve_with_node(path: Path, file: StudyFile, settings: Mapping[str, Any]) -> Resolved | str:
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
    pretraining = dict(own.pop("pretrain", {})) if pretrains else {}
    within = pretraining.pop("within", False)
    if not isinstance(within, bool):
        raise UserError(f"{place}: pretrain.within", repr(within), "true or false", "Correct this value.")
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
            "subset": _subset(settings),
            "seed": settings["seed"],
            "recipe": recipe,
        },
        where,
    )
    if not pretrains:
        return Resolved(spec, None, recipe.steps)
    node = pretraining_node(spec, pretraining, method_class, f"{place}: pretrain")
    own_recipe = _rest(recipe, node.recipe, f"{place}: pretrain") if within else recipe
    spec = spec.model_copy(update={"pretraining": node.id, "recipe": own_recipe})
    return Resolved(spec, node, recipe.steps)


def _subset(settings: Mapping[str, Any]) -> Any:
    """Return the draw of the few cases; all cases and published subsets are the same for each."""
    if settings["subset"] != PER_SEED:
        return settings["subset"]
    return settings["seed"] if isinstance(settings["shots"], int) else 0


def _rest(recipe: Recipe, pretraining: Recipe, where: str) -> Recipe:
    """Return the recipe with the steps that a pretraining ``within`` it leaves, so that both are as many as without it."""
    left = recipe.steps - pretraining.steps
    if left < 1:
        raise UserError(
            f"{where}.steps", f"{pretraining.steps} within the {recipe.steps} of the recipe",
            "fewer, so that some are left for training", "Lower it, or leave 'within' out.",
        )  # fmt: skip
    return parse(Recipe, {**plain(recipe), "steps": left}, where)


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


def setting_of(spec: TrialSpec, key: str) -> Any:
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


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys for the mappings below recipe, method, architecture and split."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _nest(path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {head: _nest(rest, value) if rest else value}
