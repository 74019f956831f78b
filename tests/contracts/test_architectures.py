"""What every architecture must do; the list comes from the registry."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.architectures.contract import Architecture, Tokens
from harness.errors import UserError
from harness.spec import Triple, identity

NAMES = registry.names("architecture")
PATCHES: list[Triple] = [(32, 32, 32), (64, 32, 32), (64, 64, 64), (96, 96, 96)]
CLASSES = 3


def make(name: str, **settings: Any) -> Architecture[Any]:
    entry = registry.load("architecture", name)
    return entry(entry.resolve(settings, name))


def smallest_patch(name: str) -> Triple:
    return next(patch for patch in PATCHES if make(name).supports(patch) is None)


@cache
def tiny(name: str) -> nn.Module:
    """Return one network for all tests of this file; none changes its weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return make(name).build(2, CLASSES, smallest_patch(name))


def image_of(name: str, batch: int = 1) -> Tensor:
    return torch.randn(batch, 2, *smallest_patch(name), generator=torch.Generator().manual_seed(1))


def nearest_of(reason: str) -> Triple:
    """Return the patch that a refusal offers."""
    a, b, c = map(int, re.findall(r"\[(\d+), (\d+), (\d+)\]", reason)[-1])
    return (a, b, c)


def tokens_of(name: str) -> Tokens:
    tokens = make(name).tokens(smallest_patch(name))
    if tokens is None:
        pytest.skip(f"{name} has no patch tokens")
    return tokens


def embed(name: str, path: str, image: Tensor) -> Tensor:
    """Return what the module at ``path`` gives in a forward pass of the network."""
    caught: list[Tensor] = []
    hook = tiny(name).get_submodule(path).register_forward_hook(lambda _m, _i, output: caught.append(output))
    with torch.no_grad():
        tiny(name).eval()(image)
    hook.remove()
    (tokens,) = caught
    return tokens


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    entry = registry.load("architecture", name)
    assert entry.summary and entry.source and entry.version >= 1 and entry.Options.__doc__
    assert "tiny" in entry.presets


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_valid_and_survives_the_way_through_a_spec(name: str) -> None:
    entry = registry.load("architecture", name)
    for preset in entry.presets:
        options = entry.resolve({"preset": preset}, name)
        assert entry.Options(**identity(options)) == options
    with pytest.raises(UserError, match="tinny"):
        entry.resolve({"preset": "tinny"}, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_it_returns_logits_of_the_patch(name: str, training: bool) -> None:
    with torch.no_grad():
        output = tiny(name).train(training)(image_of(name))
    finest = output
    if isinstance(output, list):
        assert training, "deep supervision is for training alone"
        finest = output[0]
        sizes = [level.shape[2:].numel() for level in output]
        assert sizes == sorted(sizes, reverse=True), "finest first"
    assert finest.shape == (1, CLASSES, *smallest_patch(name))
    assert finest.min() < 0, "raw logits are not probabilities"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_builds_the_same_weights(name: str) -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(make(name).build(1, 2, smallest_patch(name)).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize("name", NAMES)
def test_tokens_have_the_stated_layout_grid_and_channels(name: str) -> None:
    tokens = tokens_of(name)
    cells = tokens.grid[0] * tokens.grid[1] * tokens.grid[2]
    shape = (2, cells, tokens.channels) if tokens.layout == "BNC" else (2, tokens.channels, *tokens.grid)
    for path in {tokens.module, tokens.before_position}:
        assert embed(name, path, image_of(name, batch=2)).shape == shape, path
    assert all(fine % coarse == 0 for fine, coarse in zip(tokens.grid, tokens.mask_grid, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_token_sees_its_own_place_of_the_image(name: str) -> None:
    tokens = tokens_of(name)
    image = image_of(name)
    before = embed(name, tokens.before_position, image)
    patch = smallest_patch(name)
    size = [side // cells for side, cells in zip(patch, tokens.grid, strict=True)]
    for place in product(*({0, cells - 1} for cells in tokens.grid)):
        middle = [index * step + step // 2 for index, step in zip(place, size, strict=True)]
        changed = image.clone()
        changed[(..., *middle)] += 100.0
        moved = (embed(name, tokens.before_position, changed) - before).abs()
        channel_axis = 2 if tokens.layout == "BNC" else 1
        moved = moved.sum(dim=channel_axis).view(tokens.grid)
        # convolutions move neighbours too, and normalisation over the volume a little of everything
        assert moved[place] > 0
        for axis, index in enumerate(place):
            other_end = tokens.grid[axis] - 1 - index
            assert index == other_end or moved.select(axis, other_end).max() < 0.1 * moved[place]


@pytest.mark.parametrize("name", NAMES)
def test_the_raw_image_skip_is_fed_with_the_image(name: str) -> None:
    path = make(name).image_skip()
    if path is None:
        pytest.skip(f"{name} has no raw-image skip beside tokens")
    fed: list[Tensor] = []
    module = tiny(name).get_submodule(path)
    hook = module.register_forward_pre_hook(lambda _m, inputs: fed.append(inputs[0]))
    image = image_of(name)
    with torch.no_grad():
        tiny(name).eval()(image)
    hook.remove()
    assert len(fed) == 1 and torch.equal(fed[0], image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "patch", [(37, 50, 41), (40, 40, 24), (8, 8, 8), (16, 16, 16), (33, 33, 33)], ids=str
)
def test_a_refused_patch_names_the_nearest_that_is_taken(name: str, patch: Triple) -> None:
    architecture = make(name)
    reason = architecture.supports(patch)
    if reason is None:
        assert all(
            side % multiple == 0 for side, multiple in zip(patch, architecture.multiple(), strict=True)
        )
        return
    assert str(list(patch)) in reason
    assert architecture.supports(nearest_of(reason)) is None, reason


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_patch_that_is_said_to_be_taken_can_be_trained(name: str) -> None:
    architecture = make(name)
    multiple = architecture.multiple()
    reason = architecture.supports(multiple)
    patch = multiple if reason is None else nearest_of(reason)
    network = architecture.build(1, CLASSES, patch).train()
    output = network(torch.zeros(2, 1, *patch))
    assert (output[0] if isinstance(output, list) else output).shape == (2, CLASSES, *patch)


@pytest.mark.parametrize(("name", "count"), [("unetr", 101_805_646), ("swin_unetr", 62_187_296)])
def test_preset_paper_has_the_published_number_of_parameters(name: str, count: int) -> None:
    network = make(name, preset="paper").build(1, 14, (96, 96, 96))
    assert sum(parameter.numel() for parameter in network.parameters()) == count
