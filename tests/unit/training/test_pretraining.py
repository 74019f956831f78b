"""Pretraining losses and transfer against formulas worked out by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from pretraining_setup import AT, PATCH, SEED, batch_of, set_up, setting_of
from torch import Tensor, nn

from harness.errors import TrialFailure
from harness.seeding import numpy_generator, torch_generator
from harness.training.corruption import inpaint, outpaint, random_box, remap_intensity, shuffle_locally
from harness.training.features import (
    capture_outputs,
    deepest_features,
    encoder_layers,
    encoder_parameter_names,
    spatial_mean,
)
from harness.training.losses import nt_xent
from harness.training.masks import draw_mask
from harness.training.method import Batch
from harness.training.pretraining import Pretrained
from harness.training.sparse import Densify, sparse_convolution, sparse_norm
from harness.training.transfer import head_names, transfer
from methods.masked_volume import MaskedVolume
from methods.models_genesis import ModelsGenesis
from methods.sparse_mae import SparseMAE
from methods.swin_proxy import SwinProxy
from methods.swin_proxy import _boxes as boxes_to_cut
from methods.voco import VoCo


@pytest.mark.parametrize(("loss", "power"), [("l1", 1), ("mse", 2)])
def test_masked_volume_by_hand(loss: str, power: int) -> None:
    method, image = set_up(MaskedVolume, loss=loss, fill="mean"), batch_of().image
    generator = torch_generator(SEED, "mask", 4)
    cells = draw_mask("random", (4, 4, 4), 0.6, 2, axis=0, per_sample=True, generator=generator)
    assert cells.sum() == 2 * int(0.6 * 64)
    mask = cells.repeat_interleave(8, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)[:, None]
    means = image.mean(dim=(1, 2, 3, 4)).view(2, 1, 1, 1, 1).expand_as(image)
    restored = copy.deepcopy(method.modules["student"])(torch.where(mask, means, image))
    expected = (restored - image).abs()[mask].pow(power).mean()
    torch.testing.assert_close(method.step(batch_of(), AT).total, expected)


def by_hand(values: Tensor, mask: Tensor, groups: int, eps: float) -> Tensor:
    """Normalise each group over its visible places, one after the other."""
    out = torch.zeros_like(values)
    for sample in range(len(values)):
        for group in torch.arange(values.shape[1]).chunk(groups):
            seen = values[sample, group][:, mask[sample, 0] > 0]
            normal = (values[sample, group] - seen.mean()) / (seen.var(unbiased=False) + eps).sqrt()
            out[sample, group] = normal * mask[sample]
    return out


@pytest.mark.parametrize(
    "norm", [nn.InstanceNorm3d(4), nn.InstanceNorm3d(4, affine=True), nn.GroupNorm(2, 4)]
)
def test_sparse_norm_takes_statistics_over_visible_places(norm: Any) -> None:
    values = torch.randn(2, 4, 4, 4, 4) + 3
    mask = (torch.rand(2, 1, 4, 4, 4) > 0.5).float()
    expected = by_hand(values, mask, getattr(norm, "num_groups", 4), norm.eps)
    torch.testing.assert_close(sparse_norm(norm, values, mask), expected)
    torch.testing.assert_close(
        sparse_norm(norm, values, torch.ones_like(mask)), norm(values), rtol=1e-4, atol=1e-5
    )


def test_a_sparse_encoder_knows_nothing_of_hidden_voxels() -> None:
    method, image = set_up(SparseMAE), batch_of().image
    student, path = method.modules["student"], setting_of("unet").architecture.bottleneck()
    visible = torch.rand(2, 4, 4, 4) > 0.5
    seen = visible.repeat_interleave(8, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)[:, None]
    other = torch.where(seen, image, torch.randn_like(image))
    with torch.no_grad():
        with sparse_convolution(method._leaves, visible), capture_outputs(student, path) as found:
            student(image)
            student(other)
        with capture_outputs(student, path) as dense:
            student(image)
            student(other)
    assert torch.equal(found[0], found[1]) and found[0].any()
    assert not found[0][(~visible)[:, None].expand_as(found[0])].any()
    assert not torch.equal(dense[0], dense[1])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())


def test_sparse_mae_restores_hidden_voxels_from_visible_ones_alone() -> None:
    method, batch = set_up(SparseMAE), batch_of()
    generator = torch_generator(SEED, "mask", 4)
    cells = draw_mask("random", (4, 4, 4), 0.75, 2, axis=0, per_sample=True, generator=generator)
    mask = cells.repeat_interleave(8, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)[:, None]
    whole = method.step(batch, AT).total
    # what hides has no part in the network's input: only in the target
    shifted = Batch(torch.where(mask, batch.image + 10, batch.image), batch.label)
    restored: list[Tensor] = []
    hook = method.modules["student"].register_forward_hook(lambda _m, _i, output: restored.append(output))
    total = method.step(shifted, AT).total
    method.step(batch, AT)
    hook.remove()
    assert torch.equal(restored[0], restored[1])
    torch.testing.assert_close(total, (restored[0] - shifted.image).square()[mask].mean())
    torch.testing.assert_close(whole, (restored[0] - batch.image).square()[mask].mean())


def test_densify_puts_its_token_at_hidden_places() -> None:
    densify, features = Densify(3), torch.randn(1, 3, 2, 2, 2)
    visible = torch.tensor([1, 0, 0, 1, 1, 1, 0, 0], dtype=torch.bool).view(1, 2, 2, 2)
    found = densify(features, visible)
    assert torch.equal(found[:, :, visible[0]], features[:, :, visible[0]])
    assert torch.equal(found[0][:, ~visible[0]], densify.token[:, None].expand(3, 4))


def test_only_encoder_layers_of_a_cnn_are_sparse() -> None:
    network = setting_of("unet").architecture.build(1, 2, PATCH)
    leaves = encoder_layers(network, "model.1.submodule.1.submodule.1.submodule", torch.zeros(1, 1, *PATCH))
    names = {name for name, module in network.named_modules() if any(module is leaf for leaf in leaves)}
    assert names and all(".2." not in f"{name}." for name in names)
    assert {"model.0.conv.unit0.conv", "model.1.submodule.1.submodule.0.residual"} <= names


def test_local_shuffling_moves_voxels_a_little_and_loses_few() -> None:
    image = np.random.default_rng(0).random((1, 20, 20, 20), dtype=np.float32)
    smooth = np.broadcast_to(np.linspace(0, 1, 20, dtype=np.float32)[:, None, None], (1, 20, 20, 20)).copy()
    shuffled = shuffle_locally(smooth, np.random.default_rng(1))
    assert 0 < np.abs(shuffled - smooth).max() <= 2 / 19 + 1e-6  # windows are two voxels wide at most
    assert not np.array_equal(shuffle_locally(image, np.random.default_rng(1)), image)
    assert set(np.unique(shuffled)) <= set(np.unique(smooth))


def test_intensity_maps_are_functions_within_0_and_1() -> None:
    image = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 4, 4, 4)
    directions = set()
    for seed in range(40):
        mapped = remap_intensity(image, np.random.default_rng(seed)).ravel()
        assert mapped.min() >= -1e-6 and mapped.max() <= 1 + 1e-6
        assert {round(float(mapped[0]), 3), round(float(mapped[-1]), 3)} == {0.0, 1.0}
        rises = bool(mapped[0] < mapped[-1])
        directions.add(rises)
        assert (np.diff(mapped) * (1 if rises else -1) >= -1e-6).all()
    assert directions == {True, False}


def test_painting_in_hides_a_little_and_painting_out_shows_a_part() -> None:
    image, within = np.full((1, 24, 24, 24), 2.0, np.float32), (slice(None), *[slice(3, -3)] * 3)
    untouched = 0
    for seed in range(200):
        inner = inpaint(image, np.random.default_rng(seed)) != 2
        outer = outpaint(image, np.random.default_rng(seed)) == 2
        untouched += not inner.any()
        assert not inner.any() or (1 / 6) ** 3 <= inner.mean() <= 5 * (1 / 3) ** 3
        assert (3 / 7) ** 3 * 0.9 <= outer.mean() <= 5 * (4 / 7) ** 3
        for painted in (inner, outer):
            assert painted.sum() == painted[within].sum(), "three voxels at each face are left"
    assert 2 <= untouched <= 22, "in 5 % of cases no box is painted"


def test_a_random_box_has_its_size_and_keeps_a_margin_where_there_is_room() -> None:
    rng = np.random.default_rng(0)
    starts = [random_box((20, 10, 4), (8, 7, 4), rng)[1:] for _ in range(200)]
    for axis, (size, possible) in enumerate(((8, range(3, 10)), (7, range(1, 3)), (4, range(1)))):
        assert {box[axis].start for box in starts} == {*possible}
        assert {box[axis].stop - box[axis].start for box in starts} == {size}


def test_models_genesis_restores_the_flipped_original() -> None:
    method, batch = set_up(ModelsGenesis, flip=1.0, shuffle=0.0, remap=0.0, paint=0.0), batch_of()
    seen: list[Tensor] = []
    method.modules["student"].register_forward_hook(lambda _m, inputs, output: seen.extend([*inputs, output]))
    total = method.step(batch, AT).total
    image, restored = seen
    assert image.amin(dim=(1, 2, 3, 4)).tolist() == [0, 0] and image.amax(dim=(1, 2, 3, 4)).tolist() == [1, 1]
    torch.testing.assert_close(
        total, (restored - image).square().mean()
    )  # nothing but flips: input is target
    low, high = batch.image[0].min(), batch.image[0].max()
    plain = (batch.image[0] - low) / (high - low)
    flips = [plain.flip(axes) for n in range(8) if (axes := [a + 1 for a in range(3) if n >> a & 1]) or True]
    assert any(torch.allclose(image[0], flip) for flip in flips)


def test_models_genesis_target_is_not_corrupted() -> None:
    method, batch = set_up(ModelsGenesis, flip=0.0, shuffle=1.0, remap=1.0, paint=1.0), batch_of()
    seen: list[Tensor] = []
    method.modules["student"].register_forward_hook(lambda _m, inputs, output: seen.extend([*inputs, output]))
    total = method.step(batch, AT).total
    flat = batch.image.flatten(1)
    low, high = flat.min(1).values, flat.max(1).values
    target = ((flat - low[:, None]) / (high - low)[:, None]).view_as(batch.image)
    torch.testing.assert_close(total, (seen[1] - target).square().mean())
    assert not torch.allclose(seen[0], target)


def test_nt_xent_by_hand() -> None:
    one, other = torch.randn(3, 5), torch.randn(3, 5)
    vectors, total = [*one, *other], 0.0
    for i in range(6):
        similar = [math.exp(torch.cosine_similarity(vectors[i], v, dim=0).item() / 0.5) for v in vectors]
        total -= math.log(similar[(i + 3) % 6] / (sum(similar) - similar[i]))
    assert nt_xent(one, other, 0.5).item() == pytest.approx(total / 6, rel=1e-5)


def test_swin_proxy_turns_cuts_and_sums_three_terms() -> None:
    method, batch = set_up(SwinProxy, drop=0.0), batch_of()
    seen: list[Tensor] = []
    method.modules["student"].register_forward_hook(lambda _m, inputs, output: seen.extend([*inputs, output]))
    losses = method.step(batch, AT)
    views, restored = seen
    turns = numpy_generator(SEED, "views", 4).integers(0, 4, 4)
    for view, image, turn in zip(views, [*batch.image, *batch.image], turns, strict=True):
        assert torch.equal(view, torch.rot90(image, int(turn), [1, 2]))  # nothing is cut
    torch.testing.assert_close(losses.terms["restoration"], (restored - views).abs().mean().detach())
    path = setting_of("unet").architecture.bottleneck()
    features = deepest_features(method.modules["student"], path, views)
    rotation = nn.functional.cross_entropy(method.modules["rotation"](features), torch.from_numpy(turns))
    torch.testing.assert_close(losses.terms["rotation"], rotation.detach())
    torch.testing.assert_close(losses.total.detach(), sum(losses.terms.values()))


def test_swin_proxy_cuts_up_to_its_share_and_restores_the_whole() -> None:
    method, batch = set_up(SwinProxy), batch_of()
    seen: list[Tensor] = []
    method.modules["student"].register_forward_hook(lambda _m, inputs, output: seen.extend([*inputs, output]))
    losses = method.step(batch, AT)
    turns = numpy_generator(SEED, "views", 4).integers(0, 4, 4)
    whole = torch.stack(
        [torch.rot90(image, int(turn), [1, 2]) for image, turn in zip([*batch.image] * 2, turns, strict=True)]
    )
    cut = (seen[0] != whole).float().mean(dim=(1, 2, 3, 4))
    assert cut.max() > 0 and cut.max() < 0.7
    torch.testing.assert_close(losses.terms["restoration"], (seen[1] - whole).abs().mean().detach())


def test_swin_proxy_swaps_in_boxes_of_another_sample_and_noise_within_the_range() -> None:
    views = torch.cat([torch.full((1, 1, 32, 32, 32), float(value)) for value in (1, 2, 10, 20)])
    method, seen = set_up(SwinProxy), set()
    for seed in range(40):
        cut = method._cut(views, np.random.default_rng(seed))
        for index, view in enumerate(cut):  # a constant view has constant noise: what differs was swapped in
            seen.add((index, *view.unique().tolist()))
    # the other sample's, of the same view, or nothing where the draw is the sample itself
    assert seen == {(0, 1, 2), (0, 1), (1, 1, 2), (1, 2), (2, 10, 20), (2, 10), (3, 10, 20), (3, 20)}


def test_swin_proxy_swaps_in_what_was_cut_before() -> None:
    """The second sample is swapped with the first one, which has noise and boxes of the second already."""
    views = torch.arange(2 * 2 * 32**3, dtype=torch.float32).view(4, 1, 32, 32, 32)
    found = 0
    for seed in range(20):
        cut = set_up(SwinProxy)._cut(views, np.random.default_rng(seed))
        changed = cut[0] != views[0]
        found += bool(((cut[1] == cut[0]) & changed).any())
    assert found


def test_swin_proxys_boxes_add_up_to_a_share_overlaps_counted_twice() -> None:
    shape, covered, counted = (40, 60, 80), [], []
    for seed in range(200):
        wanted = np.random.default_rng(seed).uniform(0, 0.3) * np.prod(shape)
        boxes = boxes_to_cut(shape, 0.3, np.random.default_rng(seed))
        sizes = [[part.stop - part.start for part in box[1:]] for box in boxes]
        volumes = [math.prod(size) for size in sizes]
        assert sum(volumes[:-1]) < wanted <= sum(volumes)
        for size in sizes:
            assert all(1 <= one <= side // 4 - 1 for one, side in zip(size, shape, strict=True))
        image = np.zeros((1, *shape), bool)
        for box in boxes:
            image[box] = True
        covered.append(image.sum())
        counted.append(sum(volumes))
    assert all(a <= b for a, b in zip(covered, counted, strict=True)) and sum(covered) < 0.95 * sum(counted)


@pytest.mark.parametrize("architecture", ["unet", "unetr"])
def test_the_deepest_features_are_where_an_architecture_says(architecture: str) -> None:
    setting = setting_of(architecture)
    network, path = setting.architecture.build(1, 2, PATCH), setting.architecture.bottleneck()
    features = deepest_features(network, path, batch_of().image)
    assert features.shape == (2, 64 if architecture == "unet" else 48)
    with capture_outputs(network, path) as found:
        network(batch_of().image)
    torch.testing.assert_close(features, spatial_mean(found[0]))
    names = encoder_parameter_names(network, path, batch_of().image)
    assert 0 < len(names) < len(list(network.parameters()))
    assert all(parameter.grad is None for parameter in network.parameters())


class Small(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, classes)


def test_transfer_loads_by_name_and_shape_and_says_what_it_did() -> None:
    network, source = Small(3), Small(3).state_dict()
    before = copy.deepcopy(network.state_dict())
    names = set(before) - head_names(network, Small(4))
    assert names == {"body.weight", "body.bias"}
    report = transfer(network, source, names, 0.5)
    assert torch.equal(network.body.weight, source["body.weight"])
    assert torch.equal(network.head.weight, before["head.weight"])  # random, though it would fit
    assert report.loaded == ["body.weight", "body.bias"] and report.random == ["head.weight", "head.bias"]
    assert report.share == pytest.approx(30 / 51)


def test_transfer_fails_below_its_share_and_names_what_did_not_fit() -> None:
    source = Small(3).state_dict()
    del source["body.bias"]
    source["body.weight"] = torch.zeros(6, 5)
    with pytest.raises(
        TrialFailure, match=r"0% of the parameters, at least 50%.*1 missing, 1 of another shape"
    ):
        transfer(Small(3), source, {"body.weight", "body.bias"}, 0.5)


def test_a_head_that_would_fit_stays_random() -> None:
    """With as many classes as channels, shapes alone would not tell the head."""
    method = set_up(MaskedVolume, stage="train")
    state = {f"student.{name}": values + 1 for name, values in method.modules["student"].state_dict().items()}
    report = method.load_pretrained(state)
    assert report.random and not report.unfit and not report.missing
    assert all(name.startswith("model.2.") for name in report.random)


def test_what_a_method_cannot_run_on_is_a_reason() -> None:
    def reason(kind: type[Pretrained[Any]], architecture: str, patch: Any = PATCH, **settings: Any) -> str:
        setting = setting_of(architecture, patch)
        return str(kind(kind.resolve(settings, "test", setting)).supports(setting))

    assert "patch tokens" in reason(SparseMAE, "unetr") and reason(SparseMAE, "unet") == "None"
    assert "two equal sides" in reason(SwinProxy, "unet", (32, 16, 8))
    assert "fewer than two" in reason(VoCo, "unet", cells=(1, 1, 1))
    assert "hides nothing" in reason(MaskedVolume, "unet", block=32)
