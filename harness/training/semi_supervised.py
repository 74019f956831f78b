"""What methods that learn from unlabelled patches share: parameters, one pass over both kinds, the noisy EMA teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.ranges import tunable
from harness.spec import Frozen, later
from harness.training.method import Batch, Context, Method, ParametersT, Progress
from harness.training.schedules import ramp_up

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class UnlabelledParameters(Frozen):
    """How many unlabelled patches, and how their term comes in."""

    unlabelled: int = Field(
        0,
        title="Unlabelled patches",
        ge=0,
        description="unlabelled patches of a step; 0: as many as labelled",
    )
    ramp: float = Field(
        1.0,
        title="Consistency ramp",
        ge=0,
        le=1,
        description="share of the steps over which cons rises as exp(-5 (1 - t)^2)",
    )
    ramp_every: int = later(
        1,
        title="Steps of the ramp",
        ge=1,
        description="steps between two values of cons; 150 in the code of UA-MT and SSL4MIS",
    )


class UnlabelledWeights(Frozen):
    """Weights of the terms; with sup 0.5, Dice and cross-entropy weigh a half each, as published."""

    sup: float = Field(0.5, title="Supervised weight", gt=0)
    cons: float = tunable(
        0.1,
        0.01,
        10.0,
        title="Consistency weight",
        log=True,
        ge=0,
        description="0: no unlabelled patch is used",
    )


class NoisyTeacher(Frozen):
    """An EMA teacher that sees the image with noise."""

    momentum: float = tunable(0.99, 0.9, 0.9999, title="EMA momentum", log=True, complement=True, ge=0, lt=1)
    noise: float = Field(
        0.1, title="Teacher noise", ge=0, description="deviation of the noise on the teacher's image"
    )
    noise_clip: float = Field(0.2, title="Largest teacher noise", ge=0, description="largest noise")

    def momentum_at(self, step: int) -> float:
        """Return ``min(1 - 1 / (k + 1), momentum)`` after update k, counted from 0: at first a copy."""
        return min(1 - 1 / (step + 1), self.momentum)

    def perturb(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Return the image ``(B, C, D, H, W)`` with clipped Gaussian noise."""
        import torch

        noise = torch.randn(image.shape, generator=generator) * self.noise
        return image + noise.clamp(-self.noise_clip, self.noise_clip).to(image)


class SemiSupervised(Method[ParametersT]):
    """Base of these methods: parameters are ``UnlabelledParameters`` and, as ``losses``, ``UnlabelledWeights``."""

    def compiles(self) -> bool:
        """Return true: networks are used as a whole."""
        return True

    def unlabelled_batch(self, batch: int) -> int:
        """Return as many as labelled ones by default; none where cons is 0."""
        own: Any = self.parameters
        return (own.unlabelled or batch) if own.losses.cons else 0

    def unlabelled_weight(self, progress: Progress) -> float:
        """Return the weight of the unlabelled term at a step."""
        own: Any = self.parameters
        return own.losses.cons * ramp_up(progress.step, own.ramp * progress.steps, own.ramp_every)


class StudentAndNoisyTeacher(SemiSupervised[ParametersT]):
    """Base of methods with a student and its EMA teacher: parameters have a ``NoisyTeacher`` as ``teacher``."""

    def setup(self, context: Context) -> None:
        """Build the student and its copy, the teacher."""
        from torch import nn

        from harness.training.ema import make_teacher

        student = context.build_network()
        teacher = make_teacher(student, context.build_network())
        self.modules = nn.ModuleDict({"student": student, "teacher": teacher})
        self._context = context

    def after_step(self, progress: Progress) -> None:
        """Move the teacher's parameters."""
        from harness.training.ema import update_teacher

        own: Any = self.parameters
        momentum = own.teacher.momentum_at(progress.step)
        update_teacher(self.modules["teacher"], self.modules["student"], momentum, "skip")


def forward_both(
    network: nn.Module, batch: Batch
) -> tuple[Tensor | list[Tensor], Tensor | list[Tensor] | None]:
    """Return the logits of the labelled and of the unlabelled patches, from one pass over both."""
    import torch

    if batch.unlabelled is None:
        return network(batch.image), None
    output, count = network(torch.cat([batch.image, batch.unlabelled])), len(batch.image)
    if isinstance(output, list):
        return [level[:count] for level in output], [level[count:] for level in output]
    return output[:count], output[count:]
