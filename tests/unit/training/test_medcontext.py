from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny import PATCH, SEED, Tiny, at, gradients_of, make_batch, make_setting, set_up
from torch import Tensor, nn

from harness import registry
from harness.architectures.contract import Architecture
from harness.errors import UserError
from harness.seeding import torch_generator
from harness.training.losses import consistency_loss, segmentation_loss
from harness.training.masks import draw_mask, resize_mask
from harness.training.method import Losses, Setting
from methods.medcontext import MedContext, MedContextParameters


class Untokened(Architecture[Any]):
    """A network without patch tokens."""


def make(levels: int = 1, **settings: Any) -> Any:
    """Return the method, set up, with a teacher that differs from its student and a mask token that is not 0."""
    method = set_up(MedContext, levels, **settings)
    with torch.no_grad():
        for parameter in method.modules["teacher"].parameters() if "teacher" in method.modules else ():
            parameter.mul_(1.5)
    if "masker" in method.modules and method.modules["masker"].token is not None:
        method.modules["masker"].token.data.fill_(0.7)  # type: ignore[union-attr,operator]
    return method


def step(method: MedContext, at_step: int = 3) -> Losses:
    return method.step(make_batch(), at(at_step))


def masked_by_hand(network: nn.Module, image: Tensor, mask: Tensor, token: Tensor) -> Tensor:
    """Run the tiny network with the fill written into its tokens, without any hook."""
    tokens = network.embed(image).clone()  # type: ignore[operator]
    tokens = torch.where(mask[:, None], token.view(1, -1, 1, 1, 1), tokens)
    return network.head(torch.tanh(network.norm(tokens))) + network.skip(image)  # type: ignore[operator]


def mask_of(method: MedContext, at_step: int = 3) -> Tensor:
    masking = method.parameters.masking
    return draw_mask(
        masking.kind, (4, 4, 4), masking.ratio, 2, axis=masking.axis, per_sample=masking.per_sample,
        generator=torch_generator(SEED, "mask", at_step),
    )  # fmt: skip


@pytest.mark.parametrize("preset", ["as_published", "as_released"])
def test_total_is_the_sum_of_three_terms_from_separate_forward_passes(preset: str) -> None:
    method = make(preset=preset)
    batch, mask, loss = make_batch(), mask_of(method), segmentation_loss("dice_ce")
    networks = copy.deepcopy(method.modules)  # batch normalisation moves in every pass
    whole = networks["student"](batch.image)
    masked = masked_by_hand(networks["student"], batch.image, mask, networks["masker"].token)
    target = networks["teacher"](batch.image)
    supervised, hidden = loss(whole, batch.label), loss(masked, batch.label)
    consistency = (target - masked).square().mean() / target.norm()

    losses = step(method)
    torch.testing.assert_close(losses.terms["supervised"], supervised.detach())
    torch.testing.assert_close(losses.terms["masked"], hidden.detach())
    torch.testing.assert_close(losses.terms["consistency"], consistency.detach())
    torch.testing.assert_close(losses.total, supervised + hidden + 0.5 * consistency)
    assert method.forward_passes() == 3


def test_weights_multiply_their_terms() -> None:
    losses = step(make(losses={"sup": 2.0, "masked_sup": 3.0, "cons": 40.0}))
    terms = losses.terms
    expected = 2 * terms["supervised"] + 3 * terms["masked"] + 40 * terms["consistency"]
    torch.testing.assert_close(losses.total.detach(), expected)


def gradients(method: MedContext) -> dict[str, Tensor]:
    return gradients_of(method, step(method).total)


@pytest.mark.parametrize(
    ("weights", "has_token"),
    [
        ({"sup": 1.0, "masked_sup": 0.0, "cons": 0.0}, False),
        ({"sup": 0.0, "masked_sup": 1.0, "cons": 0.0}, True),
        ({"sup": 0.0, "masked_sup": 0.0, "cons": 1.0}, True),
    ],
    ids=["supervised", "masked", "consistency"],
)
def test_each_term_alone_trains_the_student_and_only_the_masked_pass_the_mask_token(
    weights: dict[str, float], has_token: bool
) -> None:
    found = gradients(make(losses=weights))
    assert found["student.embed.weight"].any() and found["student.head.weight"].any()
    assert not any(name.startswith("teacher") for name in found)
    assert ("masker.token" in found and bool(found["masker.token"].any())) == has_token


