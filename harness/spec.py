"""A trial as a value: everything that can change its numbers, and nothing else.

The id of a trial is a hash of its canonical JSON. Paths, workers, devices and results folders are not in it.
A field that is added in a later version is declared with ``later(default)``: it enters the hash only when it
is not at its default, so that the ids of earlier records stay valid.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from harness.parsing import WrongKey


def _shots(value: Any) -> Any:
    named = isinstance(value, str) and value.isidentifier()
    if named or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("a number of training cases from 1, 'all', or the name of a published subset")


Shots = Annotated[int | str, BeforeValidator(_shots)]
Triple = tuple[int, int, int]
Axis = Annotated[int, Field(ge=0, le=2)]


class Frozen(BaseModel):
    """Base of all specs and parameters: immutable, typed, unknown keys refused, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


def later(default: Any, **options: Any) -> Any:
    """Declare a field added after the first release: hashed only when it differs from ``default``."""
    return Field(default, json_schema_extra={"later": True}, **options)


class Augmentation(Frozen):
    """Random changes of a training patch; probabilities are per sample.

    ``mirror_axes`` lists the spatial axes (0, 1, 2) that may be flipped: never one along which labels differ.
    """

    mirror_axes: tuple[Axis, ...] = ()
    mirror_probability: float = Field(0.5, ge=0, le=1)
    affine_probability: float = Field(0.0, ge=0, le=1)
    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation about each axis, degrees")
    scaling: float = Field(0.0, ge=0, lt=1, description="largest relative change of size")
    noise_probability: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.1, ge=0, description="largest standard deviation of Gaussian noise")
    intensity_probability: float = Field(0.0, ge=0, le=1)
    intensity_scale: float = Field(0.1, ge=0, description="largest relative change of intensity")
    intensity_shift: float = Field(0.1, ge=0, description="largest shift of intensity")
    planar: bool = later(False, description="rotate and scale within slices across the last axis alone")
    rotate90_probability: float = later(0.0, ge=0, le=1, description="quarter turns of the first two axes")
    blur_probability: float = later(0.0, ge=0, le=1, description="Gaussian, sigma 0.5 to 1 voxel")
    brightness_probability: float = later(0.0, ge=0, le=1, description="times 0.75 to 1.25")
    contrast_probability: float = later(0.0, ge=0, le=1, description="0.75 to 1.25 about the mean")
    low_resolution_probability: float = later(0.0, ge=0, le=1, description="zoomed by 0.5 to 1 and back")
    inverted_gamma_probability: float = later(0.0, ge=0, le=1, description="gamma 0.7 to 1.5, inverted")
    gamma_probability: float = later(0.0, ge=0, le=1, description="gamma 0.7 to 1.5")
    scale_range: tuple[PositiveFloat, PositiveFloat] | None = later(
        None,
        description="in place of scaling: limits of one factor for all axes, the part of the volume that a side of "
        "the patch shows; as probable as the rotation, and apart from it",
    )
    enlarge: bool = later(
        False,
        description="cut more than the patch where it is rotated or scaled, so that no corner stays empty",
    )
    version: Literal[1, 2] = later(
        1,
        description="of the code: 2 draws the same changes by other random numbers, in less than half the time",
    )

    @model_validator(mode="after")
    def _scales_in_one_way(self) -> Augmentation:
        if self.scale_range and self.scaling:
            raise ValueError("scaling 0 where scale_range is set")
        if self.scale_range and self.scale_range[0] > self.scale_range[1]:
            raise ValueError("a scale_range from a smaller to a larger factor")
        return self


