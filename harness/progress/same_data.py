"""Whether a study's records, and the trials that it lacks, are of the data that are here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.errors import UserError
from harness.publishing.records import contents_folders
from harness.records.contents import describe_change, read_contents
from harness.records.store import Store
from harness.spec import DatasetSpec, TrialSpec, canonical_json, digest
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
    contents: dict[DatasetSpec, Mapping[str, str]] = {}
    seen: set[str] = set()
    for cell in missing:
        key = _data_key(cell.spec)
        if key not in seen:
            seen.add(key)
            contents[cell.spec.dataset] = contents_of(cell.spec, data_root, tick)
    for cell in cells:
        record = store.record(cell.spec.id)
        present = contents.get(cell.spec.dataset)
        if record and record.protocol and present and record.protocol.content_hash != digest(present):
            before = record.protocol.content_hash
            change = describe_change(read_contents(contents_folders(store.results), before), present)
            raise UserError(
                f"dataset {cell.spec.dataset.name!r}",
                f"content hash {digest(present)}: {change}",
                f"{before}, that of the record {store.trials / record.id}",
                "Use the same data, or another results folder.",
            )


def contents_of(
    spec: TrialSpec, data_root: Path | None, tick: Callable[[], None] = lambda: None
) -> Mapping[str, str]:
    """Return the hash of each case's files, of a trial's data, which are preprocessed first where they have not been yet.

    Raises:
        UserError: data missing or broken, or too many shots.
    """
    from harness.data.trial_data import load_trial_data

    return load_trial_data(spec, data_root, tick).contents


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
