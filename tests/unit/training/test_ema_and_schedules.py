from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from harness.architectures.contract import Architecture, Tokens
from harness.spec import Frozen, Recipe, Triple
from harness.training.ema import make_teacher, update_teacher
from harness.training.method import Context, Setting
from harness.training.schedules import ema_momentum, learning_rate, ramp_up
from methods.medcontext import MedContext


def momentum_of(preset: str, architecture: str, cases: int, steps: int) -> MedContext:
    """Return MedContext, set up on a stand-in network, to ask for the momentum of its steps."""
    setting = Setting(architecture, StandIn(Frozen()), "synapse", (32, 32, 32), "fp32")
    method = MedContext(MedContext.resolve({"preset": preset}, "test", setting))
    method.setup(
        Context(
            build_network=lambda: nn.Conv3d(1, 2, 1), setting=setting, segmentation_loss=lambda *_: torch.zeros(()),
            in_channels=1, classes=2, steps=steps, batch=1, training_cases=cases, seed=0,
        )
    )  # fmt: skip
    return method


class StandIn(Architecture[Any]):
    """Sixteen-voxel tokens, and nothing behind them."""

    def tokens(self, patch: Triple) -> Tokens:
        grid: Any = tuple(side // 16 for side in patch)
        return Tokens("embed", "embed", "BCDHW", grid, 4, grid)


@pytest.mark.parametrize(
    ("cases", "momentum"), [(18, 17 * 0.996 / 899), (5, 4 * 0.996 / 249), (1, 0.0)], ids=["18", "5", "1"]
)
def test_as_released_unetr_moves_the_teacher_at_the_end_of_each_epoch_alone(
    cases: int, momentum: float
) -> None:
    method = momentum_of("as_released", "unetr", cases, steps=100 * cases)
    for step in range(6 * cases):
        last = step % cases == cases - 1
        assert method.momentum(step) == (pytest.approx(momentum, rel=1e-12) if last else None)


def test_as_released_momentum_has_the_values_of_the_released_code() -> None:
    assert momentum_of("as_released", "unetr", 18, 1000).momentum(17) == pytest.approx(0.0188, abs=5e-5)
    assert momentum_of("as_released", "unetr", 5, 1000).momentum(4) == pytest.approx(0.0160, abs=5e-5)


def test_as_released_nnformer_restarts_the_warm_up_each_epoch_of_250() -> None:
    method = momentum_of("as_released", "nnformer", 18, steps=1000 * 250)
    for step in (0, 1, 100, 249, 250, 499, 250 * 999 + 249):
        assert method.momentum(step) == pytest.approx(step % 250 * 0.996 / 4999, rel=1e-12)
    assert method.momentum(249) == pytest.approx(0.0496, abs=5e-5)


def test_as_published_momentum_rises_from_0996_to_1_by_cosine() -> None:
    method = momentum_of("as_published", "unetr", 18, steps=200)
    values = [method.momentum(step) for step in range(200)]
    assert values[0] == 0.996
    assert values[100] == pytest.approx(0.998)
    assert values[50] == pytest.approx(1 - 0.004 * (1 + math.cos(math.pi / 4)) / 2)
    assert values == sorted(values) and 0.99999 < values[-1] < 1  # type: ignore[type-var]


def test_momentum_warms_up_from_0_then_follows_the_cosine_or_stays() -> None:
    settings: dict[str, Any] = {"start": 0.9, "end": 1.0, "steps": 110, "warmup": 10}
    cosine = [ema_momentum(index, schedule="cosine", **settings) for index in range(111)]
    assert cosine[:10] == pytest.approx([0.1 * index for index in range(10)])
    assert cosine[10] == pytest.approx(0.9)
    assert cosine[60] == pytest.approx(0.95)
    assert cosine[110] == pytest.approx(1.0)
    constant = [ema_momentum(index, schedule="constant", **settings) for index in range(111)]
    assert constant[:10] == cosine[:10] and set(constant[10:]) == {0.9}
    assert ema_momentum(0, start=0.9, end=1.0, steps=5, warmup=1, schedule="cosine") == 0.0


class Normalised(nn.Module):
    """One parameter and a batch normalisation with its running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.norm = nn.BatchNorm3d(2)


def networks() -> tuple[Normalised, Normalised]:
    student, teacher = Normalised(), Normalised()
    student.weight.data = torch.tensor([3.0, 4.0])
    student.norm.running_mean.fill_(10.0)
    student.norm.num_batches_tracked.fill_(7)
    return student, teacher


def test_an_update_moves_parameters_by_hand() -> None:
    student, teacher = networks()
    update_teacher(teacher, student, 0.75, "skip")
    assert teacher.weight.tolist() == [0.75 * 1 + 0.25 * 3, 0.75 * -2 + 0.25 * 4]
    assert student.weight.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(("momentum", "expected"), [(0.0, [3.0, 4.0]), (1.0, [1.0, -2.0])])
def test_momentum_0_copies_and_1_stands_still_to_the_bit(momentum: float, expected: list[float]) -> None:
    student, teacher = networks()
    update_teacher(teacher, student, momentum, "ema")
    assert teacher.weight.tolist() == expected


@pytest.mark.parametrize(
    ("buffers", "mean", "count"),
    [("skip", 0.0, 0), ("copy", 10.0, 7), ("ema", 2.5, 7)],
    ids=["skip", "copy", "ema"],
)
def test_buffers_are_left_copied_or_averaged(buffers: Any, mean: float, count: int) -> None:
    student, teacher = networks()
    update_teacher(teacher, student, 0.75, buffers)
    assert teacher.norm.running_mean.tolist() == [mean, mean]
    assert int(teacher.norm.num_batches_tracked) == count


def test_a_teacher_begins_as_a_copy_without_gradients() -> None:
    student, other = networks()
    teacher = make_teacher(student, other)
    assert all(
        torch.equal(a, b)
        for a, b in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    student.weight.data += 1
    assert not torch.equal(teacher.weight, student.weight), "a copy, not the same tensor"


def rates(**settings: Any) -> list[float]:
    recipe = Recipe(patch=(8, 8, 8), spacing=(1, 1, 1), steps=12, learning_rate=0.2, **settings)
    return [learning_rate(step, recipe) for step in range(12)]


def test_learning_rate_warms_up_linearly_from_0() -> None:
    values = rates(schedule="constant", warmup_steps=4)
    assert values == pytest.approx([0.0, 0.05, 0.1, 0.15] + [0.2] * 8)


def test_learning_rate_falls_by_cosine_over_what_the_warm_up_leaves() -> None:
    values = rates(schedule="cosine", warmup_steps=2)
    assert values[2] == pytest.approx(0.2)
    assert values[7] == pytest.approx(0.1)
    assert values[11] == pytest.approx(0.1 * (1 + math.cos(math.pi * 0.9)))
    assert rates(schedule="cosine")[6] == pytest.approx(0.1)


def test_learning_rate_falls_by_nnunets_polynomial() -> None:
    assert rates(schedule="poly") == pytest.approx([0.2 * (1 - step / 12) ** 0.9 for step in range(12)])
    assert rates(schedule="poly", warmup_steps=2)[7] == pytest.approx(0.2 * 0.5**0.9)


def test_learning_rate_by_epochs_is_full_in_the_last_one_of_the_warm_up() -> None:
    """UNETR's: of W epochs of warm-up, epoch k has k / (W - 1) of the rate, and the cosine begins after them."""
    epochs = [value / 0.2 for value in rates(schedule="cosine", warmup_steps=6, rate_every=2)]
    assert epochs[::2] == epochs[1::2], "one rate for each epoch of two steps"
    assert epochs[:6:2] == pytest.approx([0, 1 / 2, 1])
    assert epochs[6::2] == pytest.approx([(1 + math.cos(math.pi * k / 3)) / 2 for k in range(3)])
    assert max(rates(warmup_steps=5, rate_every=4)) == 0.2, "a warm-up that ends within an epoch"


def test_learning_rate_by_epochs_falls_by_nnunets_polynomial_of_the_epoch() -> None:
    expected = [0.2 * (1 - epoch / 4) ** 0.9 for epoch in range(4) for _ in range(3)]
    assert rates(schedule="poly", rate_every=3) == pytest.approx(expected)


def test_a_ramp_may_move_in_steps() -> None:
    values = [ramp_up(step, 40 * 150, 150) for step in (0, 149, 150, 299, 5999, 6000, 9000)]
    expected = [math.exp(-5 * (1 - unit / 40) ** 2) for unit in (0, 0, 1, 1, 39, 40, 40)]
    assert values == pytest.approx(expected, rel=1e-12)
    assert ramp_up(149, 6000) > ramp_up(0, 6000)
