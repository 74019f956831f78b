"""Every method leaves ignored voxels out of what it learns from labels, and of nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

from harness import registry
from harness.training.losses import segmentation_loss
from harness.training.method import Batch, Method

IGNORE = 255
TRAINED = [name for name in registry.names("method") if registry.load("method", name).stages == ("train",)]


def batch_with(ignored: torch.Tensor, below: torch.Tensor) -> Batch:
    """Return a batch with withheld images; ``below`` are the labels, seen where they are not ignored."""
    batch = tiny.make_batch()
    generator = torch.Generator().manual_seed(7)
    return replace(
        batch,
        label=torch.where(ignored, torch.full_like(below, IGNORE), below),
        unlabelled=torch.randn(batch.image.shape, generator=generator),
    )


def gradients(method: Method, batch: Batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return tiny.gradients_of(method, method.step(batch, tiny.at(3)).total)


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "segmentation_loss", lambda name: segmentation_loss(name, IGNORE))


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_a_method_learns_from_the_labels_that_are_there(name: str, levels: int) -> None:
    """The ignored number is no class: a method that took it for one would stop here."""
    shape = tiny.make_batch().label.shape
    half = torch.zeros(shape, dtype=torch.bool)
    half[..., :2] = True
    results = []
    for seed in (1, 2):
        labels = torch.randint(0, tiny.CLASSES, shape, generator=torch.Generator().manual_seed(seed))
        results.append(
            gradients(tiny.set_up(registry.load("method", name), levels), batch_with(half, labels))
        )
    for one in results:
        assert one and all(torch.isfinite(value).all() for value in one.values())
    assert not all(torch.equal(results[0][key], results[1][key]) for key in results[0])


@pytest.mark.parametrize("name", TRAINED)
def test_a_batch_in_which_all_is_ignored_teaches_no_segmentation(name: str) -> None:
    ignored = torch.ones(tiny.make_batch().label.shape, dtype=torch.bool)
    method = tiny.set_up(registry.load("method", name))
    terms = method.step(batch_with(ignored, torch.zeros_like(tiny.make_batch().label)), tiny.at(3)).terms
    assert all(torch.isfinite(term) for term in terms.values())
    assert terms["supervised"].item() == pytest.approx(1.0)  # the Dice of nothing, without gradient
