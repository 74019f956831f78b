"""What architectures say of a patch, against a pass in training."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness import registry
from harness.spec import Triple

# small enough for many passes
SMALL: dict[str, dict[str, Any]] = {
    "dynunet": {"filters": (2, 2, 2, 2)},
    "segresnet": {"preset": "tiny"},
    "mednext": {"preset": "tiny", "init_filters": 2},
    "unet": {"channels": (2, 2, 2)},
    "unetr_pp": {"dims": (2, 2, 4, 4), "projected": (2, 3, 2, 1), "heads": 1, "stem": (2, 1, 2)},
}


@pytest.mark.parametrize("name", SMALL)
@settings(deadline=None, max_examples=25, derandomize=True)
@given(data=st.data())
def test_supports_and_a_pass_in_training_agree(name: str, data: Any) -> None:
    side = st.one_of(st.integers(1, 33), st.sampled_from([4, 8, 12, 16, 16, 24, 32]))
    patch: Triple = data.draw(st.tuples(side, side, side))
    entry = registry.load("architecture", name)
    architecture = entry(entry.resolve(SMALL[name], "test"))

    def trains(patch: Triple) -> bool:
        try:
            output: Tensor = architecture.build(1, 2, patch).train()(torch.randn(1, 1, *patch))
        except (RuntimeError, ValueError, IndexError):
            return False
        return tuple(output.shape) == (1, 2, *patch)

    reason = architecture.supports(patch)
    assert trains(patch) == (reason is None)
    if reason is not None:
        a, b, c = json.loads(reason[reason.rindex("[") :])
        assert architecture.supports((a, b, c)) is None and trains((a, b, c))
