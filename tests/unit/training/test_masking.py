from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import registry
from harness.architectures.contract import Tokens
from harness.training.masks import Masker, draw_mask, resize_mask

GRIDS = st.tuples(*[st.integers(1, 7)] * 3)
RATIOS = st.integers(0, 100).map(lambda percent: percent / 100)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(kind: str, grid: tuple[int, int, int], ratio: float, batch: int = 2, **settings: Any) -> Tensor:
    options = {"axis": 2, "per_sample": True, "generator": generator(), **settings}
    return draw_mask(kind, grid, ratio, batch, **options)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=50, derandomize=True)
@given(grid=GRIDS, percent=st.integers(0, 100), axis=st.integers(0, 2))
def test_a_tube_hides_the_same_int_r_h_w_cells_of_every_slice(
    grid: tuple[int, int, int], percent: int, axis: int
) -> None:
    mask = draw("tube", grid, percent / 100, axis=axis)
    assert mask.dtype == torch.bool and mask.shape == (2, *grid)
    slices = mask.unbind(dim=axis + 1)
    assert all(torch.equal(slices[0], other) for other in slices)
    plane = slices[0][0].numel()
    assert slices[0].flatten(1).sum(dim=1).tolist() == [percent * plane // 100] * 2


@pytest.mark.parametrize(
    ("grid", "axis", "ratio", "hidden"),
    [
        ((6, 6, 6), 0, 0.6, 21),
        ((6, 6, 6), 0, 0.4, 14),
        ((32, 32, 32), 0, 0.4, 409),
        ((14, 40, 40), 0, 0.4, 640),
        ((32, 32, 32), 0, 0.6, 614),
    ],
)
def test_tube_counts_of_the_released_networks(
    grid: tuple[int, int, int], axis: int, ratio: float, hidden: int
) -> None:
    mask = draw("tube", grid, ratio, batch=1, axis=axis)
    assert mask.sum(dim=(2, 3)).tolist() == [[hidden] * grid[axis]]


@pytest.mark.parametrize("kind", ["random", "block"])
@settings(deadline=None, max_examples=40, derandomize=True)
@given(grid=GRIDS, percent=st.integers(0, 100))
def test_random_and_block_masks_hide_the_exact_count(
    kind: str, grid: tuple[int, int, int], percent: int
) -> None:
    mask = draw(kind, grid, percent / 100)
    cells = grid[0] * grid[1] * grid[2]
    assert mask.flatten(1).sum(dim=1).tolist() == [percent * cells // 100] * 2


def test_a_count_is_not_lost_to_rounding() -> None:
    assert int(0.58 * 50) == 28, "the trap"
    assert draw("tube", (5, 10, 2), 0.58, batch=1).sum().item() == 29 * 2


def test_a_block_mask_is_made_of_cubes_of_two_cells() -> None:
    cubes = draw("block", (8, 8, 8), 0.5).view(2, 4, 2, 4, 2, 4, 2).sum(dim=(2, 4, 6))
    assert set(cubes.unique().tolist()) == {0, 8}
    scattered = draw("random", (8, 8, 8), 0.5).view(2, 4, 2, 4, 2, 4, 2).sum(dim=(2, 4, 6))
    assert not set(scattered.unique().tolist()) <= {0, 8}


@pytest.mark.parametrize("kind", ["tube", "random", "block"])
def test_samples_share_a_mask_or_have_their_own(kind: str) -> None:
    own = draw(kind, (6, 6, 6), 0.4)
    assert not torch.equal(own[0], own[1])
    shared = draw(kind, (6, 6, 6), 0.4, per_sample=False)
    assert torch.equal(shared[0], shared[1])


def test_a_mask_is_a_function_of_its_generator() -> None:
    one, same, other = (draw("tube", (6, 6, 6), 0.4, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_mask_is_resized_cell_by_cell() -> None:
    mask = draw("random", (2, 3, 4), 0.5)
    finer = resize_mask(mask, (4, 9, 16))
    expected = mask.repeat_interleave(2, 1).repeat_interleave(3, 2).repeat_interleave(4, 3)
    assert torch.equal(finer, expected)


class Embedding(nn.Module):
    """A patch embedding of one convolution, in either layout."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout = layout
        self.conv = nn.Conv3d(1, 4, kernel_size=4, stride=4)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.conv(image)
        return tokens.flatten(2).transpose(1, 2) if self.layout == "BNC" else tokens


class Network(nn.Module):
    """Tokens and a raw-image skip, added to one number each."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.embed = Embedding(layout)
        self.skip = nn.Conv3d(1, 2, kernel_size=1, bias=False)

    def forward(self, image: Tensor, fail: bool = False) -> tuple[Tensor, Tensor]:
        tokens, skip = self.embed(image), self.skip(image)
        if fail:
            raise RuntimeError("in the middle of a forward pass")
        return tokens, skip


GRID, IMAGE = (2, 3, 2), (8, 12, 8)


def make(layout: str, mask_grid: tuple[int, int, int] = GRID) -> tuple[Network, Tokens, Tensor]:
    torch.manual_seed(0)
    network = Network(layout)
    tokens = Tokens("embed", "embed", layout, GRID, 4, mask_grid)  # type: ignore[arg-type]
    return network, tokens, torch.randn(2, 1, *IMAGE, generator=generator(5))


def as_grid(tokens: Tensor, layout: str) -> Tensor:
    """Return tokens of either layout as ``(B, *GRID, C)``."""
    return tokens.view(2, *GRID, 4) if layout == "BNC" else tokens.movedim(1, -1)


@pytest.mark.parametrize("layout", ["BNC", "BCDHW"])
def test_masked_tokens_equal_the_token_and_the_others_are_untouched(layout: str) -> None:
    network, tokens, image = make(layout)
    masker = Masker(4, "learned")
    assert masker.token is not None
    assert torch.equal(masker.token, torch.zeros(4))
    masker.token.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    mask = draw("random", GRID, 0.5)
    whole = as_grid(network(image)[0], layout)
    with masker.hide_tokens(network, tokens, mask, before_position=False, skip=None):
        hidden = as_grid(network(image)[0], layout)
    assert torch.equal(hidden[mask], masker.token.expand(int(mask.sum()), 4))
    assert torch.equal(hidden[~mask], whole[~mask])


def test_a_mask_on_a_coarser_grid_hides_blocks_of_tokens() -> None:
    network, tokens, image = make("BCDHW", mask_grid=(1, 3, 1))
    mask = torch.zeros(2, 1, 3, 1, dtype=torch.bool)
    mask[0, 0, 1, 0] = True
    with Masker(4, "learned").hide_tokens(network, tokens, mask, before_position=False, skip=None):
        hidden = as_grid(network(image)[0], "BCDHW")
    assert torch.equal((hidden == 0).all(dim=-1), resize_mask(mask, GRID))


def test_the_learned_token_gets_a_gradient_and_hidden_places_give_the_image_none() -> None:
    network, tokens, image = make("BNC")
    masker = Masker(4, "learned")
    mask = torch.ones(2, *GRID, dtype=torch.bool)
    image.requires_grad_()
    with masker.hide_tokens(network, tokens, mask, before_position=False, skip=None):
        network(image)[0].sum().backward()
    assert masker.token is not None and masker.token.grad is not None
    assert masker.token.grad.tolist() == [float(mask.sum())] * 4
    assert image.grad is None or not image.grad.any()


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_fills_without_a_parameter(fill: str) -> None:
    network, tokens, image = make("BCDHW")
    masker = Masker(4, fill)  # type: ignore[arg-type]
    assert not list(masker.parameters())
    mask = draw("random", GRID, 0.5)
    whole = as_grid(network(image)[0], "BCDHW")
    with masker.hide_tokens(network, tokens, mask, before_position=False, skip=None):
        hidden = as_grid(network(image)[0], "BCDHW")
    for sample in range(2):
        expected = torch.zeros(4) if fill == "zero" else whole[sample].flatten(0, 2).mean(dim=0)
        torch.testing.assert_close(
            hidden[sample][mask[sample]], expected.expand_as(hidden[sample][mask[sample]])
        )
    assert torch.equal(hidden[~mask], whole[~mask])


def test_image_blocks_are_filled_per_channel() -> None:
    masker = Masker(2, "learned")
    assert masker.token is not None
    masker.token.data = torch.tensor([5.0, -5.0])
    image = torch.randn(2, 2, *IMAGE, generator=generator(3))
    mask = draw("random", GRID, 0.5)
    hidden, fine = masker.hide_image(image, mask), resize_mask(mask, IMAGE)
    assert (hidden[:, 0][fine] == 5).all() and (hidden[:, 1][fine] == -5).all()
    assert torch.equal(hidden.movedim(1, -1)[~fine], image.movedim(1, -1)[~fine])


@pytest.mark.parametrize("skip", [None, "skip"])
def test_the_raw_image_skip_is_zeroed_where_asked(skip: str | None) -> None:
    network, tokens, image = make("BCDHW")
    mask = draw("random", GRID, 0.5)
    whole = network(image)[1]
    with Masker(4, "learned").hide_tokens(network, tokens, mask, before_position=False, skip=skip):
        hidden = network(image)[1]
    fine = resize_mask(mask, IMAGE)[:, None].expand_as(whole)
    assert torch.equal(hidden[~fine], whole[~fine])
    assert torch.equal(hidden[fine], torch.zeros_like(whole[fine]) if skip else whole[fine])


def hooks_of(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_hooks_are_gone_after_the_context_and_after_an_exception() -> None:
    network, tokens, image = make("BNC")
    mask = torch.ones(2, *GRID, dtype=torch.bool)
    masker, whole = Masker(4, "learned"), network(image)
    with masker.hide_tokens(network, tokens, mask, before_position=False, skip="skip"):
        assert hooks_of(network) == 2
    assert hooks_of(network) == 0
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        masker.hide_tokens(network, tokens, mask, before_position=False, skip="skip"),
    ):
        network(image, fail=True)
    assert hooks_of(network) == 0
    assert all(torch.equal(one, other) for one, other in zip(whole, network(image), strict=True))


@pytest.fixture(scope="module")
def unetr() -> tuple[nn.Module, Tokens, Tensor]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    entry = registry.load("architecture", "unetr")
    architecture, patch = entry(entry.resolve({}, "unetr")), (32, 32, 32)
    network = architecture.build(1, 2, patch).eval()
    with torch.no_grad():  # zeros and near zeros would hide a difference
        network.vit.patch_embedding.position_embeddings.normal_()
    return network, architecture.tokens(patch), torch.randn(1, 1, *patch, generator=generator(2))


@pytest.mark.parametrize("before", [True, False], ids=["before positions", "after positions"])
def test_unetr_masks_before_or_after_positions_are_added(
    unetr: tuple[nn.Module, Tokens, Tensor], before: bool
) -> None:
    network, tokens, image = unetr
    masker = Masker(tokens.channels, "learned")
    assert masker.token is not None
    masker.token.data.fill_(0.25)
    mask = draw("tube", tokens.mask_grid, 0.5, batch=1)
    embedding: Callable[[Tensor], Tensor] = network.get_submodule("vit.patch_embedding")
    with torch.no_grad():
        whole = embedding(image)
        with masker.hide_tokens(network, tokens, mask, before_position=before, skip=None):
            hidden = embedding(image)
    places = network.get_parameter("vit.patch_embedding.position_embeddings")
    expected = 0.25 + places if before else torch.full_like(whole, 0.25)
    rows = mask.flatten(1)  # the first token axis is the slowest
    assert torch.equal(hidden[rows], expected[rows])
    assert torch.equal(hidden[~rows], whole[~rows])
