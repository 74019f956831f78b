"""Which pairs of method and architecture the default test run takes; ``--full-matrix`` takes all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

EVERYWHERE = ("supervised", "medcontext")  # the study's two sides run on every architecture


def covering(
    methods: Sequence[str], architectures: Sequence[str], supported: Callable[[str, str], bool]
) -> set[tuple[str, str]]:
    """Return pairs in which every method and every architecture occurs, where it is supported at all."""
    pairs = {(method, name) for method in EVERYWHERE for name in architectures if supported(method, name)}
    for index, method in enumerate(methods):
        rotated = [*architectures[index % len(architectures) :], *architectures]
        pairs |= {(method, name) for name in [n for n in rotated if supported(method, n)][:1]}
    return pairs
