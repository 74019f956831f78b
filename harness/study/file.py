"""Study files: the keys of the YAML, where the shipped ones lie, and reading them.

::

    question: Does MedContext beat supervised training when few cases are labelled?
    methods:                       # optional: named arms; a key without 'name' is the method's own name
      released: {name: medcontext, preset: as_released}
      masked_volume: {pretrain: {steps: 300, seed: shared}}  # keys of a recipe; seed: paired | shared
    architectures:                 # optional, likewise
      unet: {preset: tiny}
      ours: {name: unet, weights: {file: ours.pt}}  # networks start from a file: docs/studies.md
    base:                          # settings of every trial
      dataset: hippocampus
      recipe: {steps: 300}
    grid:                          # the product of these
      architecture: [unet, unetr]
      method: [supervised, released]
      shots: [5, all]
      seed: [0, 1]
    also:                          # more cells; lists in one entry are multiplied
      - {method: released, method.masking.ratio: [0.2, 0.8], architecture: unet, shots: 5, seed: 0}
    except:                        # cells that are left out, with the reason; lists in one entry are alternatives
      - {architecture: unetr, shots: 5, reason: does not train on 5 cases}
    search: {…}                    # see SearchSpec
    report: {…}                    # see ReportSpec
    labels: {…}                    # see Labels
    tolerances: {anterior: 1.0}    # of normalised surface Dice, in mm by region: nsd@region; part of a trial's id
    keep: all                      # of a finished trial: all | none (no predictions) | scores (no weights either)

A key is a factor (dataset, architecture, method, shots, subset, seed) or a dotted path below ``recipe``,
``method`` (its parameters), ``architecture`` (its options) or ``split`` (name, seed, exclude). ``subset`` is the draw of
the few cases: a number, or ``per_seed`` for another with each seed. ``recipe.pipeline`` names one of the dataset's recipes. Where a study searches, each cell of its grid gets a search of every arm, and ``also``
declares trials beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, NonNegativeInt, field_validator, model_validator
from pydantic_core import PydanticKnownError

from harness.errors import UserError, did_you_mean
from harness.parsing import WrongKey, parse
from harness.ranges import Range
from harness.spec import Frozen
from harness.study.contrasts import ContrastSpec

REGION_NSD = "nsd@region"
"""Normalised surface Dice at a tolerance of each region, which study or dataset declares; recorded where one does."""
FALSE_POSITIVES = "false_positives"
"""Whether a region that a case does not have is predicted all the same; a report makes it from what is recorded of Dice."""
RECORDED = ("dice", "hd95", "assd", "nsd@1", "nsd@2")
"""What every trial records of each case and region."""
METRICS = (*RECORDED, REGION_NSD, FALSE_POSITIVES)
"""What a report can show; other metrics are for ``medctx evaluate``."""


def _recorded(name: str) -> str:
    if name not in METRICS:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, METRICS))})
    return name


Metric = Annotated[str, AfterValidator(_recorded)]
MARGIN = 0.5
"""The margin of a metric without one of its own: points of Dice and NSD, mm of distances."""
Role = Literal["student", "teacher"]
Part = Literal["regions", "mean", "gain", "interval", "seeds", "folds", "cases", "misses"]
Cost = Literal[
    "parameters",
    "multiply_accumulates",
    "seconds_per_step",
    "peak_memory",
    "forward_passes_per_step",
    "seconds",
    "device_hours",
]
"""Columns of cost that a table can have: means over an arm's complete trials, of memory the largest."""


