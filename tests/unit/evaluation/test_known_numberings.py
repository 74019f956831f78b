"""Whose numbering labels fit, against the tables that TransUNet, BTCV and BraTS publish, written out here by hand."""

from __future__ import annotations

import pytest

from harness.evaluation.conventions import CONVENTIONS, Regions
from harness.evaluation.known_numberings import find_mismatch, mismatch_error

SYNAPSE = CONVENTIONS["released_synapse"].regions or {}
UNETR = CONVENTIONS["released_unetr"].regions or {}
BRATS = CONVENTIONS["released_brats"].regions or {}
EIGHT = "Spl=7,RKid=4,LKid=3,Gal=2,Liv=5,Sto=8,Aor=1,Pan=6"
THIRTEEN = (
    "Spl=1,RKid=2,LKid=3,Gal=4,Liv=6,Sto=7,Aor=8,Pan=11,Eso=5,IVC=9,PSV=10,RAdr=12,LAdr=13"  # the eight first
)
CASES = {
    "TransUNet's eight": (range(1, 9), SYNAPSE, f"give --regions {EIGHT}."),
    "a folder without a gallbladder": ({1, 3, 4, 5, 6, 7, 8}, SYNAPSE, "give --regions Spl=7,RKid=4,LKid=3,Liv=5,Sto=8,Aor=1,Pan=6."),
    "the eight, of thirteen": (range(1, 9), UNETR, "give --regions Spl=7,RKid=4,LKid=3,Gal=2,Liv=5,Sto=8,Aor=1,Pan=6."),
    "all thirteen, eight reported": (range(1, 14), SYNAPSE, f"as the regions do: give --allow-missing-labels, or --regions {THIRTEEN} for"),
    "TransUNet's numbers by long names, for BTCV": (
        range(1, 14), {"Liver": (5,), "left kidney": (3,), "aorta": (1,)},
        "give --regions 'Liver=6,left kidney=3,aorta=8' --allow-missing-labels.",
    ),
    "the challenge": ({1, 2, 4}, BRATS, "give --regions ET=4,TC=1+4,WT=1+2+4."),
    "the challenge, by one's own names": (
        {1, 2, 4}, {"enh": (3,), "core": (2, 3), "all": (1, 2, 3)}, "give --regions enh=4,core=1+4,all=1+2+4.",
    ),
    "the Decathlon": ({1, 2, 3}, {"WT": (1, 2, 4), "ET": (4,)}, "give --regions WT=1+2+3,ET=3."),
    "no enhancing tumour anywhere": (
        {1, 2}, BRATS,
        "as the regions do: give --allow-missing-labels, or --regions TC=2+3,WT=1+2+3 for all that is in the files. "
        "Or: The labels fit the BraTS challenge's labels: give --regions TC=1+4,WT=1+2+4.",
    ),
    "nobody's": ({1, 2, 77}, SYNAPSE, "Number the regions as the files do, with --regions NAME=N+N,…, or give --allow-missing-labels"),
    "a name that nobody publishes": ({1, 2}, {"liver": (1,), "lesion": (3,)}, "Number the regions as the files do"),
    "no label at all": (set(), {"a": (1,)}, "Check the files"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_remedy_has_the_regions_that_fit(name: str) -> None:
    labels, regions, remedy = CASES[name]
    occurring = set(labels)
    mismatch = find_mismatch(occurring, occurring, regions)
    assert mismatch
    error = mismatch_error(mismatch, occurring, "--regions")
    assert remedy in error.remedy
    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("references", "predictions", "regions", "labels", "absent"),
    [
        ({1, 2}, {1, 2}, {"a": (1,), "b": (2,)}, [], []),
        ({1}, {1, 2}, {"a": (1,), "b": (2,)}, [], []),
        (set(), {1}, {"a": (1,)}, [], []),  # healthy references
        ({1, 2}, {1}, {"a": (1,)}, [2], []),
        ({1}, {1, 7}, {"a": (1,)}, [7], []),
        ({1}, {1}, {"a": (1,), "b": (2,)}, [], ["b"]),
        ({1}, {1}, {"a": (1,), "b": (1, 2)}, [], []),  # a part of a region may be missing
        ({1, 4}, {4, 9}, {"a": (2,), "b": (4,)}, [1, 9], ["a"]),
    ],
)
def test_labels_without_region_and_regions_without_label(
    references: set[int], predictions: set[int], regions: Regions, labels: list[int], absent: list[str]
) -> None:
    found = find_mismatch(references, predictions, regions)
    assert (list(found.labels), list(found.regions)) == (labels, absent) and bool(found) == bool(
        labels or absent
    )


def test_it_says_in_which_files_a_label_is() -> None:
    found = find_mismatch({1, 2, 3}, {1, 3, 9}, {"a": (1,), "b": (5, 6), "c": (7,)})
    assert str(found) == (
        "labels 2 (of references alone), 3, 9 (of predictions alone) in no region, and regions b=5+6,c=7 in no file"
    )
