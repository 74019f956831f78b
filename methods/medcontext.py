"""MedContext: a student must give, from a masked volume, the segmentation its teacher gives of the whole one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, model_validator

from harness.ranges import tunable
from harness.spec import Frozen, later
from harness.training.masked_pass import (
    MASKING_ACTS_WITH,
    MaskedPass,
    MaskingParameters,
    normalises_each_sample,
    published_masking,
    released_masking,
    unsupported_masking,
)
from harness.training.method import Batch, Context, Losses, Method, Progress, Setting
from harness.training.schedules import ema_momentum

if TYPE_CHECKING:
    from torch import Tensor


class Consistency(Frozen):
    """How the masked branch is compared with its target."""

    kind: Literal["mse_logits", "mse_softmax", "kl", "soft_ce", "cosine", "spatial_ce", "spatial_kl"] = Field(
        "mse_logits", title="Consistency loss", description="distance between the two"
    )
    norm: Literal["fro", "per_sample", "rms", "none"] = Field(
        "fro", title="Consistency norm", description="of the target's logits, that the distance is divided by"
    )
    region: Literal["all", "masked", "visible"] = Field(
        "all", title="Consistency region", description="voxels that are compared"
    )
    samples: Literal["all", "first"] = Field(
        "all", title="Consistency samples", description="first: the first sample of a batch alone"
    )
    ds: Literal["first", "all"] = Field(
        "first", title="Consistency outputs", description="outputs of deep supervision that are compared"
    )
    ramp: float = Field(
        0.0,
        title="Consistency ramp",
        ge=0,
        le=1,
        description="share of the steps over which the weight rises from 0",
    )
    target: Literal["teacher", "student", "student_with_gradient"] = Field(
        "teacher",
        title="Consistency target",
        description="whose segmentation of the whole volume is to be reproduced",
    )


class Teacher(Frozen):
    """How the teacher follows the student."""

    enabled: bool = Field(True, title="Teacher")
    m0: float = tunable(
        0.996,
        0.9,
        0.9999,
        title="EMA momentum",
        log=True,
        complement=True,
        ge=0,
        le=1,
        description="EMA momentum at the start",
    )
    m1: float = Field(1.0, title="EMA momentum at the end", ge=0, le=1, description="EMA momentum at the end")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", title="Momentum schedule", description="from m0 to m1, or m0 throughout"
    )
    warmup_epochs: int = Field(
        0, title="Momentum warm-up", ge=0, description="over which the momentum rises from 0 to m0"
    )
    index: Literal["global", "in_epoch"] = Field(
        "global", title="Momentum index", description="step that the schedule is read at"
    )
    every: Literal["iteration", "epoch"] = Field(
        "iteration", title="Teacher update", description="how often the teacher is updated"
    )
    steps_per_epoch: int = Field(
        0, title="Steps per epoch", ge=0, description="0: the number of training cases"
    )
    schedule_steps_per_epoch: int = Field(
        0, title="Steps per epoch of the schedule", ge=0, description="that the schedule assumes; 0: the same"
    )
    buffers: Literal["skip", "copy", "ema"] = Field(
        "ema", title="Teacher buffers", description="such as running means of batch normalisation"
    )
    mode: Literal["eval", "train"] = Field(
        "eval", title="Teacher mode", description="of dropout and normalisation while it predicts targets"
    )
    log_loss: bool = Field(
        False, title="Teacher loss logged", description="write the teacher's segmentation loss to the history"
    )


class Weights(Frozen):
    """Weights of the terms; a term of weight 0 is not computed."""

    sup: float = Field(
        1.0,
        title="Supervised weight",
        ge=0,
        description="segmentation of the whole volume against the labels",
    )
    masked_sup: float = Field(
        1.0,
        title="Masked supervised weight",
        ge=0,
        description="segmentation of the masked volume against the labels",
    )
    cons: float = tunable(
        0.5,
        0.01,
        10.0,
        title="Consistency weight",
        log=True,
        ge=0,
        description="beta: consistency with the target",
    )


class MedContextParameters(Frozen):
    """Every factor of the method."""

    masking: MaskingParameters = MaskingParameters()
    consistency: Consistency = Consistency()
    teacher: Teacher = Teacher()
    losses: Weights = Weights()
    unlabelled: bool = later(
        False,
        title="Unlabelled patches",
        description="consistency also on as many patches of training cases without labels",
    )
    one_pass: bool = later(
        False,
        title="One pass",
        description="student whole and masked in one pass of twice the batch, where its network normalises each sample by "
        "itself: other rounding, more memory, and a GPU that waits less",
    )

    @model_validator(mode="after")
    def _check_weights(self) -> MedContextParameters:
        weights = self.losses
        if not (weights.sup or weights.masked_sup or weights.cons):
            raise ValueError("losses: at least one weight above 0")
        if weights.cons and self.consistency.target == "teacher" and not self.teacher.enabled:
            raise ValueError("teacher.enabled true where consistency.target is teacher, or losses.cons 0")
        if self.unlabelled and not weights.cons:
            raise ValueError("losses.cons above 0 where unlabelled is true")
        return self


class MedContext(Method[MedContextParameters]):
    """``L = Seg(f_s(x), y) + Seg(f_s(x; M), y) + beta mean((f_t(x) - f_s(x; M))^2) / ||f_t(x)||_F``.

    The student ``f_s`` is trained by gradient, the teacher ``f_t`` is its moving average and never sees a
    mask ``M``. Preset ``as_published`` is our reading of the paper's intent, ``as_released`` reproduces what
    the released code does (hananshafi/MedContext at 6b97c57), per network and dataset. With ``unlabelled``,
    an extension of ours, the consistency term is one over labelled and unlabelled patches together.
    """

    differences = (
        "`as_released` is of the method alone: splits, checkpoints and scores as released are set by the study.",
        "No mask for a network without patch tokens was released; there, blocks of the image are hidden.",
        "The released trainer for Synapse refers to `l_teacher` before it is defined and would stop at its first validation; the "
        "loss of validation cases is not computed here.",
    )
    print_name = "MedContext"
    summary = "student reproduces, from a masked volume, its EMA teacher's segmentation of the whole volume"
    source = "MedContext, MICCAI 2024, LNCS 15012, pp. 229-239, arXiv 2402.17725"
    Parameters = MedContextParameters
    acts_with = {
        **MASKING_ACTS_WITH,
        "consistency.ds": "networks with deep supervision",
        "one_pass": "networks that normalise each sample by itself, in the last bits",
        "teacher.enabled": {"consistency.target": "student"},
        "teacher.steps_per_epoch": {"teacher.every": "epoch"},
        "teacher.buffers": "networks with floating-point buffers, such as batch normalisation's",
        "teacher.mode": "networks with dropout, drop-path or batch normalisation",
    }

    @classmethod
    def presets(cls, setting: Setting) -> Mapping[str, Mapping[str, Any]]:
        """Return ``as_published`` (the default) and ``as_released``."""
        return {"as_published": {"masking": published_masking(setting)}, "as_released": _as_released(setting)}

    def supports(self, setting: Setting) -> str | None:
        """Refuse to mask tokens where there are none, and a ratio that hides nothing."""
        return unsupported_masking(setting, self.parameters.masking)

    def compiles(self) -> bool:
        """Return whether blocks of the image are masked: tokens are hidden by hooks, which a compiled network does not see."""
        return self.parameters.masking.level == "image"

    def unlabelled_batch(self, batch: int) -> int:
        """Return as many as labelled ones where they are asked for."""
        return batch if self.parameters.unlabelled else 0

    def setup(self, context: Context) -> None:
        """Build student, teacher (a copy) and the fill of hidden places."""
        from torch import nn

        from harness.training.ema import make_teacher

        settings = self.parameters
        self._context = context
        self._epoch = settings.teacher.steps_per_epoch or context.training_cases
        self.modules = nn.ModuleDict({"student": context.build_network()})
        if settings.teacher.enabled:
            teacher = make_teacher(self.modules["student"], context.build_network())
            self.modules["teacher"] = teacher.train(settings.teacher.mode == "train")
        if settings.losses.masked_sup or settings.losses.cons:
            self._masked_pass = MaskedPass(context, settings.masking)
            self.modules["masker"] = self._masked_pass.masker
        self._one_pass = settings.one_pass and normalises_each_sample(self.modules["student"])

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the weighted terms: student whole, student masked, consistency with the target."""
        weights, segmentation = self.parameters.losses, self._context.segmentation_loss
        image, count = _with_unlabelled(batch), len(batch.image)
        whole, masked, mask = self._passes(batch.image, image, progress)
        terms: dict[str, Tensor] = {}
        if weights.sup:
            terms["supervised"] = segmentation(_labelled_part(whole, count), batch.label)
        if weights.masked_sup:
            terms["masked"] = segmentation(_labelled_part(masked, count), batch.label)
        if weights.cons:
            target = self._target(image, batch.label, whole, terms)
            terms["consistency"] = self._consistency(target, masked, mask)
        consistency = weights.cons * self._ramp(progress)
        return Losses.weigh(
            terms, {"supervised": weights.sup, "masked": weights.masked_sup, "consistency": consistency}
        )

    def _passes(self, labelled: Tensor, image: Tensor, progress: Progress) -> tuple[Any, Any, Any]:
        """Return what the student says of whole images, what of masked ones, and the mask; None for what no term needs."""
        weights, student = self.parameters.losses, self.modules["student"]
        looking, seen = weights.sup or self._needs_whole(), image if self._needs_whole() else labelled
        if not (weights.masked_sup or weights.cons):
            return student(seen), None, None
        mask = self._masked_pass.draw(image, progress)
        if looking and self._one_pass:
            return *self._masked_pass.with_whole(student, seen, image, mask), mask
        whole = student(seen) if looking else None
        return whole, self._masked_pass(student, image, mask), mask

    def _needs_whole(self) -> bool:
        """Return whether the consistency target is the student's own pass over the whole image."""
        return bool(self.parameters.losses.cons) and self.parameters.consistency.target != "teacher"

    def _target(
        self, image: Tensor, label: Tensor, whole: Any, terms: dict[str, Tensor]
    ) -> Tensor | list[Tensor]:
        """Return the logits that the masked branch must reproduce."""
        import torch

        kind = self.parameters.consistency.target
        if kind == "student_with_gradient":
            return whole
        if kind == "student":
            return [level.detach() for level in whole] if isinstance(whole, list) else whole.detach()
        with torch.no_grad():
            target = self.modules["teacher"](image)
            if self.parameters.teacher.log_loss:
                terms["teacher"] = self._context.segmentation_loss(_labelled_part(target, len(label)), label)
        return target

    def _consistency(self, target: Any, masked: Any, mask: Tensor) -> Tensor:
        from harness.training.losses import consistency_loss
        from harness.training.masks import resize_mask

        settings = self.parameters.consistency
        targets = target if isinstance(target, list) else [target]
        outputs = masked if isinstance(masked, list) else [masked]
        pairs = list(zip(targets, outputs, strict=False))  # a teacher in eval mode gives the first alone
        losses = []
        for z_t, z_m in pairs if settings.ds == "all" else pairs[:1]:
            region = None
            if settings.region != "all":
                hidden = resize_mask(mask, z_m.shape[2:])
                region = hidden if settings.region == "masked" else ~hidden
            if settings.samples == "first":
                z_t, z_m, region = z_t[:1], z_m[:1], None if region is None else region[:1]
            losses.append(consistency_loss(z_t, z_m, settings.kind, settings.norm, region))
        weights = [0.5**level for level in range(len(losses))]
        total = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
        return cast("Tensor", total)

    def _ramp(self, progress: Progress) -> float:
        length = self.parameters.consistency.ramp * progress.steps
        return min(1.0, progress.step / length) if length else 1.0

    def momentum(self, step: int) -> float | None:
        """Return the teacher's momentum after update ``step``, or None where it is not moved."""
        teacher = self.parameters.teacher
        if teacher.every == "epoch" and (step + 1) % self._epoch:
            return None
        assumed = teacher.schedule_steps_per_epoch or self._epoch
        return ema_momentum(
            step % self._epoch if teacher.index == "in_epoch" else step,
            start=teacher.m0,
            end=teacher.m1,
            steps=self._context.steps * assumed // self._epoch,
            warmup=teacher.warmup_epochs * assumed,
            schedule=teacher.schedule,
        )

    def after_step(self, progress: Progress) -> None:
        """Move the teacher."""
        if not self.parameters.teacher.enabled:
            return
        from harness.training.ema import update_teacher

        momentum = self.momentum(progress.step)
        if momentum is not None:
            buffers = self.parameters.teacher.buffers
            update_teacher(self.modules["teacher"], self.modules["student"], momentum, buffers)

    def forward_passes(self) -> int:
        """Return 3 with all terms on: student whole, student masked, teacher whole."""
        weights, own = self.parameters.losses, self._needs_whole()
        masked, teacher = weights.masked_sup or weights.cons, weights.cons and not own
        return sum(map(bool, (weights.sup or own, masked, teacher)))


