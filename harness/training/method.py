"""What a training method is: typed parameters, named presets, one step, and the networks it yields.

A method knows nothing of files, Ray, devices or metrics. Module tops import no PyTorch, so that names,
parameters and ``supports`` can be read anywhere; the classes of PyTorch are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from harness.architectures.contract import Architecture
from harness.errors import UserError, did_you_mean
from harness.parsing import merge, parse
from harness.seeding import numpy_generator, torch_generator
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

ParametersT = TypeVar("ParametersT", bound=Frozen)
SegmentationLoss = Callable[["Tensor | list[Tensor]", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Setting:
    """What a trial runs on, as far as a method's parameters may depend on it."""

    architecture_name: str
    architecture: Architecture[Any]
    dataset_name: str
    patch: Triple
    precision: str


@dataclass(frozen=True)
class Context:
    """What a method may know of its trial.

    Attributes:
        build_network: returns a new network with random weights, on the trial's device; the same weights
            each time, but for another ``stream`` that they are drawn from; ``out_channels`` instead of
            ``classes``, where given.
        setting: what the trial runs on.
        segmentation_loss: the recipe's loss of logits, or of a list of logits finest first, and labels
            ``(B, 1, D, H, W)``.
        in_channels: channels of an image.
        classes: labels with background.
        steps: optimiser updates in all.
        batch: samples in a step.
        training_cases: number of labelled training cases.
        seed: the trial's seed.
        stage: which of the method's stages the trial is.
        ignore: value of a batch's labels where nobody has labelled a voxel, which ``segmentation_loss`` does not count;
            None where the dataset declares no such voxels.
    """

    build_network: Callable[..., nn.Module]
    setting: Setting
    segmentation_loss: SegmentationLoss
    in_channels: int
    classes: int
    steps: int
    batch: int
    training_cases: int
    seed: int
    stage: Literal["pretrain", "train"] = "train"
    ignore: int | None = None


@dataclass(frozen=True)
class Batch:
    """Training patches: ``image`` ``(B, C, D, H, W)`` float, ``label`` ``(B, 1, D, H, W)`` integer.

    ``unlabelled`` ``(U, C, D, H, W)`` are patches of training cases whose labels the trial withholds, for a
    method that asks for them. Pretraining gets an empty ``label``.
    """

    image: Tensor
    label: Tensor
    unlabelled: Tensor | None = None

    def pin_memory(self) -> Batch:
        """Return a copy in pages that a GPU can read from while it computes."""
        unlabelled = None if self.unlabelled is None else self.unlabelled.pin_memory()
        return Batch(self.image.pin_memory(), self.label.pin_memory(), unlabelled)


@dataclass(frozen=True)
class Progress:
    """Where training stands: ``step`` counts from 0 to ``steps`` - 1."""

    step: int
    steps: int
    seed: int

    def generator(self, name: str) -> torch.Generator:
        """Return a generator of this trial, step and ``name``, on the CPU."""
        return torch_generator(self.seed, name, self.step)

    def numpy_generator(self, name: str) -> np.random.Generator:
        """Return NumPy's generator of this trial, step and ``name``."""
        return numpy_generator(self.seed, name, self.step)


@dataclass(frozen=True)
class Losses:
    """The scalar that is minimised, and its named terms for the history (without gradient)."""

    total: Tensor
    terms: dict[str, Tensor]

    @classmethod
    def weigh(cls, terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Losses:
        """Return the weighted sum of ``terms``; a term without a weight is logged and not added."""
        first, *others = (weights[name] * term for name, term in terms.items() if name in weights)
        total = first
        for term in others:
            total = total + term
        return cls(total, {name: term.detach() for name, term in terms.items()})


class Method(Generic[ParametersT]):
    """Base of all methods. Derive, set the class attributes, write ``setup`` and ``step``.

    ``self.modules`` holds every network and learnable part by name; what stands there is moved, saved,
    restored and, where it requires a gradient, optimised. The network to be scored is its ``student``.

    ``print_name`` is what tables and figures call it, in place of its registered name; a class does not inherit it.
    ``differences`` are sentences on what it does otherwise than the code of its ``source``, on purpose.
    ``acts_with`` says of a parameter (a dotted path) that does nothing beside the others' defaults under
    which of their values it does, or in which networks, in words; ``medctx check-plugin`` holds it to that.
    """

    version: ClassVar[int] = 1
    print_name: ClassVar[str] = ""
    differences: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str]
    source: ClassVar[str]
    Parameters: ClassVar[type[Frozen]]
    stages: ClassVar[tuple[Literal["pretrain", "train"], ...]] = ("train",)
    acts_with: ClassVar[Mapping[str, Mapping[str, Any] | str]] = {}

    modules: nn.ModuleDict

    def __init__(self, parameters: ParametersT) -> None:
        self.parameters = parameters

    @classmethod
    def presets(cls, setting: Setting) -> Mapping[str, Mapping[str, Any]]:
        """Return named sets of parameters; the first is used where a study names none."""
        return {}

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], where: str, setting: Setting) -> ParametersT:
        """Return typed parameters: those of the ``preset``, with the settings' own keys laid on them.

        Raises:
            UserError: unknown preset, unknown key or wrong value.
        """
        own = dict(settings)
        presets = cls.presets(setting)
        preset = own.pop("preset", next(iter(presets), None))
        if preset is not None and preset not in presets:
            raise UserError(f"{where}: preset", repr(preset), "a preset", did_you_mean(str(preset), presets))
        merged = merge(presets[preset], own) if preset is not None else own
        return parse(cls.Parameters, merged, where)  # type: ignore[return-value]

    def supports(self, setting: Setting) -> str | None:
        """Return why the method cannot run on what a trial runs on, or None."""
        return None

    def compiles(self) -> bool:
        """Return whether its networks may be compiled: only where it neither hooks into their inside nor runs parts of them."""
        return False

    def unlabelled_batch(self, batch: int) -> int:
        """Return how many unlabelled patches a step takes beside ``batch`` labelled ones."""
        return 0

    def setup(self, context: Context) -> None:
        """Build ``self.modules``; called once, after the seeds are set."""
        raise NotImplementedError

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the losses of one batch; the caller does the backward pass and the update."""
        raise NotImplementedError

    def after_step(self, progress: Progress) -> None:
        """Do what follows an update, such as moving a teacher."""

    def roles(self) -> dict[str, nn.Module]:
        """Return the networks that are scored, by role: the modules ``student`` and, if there is one, ``teacher``."""
        return {role: self.modules[role] for role in ("student", "teacher") if role in self.modules}

    def forward_passes(self) -> int:
        """Return the number of forward passes of one step, for equal-budget accounting."""
        return 1

    def trainable(self) -> Iterator[nn.Parameter]:
        """Yield what the optimiser updates."""
        return (parameter for parameter in self.modules.parameters() if parameter.requires_grad)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all weights and buffers."""
        return self.modules.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` returned; every key must fit."""
        self.modules.load_state_dict(state, strict=True)
