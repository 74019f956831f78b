"""Predictions by several conventions: what each changes, by hand, and the table of a study."""

from __future__ import annotations

import numpy as np

from harness.evaluation.rescoring import VARIANTS, largest_components


def test_only_the_largest_component_of_each_label_is_kept() -> None:
    labels = np.zeros((8, 4, 4), np.uint8)
    labels[0:3, 0, 0] = 1  # three voxels
    labels[5, 0, 0] = 1  # and one apart
    labels[3, 0, 0] = 2  # beside the first, of another label
    kept = largest_components(labels, [1, 2, 3])
    assert kept.sum() == 3 * 1 + 2 and kept[5, 0, 0] == 0
    assert labels[5, 0, 0] == 1, "the input is left alone"


def test_variants_have_names_and_words_of_their_own() -> None:
    assert (
        len({variant.name for variant in VARIANTS}) == len({variant.description for variant in VARIANTS}) == 8
    )
