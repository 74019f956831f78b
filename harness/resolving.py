"""From the settings of a study file to trials: names looked up, parameters, recipe and split resolved to a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from harness import registry
from harness.data.splits import shipped_split
from harness.errors import UserError, did_you_mean
from harness.parsing import merge, parse
from harness.spec import ArchitectureSpec, DatasetSpec, MethodSpec, Recipe, TrialSpec, plain
from harness.study_file import KEYS, StudyFile
from harness.training.method import Setting
from harness.training.pretraining import pretraining_node

FACTORS = ("method", "architecture", "dataset", "shots", "subset", "seed")
_SPLIT_KEYS = ("seed", "name", "exclude")
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
            _refuse_key(where, key, value)
    for key in ("dataset", "architecture", "method"):
        if not isinstance(settings.get(key), str):
            _refuse_name(where, key, settings)
    dataset_name = settings["dataset"]
    dataset = _load("dataset", dataset_name, f"{where}: dataset")
    recipe = _recipe(dataset, branches["recipe"], where)
    network = _Arm(
        "architecture", settings["architecture"], file.architectures, branches["architecture"], where
    )
    with network.faults_by_key():
        options = network.registered.resolve(network.settings(), network.place)
    architecture = network.registered(options)
    setting = Setting(network.registered_name, architecture, dataset_name, recipe.patch, recipe.precision)
    arm = _Arm("method", settings["method"], file.methods, branches["method"], where)
    pretrains = "pretrain" in arm.registered.stages
    with arm.faults_by_key():
        own = arm.settings()
        pretraining = _pretraining(own.pop("pretrain", {}), f"{arm.place}: pretrain") if pretrains else {}
        within = pretraining.pop("within", False)
        parameters = arm.registered.resolve(own, arm.place, setting)
    method = arm.registered(parameters)
    reason = architecture.supports(recipe.patch) or method.supports(setting)
    if not reason and settings["shots"] == "all" and method.unlabelled_batch(recipe.batch):
        reason = "it learns from training cases without labels, and shots all withholds none"
    if reason:
        return f"{settings['method']} on {settings['architecture']}: {reason}"
    split = _split(dataset, dataset_name, branches["split"], settings["shots"], where)
    spec = parse(
        TrialSpec,
        {
            "dataset": split,
            "architecture": ArchitectureSpec(
                name=network.registered_name, version=network.registered.version, options=plain(options)
            ),
            "method": MethodSpec(
                name=arm.registered_name, version=arm.registered.version, parameters=plain(parameters)
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
    place = f"{arm.place}: pretrain"
    with arm.faults_by_key():
        node = pretraining_node(spec, pretraining, arm.registered, place)
        _check_warmup(node.recipe, pretraining, place)
        own_recipe = _rest(recipe, node.recipe, place) if within else recipe
    spec = spec.model_copy(update={"pretraining": node.id, "recipe": own_recipe})
    return Resolved(spec, node, recipe.steps)


def _refuse_key(where: str, key: str, value: Any) -> NoReturn:
    """Refuse a key that is neither a factor nor a path below a branch, with the nearest that is."""
    head, _, rest = key.partition(".")
    if rest and head in FACTORS:
        raise UserError(f"{where}: {head}", "a mapping", "one value", f"Write {head}: VALUE.")
    if key in _BRANCHES:
        example = {"recipe": "recipe.steps: [10, 20]"}.get(key, "split.seed: [0, 1]")
        raise UserError(
            f"{where}: {key}", repr(value), f"a path below {key}", f"Write for example {example}."
        )
    paths = [f"recipe.{field}" for field in ("pipeline", *Recipe.model_fields)]
    paths += [f"split.{field}" for field in _SPLIT_KEYS]
    raise UserError(
        f"{where}: {key}", "an unknown key", "a factor or a path below " + ", ".join(_BRANCHES),
        f"Move {head!r} to the top of the file." if head in KEYS else did_you_mean(key, [*FACTORS, *paths]),
    )  # fmt: skip


def _refuse_name(where: str, key: str, settings: Mapping[str, Any]) -> NoReturn:
    """Refuse what stands in place of the name of a dataset, an architecture or a method."""
    value, below = settings.get(key), any(one.startswith(f"{key}.") for one in settings)
    found = "a mapping" if below else "nothing" if value is None else repr(value)
    remedy = f"Set {key}: NAME in base or grid."
    if below or isinstance(value, Mapping):
        remedy = f"Declare settings as '{key}s: {{mine: {{name: NAME, …}}}}', and write '{key}: mine'."
    raise UserError(f"{where}: {key}", found, f"the name of one {key}", remedy)


def _load(kind: registry.Kind, name: str, where: str) -> type[Any]:
    """Return what is registered as ``name``; where there is none, say which key of the study asks for it."""
    try:
        return registry.load(kind, name)
    except UserError as error:
        found = f"{error.where}, {error.found}"
        raise UserError(where, found, error.expected, error.remedy) from error.__cause__


def _pretraining(settings: Any, where: str) -> dict[str, Any]:
    if not isinstance(settings, Mapping):
        raise UserError(
            where,
            repr(settings),
            "a mapping of keys of a recipe",
            "Write for example pretrain: {steps: 300}.",
        )
    within = settings.get("within", False)
    if not isinstance(within, bool):
        raise UserError(f"{where}.within", repr(within), "true or false", "Correct this value.")
    return dict(settings)


class _Arm:
    """A method or an architecture as a cell of a study has it.

    Attributes:
        registered_name, registered: what the study's name for it stands for.
        place: for messages.

    Raises:
        UserError: nothing is registered under that name.
    """

    def __init__(
        self,
        kind: Literal["method", "architecture"],
        name: str,
        arms: Mapping[str, Mapping[str, Any]],
        dotted: Mapping[str, Any],
        where: str,
    ) -> None:
        """``arms`` are those that the study declares; ``dotted`` is what it sets by keys that begin with ``kind``."""
        self._declared = dict(arms.get(name, {}))
        self._key = f"{where}: {kind}s.{name}" if name in arms else None
        self._dotted = dotted
        self.place = f"{where}: {kind} {name}"
        place = f"{self._key}.name" if "name" in self._declared else f"{where}: {kind}"
        self.registered_name = self._declared.pop("name", name)
        if not isinstance(self.registered_name, str):
            raise UserError(place, repr(self.registered_name), "a registered name", "Correct this value.")
        self.registered = _load(kind, self.registered_name, place)

    def settings(self) -> dict[str, Any]:
        """Return all that the study sets of it.

        Raises:
            UserError: the preset is no name.
        """
        settings = merge(self._declared, self._dotted)
        preset = settings.get("preset")
        if preset is not None and not isinstance(preset, str):
            raise UserError(
                f"{self.place}: preset", repr(preset), "the name of one preset", "Correct this value."
            )
        return settings

    @contextmanager
    def faults_by_key(self) -> Iterator[None]:
        """Tell faults at ``place`` by the key of the study's file, where it is in the block of arms that they stand."""
        try:
            yield
        except UserError as error:
            below = error.where.removeprefix(self.place).removeprefix(": ").replace(": ", ".")
            if self._key is None or _sets(self._dotted, below):
                raise
            key = f"{self._key}.{below}" if below else self._key
            raise UserError(key, error.found, error.expected, error.remedy) from error.__cause__


