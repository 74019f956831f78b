"""Class probabilities of one case: on the GPU, in memory, or where they are large in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IN_MEMORY = 2**30
"""Bytes above which they lie in a file of the folder for temporary files (``TMPDIR``)."""
_PLANES_AT_ONCE = 2**27  # bytes
_OF_FREE = 0.25  # the share of a GPU's free memory that they may take: a network needs the rest


class Probabilities:
    """Numbers ``(K, X, Y, Z)`` float32, 0 at first, written by planes along x and read class by class.

    Args:
        shape: ``(K, X, Y, Z)``.
        in_memory: bytes above which they lie in a file, which is gone with this object.
        device: a GPU that they shall stay on, where there is room.

    Attributes:
        held: all of them, where they lie on the device.
    """

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        in_memory: int = IN_MEMORY,
        device: torch.device | None = None,
    ) -> None:
        self.shape = shape
        self._plane = shape[2] * shape[3] * 4  # bytes
        size = shape[0] * shape[1] * self._plane
        self._array = self._file = None
        self.held = torch.zeros(shape, device=device) if device and size <= _room(device) else None
        if self.held is not None:
            return
        if size <= in_memory:
            self._array = np.zeros(shape, np.float32)
        else:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with this object
            self._file.truncate(size)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield each class ``(X, Y, Z)``."""
        for index in range(self.shape[0]):
            yield self._read(index, 0, self.shape[1])

    def array(self) -> NDArray[np.float32]:
        """Return all ``(K, X, Y, Z)``."""
        if self.held is not None:
            return self.held.cpu().numpy()
        return self._array if self._array is not None else np.stack(list(self))

    def labels(self) -> NDArray[np.uint8]:
        """Return the most probable class ``(X, Y, Z)``, on the CPU the first of equals."""
        if self.held is not None:
            return self.held.argmax(dim=0).to(torch.uint8).cpu().numpy()
        return self.array().argmax(axis=0).astype(np.uint8)

    def add(self, first: int, planes: Tensor) -> None:
        """Add planes ``(K, n, Y, Z)``, on any device, from ``first`` on."""
        if self.held is not None:
            self.held[:, first : first + planes.shape[1]] += planes
            return
        values, last = planes.cpu().numpy(), first + planes.shape[1]
        if self._array is not None:
            self._array[:, first:last] += values
            return
        for index, own in enumerate(values):
            self._write(index, first, self._read(index, first, last) + own)

    def change(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace planes ``(K, n, Y, Z)`` by what ``function`` makes of them, some at a time."""
        classes, sides = self.shape[0], self.shape[1]
        step = max(1, _PLANES_AT_ONCE // (classes * self._plane))
        for first in range(0, sides, step):
            last = min(first + step, sides)
            if self.held is not None:
                self.held[:, first:last] = function(self.held[:, first:last])
                continue
            if self._array is not None:
                self._array[:, first:last] = function(torch.from_numpy(self._array[:, first:last])).numpy()
                continue
            planes = np.stack([self._read(index, first, last) for index in range(classes)])
            for index, own in enumerate(function(torch.from_numpy(planes)).numpy()):
                self._write(index, first, own)

    def _read(self, index: int, first: int, last: int) -> NDArray[np.float32]:
        """Return planes of one class; a view where they are in memory."""
        if self.held is not None:
            return self.held[index, first:last].cpu().numpy()
        if self._array is not None:
            return self._array[index, first:last]
        assert self._file is not None
        self._file.seek((index * self.shape[1] + first) * self._plane)
        values = np.fromfile(self._file, np.float32, (last - first) * self._plane // 4)
        return values.reshape(last - first, *self.shape[2:])

    def _write(self, index: int, first: int, values: NDArray[np.float32]) -> None:
        assert self._file is not None
        self._file.seek((index * self.shape[1] + first) * self._plane)
        self._file.write(np.ascontiguousarray(values).data)


def _room(device: torch.device) -> float:
    """Return how many bytes of a device probabilities may take."""
    return _OF_FREE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")