def _with_unlabelled(batch: Batch) -> Tensor:
    import torch

    return batch.image if batch.unlabelled is None else torch.cat([batch.image, batch.unlabelled])


def _labelled_part(logits: Any, count: int) -> Any:
    """Return the logits, or a list of them by level, of the first ``count`` samples: the labelled ones."""
    if isinstance(logits, list):
        return [_labelled_part(level, count) for level in logits]
    # a slice of all changes the last bits of the gradient
    return logits if len(logits) == count else logits[:count]


def _as_released(setting: Setting) -> dict[str, Any]:
    """Return what the released trainers do; a network without released code follows UNETR's."""
    masking = released_masking(setting)
    teacher: dict[str, Any] = {"index": "in_epoch", "buffers": "skip", "mode": "train"}
    if setting.architecture_name != "nnformer":
        return {"masking": masking, "teacher": {**teacher, "warmup_epochs": 50, "every": "epoch"}}
    teacher |= {"warmup_epochs": 10, "steps_per_epoch": 250, "schedule_steps_per_epoch": 500}
    if setting.dataset_name == "acdc":
        weight = 0.5
    elif setting.dataset_name == "brats":
        weight = 1.0 if setting.precision == "fp32" else 0.5
    else:
        weight = 0.4
    first_sample = setting.dataset_name in ("acdc", "brats")  # without deep supervision, [0] is a sample
    return {
        "masking": masking,
        "teacher": {**teacher, "log_loss": first_sample},
        "consistency": {"samples": "first" if first_sample else "all"},
        "losses": {"cons": weight},
    }
