"""The training loop: one update after another, the same for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.utils import eval_mode

from harness.errors import TrialFailure
from harness.seeding import seed_everything
from harness.spec import Recipe
from harness.training.loaders import DrawBatch, drawn_ahead
from harness.training.memory import keep_freed_memory
from harness.training.method import Batch, Losses, Method, Progress
from harness.training.precision import autocast
from harness.training.schedules import learning_rate

PHASES = ("data", "forward", "backward", "update", "teacher", "logging")
"""What a step consists of."""
_UNMARKED: AbstractContextManager[None] = nullcontext()


@dataclass(frozen=True)
class StepResult:
    """What one update yields: losses by name and the learning rate that was used."""

    step: int
    losses: dict[str, float]
    learning_rate: float


class Trainer:
    """Runs updates of a method under a recipe on a device.

    All randomness of update k, also that of dropout, is seeded from the trial's seed and k. The learning rate
    is a function of k. So a checkpoint needs no more than networks, optimiser, scaler and the step.

    Args:
        method: set up, its modules on ``device``.
        recipe: how to optimise.
        seed: of the trial.
        device: where to compute.
        draw: returns the batch of a step, on the CPU.
        loaders: processes that draw ahead; with 0 a thread does, or where the device is the CPU nobody.

    Attributes:
        step: the next one.
        seconds_waiting: of wall clock in which there was no batch to compute on.
        phase: returns the context of a phase of :data:`PHASES`; set it to measure them.
    """

    def __init__(
        self,
        method: Method[Any],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        draw: DrawBatch,
        loaders: int = 0,
    ) -> None:
        self.method, self.recipe, self.seed, self.device = method, recipe, seed, device
        self.step, self.seconds_waiting = 0, 0.0
        self.phase: Callable[[str], AbstractContextManager[Any]] = lambda name: _UNMARKED
        keep_freed_memory()
        self._draw, self._loaders = draw, loaders
        self._parameters = list(method.trainable())
        self._optimiser = _optimiser(self._parameters, recipe)
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self._log_every = max(1, recipe.steps // 1000)

    def run_until(self, stop: int) -> Generator[StepResult | None, None, None]:
        """Run updates up to step ``stop``; yield after each, its result where it is logged.

        Raises:
            TrialFailure: ``nan``, when a logged loss is not finite; its result is yielded first. ``loader_lost``, between
                two updates.
        """
        for batch in self._batches(stop):
            logged = self.step % self._log_every == 0 or self.step == self.recipe.steps - 1
            losses, rate = self._update(batch)
            with self.phase("logging"):
                result = StepResult(self.step, _floats(losses), rate) if logged else None
            self.step += 1
            yield result
            if result and not math.isfinite(result.losses["total"]):
                raise TrialFailure("nan", f"the loss of step {result.step} is {result.losses['total']}")

    def _update(self, batch: Batch) -> tuple[Losses, float]:
        seed_everything(self.seed, "step", self.step)
        progress = Progress(self.step, self.recipe.steps, self.seed)
        rate = learning_rate(self.step, self.recipe)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        with self.phase("forward"), autocast(self.device, self.recipe.precision):
            losses = self.method.step(batch, progress)
        with self.phase("backward"):
            self._scaler.scale(losses.total).backward()
        with self.phase("update"):
            self._scaler.unscale_(self._optimiser)
            if self.recipe.clip_norm:
                torch.nn.utils.clip_grad_norm_(self._parameters, self.recipe.clip_norm)
            self._scaler.step(self._optimiser)
            self._scaler.update()
        with self.phase("teacher"):
            self.method.after_step(progress)
        return losses, rate

    @torch.no_grad()
    def mean_losses(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Return the mean losses of fixed ``batches``, without an update, in evaluation mode.

        The n-th batch gets random numbers of its own, the same at every call.
        """
        with eval_mode(self.method.modules), autocast(self.device, self.recipe.precision):
            results = []
            for number, batch in enumerate(batches):
                seed_everything(self.seed, "held out", number)
                progress = Progress(number, self.recipe.steps, self.seed)
                results.append(_floats(self.method.step(self._to_device(batch), progress)))
        return {name: sum(result[name] for result in results) / len(results) for name in results[0]}

    def _batches(self, stop: int) -> Iterator[Batch]:
        """Yield batches on the device; drawn ahead but where the device is the CPU and there are no loaders."""
        steps, on_cpu = range(self.step, stop), self.device.type == "cpu"
        drawn = (self._draw(step) for step in steps)
        if self._loaders or not on_cpu:
            drawn = drawn_ahead(self._draw, steps, self._loaders, self.recipe.threads, pin=not on_cpu)
        with closing(drawn):
            for _ in steps:
                begun = time.perf_counter()
                with self.phase("data"):
                    batch = next(drawn)
                    self.seconds_waiting += time.perf_counter() - begun
                    batch = self._to_device(batch)
                yield batch

    def _to_device(self, batch: Batch) -> Batch:
        def moved(image: torch.Tensor) -> torch.Tensor:
            return image.to(self.device, non_blocking=True, memory_format=memory_format(self.recipe))

        return Batch(
            moved(batch.image),
            batch.label.to(self.device, non_blocking=True).long(),  # they are drawn as bytes
            None if batch.unlabelled is None else moved(batch.unlabelled),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on."""
        return {
            "step": self.step,
            "method": self.method.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        self.method.load_state_dict(state["method"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.step = state["step"]


def memory_format(recipe: Recipe) -> torch.memory_format:
    """Return the layout of 5D tensors and of convolution weights."""
    return torch.channels_last_3d if recipe.memory_format == "channels_last" else torch.contiguous_format


def _optimiser(parameters: list[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters,
        recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )


def _floats(losses: Losses) -> dict[str, float]:
    return {"total": losses.total.item()} | {name: value.item() for name, value in losses.terms.items()}
