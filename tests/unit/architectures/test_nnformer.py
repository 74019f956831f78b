"""nnFormer: published sizes, attention against its formula, masks against brute force, any patch."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from harness.architectures.networks.nnformer import WindowAttention, attend, relative_index, shift_mask
from harness.architectures.nnformer import NNFormer
from harness.errors import UserError
from harness.spec import Triple

PUBLISHED: dict[str, tuple[int, int, Triple]] = {
    "synapse": (1, 14, (128, 128, 64)),
    "acdc": (1, 4, (160, 160, 14)),
    "brats": (4, 4, (128, 128, 128)),
}
# the spec's small check: 4 stages, windows of 4, 4, 4, 2
SMALL = {
    "strides": [(2, 2, 2)] * 3, "depths": (2, 2, 2, 2), "heads": (1, 2, 4, 8),
    "windows": [(4, 4, 4)] * 3 + [(2, 2, 2)], "decoder_depths": (2, 2, 2), "decoder_heads": (1, 2, 4),
    "deep_supervision": True,
}  # fmt: skip
# ACDC's boxes, strides and missing mask
ACDC = {
    "preset": "acdc", "embed": 12, "heads": (1, 2, 4, 8), "decoder_heads": (1, 2, 4), "drop_path": 0.0,
    "windows": [(5, 5, 3), (5, 5, 3), (4, 4, 7), (1, 1, 3)], "bias_index": "unique",
}  # fmt: skip


def make(patch: Triple, classes: int = 3, channels: int = 1, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return NNFormer(NNFormer.resolve(options, "test")).build(channels, classes, patch)


def meta(preset: str) -> nn.Module:
    channels, classes, patch = PUBLISHED[preset]
    with torch.device("meta"):
        return make(patch, classes, channels, preset=preset)


def count(*modules: Any) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize(
    ("preset", "total", "embedding", "encoder", "decoder", "heads"),
    [
        ("synapse", 150_054_210, 1_746_144, (2.8853, 11.5213, 46.1913, 56.696), (1.4476, 5.7705, 23.1882),
         [86_030, 172_046, 344_078]),
        ("acdc", 37_160_200, 437_616, (0.3924, 2.886, 11.6257, 14.1952), (0.291, 1.4483, 5.8749), [6_148]),
        ("brats", 37_606_726, 441_504, (0.7238, 2.8853, 11.5941, 14.1922), (0.3664, 1.4517, 5.9243), [24_580]),
    ],
)  # fmt: skip
def test_presets_have_the_published_numbers_of_parameters(
    preset: str, total: int, embedding: int, encoder: Any, decoder: Any, heads: list[int]
) -> None:
    network: Any = meta(preset)
    down = network.model_down
    assert count(network) == total
    assert count(down.patch_embed) == embedding
    stages = [
        count(blocks, *([down.down[stage]] if stage < 3 else [])) for stage, blocks in enumerate(down.layers)
    ]
    assert stages == pytest.approx([value * 1e6 for value in encoder], abs=51)
    assert [count(layer) for layer in network.decoder.layers] == pytest.approx(
        [value * 1e6 for value in decoder], abs=51
    )
    assert [count(head) for head in network.final] == heads


def test_synapse_needs_the_published_multiply_accumulates() -> None:
    with FlopCounterMode(display=False) as counter:
        meta("synapse")(torch.empty(1, 1, 128, 128, 64, device="meta"))
    assert counter.get_total_flops() / 2 == pytest.approx(212.7e9, rel=0.02)


def test_the_small_network_of_the_original_class() -> None:
    patch = (64, 64, 32)
    network = make(patch, **SMALL)
    assert count(network) == 608_071
    outputs = network(torch.randn(1, 1, *patch))
    assert [tuple(level.shape) for level in outputs] == [
        (1, 3, 64, 64, 32), (1, 3, 32, 32, 16), (1, 3, 16, 16, 8),
    ]  # fmt: skip
    assert network.eval()(torch.randn(1, 1, *patch)).shape == (1, 3, *patch)


def test_acdc_goes_from_14_slices_to_7_and_3_and_back() -> None:
    network: Any = make((32, 32, 14), classes=4, **ACDC)
    depths: list[int] = []
    for module in (*network.model_down.norms, *network.decoder.layers):
        module.register_forward_hook(lambda _m, _i, output: depths.append(output.shape[-1]))
    assert network(torch.randn(1, 1, 32, 32, 14)).shape == (1, 4, 32, 32, 14)
    assert depths == [14, 14, 7, 3, 7, 14, 14]


@pytest.mark.parametrize(
    ("window", "used", "rows"),
    [((4, 4, 4), 115, 343), ((8, 8, 8), 547, 3375), ((5, 5, 3), 137, 405), ((10, 10, 7), 709, 4693)],
)
def test_the_original_index_leaves_most_rows_unused(window: Triple, used: int, rows: int) -> None:
    original, unique = (relative_index(window, kind) for kind in ("original", "unique"))
    assert len(original.unique()) == used and original.min() == 0 and original.max() < rows
    assert unique.unique().tolist() == list(range(rows))


def test_two_pairs_share_a_row_of_the_unique_index_iff_their_offsets_are_equal() -> None:
    window = (3, 2, 4)
    places = list(product(*map(range, window)))
    index, rows = relative_index(window, "unique"), {}
    for (i, a), (j, b) in product(enumerate(places), repeat=2):
        offset = tuple(x - y for x, y in zip(a, b, strict=True))
        assert rows.setdefault(offset, int(index[i, j])) == index[i, j]
    assert len(set(rows.values())) == len(rows)


def explicit(module: WindowAttention, x: Tensor, queries: Tensor | None) -> Tensor:
    """Return the attention token by token: each with those of its window after padding and rolling."""
    (w, s), batch, channels = (module.window, module.shift), len(x), x.shape[-1]
    size = channels // module.heads
    padded = torch.zeros(batch, *module.padded, channels)
    mine = padded.clone()
    a, b, c = module.grid
    padded[:, :a, :b, :c] = x
    mine[:, :a, :b, :c] = x if queries is None else queries
    weight, bias = module.project.weight.split(channels), module.project.bias.split(channels)
    parts = [padded @ one.T + other for one, other in zip(weight, bias, strict=True)]
    q, k, v = (mine, *parts) if queries is not None else parts
    gathered = torch.zeros_like(padded)
    places = list(product(*map(range, module.padded)))
    for place in places:
        rolled = [(i - step) % n for i, step, n in zip(place, s, module.padded, strict=True)]
        corner = [i // side * side for i, side in zip(rolled, w, strict=True)]
        others = [
            [n + first for n, first in zip(inner, corner, strict=True)] for inner in product(*map(range, w))
        ]
        row = others.index(rolled)
        back = [tuple((i + t) % n for i, t, n in zip(o, s, module.padded, strict=True)) for o in others]
        keys = torch.stack([k[(slice(None), *o)] for o in back], 1).unflatten(-1, (module.heads, size))
        values = torch.stack([v[(slice(None), *o)] for o in back], 1).unflatten(-1, (module.heads, size))
        query = q[(slice(None), *place)].unflatten(-1, (module.heads, size))
        logits = torch.einsum("bhd,bnhd->bhn", query, keys) / size**0.5
        logits = logits + module.bias[module.index[row]].T
        if module.mask is not None:
            wrapped = [tuple(i < t for i, t in zip(o, s, strict=True)) for o in back]
            logits = logits.masked_fill(torch.tensor([one != wrapped[row] for one in wrapped]), -100.0)
        gathered[(slice(None), *place)] = torch.einsum("bhn,bnhd->bhd", logits.softmax(-1), values).flatten(1)
    return (gathered @ module.out.weight.T + module.out.bias)[:, :a, :b, :c]


@pytest.mark.parametrize("from_skip", [False, True], ids=["self", "skip"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("bias_index", ["original", "unique"])
@pytest.mark.parametrize(
    ("grid", "window", "shift"),
    [((4, 4, 4), (2, 2, 2), (1, 1, 1)), ((5, 4, 3), (3, 2, 2), (1, 1, 1)), ((3, 3, 2), (3, 3, 2), (0, 0, 0))],
)
def test_window_attention_is_its_formula(
    grid: Triple, window: Triple, shift: Triple, bias_index: Any, masked: bool, from_skip: bool
) -> None:
    torch.manual_seed(0)
    module = WindowAttention(
        6, 2, grid, window, shift, bias_index=bias_index, masked=masked, from_skip=from_skip
    )
    nn.init.normal_(module.bias)
    x, queries = torch.randn(2, *grid, 6), torch.randn(2, *grid, 6) if from_skip else None
    torch.testing.assert_close(module(x, queries), explicit(module, x, queries), rtol=1e-4, atol=1e-5)


def test_the_two_ways_to_attend_agree_in_values_and_gradients() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 4, 8, 5, requires_grad=True) for _ in range(3))
    bias = torch.randn(1, 4, 8, 8, requires_grad=True)
    weight, results = torch.randn(3, 4, 8, 5), []
    for output in (attend(q, k, v, bias), functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)):
        results.append([output, *torch.autograd.grad((output * weight).sum(), (q, k, v, bias))])
    torch.testing.assert_close(*results)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(data=st.data())
def test_tokens_meet_iff_they_are_of_one_region_before_rolling(data: Any) -> None:
    window = data.draw(st.tuples(*[st.integers(1, 3)] * 3))
    counts = data.draw(st.tuples(*[st.integers(1, 2)] * 3))
    shift: Any = tuple(side // 2 for side in window)
    padded = [side * n for side, n in zip(window, counts, strict=True)]
    mask = shift_mask(padded, window, shift)
    for w, corner in enumerate(product(*(range(0, n, side) for n, side in zip(padded, window, strict=True)))):
        # where a token of the window was before the roll, and whether it came from the other end
        tokens = [
            [
                ((first + i + step) % n, first + i + step >= n)
                for first, i, step, n in zip(corner, inner, shift, padded, strict=True)
            ]
            for inner in product(*map(range, window))
        ]
        for (i, one), (j, other) in product(enumerate(tokens), repeat=2):
            together = all(a[1] == b[1] for a, b in zip(one, other, strict=True))
            near = all(abs(a[0] - b[0]) < side for a, b, side in zip(one, other, window, strict=True))
            assert not together or near
            assert mask[w, i, j] == (0 if together else -100)


@pytest.mark.parametrize("options", [SMALL | {"depths": (1, 2, 2, 2)}, ACDC], ids=["cubes", "boxes"])
def test_gradient_reaches_every_parameter(options: dict[str, Any]) -> None:
    patch = (32, 32, 16) if options is not ACDC else (32, 32, 14)
    network = make(patch, **options)
    output = network(torch.randn(2, 1, *patch))
    levels = output if isinstance(output, list) else [output]
    sum((level * torch.randn_like(level)).sum() for level in levels).backward()  # type: ignore[union-attr]
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    # the softmax over the one token of a window of one is constant
    assert all(name.endswith("attention.bias") for name in still)
    modules = dict(network.named_modules())
    for name in still:
        assert modules[name.removesuffix(".bias")].window == (1, 1, 1), name  # type: ignore[union-attr]


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    patch=st.tuples(*[st.integers(1, 21)] * 3),
    step=st.tuples(*[st.integers(1, 2)] * 3),
    window=st.tuples(*[st.integers(1, 4)] * 3),
)
def test_supports_and_a_pass_in_training_agree(patch: Triple, step: Triple, window: Triple) -> None:
    options = {
        "embed": 2, "embedding_strides": [(2, 2, 1), (1, 2, 1)], "strides": [step, (2, 2, 2)],
        "depths": (2, 1, 1), "heads": (1, 1, 1), "windows": [window] * 3, "bias_index": "unique",
    }  # fmt: skip
    architecture = NNFormer(NNFormer.resolve(options, "test"))

    def trains() -> bool:
        try:
            output = architecture.build(1, 2, patch).train()(torch.randn(2, 1, *patch))
        except (RuntimeError, ValueError, ZeroDivisionError):
            return False
        assert output.shape == (2, 2, *patch)
        return True

    assert trains() == (architecture.supports(patch) is None)


def test_the_state_goes_round_and_holds_parameters_alone() -> None:
    patch = (32, 32, 16)
    one, other = make(patch), make(patch)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(one.state_dict())
    image = torch.randn(1, 1, *patch)
    assert torch.equal(one(image), other(image))
    assert set(one.state_dict()) == {name for name, _ in one.named_parameters()}


@pytest.mark.parametrize(("option", "fixed"), [("bias_index", "unique"), ("shift_mask", False)])
def test_options_change_what_they_name(option: str, fixed: Any) -> None:
    patch = (32, 32, 16)
    one, other = make(patch), make(patch, **{option: fixed})
    other.load_state_dict(one.state_dict())
    image = torch.randn(1, 1, *patch)
    assert not torch.equal(one(image), other(image))
    with pytest.raises(ValueError, match="32, 32, 16"):
        one(image[..., :8])


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_the_network_is_captured_in_one_graph(training: bool) -> None:
    network = make((16, 16, 8), depths=(2, 1, 1), deep_supervision=True).train(training)
    torch._dynamo.reset()
    image = torch.randn(1, 1, 16, 16, 8)
    found, expected = torch.compile(network, backend="eager", fullgraph=True)(image), network(image)
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": (1, 2)}, "3 heads for 3 depths"),
        ({"heads": (5, 2, 4)}, "divide the channels"),
        ({"strides": [(3, 2, 2), (2, 2, 2)]}, "strides of 1 or 2"),
        ({"windows": [(1, 2, 7)] * 3}, "bias_index unique"),
        ({"windows": [(0, 2, 2)] * 3}, "from 1"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        NNFormer.resolve(options, "test")
