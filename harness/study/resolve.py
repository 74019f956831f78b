"""From the settings of a study file to trials: names looked up, parameters, recipe and split resolved to a spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from harness.architectures.contract import Architecture
from harness.data.default_recipe import DefaultRecipes
from harness.errors import UserError, did_you_mean
from harness.parsing import merge, parse
from harness.spec import ArchitectureSpec, MethodSpec, Recipe, TrialSpec, plain
from harness.study.arms import Arms, NamedArm, load_named
from harness.study.cells import FACTORS, PER_SEED
from harness.study.file import KEYS
from harness.study.split import KEYS as SPLIT_KEYS
from harness.study.split import SplitKeys
from harness.study.tolerances import tolerances_of
from harness.study.weights import KEY as WEIGHTS
from harness.study.weights import WeightsFile, WeightsKeys
from harness.training.method import Method, Setting
from harness.training.pretraining import pretraining_node

_BRANCHES = ("recipe", "method", "architecture", "split")


@dataclass(frozen=True)
class Resolved:
    """A trial, the pretraining that it starts from, and the updates that both make, or it alone, as the study declares."""

    spec: TrialSpec
    node: TrialSpec | None
    steps: int


@dataclass(frozen=True)
class Resolver:
    """Turns flat settings into trials.

    Attributes:
        where: the file of the study, for messages.
        methods: the arms that it declares, by name.
        architectures: likewise.
        data_root: folder of the datasets, for the default recipe of one that may be any folder.
        tolerances: of normalised surface Dice, region -> mm.
    """

    where: str
    methods: Arms = field(default_factory=dict)
    architectures: Arms = field(default_factory=dict)
    data_root: Path | None = None
    tolerances: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def _defaults(self) -> DefaultRecipes:
        return DefaultRecipes(self.data_root)

    @cached_property
    def _split(self) -> SplitKeys:
        return SplitKeys(self.where)

    @cached_property
    def _weights(self) -> WeightsKeys:
        return WeightsKeys(self.where, self.data_root)

    @property
    def weights(self) -> Mapping[str, Path]:
        """SHA-256 -> file of the weights that trials so far start from."""
        return self._weights.files

    @property
    def weights_lines(self) -> tuple[str, ...]:
        """What of each file fits, in a line."""
        return tuple(self._weights.lines)

    def _weights_of(
        self, arm: NamedArm, network: NamedArm, other: WeightsFile | None = None
    ) -> WeightsFile | None:
        """Return the weights that an arm asks for, or ``other``, those that were asked for already."""
        place = f"{arm.place}: {WEIGHTS}"
        with arm.faults_by_key():
            found = self._weights.of(arm.settings().get(WEIGHTS), place, network.registered)
            if found and other:
                raise UserError(
                    place, "weights, which the architecture has too", "one of them", "Remove one."
                )
        return found or other

    def folds(self, settings: Mapping[str, Any]) -> int | None:
        """Return how many folds flat ``settings`` stand for, each a trial; None where they name one split.

        Raises:
            UserError: a split file that cannot be read.
        """
        prefix = "split."
        own = {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}
        return self._split.folds(own)

    def resolve(self, settings: Mapping[str, Any]) -> Resolved | str:
        """Return the trial of flat ``settings`` and the pretraining that it starts from, or why there is none.

        Raises:
            UserError: an unknown name or key, or a wrong value.
        """
        where, branches = self.where, _branches(self.where, settings)
        dataset_name = settings["dataset"]
        dataset = load_named("dataset", dataset_name, f"{where}: dataset")
        recipe = _recipe(dataset, branches["recipe"], where, self._defaults)
        network = NamedArm(
            "architecture", settings["architecture"], self.architectures, branches["architecture"], where
        )
        weights = self._weights_of(network, network)
        with network.faults_by_key():
            options = network.registered.resolve(_without_weights(network.settings()), network.place)
        architecture = network.registered(options)
        setting = Setting(network.registered_name, architecture, dataset_name, recipe.patch, recipe.precision)
        arm = NamedArm("method", settings["method"], self.methods, branches["method"], where)
        pretrains = "pretrain" in arm.registered.stages
        with arm.faults_by_key():
            own = _without_weights(arm.settings())
            pretraining = _pretraining(own.pop("pretrain", {}), f"{arm.place}: pretrain") if pretrains else {}
            parameters = arm.registered.resolve(own, arm.place, setting)
        weights = self._weights_of(arm, network, weights)
        method = arm.registered(parameters)
        reason = architecture.supports(recipe.patch) or method.supports(setting)
        reason = reason or _why_not_compiled(recipe, architecture, method)
        if not reason and settings["shots"] == "all" and method.unlabelled_batch(recipe.batch):
            reason = "it learns from training cases without labels, and shots all withholds none"
        if reason:
            return f"{settings['method']} on {settings['architecture']}: {reason}"
        if weights:
            with (arm if weights.place.startswith(arm.place) else network).faults_by_key():
                self._weights.check(weights, architecture, dataset, recipe.patch)
        fields = {
            "dataset": self._split.spec(dataset, dataset_name, branches["split"], settings["shots"]),
            "architecture": ArchitectureSpec(
                name=network.registered_name, version=architecture.spec_version(), options=plain(options)
            ),
            "method": MethodSpec(
                name=arm.registered_name, version=arm.registered.version, parameters=plain(parameters)
            ),
            "shots": settings["shots"],
            "subset": _subset(settings),
            "seed": settings["seed"],
            "recipe": recipe,
            "weights": weights.spec if weights else None,
            "tolerances": tolerances_of(dataset, self.tolerances, where),
        }
        spec = parse(TrialSpec, fields, where)
        return _with_pretraining(spec, pretraining, arm) if pretrains else Resolved(spec, None, recipe.steps)

    def trial(self, settings: Mapping[str, Any]) -> TrialSpec | str:
        """Return the trial of flat ``settings`` alone, or why there is none; raises as :meth:`resolve`."""
        outcome = self.resolve(settings)
        return outcome if isinstance(outcome, str) else outcome.spec


def _why_not_compiled(recipe: Recipe, architecture: Architecture[Any], method: Method[Any]) -> str | None:
    """Return why ``recipe.compile`` cannot be had, or None."""
    if not recipe.compile or (architecture.compiles and method.compiles()):
        return None
    who = "the method" if architecture.compiles else "the network"
    return f"recipe.compile is true, and {who} does not declare that it can be compiled"


def _without_weights(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != WEIGHTS}


def _branches(where: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what dotted keys set below each branch; refuse unknown keys, and names that are none."""
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
    return branches


