"""What a check of a dataset finds: what is wrong, and what its cases look like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from harness.data.datasets.contract import Case
from harness.data.part_counts import PartCounts

Level = Literal["error", "warning", "fixed"]


@dataclass(frozen=True)
class DataFinding:
    """One thing that is not as it should be.

    Attributes:
        level: ``error``: training or scoring would fail, or its numbers would be wrong. ``warning``: look at it.
            ``fixed``: the harness puts it right by itself.
        code: what it is, for scripts.
        case: whose it is; empty where it is the dataset's.
        file: the file or folder.
        message: what was found and what was expected.
        remedy: what to do.
    """

    level: Level
    code: str
    case: str
    file: str
    message: str
    remedy: str


@dataclass(frozen=True)
class CaseFacts:
    """What a readable case looks like.

    Attributes:
        case: the case.
        spacing: along each array axis, mm.
        shape: of the first channel, voxels.
        orientation: of the array axes, such as ``RAS``.
        voxels: type of the image's voxels.
        level: 99th percentile of the first channel's absolute intensities.
        volumes: label value -> millilitres, of the labels that occur, background included.
        image_hash: of all channels' voxels.
        label_hash: of the labels.
    """

    case: Case
    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    orientation: str
    voxels: str
    level: float
    volumes: Mapping[int, float]
    image_hash: str
    label_hash: str

    @property
    def is_empty(self) -> bool:
        """Whether the labels can be read, and all are background."""
        return set(self.volumes) == {0}

    @property
    def file(self) -> object:
        """Where the case lies."""
        return self.case.image or self.case.id


@dataclass
class CheckReport:
    """What was found in a dataset; ``parts`` are the sizes of its default split, ``rule`` says which that is."""

    cases: int = 0
    parts: PartCounts | None = None
    rule: str = ""
    findings: list[DataFinding] = field(default_factory=list)
    facts: list[CaseFacts] = field(default_factory=list)

    def add(self, level: Level, code: str, case: str, file: object, message: str, remedy: str) -> None:
        """Note a finding."""
        self.findings.append(DataFinding(level, code, case, str(file), message, remedy))

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.level == "error" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return what ``medctx data check --json`` prints."""
        parts = {"parts": self.parts.as_json()} if self.parts else {}
        return {"cases": self.cases, **parts, "findings": [asdict(finding) for finding in self.findings]}