def test_the_target_student_is_detached_and_student_with_gradient_is_not() -> None:
    weights = {"sup": 0.0, "masked_sup": 0.0, "cons": 1.0}
    plain = {"losses": weights, "teacher": {"enabled": False}}
    found = {}
    for target in ("student", "student_with_gradient"):
        method = make(consistency={"target": target}, **plain)
        batch, mask = make_batch(), mask_of(method)
        networks = copy.deepcopy(method.modules)
        whole = networks["student"](batch.image)
        masked = masked_by_hand(networks["student"], batch.image, mask, networks["masker"].token)
        kept = whole if target == "student_with_gradient" else whole.detach()
        ((kept - masked).square().mean() / whole.detach().norm()).backward()
        found[target] = gradients(method)
        torch.testing.assert_close(
            found[target]["student.skip.weight"], networks["student"].skip.weight.grad, rtol=1e-4, atol=1e-7
        )
        assert method.forward_passes() == 2 and list(method.roles()) == ["student"]
    one, other = (found[target]["student.head.weight"] for target in found)
    assert not torch.allclose(one, other)


def test_the_weight_of_consistency_ramps_up_from_0() -> None:
    shares = []
    for at_step in (0, 1, 2, 4, 9):
        losses = step(make(consistency={"ramp": 0.4}, losses={"cons": 1000.0}), at_step)
        rest = losses.terms["supervised"] + losses.terms["masked"]
        shares.append(float((losses.total.detach() - rest) / (1000 * losses.terms["consistency"])))
    assert shares == pytest.approx([0.0, 0.25, 0.5, 1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("region", ["masked", "visible"])
def test_consistency_can_look_at_masked_or_visible_places_alone(region: str) -> None:
    method = make(consistency={"region": region})
    networks, batch, mask = copy.deepcopy(method.modules), make_batch(), mask_of(method)
    networks["student"](batch.image)
    masked = masked_by_hand(networks["student"], batch.image, mask, networks["masker"].token)
    target = networks["teacher"](batch.image)
    hidden = resize_mask(mask, PATCH)
    inside = hidden if region == "masked" else ~hidden
    squares = (target - masked).square().mean(dim=1)
    expected = squares[inside].mean() / target.norm()
    torch.testing.assert_close(step(method).terms["consistency"], expected.detach())


def outputs(method: MedContext) -> tuple[list[Tensor], list[Tensor]]:
    """Return the teacher's logits and the masked student's, level by level."""
    networks, batch = copy.deepcopy(method.modules), make_batch()
    networks["student"](batch.image)
    masked = masked_by_hand(networks["student"], batch.image, mask_of(method), networks["masker"].token)
    target = networks["teacher"](batch.image)
    targets = target if isinstance(target, list) else [target]
    return targets, [masked, 2 * nn.functional.avg_pool3d(masked, 2)]


@pytest.mark.parametrize(("ds", "levels"), [("first", 1), ("all", 2)])
def test_consistency_compares_the_finest_output_or_all(ds: str, levels: int) -> None:
    method = make(levels=2, consistency={"ds": ds}, teacher={"mode": "train"})
    targets, masked = outputs(method)
    values = [consistency_loss(t, s, "mse_logits", "fro") for t, s in zip(targets, masked, strict=True)][
        :levels
    ]
    expected = sum(0.5**level * value for level, value in enumerate(values)) / sum(
        0.5**n for n in range(levels)
    )
    torch.testing.assert_close(step(method).terms["consistency"], expected.detach())  # type: ignore[union-attr]


def test_samples_first_compares_the_first_sample_of_a_batch_alone() -> None:
    method = make(consistency={"samples": "first"})
    (target,), (masked, _) = outputs(method)
    expected = (target[0] - masked[0]).square().mean() / target[0].norm()
    torch.testing.assert_close(step(method).terms["consistency"], expected.detach())


def test_the_teachers_loss_is_logged_and_not_added() -> None:
    plain, logged = step(make()), step(make(teacher={"log_loss": True}))
    assert set(logged.terms) - set(plain.terms) == {"teacher"}
    assert torch.equal(plain.total, logged.total)


def test_a_closed_skip_hides_the_image_from_the_raw_image_path() -> None:
    method = make(masking={"mask_image_skip": True, "ratio": 1.0, "fill": "zero"})
    seen: list[Tensor] = []
    method.modules["student"].skip.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    step(method)
    assert torch.equal(seen[0], make_batch().image) and not seen[1].any()


def test_the_teacher_is_in_eval_mode_as_published_and_in_train_mode_as_released() -> None:
    for preset, training in (("as_published", False), ("as_released", True)):
        method = make(preset=preset)
        before = method.modules["teacher"].norm.running_mean.clone()
        step(method)
        assert method.modules["teacher"].training is training and method.modules["student"].training
        assert torch.equal(method.modules["teacher"].norm.running_mean, before) is not training


def test_the_teacher_moves_by_the_momentum_of_the_step() -> None:
    method = make()
    student, teacher = method.modules["student"].head.weight, method.modules["teacher"].head.weight
    momentum, before = method.momentum(5), teacher.clone()
    assert momentum is not None and 0.996 < momentum < 1
    method.after_step(at(5))
    torch.testing.assert_close(teacher, momentum * before + (1 - momentum) * student)


def test_the_released_teacher_stands_still_within_an_epoch() -> None:
    method = make(preset="as_released")  # three training cases make an epoch
    teacher = method.modules["teacher"].head.weight
    before = teacher.clone()
    method.after_step(at(0))
    method.after_step(at(1))
    assert torch.equal(teacher, before)
    method.after_step(at(2))
    assert not torch.equal(teacher, before)


def test_a_disabled_teacher_is_not_built() -> None:
    method = make(teacher={"enabled": False}, losses={"cons": 0.0})
    assert "teacher" not in method.modules and list(method.roles()) == ["student"]
    assert set(step(method).terms) == {"supervised", "masked"}
    method.after_step(at(0))


# Rows of spec/medcontext.md, section 4; ours are RAS arrays, whose slice axis is 2.
PUBLISHED = {
    "masking.axis": 2,  # 17
    "masking.before_pos": False,  # 16
    "masking.fill": "learned",
    "masking.kind": "tube",
    "masking.level": "token",
    "masking.mask_image_skip": False,  # 14
    "masking.per_sample": True,  # 18
    "consistency.kind": "mse_logits",
    "consistency.norm": "fro",  # 12
    "consistency.region": "all",
    "consistency.samples": "all",  # 13
    "consistency.ds": "first",
    "consistency.ramp": 0.0,
    "consistency.target": "teacher",
    "teacher.enabled": True,
    "teacher.m0": 0.996,  # 4
    "teacher.m1": 1.0,
    "teacher.schedule": "cosine",
    "teacher.warmup_epochs": 0,  # 4
    "teacher.index": "global",  # 3
    "teacher.every": "iteration",  # 5
    "teacher.steps_per_epoch": 0,
    "teacher.schedule_steps_per_epoch": 0,  # 6
    "teacher.buffers": "ema",  # 7
    "teacher.mode": "eval",  # 8
    "teacher.log_loss": False,  # 10
    "losses.sup": 1.0,
    "losses.masked_sup": 1.0,  # 19
    "losses.cons": 0.5,  # 11
}
RELEASED = PUBLISHED | {
    "masking.per_sample": False,
    "teacher.index": "in_epoch",
    "teacher.buffers": "skip",
    "teacher.mode": "train",
}
RELEASED_UNETR = RELEASED | {
    "masking.axis": 0,  # left-right: the first axis of RAS arrays
    "masking.ratio": 0.6,
    "teacher.warmup_epochs": 50,
    "teacher.every": "epoch",
}
RELEASED_NNFORMER = RELEASED | {
    "masking.axis": 2,  # slices: the first axis of nnFormer's arrays, the last of ours
    "teacher.warmup_epochs": 10,
    "teacher.steps_per_epoch": 250,
    "teacher.schedule_steps_per_epoch": 500,
}
FIRST_SAMPLE = {"consistency.samples": "first", "teacher.log_loss": True}
TABLE = [
    ("as_published", "unetr", "synapse", "bf16", PUBLISHED | {"masking.ratio": 0.4}),
    ("as_published", "unetr", "acdc", "bf16", PUBLISHED | {"masking.ratio": 0.6}),
    ("as_published", "nnformer", "synapse", "bf16", PUBLISHED | {"masking.ratio": 0.4}),
    ("as_published", "nnformer", "acdc", "bf16", PUBLISHED | {"masking.ratio": 0.6}),
    ("as_published", "nnformer", "brats", "bf16", PUBLISHED | {"masking.ratio": 0.4}),
    ("as_released", "unetr", "synapse", "bf16", RELEASED_UNETR),
    ("as_released", "unetr", "phantom", "fp32", RELEASED_UNETR),
    ("as_released", "nnformer", "synapse", "fp16", RELEASED_NNFORMER | {"masking.ratio": 0.4, "losses.cons": 0.4}),
    ("as_released", "nnformer", "acdc", "fp16", RELEASED_NNFORMER | FIRST_SAMPLE | {"masking.ratio": 0.4}),
    ("as_released", "nnformer", "brats", "fp16", RELEASED_NNFORMER | FIRST_SAMPLE | {"masking.ratio": 0.6}),
    (
        "as_released", "nnformer", "brats", "fp32",
        RELEASED_NNFORMER | FIRST_SAMPLE | {"masking.ratio": 0.6, "losses.cons": 1.0},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("preset", "architecture", "dataset", "precision", "expected"), TABLE)
def test_presets_hold_the_settings_of_the_specification(
    preset: str, architecture: str, dataset: str, precision: str, expected: dict[str, Any]
) -> None:
    setting = make_setting(architecture, dataset, precision)
    parameters = MedContext.resolve({"preset": preset}, "test", setting).model_dump()
    assert parameters.pop("unlabelled") is parameters.pop("one_pass") is False
    flat = {f"{group}.{key}": value for group, keys in parameters.items() for key, value in keys.items()}
    assert flat.pop("masking.block") > 0  # of images; there is no released value
    assert flat == expected


def test_as_published_is_the_default_and_own_keys_are_laid_on_a_preset() -> None:
    setting = make_setting("unetr")
    assert MedContext.resolve({}, "test", setting) == MedContext.resolve(
        {"preset": "as_published"}, "test", setting
    )
    changed = MedContext.resolve({"preset": "as_released", "masking": {"ratio": 0.3}}, "test", setting)
    assert changed.masking.ratio == 0.3 and changed.masking.axis == 0


def test_a_network_without_tokens_is_masked_by_image_blocks() -> None:
    setting = make_setting("unet", architecture=Untokened)
    for preset in ("as_published", "as_released"):
        parameters = MedContext.resolve({"preset": preset}, "test", setting)
        assert (parameters.masking.level, parameters.masking.fill) == ("image", "zero")


def reason(architecture: type = Tiny, **settings: Any) -> str | None:
    return MedContext(MedContextParameters(**settings)).supports(make_setting(architecture=architecture))


def test_supports_says_what_cannot_run() -> None:
    assert reason() is None
    assert reason(masking={"ratio": 0.0}) is None
    assert reason(masking={"ratio": 1 / 16}) is None
    assert "masking.level image" in str(reason(Untokened, masking={"level": "token"}))
    assert reason(Untokened, masking={"level": "image", "block": 2}) is None
    assert "hides nothing" in str(reason(masking={"ratio": 0.06}))  # 0.96 of 16 cells of a slice
    assert reason(masking={"ratio": 0.06, "kind": "random"}) is None  # 3.84 of 64 cells
    assert "hides nothing" in str(
        reason(Untokened, masking={"level": "image", "block": 8})
    )  # one cell a slice


@pytest.mark.parametrize(
    "settings",
    [{"teacher": {"enabled": False}}, {"losses": {"sup": 0.0, "masked_sup": 0.0, "cons": 0.0}}],
    ids=["no teacher to follow", "no term"],
)
def test_terms_that_cannot_be_computed_are_a_users_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"at least one weight|teacher\.enabled true"):
        MedContext.resolve(settings, "test", make_setting())


def test_unetr_of_one_token_is_refused() -> None:
    entry = registry.load("architecture", "unetr")
    setting = Setting("unetr", entry(entry.resolve({}, "unetr")), "phantom", (16, 16, 16), "fp32")
    method = MedContext(MedContext.resolve({}, "test", setting))
    assert "hides nothing" in str(method.supports(setting))


def test_one_pass_is_two_where_samples_are_normalised_together() -> None:
    assert not make(one_pass=True)._one_pass
    one, other = make(), make(one_pass=True)
    assert torch.equal(step(one).total, step(other).total)
