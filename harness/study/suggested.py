"""The study file that ``medctx data suggest`` writes: a recipe by rules, each line with the rule that gave it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from harness.data.suggestion import Suggestion
from harness.data.topology import features

_COMMENTS_FROM = 46  # column
_STEPS = 1000


@dataclass(frozen=True)
class Device:
    """What a study is sized for.

    Attributes:
        memory: GB.
        words: which device that is, and whence that is known.
        has_gpu: whether networks are as wide as nnU-Net's, and trained in mixed precision.
    """

    memory: float
    words: str
    has_gpu: bool


@dataclass(frozen=True)
class _Line:
    indent: int
    key: str
    value: Any = None
    reason: str = ""

    def __str__(self) -> str:
        text = f"{'  ' * self.indent}{self.key}:"
        if self.value is not None:
            text += f" {_yaml(self.value)}"
        return f"{text:<{_COMMENTS_FROM}}  # {self.reason}" if self.reason else text


def study_text(name: str, suggestion: Suggestion, device: Device, command: str) -> str:
    """Return the text of a study on a dataset.

    Args:
        name: of the dataset, as a study calls it.
        suggestion: its recipe.
        device: what it is sized for.
        command: that it is the answer to.
    """
    cases = len(suggestion.fingerprint.grids)
    head = [
        f"# Written by: {command}",
        f"# From {cases} cases, for {device.words}. The rules are nnU-Net's; docs/suggest.md tells them.",
    ]
    question = f"What do supervised training and MedContext reach on {name} with a recipe by nnU-Net's rules?"
    body = [_Line(0, "question", question), *_network(suggestion, device), *_base(name, suggestion, device)]
    grid = [
        _Line(0, "grid"),
        _Line(1, "architecture", ["planned"]),
        _Line(1, "method", ["supervised", "medcontext"]),
        _Line(1, "seed", [0]),
    ]
    return "\n".join([*head, *map(str, (*body, *grid))]) + "\n"


def _network(suggestion: Suggestion, device: Device) -> Iterator[_Line]:
    net = suggestion.net
    base, most = (32, 320) if device.has_gpu else (12, 96)
    width = f"{base}, doubled at each halving, at most {most}"
    narrow = "" if device.has_gpu else ", for a CPU (nnU-Net: 32 and 320)"
    yield _Line(0, "architectures")
    yield _Line(1, "planned")
    yield _Line(2, "name", "dynunet", "nnU-Net's plain U-Net")
    yield _Line(2, "filters", features(len(net.strides), base, most), f"{width}{narrow}")
    yield _Line(2, "deep_supervision", True, "lower outputs are supervised too")
    yield _Line(
        2, "strides", net.strides[1:], "what has under twice the smallest spacing is halved, to 4 voxels"
    )
    yield _Line(2, "kernels", net.kernels, "1 voxel along axes of twice the smallest spacing")


def _base(name: str, suggestion: Suggestion, device: Device) -> Iterator[_Line]:
    yield _Line(0, "base")
    yield _Line(1, "dataset", name)
    yield _Line(1, "recipe")
    yield _Line(2, "steps", _STEPS, "to begin with; nnU-Net makes 250,000")
    if device.has_gpu:
        yield _Line(2, "precision", "bf16", "mixed, as the estimate of memory counts on (nnU-Net: fp16)")
    within = "augmentation."
    for rule in suggestion.rules:
        if not rule.key.startswith(within):
            yield _Line(2, rule.key, rule.value, rule.reason)
    yield _Line(2, within.rstrip("."))
    for rule in suggestion.rules:
        if rule.key.startswith(within):
            yield _Line(3, rule.key.removeprefix(within), rule.value, rule.reason)


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(_listed(value), default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, tuple | list) else value