class Recipe(Frozen):
    """The protocol that all arms of a study share: data, optimisation, selection, inference."""

    # data
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] = Field(
        description="training patch and inference window, voxels"
    )
    spacing: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = Field(
        description="voxel size after preprocessing, mm"
    )
    intensity: Literal[
        "zscore", "zscore_clipped", "zscore_nonzero", "ct_soft_tissue", "ct_synapse", "ct", "none"
    ] = "zscore_clipped"
    intensity_levels: tuple[float, float, float, PositiveFloat] | None = later(
        None, description="of ct: lowest and highest intensity, mean and standard deviation"
    )
    crop: Literal["none", "foreground"] = later("none", description="to the box of what is not background")
    resampling: Literal["linear", "cubic", "cubic_clipped"] = later(
        "linear",
        description="of images; cubic_clipped: to the range of the volume, or of its slice, as nnU-Net does",
    )
    label_resampling: Literal["nearest", "linear"] = later(
        "nearest", description="of training labels; linear: which of them holds half of a voxel"
    )
    foreground: float = Field(0.33, ge=0, le=1, description="share of patches centred on a labelled voxel")
    augmentation: Augmentation = Augmentation()
    # optimisation
    steps: int = Field(300, ge=1)
    batch: int = Field(2, ge=1)
    loss: Literal["dice_ce", "dice_ce_nnunet", "dice_ce_nnunet_sample"] = "dice_ce"
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    momentum: float = Field(0.99, ge=0, lt=1, description="of sgd, with Nesterov's acceleration")
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    warmup_steps: int = Field(0, ge=0, description="linear from 0 to the learning rate")
    rate_every: int = later(
        0,
        ge=0,
        description="steps for which a learning rate stands, where it goes by epochs; the last of a warm-up has the "
        "full rate. 0: each step has its own, and the first after a warm-up the full one",
    )
    clip_norm: float = Field(12.0, ge=0, description="largest gradient norm; 0: no clipping")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    memory_format: Literal["contiguous", "channels_last"] = "channels_last"
    threads: int = Field(1, ge=1, description="CPU threads; one and two threads give different bits")
    kernels: Literal["deterministic", "fast"] = later(
        "deterministic",
        description="fast: on a GPU whatever is quickest, by cuDNN's search, without deterministic algorithms, and in TF32 "
        "where precision is not fp32; on a CPU the same bits",
    )
    compile: bool = later(
        False, description="networks by torch.compile, where architecture and method declare that they can be"
    )
    # selection
    selection: Literal["best_validation", "last", "test_oracle"] = Field(
        "last", description="test_oracle: best on the test cases, to reproduce papers that did so"
    )
    validate_every: int = Field(0, ge=0, description="steps between validations; 0: never")
    # inference
    overlap: float = Field(0.5, ge=0, lt=1)
    window: Literal["gaussian", "constant", "nnunet"] = Field(
        "gaussian",
        description="what counts within a window; nnunet: nnU-Net's Gaussian, windows spread evenly, and windows "
        "mirrored in place of volumes",
    )
    window_average: Literal["probabilities", "logits"] = later(
        "probabilities", description="of what the mean over windows is taken"
    )
    flips: tuple[Axis, ...] = Field((), description="axes mirrored at test time; all combinations averaged")
    output_resampling: Literal["linear", "within_slices"] = later(
        "linear",
        description="of probabilities, to the grid of the file; within_slices: nearest across slices that are far "
        "apart, as nnU-Net exports",
    )

    @model_validator(mode="after")
    def _selects_what_it_measures(self) -> Recipe:
        if self.selection != "last" and not self.validate_every:
            raise WrongKey("validate_every", "0", f"steps between validations: selection is {self.selection}")
        return self

    @model_validator(mode="after")
    def _knows_its_levels(self) -> Recipe:
        levels = self.intensity_levels
        if (self.intensity == "ct") != (levels is not None):
            expected = "[lowest, highest, mean, standard deviation]" if levels is None else "none"
            raise WrongKey("intensity_levels", str(levels), f"{expected}: intensity is {self.intensity}")
        if levels and levels[0] >= levels[1]:
            raise WrongKey("intensity_levels", str([*levels]), "a lowest intensity below the highest")
        return self

    @model_validator(mode="after")
    def _turns_into_itself(self) -> Recipe:
        if self.augmentation.rotate90_probability and self.patch[0] != self.patch[1]:
            raise WrongKey(
                "patch",
                str(list(self.patch)),
                "equal first two sides: augmentation.rotate90_probability is set",
            )
        return self


class SplitParts(Frozen):
    """The cases of a split file, or of one of its folds, as ids.

    Where ``test`` is None, a dataset that has test cases of its own is tested on those; elsewhere the cases of
    ``validation`` are tested on, and others of ``train`` are drawn to validate on.
    """

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] | None = None
    subsets: dict[str, tuple[str, ...]] = {}

    def __hash__(self) -> int:
        return hash((self.train, self.validation, self.test))


