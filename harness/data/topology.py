"""How deep a U-Net is for a patch, how many numbers it keeps, and which patch fits: nnU-Net's rules, as pure functions.

Isensee et al., Nature Methods 18, 2021, in the form of nnU-Net v2's default planner. Everything goes by axes in RAS order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.spec import Triple

SMALLEST = 4  # voxels along an axis of the coarsest features
_BASE, _MOST = 32, 320  # features of the finest stage, and of any
_VOLUME = 256**3  # voxels of the patch that is tried first
_REFERENCE = 560_000_000  # numbers that a batch of two may keep in 8 GB, in mixed precision
_REFERENCE_GB = 8.0
LEAST_BATCH = 2
LEAST_MEMORY = 0.5
"""GB, which hold patches of some 50 x 50 x 50 voxels."""
_SHARE_SEEN = 0.05  # of the dataset's voxels, in one batch at most


@dataclass(frozen=True)
class Topology:
    """The stages of a U-Net, finest first.

    Attributes:
        strides: of each stage; the first has none.
        kernels: of the convolutions of each stage, voxels.
    """

    strides: tuple[Triple, ...]
    kernels: tuple[Triple, ...]

    @property
    def halvings(self) -> Triple:
        """How often each axis is halved."""
        x, y, z = (sum(stride[axis] == 2 for stride in self.strides) for axis in range(3))
        return (x, y, z)

    @property
    def multiple(self) -> Triple:
        """What the sides of a patch must be multiples of."""
        x, y, z = (2**number for number in self.halvings)
        return (x, y, z)

    def padded(self, sides: Sequence[float]) -> Triple:
        """Return the smallest sides from ``sides`` on that the network can take."""
        x, y, z = (math.ceil(side / of) * of for side, of in zip(sides, self.multiple, strict=True))
        return (x, y, z)


def topology(spacing: Sequence[float], sides: Sequence[float]) -> Topology:
    """Return the stages for a patch of ``sides`` voxels of ``spacing`` mm.

    Each stage halves the axes whose spacing is below twice the smallest, of those that have at least 8 voxels left. One
    axis alone is halved down to no less than 6. Kernels have one voxel along an axis until its spacing is below twice the
    smallest, and three from then on.
    """
    spacing, sides = list(spacing), list(sides)
    strides, kernels, kernel = [(1, 1, 1)], [], [1, 1, 1]
    while True:
        large = [axis for axis in range(3) if sides[axis] >= 2 * SMALLEST]
        finest = min((spacing[axis] for axis in large), default=0.0)
        halved = [axis for axis in large if spacing[axis] / finest < 2]
        if not halved or (len(halved) == 1 and sides[halved[0]] < 3 * SMALLEST):
            break
        kernel = [3 if size / min(spacing) < 2 else old for size, old in zip(spacing, kernel, strict=True)]
        x, y, z = (2 if axis in halved else 1 for axis in range(3))
        strides.append((x, y, z))
        kernels.append((kernel[0], kernel[1], kernel[2]))
        for axis in halved:
            spacing[axis] *= 2
            sides[axis] = math.ceil(sides[axis] / 2)
    return Topology(tuple(strides), (*kernels, (3, 3, 3)))


def features(stages: int, base: int = _BASE, most: int = _MOST) -> tuple[int, ...]:
    """Return the features of each stage: twice as many as in the one above, up to ``most``."""
    return tuple(min(most, base * 2**stage) for stage in range(stages))


def kept_numbers(patch: Triple, strides: Sequence[Triple], classes: int) -> int:
    """Return how many numbers nnU-Net's plain U-Net computes for one patch, one for each voxel of each feature map.

    Each stage has two convolutions on the way down, and, but for the coarsest, a transposed one and two more on the way
    up; at the top stands one output for each of ``classes``.
    """
    widths, sides, total = features(len(strides)), list(patch), classes * math.prod(patch)
    for number, (width, stride) in enumerate(zip(widths, strides, strict=True)):
        sides = [side // of for side, of in zip(sides, stride, strict=True)]
        maps = 2 if number == len(strides) - 1 else 5
        total += maps * width * math.prod(sides)
    return total


def fit_patch(
    spacing: Sequence[float], median: Sequence[float], classes: int, memory: float
) -> tuple[Triple, Topology]:
    """Return the largest patch that fits, and the network for it.

    It starts with the aspect of a cube in mm and the volume of 256 x 256 x 256 voxels, no side above the median's. While a
    batch of two does not fit, the side is made smaller that is longest in relation to the median.

    Args:
        spacing: of voxels, mm.
        median: sides of the median volume, voxels of that spacing.
        classes: labels with background.
        memory: GB; at least :data:`LEAST_MEMORY`.
    """
    inverse = [1 / size for size in spacing]
    factor = (_VOLUME / math.prod(inverse)) ** (1 / 3)
    first = [min(round(one * factor), side) for one, side in zip(inverse, median, strict=True)]
    net = topology(spacing, first)
    patch = net.padded(first)
    while kept_numbers(patch, net.strides, classes) > _capacity(memory):
        shares = [side / whole for side, whole in zip(patch, median, strict=True)]
        patch, net = _shortened(patch, shares.index(max(shares)), net, spacing)
    return patch, net


def _shortened(patch: Triple, axis: int, net: Topology, spacing: Sequence[float]) -> tuple[Triple, Topology]:
    """Return the next smaller patch along an axis: by what the sides of a network for the smaller one are multiples of."""
    tried = list(patch)
    tried[axis] -= net.multiple[axis]
    step = topology(spacing, tried).multiple[axis]
    shorter = list(patch)
    shorter[axis] -= step
    smaller = topology(spacing, shorter)
    return smaller.padded(shorter), smaller


def batch_size(patch: Triple, net: Topology, classes: int, voxels: float, memory: float) -> int:
    """Return how many patches fit, no more than 5 % of the dataset's ``voxels``, and at least 2."""
    fitting = round(_capacity(memory) / kept_numbers(patch, net.strides, classes) * LEAST_BATCH)
    seen = round(voxels * _SHARE_SEEN / math.prod(patch))
    return max(min(fitting, seen), LEAST_BATCH)


def _capacity(memory: float) -> float:
    """Return how many numbers one patch of a batch of two may keep."""
    return _REFERENCE * memory / _REFERENCE_GB
