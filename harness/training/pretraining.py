"""Methods that pretrain without labels and then fine-tune: their base, and the node that a plan gets for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.errors import UserError
from harness.parsing import merge, parse
from harness.spec import Recipe, TrialSpec, plain
from harness.training.method import Batch, Context, Losses, Method, ParametersT, Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.training.transfer import Transfer

# what pretraining takes over from the recipe of the trials that it serves; the rest is its own
_SHARED = (
    "patch", "spacing", "intensity", "crop", "resampling", "label_resampling", "augmentation", "batch", "precision",
    "memory_format", "threads", "kernels",
)  # fmt: skip
_SEEDS = ("paired", "shared")


def pretraining_node(
    spec: TrialSpec, settings: Mapping[str, Any], method: type[Pretrained[Any]], where: str
) -> TrialSpec:
    """Return the pretraining that the trial ``spec`` starts from.

    It shares the trial's dataset, network, method and data settings, and knows neither its shots nor how it
    is optimised and scored, so that trials which differ in these alone share one pretraining.

    Args:
        spec: the trial.
        settings: keys of a recipe, and ``seed``: ``paired`` (the trial's own) or ``shared`` (0 for all).
        method: gives the defaults.
        where: for messages.

    Raises:
        UserError: an unknown key or a wrong value.
    """
    own = dict(settings)
    seed = own.pop("seed", "paired")
    if seed not in _SEEDS:
        raise UserError(f"{where}.seed", repr(seed), " or ".join(_SEEDS), "Correct this value.")
    shared = {key: value for key, value in plain(spec.recipe).items() if key in _SHARED}
    chosen = merge({**shared, "steps": spec.recipe.steps, **method.pretraining}, own)
    if isinstance(chosen["steps"], int):
        tenth = chosen["steps"] // 10
        chosen = {"warmup_steps": tenth, "validate_every": max(1, tenth)} | chosen
    seeded = {"seed": spec.seed if seed == "paired" else 0, "recipe": parse(Recipe, chosen, where)}
    unscored = {"kind": "pretrain", "shots": "all", "subset": 0, "tolerances": None}
    return spec.model_copy(update=unscored | seeded)


class Pretrained(Method[ParametersT]):
    """Base of methods that pretrain on the images of all training cases, then train as supervised ones do.

    Derive, and write ``setup_pretraining`` and ``pretraining_step``. Fine-tuning starts from the weights of
    ``modules["student"]`` but for the head, which stays random.

    Attributes:
        pretraining: defaults of the pretraining's recipe; a study's arm sets others under ``pretrain``, and ``seed``
            (``paired`` or ``shared``), and ``within: true`` to take its steps from those of the recipe: then an arm with
            a pretraining makes as many updates as the others. By default it comes on top.
        least_share: of the network's parameters, below which a transfer fails.
    """

    stages: ClassVar[tuple[Literal["pretrain", "train"], ...]] = ("pretrain", "train")
    pretraining: ClassVar[Mapping[str, Any]] = {
        "optimiser": "adamw", "learning_rate": 1e-3, "schedule": "cosine", "weight_decay": 1e-5, "clip_norm": 12.0,
    }  # fmt: skip
    least_share: ClassVar[float] = 0.5

    def setup_pretraining(self, context: Context) -> None:
        """Build ``self.modules``, with the network that is transferred as ``student``."""
        from torch import nn

        self.modules = nn.ModuleDict({"student": context.build_network(out_channels=context.in_channels)})

    def pretraining_step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the losses of a batch whose labels are empty."""
        raise NotImplementedError

    def pretraining_passes(self) -> int:
        """Return the number of forward passes of one step of pretraining."""
        return 1

    def transferred(self, network: nn.Module) -> set[str] | None:
        """Return the names of the parameters and buffers to transfer; None for all but the head."""
        return None

    def setup(self, context: Context) -> None:
        """Build what the stage needs."""
        from torch import nn

        self._context = context
        if context.stage == "pretrain":
            self.setup_pretraining(context)
        else:
            self.modules = nn.ModuleDict({"student": context.build_network()})

    def load_pretrained(self, state: Mapping[str, Tensor]) -> Transfer:
        """Start from the weights that pretraining left; ``state`` is its ``state_dict``.

        Raises:
            TrialFailure: less than ``least_share`` of the parameters fits.
        """
        from harness.training.transfer import head_names, transfer

        student, context = self.modules["student"], self._context
        other = context.build_network(out_channels=context.classes + 1)
        prefix = "student."
        weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        wanted = self.transferred(student)
        names = set(student.state_dict()) if wanted is None else wanted
        return transfer(student, weights, names - head_names(student, other), self.least_share)

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the losses of the stage: those of pretraining, or the recipe's segmentation loss."""
        if self._context.stage == "pretrain":
            return self.pretraining_step(batch, progress)
        loss = self._context.segmentation_loss(self.modules["student"](batch.image), batch.label)
        return Losses(loss, {"supervised": loss.detach()})

    def forward_passes(self) -> int:
        """Return the passes of one step of the stage."""
        return self.pretraining_passes() if self._context.stage == "pretrain" else 1
