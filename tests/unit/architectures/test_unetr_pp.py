"""UNETR++: published sizes, paired attention against the formula, the released reshape and the right one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from harness import registry
from harness.architectures.contract import Architecture
from harness.architectures.networks.unetr_pp import PairedAttention
from harness.spec import Triple

PAPER = [
    ("synapse", (128, 128, 64), 1, 14, 42_952_850),
    ("acdc", (160, 160, 16), 1, 4, 66_796_404),
    ("brats", (128, 128, 128), 4, 4, 42_647_604),
]


def architecture(**settings: Any) -> Architecture[Any]:
    entry = registry.load("architecture", "unetr_pp")
    return entry(entry.resolve(settings, "unetr_pp"))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("preset", "patch", "channels", "classes", "published"), PAPER)
def test_published_sizes(preset: str, patch: Triple, channels: int, classes: int, published: int) -> None:
    with torch.device("meta"):
        assert count(architecture(preset=preset).build(channels, classes, patch)) == published


def test_published_sizes_of_the_parts() -> None:
    with torch.device("meta"):
        network: Any = architecture(preset="synapse").build(1, 14, (128, 128, 64))
    encoder = network.unetr_pp_encoder
    assert count(encoder) == 27_387_232 and count(network.encoder1) == 7_360
    assert [count(layer) for layer in encoder.downsample_layers] == [1_088, 16_512, 65_792, 262_656]
    assert [count(stage) for stage in encoder.stages] == [9_622_584, 2_312_088, 3_247_704, 11_858_808]
    assert [count(decoder) for decoder in network.decoders] == [3_509_848, 2_377_624, 9_638_968]
    assert count(network.last_up) + count(network.last_block) == 30_208
    assert [count(head) for head in (network.head, *network.lower_heads)] == [238, 462, 910]


@pytest.mark.parametrize(
    ("preset", "patch", "giga"), [("synapse", (128, 128, 64), 47.47), ("acdc", (160, 160, 16), 43.4)]
)
def test_published_multiply_accumulates(preset: str, patch: Triple, giga: float) -> None:
    with torch.device("meta"):
        network = architecture(preset=preset).build(1, 14 if preset == "synapse" else 4, patch)
        image = torch.empty(1, 1, *patch)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga, rel=0.02)


def attention(
    projection: str = "shared",
    reshape: str = "original",
    fusion: str = "concat",
    grid: Triple = (10, 1, 1),
) -> PairedAttention:
    torch.manual_seed(0)
    made = PairedAttention(grid, 8, 2, 3, projection, fusion, reshape, 0.0)
    with torch.no_grad():
        made.t1.copy_(torch.tensor([0.7, 1.3]).reshape(2, 1, 1))
        made.t2.copy_(torch.tensor([1.9, 0.4]).reshape(2, 1, 1))
    return made


def by_loops(made: PairedAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x_s ``(B, h, N, d)`` and x_c ``(B, h, d, N)``, head by head, from the formula."""
    batch, tokens, width = x.shape
    d = width // made.heads
    q, k, v_c, v_s = (x @ made.qkvv.weight.T).split(width, dim=-1)
    space, channel = torch.zeros(batch, made.heads, tokens, d), torch.zeros(batch, made.heads, d, tokens)
    for b in range(batch):
        for h in range(made.heads):
            part = slice(h * d, (h + 1) * d)
            qh, kh, vc, vs = (m[b, :, part].T for m in (q, k, v_c, v_s))  # (d, N)
            k_p, v_p = made.E(kh), made.F(vs)  # before the normalisation
            qh, kh = qh / qh.norm(dim=1, keepdim=True), kh / kh.norm(dim=1, keepdim=True)
            channel[b, h] = torch.softmax(qh @ kh.T * made.t1[h], dim=-1) @ vc
            space[b, h] = torch.softmax(qh.T @ k_p * made.t2[h], dim=-1) @ v_p.T
    return space, channel


@pytest.mark.parametrize("projection", ["shared", "separate", "matrix"])
@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_paired_attention_is_the_formula(projection: str, fusion: str) -> None:
    made, x = attention(projection, "fixed", fusion), torch.randn(2, 10, 8)
    space, channel = by_loops(made, x)
    x_s = torch.stack([torch.cat([space[b, h] for h in range(2)], dim=-1) for b in range(2)])
    x_c = torch.stack([torch.cat([channel[b, h].T for h in range(2)], dim=-1) for b in range(2)])
    wanted = (
        torch.cat([made.out_spatial(x_s), made.out_channel(x_c)], -1) if fusion == "concat" else x_s + x_c
    )
    torch.testing.assert_close(made(x), wanted)