def _with_pretraining(spec: TrialSpec, pretraining: Mapping[str, Any], arm: NamedArm) -> Resolved:
    """Return a trial that starts from a pretraining, whose ``steps`` may be a part of the trial's own."""
    own, place, recipe = dict(pretraining), f"{arm.place}: pretrain", spec.recipe
    within = own.pop("within", False)
    with arm.faults_by_key():
        node = pretraining_node(spec, own, arm.registered, place)
        _check_warmup(node.recipe, own, place)
        left = _rest(recipe, node.recipe, place) if within else recipe
    found = {
        "pretraining": node.id,
        "recipe": left,
        "weights": None,
    }  # weights are where the pretraining begins
    return Resolved(spec.model_copy(update=found), node, recipe.steps)


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
    paths += [f"split.{field}" for field in SPLIT_KEYS]
    raise UserError(
        f"{where}: {key}", "an unknown key", "a factor or a path below " + ", ".join(_BRANCHES),
        f"Move {head!r} to the top of the file." if head in KEYS else did_you_mean(key, [*FACTORS, *paths]),
    )  # fmt: skip


def _refuse_name(where: str, key: str, settings: Mapping[str, Any]) -> NoReturn:
    """Refuse what stands in place of the name of a dataset, an architecture or a method."""
    value, below = settings.get(key), any(one.startswith(f"{key}.") for one in settings)
    found = "a mapping" if below else "nothing" if value is None else repr(value)
    remedy = f"Set {key}: NAME in base or grid."
    if isinstance(value, bool):
        found = f"{value}, which is what YAML makes of on, off, yes and no"
        remedy = "Write the name in quotes."
    if below or isinstance(value, Mapping):
        remedy = f"Declare settings as '{key}s: {{mine: {{name: NAME, …}}}}', and write '{key}: mine'."
    raise UserError(f"{where}: {key}", found, f"the name of one {key}", remedy)


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


def _recipe(dataset: type[Any], own: dict[str, Any], where: str, defaults: DefaultRecipes) -> Recipe:
    """Return the recipe: that of the dataset or of its named pipeline, with a study's own keys laid on it."""
    own = dict(own)
    pipeline = own.pop("pipeline", None)
    if pipeline is not None and pipeline not in [*dataset.pipelines]:
        raise UserError(
            f"{where}: recipe.pipeline", repr(pipeline), "a pipeline of the dataset",
            did_you_mean(str(pipeline), dataset.pipelines),
        )  # fmt: skip
    default = dataset.pipelines[pipeline] if pipeline else defaults.of(dataset, own)
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


def _nest(path: str, value: Any) -> dict[str, Any]:
    head, _, rest = path.partition(".")
    return {head: _nest(rest, value) if rest else value}