def _sets(settings: Any, path: str) -> bool:
    """Return whether nested settings hold what a dotted path leads to, or the value that it leads into."""
    if not isinstance(settings, Mapping):
        return True
    head, _, rest = path.partition(".")
    return head in settings and (not rest or _sets(settings[head], rest))


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
    if pipeline is not None and pipeline not in [*dataset.pipelines]:
        raise UserError(
            f"{where}: recipe.pipeline", repr(pipeline), "a pipeline of the dataset",
            did_you_mean(str(pipeline), dataset.pipelines),
        )  # fmt: skip
    default = dataset.pipelines[pipeline] if pipeline else dataset.recipe
    recipe = parse(Recipe, merge(default, own), where, below="recipe")
    _check_warmup(recipe, own, f"{where}: recipe")
    return recipe


def _check_warmup(recipe: Recipe, own: Mapping[str, Any], where: str) -> None:
    """Refuse a warm-up of a study's own that never ends; a pipeline's may be cut short by a trial run."""
    if "warmup_steps" in own and recipe.warmup_steps > recipe.steps:
        raise UserError(
            f"{where}.warmup_steps", str(recipe.warmup_steps), f"no more than the {recipe.steps} steps",
            "Lower it, or train longer.",
        )  # fmt: skip


def _split(
    dataset: type[Any], dataset_name: str, own: Mapping[str, Any], shots: Any, path: str
) -> DatasetSpec:
    """Return the dataset with how its cases are divided."""
    where = f"{path}: split"
    for key in own:
        if key not in _SPLIT_KEYS:
            raise UserError(
                f"{where}.{key}", "an unknown key", "seed, name or exclude", did_you_mean(key, _SPLIT_KEYS)
            )
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
            f"{path}: shots", repr(shots), "a number, 'all' or a published subset",
            did_you_mean(shots, [*known, "all"]),
        )  # fmt: skip
    fields = {f"split_{key}": value for key, value in own.items() if key != "name"}
    fields |= {"name": dataset_name, "version": dataset.version}
    fields |= {} if name == GENERATED else {"split_name": name}
    try:
        return parse(DatasetSpec, fields, path)
    except UserError as error:  # of split_seed, where the study has split.seed
        key = error.where.removeprefix(f"{path}: split_")
        raise UserError(f"{where}.{key}", error.found, error.expected, error.remedy) from None


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


def _nest(path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {head: _nest(rest, value) if rest else value}