def test_the_released_reshape_scrambles_tokens_and_channels() -> None:
    made, x = attention(reshape="original", fusion="sum"), torch.randn(1, 10, 8)
    space, channel = by_loops(made, x)
    x_c = torch.cat([channel[0, h].T for h in range(2)], dim=-1)
    scrambled = torch.zeros(10, 8)
    for flat in range(80):  # element (d, h, N) in row-major order becomes element (N, C)
        d, rest = divmod(flat, 20)
        h, n = divmod(rest, 10)
        scrambled[flat // 8, flat % 8] = space[0, h, n, d]
    torch.testing.assert_close(made(x)[0], scrambled + x_c)
    assert not torch.allclose(made(x), attention(reshape="fixed", fusion="sum")(x))


def test_the_released_reshape_takes_the_same_image_with_its_slices_first() -> None:
    """Tokens of three axes of different length: the released code's order has the slices, our last axis, slowest."""
    grid = (2, 3, 4)
    made, x = attention(reshape="original", fusion="sum", grid=grid), torch.randn(1, 24, 8)
    space, channel = by_loops(made, x)
    x_c = torch.cat([channel[0, h].T for h in range(2)], dim=-1)

    def ours(theirs: int) -> int:
        """Return our number of the token that is the released code's ``theirs``-th."""
        place, x = divmod(theirs, grid[0])
        z, y = divmod(place, grid[1])
        return (x * grid[1] + y) * grid[2] + z

    scrambled = torch.zeros(24, 8)
    for flat in range(24 * 8):  # element (d, h, N) in row-major order becomes element (N, C)
        d, rest = divmod(flat, 2 * 24)
        h, n = divmod(rest, 24)
        scrambled[ours(flat // 8), flat % 8] = space[0, h, ours(n), d]
    torch.testing.assert_close(made(x)[0], scrambled + x_c)


def test_projections_are_shared_or_not() -> None:
    shared, separate, matrix = (attention(projection) for projection in ("shared", "separate", "matrix"))
    assert shared.E is shared.F and separate.E is not separate.F
    assert matrix.E is matrix.F and matrix.E.bias is None
    assert matrix.E.weight.abs().max() <= 1 / math.sqrt(3)


@pytest.mark.parametrize(
    "settings",
    [{}, {"projection": "separate", "residual_blocks": 2}, {"projection": "matrix", "fusion": "sum"}],
)
def test_every_parameter_gets_a_gradient_and_outputs_are_a_list_finest_first(
    settings: dict[str, Any],
) -> None:
    network = architecture(deep_supervision=True, **settings).build(2, 3, (32, 32, 16))
    image = torch.randn(1, 2, 32, 32, 16)
    outputs = network(image)
    assert [tuple(output.shape) for output in outputs] == [
        (1, 3, 32, 32, 16),
        (1, 3, 16, 16, 8),
        (1, 3, 8, 8, 4),
    ]
    sum(output.square().mean() for output in outputs).backward()
    lacking = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert lacking == []
    with torch.no_grad():
        assert network.eval()(image).shape == (1, 3, 32, 32, 16)


def test_weights_survive_a_round_trip() -> None:
    one, other = (architecture().build(1, 3, (32, 32, 16)).eval() for _ in range(2))
    image = torch.randn(1, 1, 32, 32, 16)
    with torch.no_grad():
        assert not torch.equal(one(image), other(image))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(image), other(image))


@pytest.mark.slow
def test_the_graph_is_captured_whole() -> None:
    network = architecture().build(1, 2, (32, 32, 16)).eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    image = torch.randn(1, 1, 32, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), network(image))


def test_a_patch_that_does_not_fit_is_named_with_the_nearest() -> None:
    assert architecture().supports((40, 32, 32)) and "[16, 16, 16]" in str(
        architecture().supports((40, 32, 32))
    )
    assert architecture().supports((32, 16, 16)) is None and architecture().supports((16, 16, 16))
    assert architecture(preset="acdc").supports((160, 160, 14))
