"""Published numbers, ``studies/reference/*.yaml``: what was printed, where, and under which protocol."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness import registry
from harness.errors import UserError, did_you_mean
from harness.parsing import parse
from harness.reporting.frames import PROTOCOL_COLUMNS
from harness.spec import Frozen
from harness.study.file import find_file, read_yaml, studies_folder
from harness.study.study import Study


class PublishedRow(Frozen):
    """One line of a published table.

    ``architecture`` and ``method`` are the names that it can be compared with, registered ones or those of the study;
    ``arm`` is a method of the study, in place of ``method``. Values are by region, ``mean``
    is printed by the source, in the units of the file. ``parameters`` in millions, ``flops`` in 10^9 as printed (most
    papers count a multiply-accumulate as one).
    """

    name: str
    architecture: str = ""
    method: str = "supervised"
    arm: str = ""
    dice: dict[str, float] = {}
    hd95: dict[str, float] = {}
    parameters: float | None = None
    flops: float | None = None
    protocol: dict[str, Any] = {}

    def values(self, metric: str) -> dict[str, float]:
        """Return the printed values of a metric by region."""
        return {"dice": self.dice, "hd95": self.hd95}.get(metric, {})


class Reference(Frozen):
    """A published table. ``protocol`` holds what is known of all rows, by the fields of a trial's record."""

    title: str
    dataset: str
    source: str
    notes: list[str] = []
    protocol: dict[str, Any] = {}
    units: dict[str, str]
    rows: list[PublishedRow]


def read_reference(name: str, datasets: Iterable[str] = ()) -> Reference:
    """Return published numbers by the name of a shipped file, or by the path of a ``.yaml`` file.

    Args:
        name: as given.
        datasets: of the study that they are set beside; any will do where none is given.

    Raises:
        UserError: it is not there or cannot be read, has a wrong key or value, or its dataset is none of ``datasets``.
    """
    path = find_file("reference", name, studies_folder() / "reference")
    found = parse(Reference, read_yaml(path, "published numbers"), path)
    for where, protocol in [("protocol", found.protocol), *((r.name, r.protocol) for r in found.rows)]:
        for field in protocol:
            if field not in PROTOCOL_COLUMNS:
                raise UserError(
                    f"{path}: {where}", f"unknown field {field!r}", "a field of a trial's protocol",
                    did_you_mean(field, PROTOCOL_COLUMNS),
                )  # fmt: skip
    named = list(datasets)
    if named and found.dataset not in named:
        raise UserError(
            f"reference {name!r}", f"numbers on {found.dataset}", f"numbers on {' or '.join(named)}, as in the study",
            "Leave it out, or name published numbers on a dataset of the study.",
        )  # fmt: skip
    return found


def check_rows(name: str, reference: Reference, study: Study) -> None:
    """Refuse rows that can be compared with nothing, because nothing has the name that they give.

    Args:
        name: of the reference, as given.
        reference: published numbers.
        study: that they are set beside.

    Raises:
        UserError: a row names an arm that the study does not have, or a method or an architecture that is neither
            registered nor in the study.
    """
    of_study = {
        kind: {str(cell.factors[kind]) for cell in study.cells} for kind in ("method", "architecture")
    }
    for row in reference.rows:
        known: dict[str, tuple[str, set[str]]] = {
            "arm": (row.arm, of_study["method"]),
            "method": (row.method, of_study["method"] | {*registry.names("method")}),
            "architecture": (row.architecture, of_study["architecture"] | {*registry.names("architecture")}),
        }
        for key, (given, names) in known.items():
            if given and ":" not in given and given not in names:
                raise UserError(
                    f"reference {name!r}: {row.name}: {key}", f"unknown name {given!r}",
                    "an arm of the study" if key == "arm" else f"a registered {key}, or one of the study",
                    did_you_mean(given, names),
                )  # fmt: skip
        _check_together(f"reference {name!r}: {row.name}", row, study)


def _check_together(where: str, row: PublishedRow, study: Study) -> None:
    """Refuse a row whose arm no trial of the study has on the architecture that it names."""
    if not (row.arm and row.architecture):
        return
    on = {
        str(name)
        for cell in study.cells
        if cell.factors["method"] == row.arm
        for name in (cell.factors["architecture"], cell.spec.architecture.name)
    }
    if row.architecture not in on:
        raise UserError(
            f"{where}: architecture", repr(row.architecture), f"one that {row.arm} is trained on",
            did_you_mean(row.architecture, on),
        )  # fmt: skip
