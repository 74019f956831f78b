"""Which trials of a study are meant: how each is told, and the filters that choose among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.errors import UserError, did_you_mean
from harness.study.cells import Cell
from harness.study.searches import SearchedArm
from harness.study.study import Study


def plan_entry(cell: Cell) -> dict[str, object]:
    """Return a cell as ``plan --json`` prints it; its keys are what ``--only`` takes.

    ``method`` and ``architecture`` are registered names; ``arm`` is the study's name for the method, and ``network`` that
    for the architecture, where it has one.
    """
    spec, network = cell.spec, cell.factors["architecture"]
    extra: dict[str, object] = {"pretraining": spec.pretraining} if spec.pretraining else {}
    extra |= {"network": network} if network != spec.architecture.name else {}
    extra |= cell.own_settings()
    return {
        "id": spec.id,
        "kind": spec.kind,
        "method": spec.method.name,
        "arm": cell.factors["method"],
        "architecture": spec.architecture.name,
        "dataset": spec.dataset.name,
        "shots": spec.shots,
        "subset": spec.subset,
        "seed": spec.seed,
        **extra,
    }


def skip_lines(study: Study) -> Iterator[str]:
    """Yield what is skipped and why: the values of the factors in which a study's combinations differ, and the reason."""
    every = [*(cell.factors for cell in study.cells), *(skip.factors for skip in study.skipped)]
    differing = [key for key in study.factors if len({repr(factors.get(key)) for factors in every}) > 1]
    for skip in study.skipped:
        values = [f"{key}={skip.factors[key]}" for key in differing if key in skip.factors]
        yield f"skipped: {', '.join(values)}{': ' * bool(values)}{skip.reason}"


def search_entry(arm: SearchedArm) -> dict[str, object]:
    """Return the search of an arm as ``plan --json`` prints it: what is to come, of which no trial has an id yet."""
    spec = arm.spec
    return {
        "arm": arm.name,
        "parameters": {one.key: str(one.range) for one in arm.dimensions},
        "suggestions": arm.planned,
        "seeds": list(spec.seeds),
        "trials": arm.planned * len(spec.seeds),
        "confirming": spec.confirm.best * len(spec.confirm.seeds),
    }


def choose_cells(study: Study, filters: Sequence[str]) -> list[Cell]:
    """Return the cells that pass all ``KEY=VALUE`` filters, and before them the pretrainings that they need.

    Several values of one key are alternatives. A method or an architecture is chosen by its registered name, or by the
    study's name for it.

    Raises:
        UserError: a filter is malformed, names an unknown key, or nothing is left.
    """
    wanted: dict[str, set[str]] = {}
    cells = study.with_nodes([*study.nodes, *study.cells])
    if not cells and study.skipped:
        raise UserError(
            study.name, f"no trial, all {len(study.skipped)} skipped ({next(skip_lines(study))})",
            "at least one", "Correct what the reason says; see all with 'medctx plan'.",
        )  # fmt: skip
    entries = [plan_entry(cell) for cell in cells]
    keys = {key for entry in entries for key in entry}
    for text in filters:
        key, sign, value = text.partition("=")
        if not sign:
            raise UserError("--only", repr(text), "KEY=VALUE", "Write for example seed=0.")
        if key not in keys:
            raise UserError(f"--only {key}", "an unknown key", "a key of a trial", did_you_mean(key, keys))
        wanted.setdefault(key, set()).add(value)
    chosen = [
        cell
        for cell, entry in zip(cells, entries, strict=True)
        if all({str(entry.get(key)), *_named(cell, key)} & values for key, values in wanted.items())
    ]
    if not chosen:
        raise UserError(
            "--only " + " ".join(filters) if filters else study.name,
            "no trial that passes",
            f"at least one of the {len(cells)} trials",
            "See the values with 'medctx plan'.",
        )
    return list(study.with_nodes(chosen))


def _named(cell: Cell, key: str) -> tuple[str, ...]:
    """Return the study's name for what a cell has for ``key``, where it names such things."""
    return (str(cell.factors[key]),) if key in ("method", "architecture") else ()
