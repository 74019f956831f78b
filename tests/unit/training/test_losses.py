"""Every loss against the formula written out with NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.transform import resize
from torch import Tensor

from harness.training.losses import consistency_loss, reduced_labels, segmentation_loss

Array = NDArray[np.float64]
B, K, SIDE = 2, 3, (4, 4, 2)


def logits(seed: int, size: tuple[int, ...] = SIDE) -> Tensor:
    return 3 * torch.randn(B, K, *size, generator=torch.Generator().manual_seed(seed))


def labels(size: tuple[int, ...] = SIDE) -> Tensor:
    return torch.randint(0, K, (B, 1, *size), generator=torch.Generator().manual_seed(9))


def numbers(tensor: Tensor) -> Array:
    return tensor.detach().numpy().astype(np.float64)


def softmax(values: Array, axis: int = 1) -> Array:
    powers = np.exp(values - values.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def nearest(y: Tensor, size: tuple[int, ...]) -> NDArray[np.int64]:
    """Return labels ``(B, ...)`` of ``(B, 1, ...)``, resized by scikit-image with order 0 as nnU-Net does."""
    settings: dict[str, Any] = {"order": 0, "mode": "edge", "clip": True, "anti_aliasing": False}
    resized = [resize(one.numpy().astype(float), size, **settings) for one in y[:, 0]]
    return np.stack(resized).astype(np.int64)


def dice_ce(z: Array, y: NDArray[np.int64], name: str) -> float:
    """Return 1 - mean Dice + mean cross-entropy of logits ``(B, K, ...)`` and labels ``(B, ...)``."""
    p = softmax(z).reshape(len(z), K, -1)
    one_hot = np.moveaxis(np.eye(K)[y.reshape(len(y), -1)], 2, 1)
    entropy = -(one_hot * np.log(p)).sum(axis=1).mean()
    if name.startswith("dice_ce_nnunet"):  # without background, plain denominators
        p, one_hot = p[:, 1:], one_hot[:, 1:]
        over = 2 if name.endswith("sample") else (0, 2)
        overlap, total = (p * one_hot).sum(axis=over), (p + one_hot).sum(axis=over)
        dice = (2 * overlap + 1e-5) / (total + 1e-5)
    else:
        overlap, total = (p * one_hot).sum(axis=2), (p**2 + one_hot**2).sum(axis=2)
        dice = 2 * overlap / (total + 1e-6)
    return float(1 - dice.mean() + entropy)


@pytest.mark.parametrize("name", ["dice_ce", "dice_ce_nnunet", "dice_ce_nnunet_sample"])
def test_dice_and_cross_entropy_follow_the_formula(name: str) -> None:
    z, y = logits(1), labels()
    expected = dice_ce(numbers(z), y[:, 0].numpy(), name)
    assert segmentation_loss(name)(z, y).item() == pytest.approx(expected, rel=1e-5)


def test_deep_supervision_weighs_4_2_1_sevenths_against_labels_of_the_nearest_voxel() -> None:
    sizes = [(8, 8, 4), (4, 4, 2), (2, 2, 1)]
    y = labels(sizes[0])
    outputs = [logits(seed, size) for seed, size in enumerate(sizes)]
    for name in ("dice_ce", "dice_ce_nnunet"):
        loss = segmentation_loss(name)
        levels = [dice_ce(numbers(z), nearest(y, size), name) for z, size in zip(outputs, sizes, strict=True)]
        expected = (4 * levels[0] + 2 * levels[1] + levels[2]) / 7
        assert loss(outputs, y).item() == pytest.approx(expected, rel=1e-5)
        assert loss(outputs[:1], y).item() == loss(outputs[0], y).item()


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        ((32, 48, 16), (2, 2, 2)), ((32, 48, 16), (4, 4, 4)), ((32, 48, 16), (8, 8, 8)),
        ((64, 64, 32), (4, 4, 2)), ((64, 64, 32), (8, 8, 4)), ((40, 40, 14), (4, 4, 1)),
        ((27, 31, 13), (2, 2, 2)), ((27, 31, 13), (4, 4, 2)), ((25, 33, 7), (8, 8, 1)),
    ],
)  # fmt: skip
def test_labels_of_lower_outputs_are_those_of_the_voxel_at_the_centre(
    patch: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    y = torch.randint(0, 200, (2, 1, *patch), generator=torch.Generator().manual_seed(1))
    size = tuple(-(-side // stride) for side, stride in zip(patch, strides, strict=True))
    found = reduced_labels(y, size)
    assert found.dtype == y.dtype
    np.testing.assert_array_equal(found[:, 0].numpy(), nearest(y, size))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_ball_stays_where_it_is_at_every_resolution(factor: int) -> None:
    """Its centre moves by about half a voxel of the patch, the least that an even factor can do."""
    place = torch.stack(torch.meshgrid(*[torch.arange(64.0)] * 3, indexing="ij")) + 0.5
    ball = ((place - 32).square().sum(0) < 20**2).long()[None, None]
    found = reduced_labels(ball, (64 // factor,) * 3)[0, 0]
    centre = (found.nonzero().float().mean(0) + 0.5) * factor
    assert (centre - 32).abs().max() < 0.6


NAMES = ["dice_ce", "dice_ce_nnunet", "dice_ce_nnunet_sample"]
IGNORE = 255


def counted_dice_ce(z: Array, y: NDArray[np.int64], name: str) -> float:
    """Return the loss over the voxels that are not :data:`IGNORE`, which are taken out one sample after another."""
    parts = [
        (z[i].reshape(K, -1)[:, y[i].ravel() != IGNORE], y[i].ravel()[y[i].ravel() != IGNORE])
        for i in range(len(z))
    ]
    entropy = np.concatenate(
        [-np.log(softmax(logit, 0)[label, np.arange(len(label))]) for logit, label in parts]
    )
    p, one_hot = [softmax(logit, 0) for logit, _ in parts], [np.eye(K)[label].T for _, label in parts]
    overlap = np.array([(a * b).sum(axis=1) for a, b in zip(p, one_hot, strict=True)])
    power = 2 if name == "dice_ce" else 1
    total = np.array([(a**power + b).sum(axis=1) for a, b in zip(p, one_hot, strict=True)])
    if name == "dice_ce":
        dice = 2 * overlap / (total + 1e-6)
    else:
        overlap, total = overlap[:, 1:], total[:, 1:]
        if name == "dice_ce_nnunet":
            overlap, total = overlap.sum(axis=0), total.sum(axis=0)
        dice = (2 * overlap + 1e-5) / (total + 1e-5)
    return float(1 - dice.mean() + entropy.mean())


def partly_ignored(size: tuple[int, ...], share: float) -> Tensor:
    y = labels(size)
    y[torch.rand(y.shape, generator=torch.Generator().manual_seed(3)) < share] = IGNORE
    return y


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_ignored_voxels_are_in_no_sum(name: str, share: float) -> None:
    z, y = logits(1), partly_ignored(SIDE, share)
    expected = counted_dice_ce(numbers(z), y[:, 0].numpy(), name)
    assert segmentation_loss(name, IGNORE)(z, y).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_is_ignored_the_loss_and_its_gradient_are_the_plain_ones(name: str) -> None:
    values = []
    for ignore in (None, IGNORE):
        z = logits(1).requires_grad_()
        loss = segmentation_loss(name, ignore)(z, labels())
        loss.backward()
        values.append((loss.detach(), z.grad))
    for plain, masked in zip(*values, strict=True):
        torch.testing.assert_close(masked, plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_network_says_of_ignored_voxels_changes_nothing_and_gets_no_gradient(name: str) -> None:
    y = partly_ignored(SIDE, 0.4)
    hidden = (y == IGNORE).expand(B, K, *SIDE)
    z = logits(1).requires_grad_()
    loss = segmentation_loss(name, IGNORE)(z, y)
    loss.backward()
    assert z.grad is not None and not z.grad[hidden].any() and z.grad[~hidden].all()
    other = torch.where(hidden, logits(5), z.detach())
    assert segmentation_loss(name, IGNORE)(other, y).item() == pytest.approx(loss.item(), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_in_which_all_is_ignored_moves_nothing(name: str) -> None:
    z = logits(1).requires_grad_()
    loss = segmentation_loss(name, IGNORE)(z, torch.full((B, 1, *SIDE), IGNORE))
    loss.backward()
    assert torch.isfinite(loss) and z.grad is not None and not z.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_lower_levels_ignore_where_the_nearest_voxel_is_ignored(name: str) -> None:
    sizes = [(8, 8, 4), (4, 4, 2), (2, 2, 1)]
    y = partly_ignored(sizes[0], 0.3)
    outputs = [logits(seed, size) for seed, size in enumerate(sizes)]
    levels = [
        counted_dice_ce(numbers(z), nearest(y, size), name) for z, size in zip(outputs, sizes, strict=True)
    ]
    expected = (4 * levels[0] + 2 * levels[1] + levels[2]) / 7
    assert segmentation_loss(name, IGNORE)(outputs, y).item() == pytest.approx(expected, rel=1e-5)


def test_the_released_term_by_hand() -> None:
    """Squares 1, 0, 4, 0 average to 5/4; the norm of (3, 0, 0, 4) is 5."""
    teacher = torch.tensor([3.0, 0.0, 0.0, 4.0]).view(1, 2, 1, 1, 2)
    student = torch.tensor([2.0, 0.0, 2.0, 4.0]).view(1, 2, 1, 1, 2)
    assert consistency_loss(teacher, student, "mse_logits", "fro").item() == pytest.approx(0.25)
    assert consistency_loss(teacher, student, "mse_logits", "rms").item() == pytest.approx(0.5)
    assert consistency_loss(teacher, student, "mse_logits", "none").item() == pytest.approx(1.25)


def test_the_released_term_is_taken_over_the_whole_batch_tensor() -> None:
    t, s = numbers(logits(1)), numbers(logits(2))
    expected = ((t - s) ** 2).mean() / np.linalg.norm(t.ravel())
    assert consistency_loss(logits(1), logits(2), "mse_logits", "fro").item() == pytest.approx(
        expected, rel=1e-5
    )


def test_the_norm_of_each_sample_divides_its_own_mean() -> None:
    t, s = numbers(logits(1)), numbers(logits(2))
    expected = np.mean([((t[i] - s[i]) ** 2).mean() / np.linalg.norm(t[i].ravel()) for i in range(B)])
    value = consistency_loss(logits(1), logits(2), "mse_logits", "per_sample")
    assert value.item() == pytest.approx(expected, rel=1e-5)


def log(values: Array) -> Array:
    return np.log(values)


def cosine(t: Array, s: Array) -> Array:
    a, b = softmax(2 * t), softmax(s)  # temperature 0.5 sharpens the target
    return 1 - (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


PER_VOXEL: dict[str, Callable[[Array, Array], Array]] = {
    "mse_logits": lambda t, s: ((t - s) ** 2).mean(axis=1),
    "mse_softmax": lambda t, s: ((softmax(t) - softmax(s)) ** 2).mean(axis=1),
    "soft_ce": lambda t, s: -(softmax(t) * log(softmax(s))).sum(axis=1),
    "kl": lambda t, s: (softmax(t) * log(softmax(t) / softmax(s))).sum(axis=1),
    "cosine": cosine,
}


@pytest.mark.parametrize("kind", PER_VOXEL)
def test_kinds_that_compare_voxels(kind: str) -> None:
    values = PER_VOXEL[kind](numbers(logits(1)), numbers(logits(2)))
    value = consistency_loss(logits(1), logits(2), kind, "none")  # type: ignore[arg-type]
    assert value.item() == pytest.approx(values.mean(), rel=1e-5)


@pytest.mark.parametrize("kind", PER_VOXEL)
def test_a_region_counts_its_voxels_alone(kind: str) -> None:
    region = torch.rand(B, *SIDE, generator=torch.Generator().manual_seed(4)) < 0.3
    values = PER_VOXEL[kind](numbers(logits(1)), numbers(logits(2)))
    for part in (region, ~region):
        value = consistency_loss(logits(1), logits(2), kind, "none", part)  # type: ignore[arg-type]
        assert value.item() == pytest.approx(values[part.numpy()].mean(), rel=1e-5)


def test_per_sample_norm_with_a_region_averages_within_each_sample() -> None:
    region = torch.zeros(B, *SIDE, dtype=torch.bool)
    region[0, 0], region[1, :2] = True, True
    t, s, inside = numbers(logits(1)), numbers(logits(2)), region.numpy()
    squares = ((t - s) ** 2).mean(axis=1)
    expected = np.mean([squares[i][inside[i]].mean() / np.linalg.norm(t[i].ravel()) for i in range(B)])
    value = consistency_loss(logits(1), logits(2), "mse_logits", "per_sample", region)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def spatial(kind: str, t: Array, s: Array) -> float:
    """Compare, for one sample and class, distributions over voxels ``(N,)``."""
    p, q = softmax(t, axis=0), softmax(s, axis=0)
    return float(-(p * np.log(q)).sum() if kind == "spatial_ce" else (p * np.log(p / q)).sum())


@pytest.mark.parametrize("kind", ["spatial_ce", "spatial_kl"])
@pytest.mark.parametrize("part", ["all", "some"])
def test_kinds_that_compare_distributions_over_voxels(kind: str, part: str) -> None:
    region = torch.rand(B, *SIDE, generator=torch.Generator().manual_seed(4)) < 0.5
    region = region if part == "some" else torch.ones_like(region)
    t, s, inside = numbers(logits(1)), numbers(logits(2)), region.numpy()
    expected = np.mean(
        [spatial(kind, t[i, k][inside[i]], s[i, k][inside[i]]) for i in range(B) for k in range(K)]
    )
    given = None if part == "all" else region
    value = consistency_loss(logits(1), logits(2), kind, "none", given)  # type: ignore[arg-type]
    assert value.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["spatial_ce", "spatial_kl"])
def test_the_norm_of_each_sample_holds_for_distributions_over_voxels_too(kind: str) -> None:
    t, s = numbers(logits(1)), numbers(logits(2))
    expected = np.mean(
        [
            np.mean([spatial(kind, t[i, k].ravel(), s[i, k].ravel()) for k in range(K)])
            / np.linalg.norm(t[i].ravel())
            for i in range(B)
        ]
    )
    value = consistency_loss(logits(1), logits(2), kind, "per_sample")  # type: ignore[arg-type]
    assert value.item() == pytest.approx(expected, rel=1e-4)


KINDS = [*PER_VOXEL, "spatial_ce", "spatial_kl"]
NORMS = ["fro", "per_sample", "rms", "none"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", NORMS)
def test_an_empty_region_costs_nothing_and_gives_no_nan(kind: str, norm: str) -> None:
    student = logits(2).requires_grad_()
    nowhere = torch.zeros(B, *SIDE, dtype=torch.bool)
    value = consistency_loss(logits(1), student, kind, norm, nowhere)  # type: ignore[arg-type]
    value.backward()
    assert value.item() == 0 and student.grad is not None and not student.grad.any()


@pytest.mark.parametrize("norm", NORMS)
def test_no_gradient_flows_through_the_norm(norm: str) -> None:
    """A target that carries a gradient, the student's own, gets it from the squares alone."""
    target, student = logits(1).requires_grad_(), logits(2).requires_grad_()
    consistency_loss(target, student, "mse_logits", norm).backward()  # type: ignore[arg-type]
    assert target.grad is not None and student.grad is not None
    torch.testing.assert_close(target.grad, -student.grad)
