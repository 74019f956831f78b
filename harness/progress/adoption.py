"""Published records become a study's own, so that nothing is trained twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.console import counted
from harness.progress.known import KnownStudy, known_study
from harness.publishing.adopt import adopt, adopt_findings, made_from_other_data
from harness.publishing.records import PUBLISHED
from harness.records.store import Store
from harness.spec import TrialSpec
from harness.study.selection import choose_cells
from harness.study.study import Study


@dataclass(frozen=True)
class Adoption:
    """What was taken over.

    Attributes:
        known: the study, with what its searches have found.
        number: of trials that were taken over.
        of_other_data: how many were left, by how the data that they were made from differ from those here.
    """

    known: KnownStudy
    number: int
    of_other_data: Counter[str] = field(default_factory=Counter)

    def lines(self, store: Store) -> Iterator[str]:
        """Yield what to say of it."""
        for change, number in self.of_other_data.items():
            trials = counted(number, "published trial")
            yield f"{trials} made from other data than are here ({change}): not taken over"
        if self.number:
            yield f"{counted(self.number, 'trial')} taken from {store.results / PUBLISHED}"


def adopt_published(
    study: Study,
    store: Store,
    only: Sequence[str] = (),
    contents_here: Callable[[TrialSpec], Mapping[str, str]] | None = None,
) -> Adoption:
    """Take a study's trials, or those that pass ``only``, from published records where they are missing.

    Given ``contents_here``, trials that were made from other data than others will be are left to be trained again.
    """
    adopt_findings(study, store)
    known = known_study(study, store)
    cells = choose_cells(known.study, only) if only else known.cells
    other = made_from_other_data(cells, store, contents_here) if contents_here else {}
    adopted = adopt([cell for cell in cells if cell.spec.id not in other], store)
    return Adoption(known, adopted, Counter(other.values()))
