"""Mean Teacher, UA-MT, CPS and MedContext on unlabelled patches, against formulas worked out by hand."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import CLASSES, PATCH, SEED, STEPS, at, gradients_of, make_batch, set_up
from torch import Tensor, nn

from harness.errors import UserError
from harness.seeding import torch_generator
from harness.training.losses import segmentation_loss
from harness.training.masks import draw_mask
from harness.training.method import Batch
from methods.cps import CPS
from methods.mean_teacher import MeanTeacher
from methods.medcontext import MedContext
from methods.supervised import Supervised
from methods.ua_mt import UAMT

LOSS = segmentation_loss("dice_ce")
PEERS = [MeanTeacher, UAMT, CPS]


def batch_of_both(unlabelled: int = 3) -> Batch:
    image = torch.randn(unlabelled, 1, *PATCH, generator=torch.Generator().manual_seed(9))
    return replace(make_batch(), unlabelled=image)


def noise_of(generator: torch.Generator, image: Tensor) -> Tensor:
    return (0.1 * torch.randn(image.shape, generator=generator)).clip(-0.2, 0.2)


def both(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    assert batch.unlabelled is not None
    output = network(torch.cat([batch.image, batch.unlabelled]))
    return output[:2], output[2:]


def with_other_teacher(method: Any) -> Any:
    with torch.no_grad():
        for parameter in method.modules["teacher"].parameters():
            parameter.mul_(1.5)
    return method


def test_mean_teacher_by_hand() -> None:
    method, batch = with_other_teacher(set_up(MeanTeacher)), batch_of_both()
    networks = copy.deepcopy(method.modules)
    labelled, unlabelled = both(networks["student"], batch)
    noisy = batch.unlabelled + noise_of(torch_generator(SEED, "noise", 4), batch.unlabelled)
    difference = unlabelled.softmax(1) - networks["teacher"](noisy).softmax(1)
    supervised, consistency = LOSS(labelled, batch.label), (difference**2).mean()
    losses = method.step(batch, at(4))
    torch.testing.assert_close(losses.terms["supervised"], supervised.detach())
    torch.testing.assert_close(losses.terms["consistency"], consistency.detach())
    share = math.exp(-5 * (1 - 4 / STEPS) ** 2)
    torch.testing.assert_close(losses.total, 0.5 * supervised + 0.1 * share * consistency)


def test_ua_mt_by_hand() -> None:
    method, batch = (
        with_other_teacher(set_up(UAMT, uncertainty={"threshold": 0.5, "passes": 3})),
        batch_of_both(),
    )
    networks, generator = copy.deepcopy(method.modules), torch_generator(SEED, "noise", 4)
    _, unlabelled = both(networks["student"], batch)
    looks = []
    for _ in range(4):
        noisy = batch.unlabelled + noise_of(generator, batch.unlabelled)
        looks.append(networks["teacher"](noisy).detach())
    mean = torch.stack([look.softmax(1) for look in looks[1:]]).mean(0)
    entropy = -(mean * torch.log(mean + 1e-6)).sum(1)
    threshold = (0.5 + 0.5 * math.exp(-5 * 0.6**2)) * math.log(CLASSES)
    kept = entropy < threshold
    assert 0 < kept.sum() < kept.numel(), "the threshold must tell voxels apart"
    squares = (unlabelled.softmax(1) - looks[0].softmax(1)) ** 2
    expected = (squares * kept[:, None]).sum() / (2 * kept.sum())  # 2 whatever the number of classes
    assert CLASSES == 3
    terms = method.step(batch, at(4)).terms
    torch.testing.assert_close(terms["consistency"], expected.detach())
    torch.testing.assert_close(terms["certain"], kept.float().mean())
    assert method.forward_passes() == 5 and method.threshold(at(STEPS)) == pytest.approx(math.log(CLASSES))


@pytest.mark.parametrize("kind", PEERS)
def test_the_unlabelled_weight_may_move_in_steps(kind: Any) -> None:
    method, plain = set_up(kind, ramp_every=4), set_up(kind)
    weights = [method.unlabelled_weight(at(step)) for step in range(10)]
    assert weights == [plain.unlabelled_weight(at(step // 4 * 4)) for step in range(10)]
    assert weights[0] == weights[3] < weights[4]


def test_cps_by_hand() -> None:
    method, batch = set_up(CPS), batch_of_both()
    with torch.no_grad():
        method.modules["second"].head.weight.mul_(-1.0)
    networks = copy.deepcopy(method.modules)
    (first, one), (second, two) = both(networks["student"], batch), both(networks["second"], batch)
    rows = torch.arange(3)[:, None, None, None], *torch.meshgrid(*map(torch.arange, PATCH), indexing="ij")
    cross = -one.log_softmax(1)[rows[0], two.argmax(1), rows[1], rows[2], rows[3]].mean()
    crossed = -two.log_softmax(1)[rows[0], one.argmax(1), rows[1], rows[2], rows[3]].mean()
    losses = method.step(batch, at(4))
    torch.testing.assert_close(losses.terms["cross_student"], cross.detach())
    torch.testing.assert_close(losses.terms["cross_second"], crossed.detach())
    share = 0.1 * math.exp(-5 * 0.6**2)
    expected = 0.5 * (LOSS(first, batch.label) + LOSS(second, batch.label)) + share * (cross + crossed)
    torch.testing.assert_close(losses.total, expected)
    assert list(method.roles()) == ["student"]


def test_cps_begins_from_two_draws_of_the_weights() -> None:
    asked: list[tuple[str, ...]] = []
    method = CPS(CPS.resolve({}, "test", None))  # type: ignore[arg-type]

    class Asking:
        segmentation_loss = LOSS

        @staticmethod
        def build_network(*stream: str) -> nn.Module:
            asked.append(stream)
            return nn.Identity()

    method.setup(Asking)  # type: ignore[arg-type]
    assert asked[0] == () and asked[1] not in ((), ("network",))


def test_the_first_update_copies_the_student_and_later_ones_approach_the_momentum() -> None:
    method = set_up(MeanTeacher)
    momenta = [method.parameters.teacher.momentum_at(step) for step in (0, 1, 9, 98, 99, 5000)]
    assert momenta == pytest.approx([0.0, 0.5, 0.9, 98 / 99, 0.99, 0.99])
    with torch.no_grad():
        method.modules["student"].head.weight.add_(1.0)
    method.after_step(at(0))
    assert torch.equal(method.modules["teacher"].head.weight, method.modules["student"].head.weight)


@pytest.mark.parametrize("kind", PEERS)
def test_unlabelled_images_move_no_labelled_term_and_the_teacher_gets_no_gradient(kind: Any) -> None:
    method = set_up(kind, losses={"sup": 1.0})
    for module in method.modules.values():
        module.norm = nn.InstanceNorm3d(4)  # batch normalisation would tie samples together
    supervised = set_up(Supervised)
    supervised.modules["student"].norm = nn.InstanceNorm3d(4)
    alone = supervised.step(make_batch(), at(4)).terms["supervised"]
    losses = method.step(batch_of_both(), at(4))
    torch.testing.assert_close(losses.terms["supervised"], alone)
    found = gradients_of(method, losses.total)
    assert found and not any(name.startswith("teacher") for name in found)


@pytest.mark.parametrize("kind", PEERS)
def test_without_a_weight_no_unlabelled_patch_is_asked_for(kind: Any) -> None:
    assert set_up(kind).unlabelled_batch(2) == 2
    assert set_up(kind, unlabelled=5).unlabelled_batch(2) == 5
    assert set_up(kind, losses={"cons": 0.0}).unlabelled_batch(2) == 0


@pytest.mark.parametrize("target", ["teacher", "student"])
def test_medcontext_compares_on_labelled_and_unlabelled_patches_together(target: str) -> None:
    method = set_up(MedContext, unlabelled=True, consistency={"target": target})
    for name in ("student", "teacher"):
        method.modules[name].norm = nn.InstanceNorm3d(4)
    with_other_teacher(method)
    batch = batch_of_both(2)
    networks, image = copy.deepcopy(method.modules), torch.cat([batch.image, batch.unlabelled])
    masking = {"axis": 2, "per_sample": True, "generator": torch_generator(SEED, "mask", 3)}
    mask = draw_mask("tube", (4, 4, 4), 0.4, 4, **masking)
    student = networks["student"]
    tokens = student.embed(image).masked_fill(mask[:, None], 0.0)  # the learned token begins at 0
    masked = student.head(torch.tanh(student.norm(tokens))) + student.skip(image)
    goal = networks[target](image).detach()
    losses = method.step(batch, at(3))
    torch.testing.assert_close(
        losses.terms["consistency"], ((goal - masked) ** 2).mean().detach() / goal.norm()
    )
    torch.testing.assert_close(losses.terms["masked"], LOSS(masked[:2], batch.label).detach())
    torch.testing.assert_close(losses.terms["supervised"], LOSS(student(batch.image), batch.label).detach())
    assert method.unlabelled_batch(2) == 2 and set_up(MedContext).unlabelled_batch(2) == 0


def test_medcontext_without_consistency_has_no_use_for_unlabelled_patches() -> None:
    with pytest.raises(UserError, match=r"losses\.cons above 0"):
        set_up(MedContext, unlabelled=True, losses={"cons": 0.0})