class DatasetSpec(Frozen):
    """A registered dataset, at the version of its file, and how its cases are divided."""

    name: str
    version: int
    split_seed: int = Field(0, ge=0)
    split_name: str | None = later(
        None,
        description="a split that is shipped; 'folder': generated, but for the test cases that the dataset's folder "
        "has apart; None: generated",
    )
    split_exclude: tuple[str, ...] = later((), description="ids of cases that are left out")
    split_fractions: tuple[float, float, float] | None = later(
        None, description="shares of patients to train, validate and test on; None: those of the dataset"
    )
    split_folds: int | None = later(None, ge=2, description="parts of a cross-validation")
    split_fold: int | None = later(None, ge=0, description="which of them is held out")
    split_parts: SplitParts | None = later(None, description="what a split file says, of this fold")

    @field_validator("split_fractions")
    @classmethod
    def _are_shares(cls, shares: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if shares and not (min(shares) >= 0 and shares[0] > 0 < shares[2] and abs(sum(shares) - 1) < 1e-6):
            raise ValueError(
                "three shares [train, validation, test] that add up to 1; only validation may be 0"
            )
        return shares

    @field_validator("split_exclude")
    @classmethod
    def _in_one_order(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(ids)))


class ArchitectureSpec(Frozen):
    """A registered architecture, with every option resolved."""

    name: str
    version: int
    options: dict[str, Any]


class MethodSpec(Frozen):
    """A registered method, with every parameter resolved."""

    name: str
    version: int
    parameters: dict[str, Any]


class WeightsSpec(Frozen):
    """Weights from a file that a trial's networks start from; the file is known by its content, wherever it lies."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    key: str | None = Field(
        None, description="of the file, under which they stand; None: where they usually do"
    )
    prefix: str = Field("", description="what names begin with that are taken; it is cut off")
    renamed: tuple[tuple[str, str], ...] = Field(
        (), description="parts of names, between dots, and what they become"
    )
    into: str = Field("", description="the part of the network that they are for")
    share: float = Field(
        0.5, gt=0, le=1, description="the least share of the network's parameters that must fit"
    )


class TrialSpec(Frozen):
    """One training run with everything resolved."""

    kind: Literal["train", "pretrain"] = "train"
    dataset: DatasetSpec
    architecture: ArchitectureSpec
    method: MethodSpec
    shots: Shots = "all"
    subset: int = Field(0, ge=0, description="which draw of the few-shot subset")
    seed: int = Field(0, ge=0)
    recipe: Recipe
    pretraining: str | None = later(None, description="id of the pretraining whose weights it starts from")
    weights: WeightsSpec | None = later(None, description="that its networks start from, made elsewhere")
    tolerances: dict[str, PositiveFloat] | None = later(
        None,
        description="of normalised surface Dice by region, mm; None: those of the dataset, if it has any",
    )
    tested: bool = later(True, description="False: of a search, scored on the validation cases alone")

    @cached_property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return digest(identity(self))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> TrialSpec:
        """Return a copy with other values and the id of these: pydantic's own would keep an id that was asked for."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)
        return copied


def identity(model: BaseModel) -> dict[str, Any]:
    """Return the fields of ``model`` that enter its hash, as plain data."""
    values: dict[str, Any] = {}
    for name, later_default in _hashed_fields(type(model)).items():
        value = getattr(model, name)
        if value == later_default:
            continue
        values[name] = identity(value) if isinstance(value, BaseModel) else value
    return values


def plain(model: BaseModel) -> dict[str, Any]:
    """Return ``identity`` as JSON gives it back: lists for tuples, so that a spec equals its stored self."""
    return json.loads(canonical_json(identity(model)))


def as_tuples(value: Any) -> Any:
    """Return a setting with tuples for lists, at any depth, so that it can be told from others by its hash."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


_ALWAYS = object()  # equals no value


@cache
def _hashed_fields(kind: type[BaseModel]) -> dict[str, Any]:
    """Return for each field the default at which it enters no hash."""
    return {name: field.default if _is_later(field) else _ALWAYS for name, field in kind.model_fields.items()}


def _is_later(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("later"))


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that identify a piece of plain data."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
