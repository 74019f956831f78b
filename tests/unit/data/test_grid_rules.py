"""Grids: what is rounding, what is another place, and what is the same place stored otherwise."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest

from harness.data.grid_rules import grid_fault, on_grid_of, one_slice, turned_to
from harness.data.volume import Volume
from harness.errors import UserError

SHAPE = (8, 6, 5)
TURNS = [
    np.array([*zip(order, signs, strict=True)], float)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


def volume(affine: np.ndarray | None = None, shape: tuple[int, ...] = SHAPE, **settings: object) -> Volume:
    array = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    return Volume(array, np.diag([0.7, 1.3, 5, 1]) if affine is None else affine, **settings)  # type: ignore[arg-type]


def tilted() -> np.ndarray:
    """Return an affine that is turned by 20 degrees about each axis."""
    affine = np.diag([0.7, 1.3, 5, 1])
    for axis in range(3):
        turn, (one, other) = np.eye(4), [other for other in range(3) if other != axis]
        turn[[one, one, other, other], [one, other, one, other]] = 0.9397, -0.342, 0.342, 0.9397
        affine = turn @ affine
    affine[:3, 3] = 11, -7, 40
    return affine


def places(labels: Volume) -> dict[tuple[float, ...], int]:
    """Return the label at each place in space, mm."""
    index = np.stack(np.indices(labels.array.shape), -1).reshape(-1, 3)
    where = nibabel.affines.apply_affine(labels.affine, index)
    keys = map(tuple, (np.round(where, 3) + 0.0).tolist())
    return dict(zip(keys, labels.array.reshape(-1).tolist(), strict=True))


@pytest.mark.parametrize("affine", [np.diag([0.7, 1.3, 5, 1]), tilted()], ids=["straight", "tilted"])
@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_axes_stored_otherwise_are_turned_and_nothing_moves(affine: np.ndarray, turn: np.ndarray) -> None:
    whole = volume(affine, zooms=(0.7, 1.3, 5.0))
    stored = Volume(
        nibabel.apply_orientation(whole.array, turn),
        affine @ nibabel.orientations.inv_ornt_aff(turn, SHAPE),
        tuple(np.array((0.7, 1.3, 5.0))[np.argsort(turn[:, 0])].tolist()),
    )
    assert places(stored) == places(whole)
    turned = on_grid_of(stored, whole, "label", "image")
    np.testing.assert_array_equal(turned.array, whole.array)
    np.testing.assert_allclose(turned.affine, affine, atol=1e-9)
    assert turned.zooms == whole.zooms
    image = Volume(np.stack([stored.array, stored.array + 1]), stored.affine)
    np.testing.assert_array_equal(turned_to(image, affine, SHAPE).array[1], whole.array + 1)


@pytest.mark.parametrize("flip", [(-1, 1, 1), (1, -1, 1), (-1, -1, -1)])
def test_what_is_mirrored_in_space_is_refused_as_it_is_stored(flip: tuple[int, int, int]) -> None:
    mirrored = volume(volume().affine @ np.diag([*flip, 1]))
    assert turned_to(mirrored, volume().affine, SHAPE) is mirrored
    with pytest.raises(UserError, match=r"label: found an affine by which a corner lies .* mm away"):
        on_grid_of(mirrored, volume(), "label", "image")


def changed(**entries: float) -> np.ndarray:
    affine = np.diag([0.977, 0.977, 5, 1])
    for name, value in entries.items():
        affine["xyz".index(name[0]), {"x": 0, "y": 1, "z": 2, "t": 3}[name[1]]] += value
    return affine


@pytest.mark.parametrize(
    ("affine", "shape", "fault"),
    [
        (changed(), (320, 300, 6), None),
        (changed(xt=1e-3), (320, 300, 6), None),  # what a writer rounds
        (changed(xx=1e-4), (320, 300, 6), None),  # 0.03 mm at the far corner
        (changed(xx=1e-4).astype(np.float32).astype(float), (320, 300, 6), None),
        (changed(xx=0.009, yy=0.009), (320, 300, 6), "affine_mismatch"),  # one per cent
        (changed(xx=1e-3), (320, 300, 6), "affine_mismatch"),  # 0.3 mm
        (changed(zt=0.5), (320, 300, 6), "affine_mismatch"),
        (changed(xy=0.01), (320, 300, 6), "affine_mismatch"),  # half a degree
        (changed(), (320, 300, 5), "shape_mismatch"),
        (changed(), (300, 320, 6), "shape_mismatch"),
    ],
)
def test_rounding_is_told_from_another_place(
    affine: np.ndarray, shape: tuple[int, int, int], fault: str | None
) -> None:
    image, label = (
        Volume(np.broadcast_to(np.uint8(0), s), a) for s, a in (((320, 300, 6), changed()), (shape, affine))
    )
    found = grid_fault(label, image, "image.nii.gz")
    assert (found and found.code) == fault
    assert found is None or "image.nii.gz" in found.message


@pytest.mark.parametrize("shape", [(9, 9, 1), (1, 9, 9), (9, 1, 9), (9, 9)])
def test_one_slice_is_no_volume(shape: tuple[int, ...]) -> None:
    fault = one_slice(shape)
    assert fault is not None and str(shape) in fault.message and "one slice" in fault.message
    if len(shape) == 3:
        with pytest.raises(UserError, match=r"image: found shape .*one slice"):
            on_grid_of(volume(shape=shape), volume(shape=shape), "label", "image")
    assert one_slice((2, 2, 2)) is None
