"""The controls against what they must equal: formulas, and MedContext with its parts switched off."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny import SEED, at, gradients_of, make_batch, make_setting, set_up

from harness.seeding import torch_generator
from harness.training.losses import segmentation_loss
from harness.training.masks import draw_mask
from methods.clean_clean import CleanClean
from methods.masked_supervised import MaskedSupervised
from methods.medcontext import MedContext
from methods.supervised import Supervised

LOSS = segmentation_loss("dice_ce")
NO_TEACHER: dict[str, Any] = {"losses": {"cons": 0.0}, "teacher": {"enabled": False}}


def student_gradients(method: Any, step: int = 3) -> dict[str, torch.Tensor]:
    found = gradients_of(method, method.step(make_batch(), at(step)).total)
    return {name: value for name, value in found.items() if name.startswith("student")}


@pytest.mark.parametrize("preset", ["as_published", "as_released"])
@pytest.mark.parametrize("masking", [{}, {"kind": "random", "level": "image", "block": 2}])
def test_masked_supervised_is_medcontext_without_consistency_to_the_bit(
    preset: str, masking: dict[str, Any]
) -> None:
    control = set_up(MaskedSupervised, preset=preset, masking=masking)
    medcontext = set_up(MedContext, preset=preset, masking=masking, **NO_TEACHER)
    assert control.parameters.masking == medcontext.parameters.masking
    one, other = student_gradients(control), student_gradients(medcontext)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert control.forward_passes() == medcontext.forward_passes() == 2


def test_a_teacher_that_weighs_nothing_changes_no_bit_of_the_student() -> None:
    with_teacher = set_up(MedContext, losses={"cons": 0.0})
    without = set_up(MaskedSupervised)
    one, other = student_gradients(with_teacher), student_gradients(without)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert set(with_teacher.roles()) == {"student", "teacher"}  # it is still moved and can be scored


def test_masked_supervised_on_masked_volumes_alone() -> None:
    method = set_up(
        MaskedSupervised, losses={"sup": 0.0, "masked_sup": 2.0}, masking={"level": "image", "block": 2}
    )
    batch, network = make_batch(), copy.deepcopy(method.modules["student"])
    mask = draw_mask(
        "tube", (4, 4, 2), 0.4, 2, axis=2, per_sample=True, generator=torch_generator(SEED, "mask", 3)
    )
    hidden = mask.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)[:, None]
    losses = method.step(batch, at(3))
    torch.testing.assert_close(
        losses.total, 2 * LOSS(network(batch.image.masked_fill(hidden, 0.0)), batch.label)
    )
    assert set(losses.terms) == {"masked"} and method.forward_passes() == 1


def test_a_masked_control_without_any_term_and_without_tokens_is_refused() -> None:
    from harness.architectures.contract import Architecture
    from harness.errors import UserError

    with pytest.raises(UserError, match="at least one weight"):
        MaskedSupervised.resolve({"losses": {"sup": 0, "masked_sup": 0}}, "test", make_setting())
    setting = make_setting(architecture=Architecture)
    method = MaskedSupervised(MaskedSupervised.resolve({"masking": {"level": "token"}}, "test", setting))
    assert "no patch tokens" in str(method.supports(setting))


def test_two_clean_passes_double_the_supervised_gradient_of_a_network_without_dropout() -> None:
    one, other = student_gradients(set_up(CleanClean)), student_gradients(set_up(Supervised))
    for name in other:
        torch.testing.assert_close(one[name], 2 * other[name])


def test_two_clean_passes_are_medcontext_with_nothing_hidden() -> None:
    clean = set_up(CleanClean)
    nothing_hidden = set_up(MedContext, masking={"ratio": 0.0}, **NO_TEACHER)
    one, other = student_gradients(clean), student_gradients(nothing_hidden)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_clean_passes_differ_by_dropout() -> None:
    method = set_up(CleanClean)
    method.modules["student"].head = torch.nn.Sequential(
        method.modules["student"].head, torch.nn.Dropout(0.5)
    )
    terms = method.step(make_batch(), at(0)).terms
    assert terms["supervised"] != terms["second"]
