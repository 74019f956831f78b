"""VoCo's losses, teacher and transfer against formulas worked out by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from pretraining_setup import AT, SEED, batch_of, set_up
from torch import Tensor

from harness.seeding import numpy_generator
from harness.training.features import (
    deepest_features,
)
from methods.voco import VoCo, prediction_loss, similarity, spread_loss


def positive_cosine(one: Tensor, other: Tensor) -> float:
    return max(0.0, torch.cosine_similarity(one, other, dim=0).item())


def test_voco_losses_by_hand() -> None:
    targets, base = torch.randn(2, 6), torch.randn(3, 6)
    overlap = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    near = far = spread = 0.0
    for i in range(2):
        for j in range(3):
            similar = positive_cosine(targets[i], base[j])
            near -= overlap[i, j].item() * math.log(1 - abs(overlap[i, j].item() - similar) + 1e-6)
            far += similar**2 * (overlap[i, j] == 0).item()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        spread += positive_cosine(base[i], base[j]) ** 2
    loss = prediction_loss(similarity(targets, base), overlap)
    assert loss.item() == pytest.approx(near / 2 + far / 3, rel=1e-4)
    assert spread_loss(base).item() == pytest.approx(spread / 3, rel=1e-4)


def test_voco_spreads_each_base_crop_from_the_later_ones_alone() -> None:
    base = torch.rand(3, 6).requires_grad_()
    spread_loss(base).backward()
    by_hand = torch.zeros(3, 6)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        first = base[i].detach().clone().requires_grad_()
        (torch.cosine_similarity(first, base[j].detach(), dim=0).relu() ** 2 / 3).backward()
        assert first.grad is not None
        by_hand[i] += first.grad
    torch.testing.assert_close(base.grad, by_hand)
    assert not by_hand[2].any() and by_hand[0].any()


def projected(layers: Any, features: Tensor) -> Tensor:
    """Return what three linear layers make of ``(M, C)``, the first two normalised over M and rectified."""
    for layer in (layers[0], layers[3]):
        sums = features @ layer.weight.T
        normal = (sums - sums.mean(0)) / (sums.var(0, unbiased=False) + 1e-5).sqrt()
        features = normal.clamp_min(0)
    return features @ layers[6].weight.T + layers[6].bias


def test_voco_averages_what_student_and_teacher_say_of_each_other() -> None:
    """With a teacher of other weights, from the crops that both were given."""
    method, batch = set_up(VoCo, projection=12), batch_of()
    modules, path, given = method.modules, method._path, []
    with torch.no_grad():
        for parameter in modules["teacher"].parameters():
            parameter.mul_(1.5)
    hook = modules["student"].register_forward_pre_hook(lambda _m, inputs: given.append(inputs[0]))
    terms = method.step(batch, AT).terms
    hook.remove()
    vectors = []
    with torch.no_grad():
        for network, layers in (("student", "projection"), ("teacher", "teacher_projection")):
            parts = [deepest_features(modules[network], path, crops).view(2, 4, -1) for crops in given]
            vectors.append(projected(modules[layers], torch.cat(parts, 1).flatten(0, 1)).view(2, 8, -1))
    (b_s, r_s), (b_t, r_t) = ((both[:, :4], both[:, 4:]) for both in vectors)
    rng = numpy_generator(SEED, "crops", 4)
    drawn = [
        [tuple(place) for place in rng.integers(0, [16, 16, 0], endpoint=True, size=(4, 3))] for _ in range(2)
    ]
    corners = [(0, 0), (0, 16), (16, 0), (16, 16)]
    total = 0.0
    for i in range(2):
        near = far = covered = apart = 0.0
        for t, (x, y, _z) in enumerate(drawn[i]):
            for k, (a, b) in enumerate(corners):
                share = max(0, 16 - abs(x - a)) * max(0, 16 - abs(y - b)) / 256
                logit = (positive_cosine(r_s[i, t], b_t[i, k]) + positive_cosine(r_t[i, t], b_s[i, k])) / 2
                near -= share * math.log(1 - abs(share - logit) + 1e-6)
                covered, apart = covered + share, apart + (share == 0)
                far += logit**2 * (share == 0)
        total += (near / covered + far / max(1, apart)) / 2
    assert terms["prediction"].item() == pytest.approx(total, rel=1e-4)


def test_vocos_teacher_follows_with_momentum_and_gets_no_gradient() -> None:
    method = set_up(VoCo)
    student, teacher = method.modules["student"], method.modules["teacher"]
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    before = copy.deepcopy(teacher.state_dict())
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    method.after_step(AT)
    for name, values in teacher.named_parameters():
        expected = 0.9 * before[name] + 0.1 * student.get_parameter(name)
        torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    own, theirs = method.modules["projection"], method.modules["teacher_projection"]
    once = theirs[0].weight.clone()
    method.after_step(AT)
    torch.testing.assert_close(theirs[0].weight, 0.9 * once + 0.1 * own[0].weight)
    assert own[0].weight.requires_grad and not theirs[0].weight.requires_grad
    assert method.forward_passes() == 4 and "teacher" not in set_up(VoCo, stage="train").modules


def test_voco_overlaps_are_shares_of_volume() -> None:
    from methods.voco import _cells, _overlap

    size, corners = _cells((32, 32, 16), (2, 2, 1))
    assert size == (16, 16, 16) and corners == [(0, 0, 0), (0, 16, 0), (16, 0, 0), (16, 16, 0)]
    assert [_overlap((0, 4, 0), corner, size) for corner in corners] == [0.75, 0.25, 0.0, 0.0]
    assert sum(_overlap((5, 9, 0), corner, size) for corner in corners) == pytest.approx(1.0)


@pytest.mark.parametrize("architecture", ["unet", "unetr"])
def test_voco_trains_and_transfers_the_encoder_alone(architecture: str) -> None:
    method = set_up(VoCo, architecture)
    student = method.modules["student"]
    method.step(batch_of(), AT).total.backward()
    moved = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert moved == {name for name, parameter in student.named_parameters() if parameter.requires_grad}
    decoder = "model.2" if architecture == "unet" else "decoder5"
    assert moved and not any(name.startswith((decoder, "encoder")) for name in moved)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    tuned = set_up(VoCo, architecture, "train")
    before = copy.deepcopy(tuned.modules["student"].state_dict())
    report = tuned.load_pretrained(method.state_dict())
    after = tuned.modules["student"].state_dict()
    assert (
        {name for name in before if not torch.equal(before[name], after[name])} == moved == set(report.loaded)
    )
