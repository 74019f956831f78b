"""The networks that MONAI has: published sizes, deep supervision, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.networks.nets import mednext
from torch import nn

from harness import registry
from harness.architectures.contract import Architecture
from harness.errors import UserError
from harness.spec import Triple


def architecture(name: str, **settings: Any) -> Architecture[Any]:
    entry = registry.load("architecture", name)
    return entry(entry.resolve(settings, name))


def build(name: str, patch: Triple, channels: int = 1, classes: int = 14, **settings: Any) -> nn.Module:
    return architecture(name, **settings).build(channels, classes, patch)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "settings", "patch", "published"),
    [
        ("unetr", {"preset": "paper"}, (96, 96, 96), 101_805_646),
        ("unetr", {"preset": "paper", "feature_size": 16}, (96, 96, 96), 92_802_478),
        ("dynunet", {"preset": "paper"}, (128, 128, 64), 30_778_840),
        ("segresnet", {"preset": "paper"}, (96, 96, 96), 4_701_118),
        ("segresnet", {"preset": "large"}, (96, 96, 96), 18_796_398),
        ("mednext", {"preset": "small"}, (96, 96, 96), 5_564_806),
        ("mednext", {"preset": "base"}, (96, 96, 96), 10_524_742),
        ("mednext", {"preset": "medium"}, (96, 96, 96), 17_547_398),
        ("mednext", {"preset": "large"}, (96, 96, 96), 61_740_646),
    ],
)
def test_published_sizes(name: str, settings: dict[str, Any], patch: Triple, published: int) -> None:
    with torch.device("meta"):
        assert parameters(build(name, patch, **settings)) == published


@pytest.mark.slow
def test_published_sizes_of_swin_unetr() -> None:
    """It cannot be built on the meta device."""
    assert parameters(build("swin_unetr", (96, 96, 96), preset="paper")) == 62_187_296
    assert parameters(build("swin_unetr", (96, 96, 96), preset="paper", feature_size=24)) == 15_703_304


@pytest.mark.parametrize(
    ("preset", "name"), [("small", "MedNeXtS"), ("base", "MedNeXtB"), ("medium", "MedNeXtM")]
)
def test_mednext_has_the_weights_of_monais_sizes(preset: str, name: str) -> None:
    with torch.device("meta"):
        ours = build("mednext", (96, 96, 96), preset=preset)
        theirs = getattr(mednext, name)(in_channels=1, out_channels=14, kernel_size=3, deep_supervision=True)
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_dynunet_is_shaped_by_the_patch() -> None:
    dynunet: Any = architecture("dynunet", preset="paper")
    assert dynunet.strides((128, 128, 64)) == [(1, 1, 1), *[(2, 2, 2)] * 4, (2, 2, 1)]
    assert dynunet.strides((40, 56, 40)) == [(1, 1, 1), *[(2, 2, 2)] * 3]
    assert dynunet.strides((160, 160, 14)) == [(1, 1, 1), (2, 2, 2), *[(2, 2, 1)] * 4]
    reason = dynunet.supports((7, 9, 15))
    assert reason and "[7, 9, 16]" in reason and dynunet.supports((7, 9, 16)) is None


@pytest.mark.parametrize(
    ("name", "settings", "sides"),
    [
        ("dynunet", {"filters": (8, 8, 8, 8)}, [32, 16, 8]),
        ("mednext", {}, [32, 16, 8, 4, 2]),
    ],
)
def test_deep_supervision_is_a_list_finest_first(
    name: str, settings: dict[str, Any], sides: list[int]
) -> None:
    network = build(name, (32, 32, 32), classes=3, preset="tiny", deep_supervision=True, **settings)
    image = torch.randn(1, 1, 32, 32, 32)
    outputs = network(image)
    assert isinstance(outputs, list) and [output.shape for output in outputs] == [
        (1, 3, s, s, s) for s in sides
    ]
    sum(output.square().mean() for output in outputs).backward()
    without = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []
    network.eval()
    with torch.no_grad():
        assert network(image).shape == (1, 3, 32, 32, 32)


def test_the_lower_outputs_of_dynunet_are_monais_before_it_enlarges_them() -> None:
    from monai.networks.nets import DynUNet

    network: Any = build(
        "dynunet", (32, 32, 32), classes=3, preset="tiny", filters=(8, 8, 8, 8), deep_supervision=True
    )
    image = torch.randn(1, 1, 32, 32, 32)
    ours, theirs = network(image), DynUNet.forward(network, image)
    for index, output in enumerate(ours):
        enlarged = torch.nn.functional.interpolate(output, (32, 32, 32))
        torch.testing.assert_close(enlarged, theirs[:, index])


def test_dynunet_takes_strides_and_kernels_in_place_of_the_rule() -> None:
    flat = {
        "filters": (4, 8, 12),
        "strides": ((2, 2, 1), (2, 2, 2)),
        "kernels": ((3, 3, 1), (3, 3, 3), (3, 3, 3)),
    }
    entry = registry.load("architecture", "dynunet")
    architecture = entry(entry.resolve(flat, "test"))
    network = architecture.build(1, 3, (16, 16, 6))
    kernels = {
        tuple(one.weight.shape[2:]) for one in network.input_block.modules() if isinstance(one, nn.Conv3d)
    }
    assert kernels == {(3, 3, 1)} and network(torch.zeros(1, 1, 16, 16, 6)).shape == (1, 3, 16, 16, 6)
    assert architecture.supports((16, 16, 6)) is None
    assert "multiples of [4, 4, 2]" in (architecture.supports((16, 18, 6)) or "")
    for wrong, said in (
        ({**flat, "filters": (4, 8, 12), "strides": ((2, 2, 2),) * 3, "kernels": None}, "filters: found 3 widths; expected 4"),
        ({**flat, "kernels": ((3, 3, 3),)}, "kernels: found 1 kernels; expected 3"),
        ({**flat, "strides": ((2, 2, 0), (2, 2, 2))}, "strides"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            entry.resolve(wrong, "test")
