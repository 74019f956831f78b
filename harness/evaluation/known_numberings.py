"""Whether files number their labels as the regions that are to be scored, and whose numbering they may have.

Numbers alone tell numberings apart only where one has a label that the other lacks: BraTS 2023, which numbers what
the Decathlon does from 1 to 3 too, and in another order, is not told from it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from harness.data.datasets.brats import BraTS
from harness.data.datasets.synapse import ORGANS
from harness.errors import UserError
from harness.evaluation.conventions import SYNAPSE_13, Regions, written_regions

ALLOW = "--allow-missing-labels"


@dataclass(frozen=True)
class KnownNumbering:
    """Labels that somebody publishes, by the short names of their regions."""

    owner: str
    regions: Regions

    @property
    def labels(self) -> set[int]:
        """Every label that it has."""
        return {value for own in self.regions.values() for value in own}


TRANSUNET = {"Aor": 1, "Gal": 2, "LKid": 3, "RKid": 4, "Liv": 5, "Pan": 6, "Spl": 7, "Sto": 8}
FAMILIES = (
    (
        KnownNumbering("BTCV's 13 labels", SYNAPSE_13),
        KnownNumbering("TransUNet's eight Synapse labels", {name: (n,) for name, n in TRANSUNET.items()}),
    ),
    (
        KnownNumbering("the Decathlon's BraTS labels", dict(BraTS.regions)),
        KnownNumbering("the BraTS challenge's labels", {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}),
    ),
)
"""Numberings of the same things: the regions of one can be numbered as another's."""
_LONG_NAMES = dict(ORGANS.values()) | {
    f"{long} {part}".strip(): short
    for long, part, short in (
        ("enhancing", "tumour", "ET"), ("enhancing", "tumor", "ET"), ("enhancing", "", "ET"),
        ("tumour", "core", "TC"), ("tumor", "core", "TC"), ("core", "", "TC"),
        ("whole", "tumour", "WT"), ("whole", "tumor", "WT"), ("whole", "", "WT"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Mismatch:
    """What files and regions do not share.

    Attributes:
        labels: of files, in no region: label -> in which files.
        regions: in no file: name -> labels.
        wanted: all regions that were to be scored.
    """

    labels: dict[int, str] = field(default_factory=dict)
    regions: dict[str, tuple[int, ...]] = field(default_factory=dict)
    wanted: Regions = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.labels or self.regions)

    def __str__(self) -> str:
        parts = []
        if self.labels:
            listed = ", ".join(f"{value}{where}" for value, where in self.labels.items())
            parts.append(f"label{'s' * (len(self.labels) > 1)} {listed} in no region")
        if self.regions:
            parts.append(f"region{'s' * (len(self.regions) > 1)} {written_regions(self.regions)} in no file")
        return ", and ".join(parts)


def find_mismatch(references: AbstractSet[int], predictions: AbstractSet[int], regions: Regions) -> Mismatch:
    """Return the labels of files that are in no region, and the regions that are in no file.

    Args:
        references: the labels that occur in any of them, without background.
        predictions: likewise.
        regions: what is to be scored.
    """
    occurring, scored = references | predictions, {value for own in regions.values() for value in own}
    labels = {}
    for value in sorted(occurring - scored):
        both = value in references and value in predictions
        labels[value] = (
            "" if both else f" (of {'references' if value in references else 'predictions'} alone)"
        )
    absent = {name: own for name, own in regions.items() if occurring.isdisjoint(own)}
    return Mismatch(labels, absent, regions)


def mismatch_error(mismatch: Mismatch, occurring: AbstractSet[int], where: str) -> UserError:
    """Return the error of a mismatch, with the options that would fit.

    Args:
        mismatch: what does not fit.
        occurring: every label of the files, without background.
        where: the option that named them.
    """
    wanted = mismatch.wanted
    remedies = [_remedy(numbering, own, occurring, wanted) for numbering, own in fitting(occurring, wanted)]
    if not occurring:
        remedies = [f"Check the files, or give {ALLOW} to score what is empty"]
    elif not remedies:
        remedies = [
            f"Number the regions as the files do, with --regions NAME=N+N,…, or give {ALLOW} to score what both have"
        ]
    return UserError(
        where, str(mismatch), "regions with the labels of the files", f"{'. Or: '.join(remedies)}."
    )


def _remedy(numbering: KnownNumbering, own: Regions, occurring: AbstractSet[int], regions: Regions) -> str:
    """Return what to give where the files' labels fit a numbering; ``own`` are the regions in its numbers."""
    present = {name: values for name, values in own.items() if not occurring.isdisjoint(values)}
    left = set(occurring) - {value for values in present.values() for value in values}
    same = all(set(values) == set(regions[name]) for name, values in own.items())
    text = f"The labels fit {numbering.owner}"
    if same:
        others = {n: values for n, values in numbering.regions.items() if left.intersection(values)}
        all_of_them = _option(present | {n: v for n, v in others.items() if n not in present})
        return f"{text}, as the regions do: give {ALLOW}, or {all_of_them} for all that is in the files"
    return f"{text}: give {_option(present)}{f' {ALLOW}' if left else ''}"


def fitting(occurring: AbstractSet[int], regions: Regions) -> list[tuple[KnownNumbering, Regions]]:
    """Return the known numberings that have every label of the files, with the regions in their numbers.

    Of several, those that leave the fewest of the regions without a file.
    """
    found: list[tuple[int, KnownNumbering, Regions]] = []
    for family in FAMILIES:
        meant = _short_names(regions, family)
        for numbering in family:
            own = {
                name: numbering.regions[short] for name, short in meant.items() if short in numbering.regions
            }
            if own and occurring <= numbering.labels:
                found.append((sum(occurring.isdisjoint(values) for values in own.values()), numbering, own))
    fewest = min((absent for absent, _, _ in found), default=0)
    return [(numbering, own) for absent, numbering, own in found if absent == fewest]


def _short_names(regions: Regions, family: tuple[KnownNumbering, ...]) -> dict[str, str]:
    """Return region -> short name in a family; none where they are not all of it, by name or by their labels."""
    known = {_plain(short): short for numbering in family for short in numbering.regions}
    known |= {_plain(long): short for long, short in _LONG_NAMES.items() if short in known.values()}
    if all(_plain(name) in known for name in regions):
        return {name: known[_plain(name)] for name in regions}
    if any(len(values) > 1 for values in regions.values()):  # single labels could be anybody's
        for numbering in family:
            by_labels = {frozenset(values): short for short, values in numbering.regions.items()}
            if all(frozenset(values) in by_labels for values in regions.values()):
                return {name: by_labels[frozenset(values)] for name, values in regions.items()}
    return {}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _option(regions: Regions) -> str:
    return f"--regions {shlex.quote(written_regions(regions))}"
