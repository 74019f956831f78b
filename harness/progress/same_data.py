"""Whether a study's records, and the trials that it lacks, are of the data that are here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.records.store import Store
from harness.spec import DatasetSpec, TrialSpec, canonical_json
from harness.study.cells import Cell


def check_data(
    cells: Sequence[Cell],
    missing: Sequence[Cell],
    store: Store,
    data_root: Path | None,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Preprocess what the missing cells need, and check it against the records that they join.

    Raises:
        UserError: data missing or broken, too many shots, or a record made from other data.
    """
    contents: dict[DatasetSpec, str] = {}
    seen: set[str] = set()
    for cell in missing:
        key = _data_key(cell.spec)
        if key not in seen:
            seen.add(key)
            contents[cell.spec.dataset] = content_of(cell.spec, data_root, tick)
    for cell in cells:
        record = store.record(cell.spec.id)
        present = contents.get(cell.spec.dataset)
        if record and record.protocol and present and record.protocol.content_hash != present:
            raise UserError(
                f"dataset {cell.spec.dataset.name!r}",
                f"content hash {present}",
                f"{record.protocol.content_hash}, that of the record {store.trials / record.id}",
                "Use the same data, or another results folder.",
            )


def content_of(spec: TrialSpec, data_root: Path | None, tick: Callable[[], None] = lambda: None) -> str:
    """Return the content hash of a trial's data, which are preprocessed first where they have not been yet.

    Raises:
        UserError: data missing or broken, or too many shots.
    """
    from harness.data.trial_data import load_trial_data

    return load_trial_data(spec, data_root, tick).content


def _data_key(spec: TrialSpec) -> str:
    recipe = spec.recipe
    return canonical_json(
        [
            spec.dataset.model_dump(mode="json"),
            spec.shots,
            spec.subset,
            recipe.spacing,
            recipe.intensity,
            recipe.crop,
            recipe.resampling,
            recipe.label_resampling,
        ]
    )