class TableSpec(Frozen):
    """A table that a study wants beside those of its metrics.

    ``rows`` and ``columns`` name factors, or ``metric``, ``region`` and ``role``. Of metrics, regions and roles the
    named ones are shown (region ``mean``: of all regions); every factor that varies has to be in rows or columns, but for
    the seed. ``gain`` adds the difference to the baseline beside each score, ``costs`` columns of :data:`Cost`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    title: str = ""
    rows: tuple[str, ...] = Field(min_length=1)
    columns: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = Field(("dice",), min_length=1)
    regions: tuple[str, ...] = Field(("mean",), min_length=1)
    roles: tuple[Role, ...] = Field(("student",), min_length=1)
    gain: bool = False
    costs: tuple[Cost, ...] = ()


class ReportSpec(Frozen):
    """What the report shows.

    ``rows`` are the factors that tell the rows of a table apart, in order; by default those that vary, without
    the seed. ``spread`` is printed beside means: ``sd`` over seeds, or the 95 % ``interval`` for new seeds and cases.
    ``tables`` are more tables than one per metric. ``columns`` are what the tables of metrics have beside the factors; none named: all. ``margin`` is the smallest difference of a metric that matters, in points or
    mm; ``contrasts`` are what is asked of the arms, see :class:`ContrastSpec`.
    """

    baseline: str = Field("supervised", description="the arm that gains are measured against")
    rows: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ("dice", "hd95")
    spread: Literal["sd", "interval"] = "sd"
    tables: tuple[TableSpec, ...] = ()
    columns: tuple[Part, ...] = ()
    margin: dict[Metric, Annotated[float, Field(gt=0)]] = {}
    contrasts: tuple[ContrastSpec, ...] = ()

    def margin_of(self, metric: str) -> float:
        """Return the largest difference of a metric that counts as none, in the unit that is printed: points or mm."""
        return self.margin.get(metric, MARGIN)


class Labels(Frozen):
    """Names for print, in place of those that harness and study use.

    ``arms`` names methods, architectures and datasets, as the study calls them, ``factors`` their keys, ``values`` the
    values of a factor, ``regions`` the regions of a dataset.
    """

    arms: dict[str, str] = {}
    factors: dict[str, str] = {}
    values: dict[str, dict[str | float, str]] = {}
    regions: dict[str, str] = {}


class PruneSpec(Frozen):
    """Stop whole suggestions early.

    All seeds of a suggestion train to one rung: the last validation up to ``at``, a step from 1, or a share of the
    steps below 1. Its mean validation Dice there must be among the best share ``keep`` of what all suggestions
    up to its batch had at their rung. The first ``warmup`` suggestions are not pruned.
    """

    at: float = Field(gt=0)
    keep: float = Field(0.5, gt=0, lt=1)
    warmup: int = Field(4, ge=0)


class ConfirmSpec(Frozen):
    """Trials with fresh ``seeds`` of the ``best`` suggestions of each arm, and of its parameters as declared."""

    best: int = Field(1, ge=1)
    seeds: tuple[NonNegativeInt, ...] = Field(min_length=1)


class SearchSpec(Frozen):
    """A search for the parameters of arms, each with the same number of suggestions.

    The objective is the student's validation Dice at the selected step, mean over ``seeds``. ``arms`` name methods as in
    the grid; each has its own parameters, beside those of all arms. Suggestions come in batches of ``batch``, whose members do
    not know each other's outcome; the first ``startup`` are random where the sampler is ``tpe``.
    """

    arms: dict[str, dict[str, Range]] = Field(min_length=1)
    parameters: dict[str, Range] = {}
    suggestions: int = Field(ge=1)
    batch: int = Field(4, ge=1)
    seeds: tuple[NonNegativeInt, ...] = Field((0,), min_length=1)
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    sampler_seed: int = Field(0, ge=0)
    startup: int = Field(10, ge=0)
    prune: PruneSpec | None = None
    confirm: ConfirmSpec

    @model_validator(mode="after")
    def _is_fair(self) -> SearchSpec:
        shared = sorted({*self.seeds} & {*self.confirm.seeds})
        if shared:
            expected = f"seeds that no suggestion was chosen by: {shared[0]} is among seeds"
            raise WrongKey("confirm.seeds", str([*self.confirm.seeds]), expected)
        for key, seeds in (("seeds", self.seeds), ("confirm.seeds", self.confirm.seeds)):
            if len({*seeds}) < len(seeds):
                raise WrongKey(key, str([*seeds]), "seeds that are all different")
        return self


class StudyFile(Frozen):
    """The keys of a study file; those below the blocks of settings become dotted ones."""

    question: str
    methods: dict[str, dict[str, Any]] = {}
    architectures: dict[str, dict[str, Any]] = {}
    base: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    also: list[dict[str, Any]] = []
    except_: list[dict[str, Any]] = Field([], alias="except")
    search: SearchSpec | None = None
    report: ReportSpec = ReportSpec()
    labels: Labels = Labels()
    tolerances: dict[str, Annotated[float, Field(gt=0)]] = {}
    keep: Literal["all", "none", "scores"] = "all"

    @field_validator("base")
    @classmethod
    def _flat(cls, block: dict[str, Any]) -> dict[str, Any]:
        return flatten(block)

    @field_validator("also", "except_")
    @classmethod
    def _all_flat(cls, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [flatten(block) for block in blocks]


KEYS = frozenset(field.alias or name for name, field in StudyFile.model_fields.items())
"""The keys at the top of a study file."""


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys for the mappings below recipe, method, architecture and split.

    Raises:
        WrongKey: one key is set both as a dotted one and in a mapping.
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        path = f"{prefix}{key}"
        below = flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
        for twice in below.keys() & flat.keys():
            raise WrongKey(twice, f"{flat[twice]!r} and {below[twice]!r}", "one value")
        flat |= below
    return flat


def studies_folder() -> Path:
    """Return the folder of the shipped studies, in a checkout or in an installed wheel."""
    package = Path(__file__).parents[1]
    shipped = package / "studies"
    return shipped if shipped.is_dir() else package.parent / "studies"


def study_names() -> list[str]:
    """Return the names of the shipped studies."""
    return _names(studies_folder())


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_study(name: str) -> Path:
    """Return the file of a study given by name or path; a path is looked at by whoever reads it.

    Raises:
        UserError: there is no shipped study of that name.
    """
    return find_file("study", name, studies_folder())


def find_file(kind: str, name: str, folder: Path) -> Path:
    """Return the YAML file that a path names, or the one of that name which is shipped in ``folder``.

    Raises:
        UserError: there is none of that name.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    if name not in (names := _names(folder)):
        raise UserError(
            f"{kind} {name!r}", "an unknown name", f"a shipped {kind} or the path of a .yaml file",
            did_you_mean(name, names),
        )  # fmt: skip
    return folder / f"{name}.yaml"


