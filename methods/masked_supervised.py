"""MedContext without its teacher: the control that tells masking from distillation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from harness.ranges import tunable
from harness.spec import Frozen
from harness.training.masked_pass import (
    MASKING_ACTS_WITH,
    MaskedPass,
    MaskingParameters,
    published_masking,
    released_masking,
    unsupported_masking,
)
from harness.training.method import Batch, Context, Losses, Method, Progress, Setting

if TYPE_CHECKING:
    from torch import Tensor


class MaskedWeights(Frozen):
    """Weights of the terms; a term of weight 0 is not computed."""

    sup: float = Field(
        1.0,
        title="Supervised weight",
        ge=0,
        description="0: the student sees masked volumes alone, as under cut-out",
    )
    masked_sup: float = tunable(1.0, 0.1, 10.0, title="Masked supervised weight", log=True, ge=0)


class MaskedSupervisedParameters(Frozen):
    """What is hidden, and what the terms weigh."""

    masking: MaskingParameters = MaskingParameters()
    losses: MaskedWeights = MaskedWeights()

    @model_validator(mode="after")
    def _check_weights(self) -> MaskedSupervisedParameters:
        if not (self.losses.sup or self.losses.masked_sup):
            raise ValueError("losses: at least one weight above 0")
        return self


class MaskedSupervised(Method[MaskedSupervisedParameters]):
    """``L = Seg(f(x), y) + Seg(f(x; M), y)``: what MedContext trains by, less its consistency term."""

    print_name = "Masked supervised"
    summary = "control: supervised on the whole and on the masked volume, without a teacher"
    source = "ablation of MedContext, arXiv 2402.17725: beta 0, no teacher"
    Parameters = MaskedSupervisedParameters
    acts_with = MASKING_ACTS_WITH

    @classmethod
    def presets(cls, setting: Setting) -> Mapping[str, Mapping[str, Any]]:
        """Return the masking of MedContext's presets of the same names."""
        return {
            "as_published": {"masking": published_masking(setting)},
            "as_released": {"masking": released_masking(setting)},
        }

    def supports(self, setting: Setting) -> str | None:
        """Refuse to mask tokens where there are none, and a ratio that hides nothing."""
        return unsupported_masking(setting, self.parameters.masking)

    def setup(self, context: Context) -> None:
        """Build the network and the fill of hidden places."""
        from torch import nn

        self.modules = nn.ModuleDict({"student": context.build_network()})
        self._segmentation = context.segmentation_loss
        if self.parameters.losses.masked_sup:
            self._masked_pass = MaskedPass(context, self.parameters.masking)
            self.modules["masker"] = self._masked_pass.masker

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the two terms: student whole, student masked."""
        weights, student = self.parameters.losses, self.modules["student"]
        terms: dict[str, Tensor] = {}
        if weights.sup:
            terms["supervised"] = self._segmentation(student(batch.image), batch.label)
        if weights.masked_sup:
            mask = self._masked_pass.draw(batch.image, progress)
            masked = self._masked_pass(student, batch.image, mask)
            terms["masked"] = self._segmentation(masked, batch.label)
        return Losses.weigh(terms, {"supervised": weights.sup, "masked": weights.masked_sup})

    def forward_passes(self) -> int:
        """Return 2 with both terms on."""
        return sum(map(bool, (self.parameters.losses.sup, self.parameters.losses.masked_sup)))