def read_study(path: Path) -> StudyFile:
    """Return a study file, validated.

    Raises:
        UserError: broken YAML, unknown key or wrong value.
    """
    return parse(StudyFile, read_yaml(path, "a study with the key 'question'"), path)


def read_yaml(path: Path, expected: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        UserError: it cannot be read, is no mapping, or has a key twice.
    """
    try:
        data = load_yaml(path.read_text())
    except OSError as error:
        found = f"a file that cannot be read ({error.strerror})"
        raise UserError(path, found, expected, "Correct the path, or make the file readable.") from error
    except ValueError as error:
        found = f"YAML that cannot be read ({error})".replace("\n", " ")
        raise UserError(path, found, expected, "Correct it.") from error
    if not isinstance(data, dict):
        raise UserError(path, type(data).__name__, f"a mapping: {expected}", "Correct it.")
    return data


def load_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        ValueError: it is broken, or has a key twice, a key that is a list, or an alias of what it stands in.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("an alias stands in what it stands for, or it is nested too deep") from error


class _Loader(yaml.SafeLoader):
    """Safe, and refuses a key that stands twice: plain YAML would forget the first."""

    def construct_document(self, node: yaml.Node) -> Any:
        # at once, so that a part that holds itself is found here and not by whoever walks through it
        self.deep_construct = True
        return super().construct_document(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)
        digits = node.value.lstrip("+-")
        if ":" in digits or (digits.isdigit() and digits.startswith("0") and len(digits) > 1):
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value}, which YAML reads as {value}: write {value}, or '{node.value}' in quotes",
                node.start_mark,
            )  # fmt: skip
        return value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        value = super().construct_yaml_float(node)
        if ":" in node.value:
            raise yaml.constructor.ConstructorError(
                None, None, f"{node.value}, which YAML reads as {value}: write '{node.value}' in quotes", node.start_mark
            )  # fmt: skip
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key that is a list or a mapping", key.start_mark
                )
            if key.tag == "tag:yaml.org,2002:bool":
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key {key.value}, which YAML reads as a truth value: write '{key.value}' in quotes",
                    key.start_mark,
                )  # fmt: skip
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
