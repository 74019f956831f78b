"""``medctx list``: what can be named in a study, and what can be set of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from rich.table import Table

from harness import registry
from harness.cli.options import AsJson
from harness.console import console
from harness.data.default_recipe import shown_recipe
from harness.data.pipelines import DIFFERENCES
from harness.errors import UserError, did_you_mean
from harness.evaluation.conventions import convention_rows
from harness.ranges import declared_ranges
from harness.spec import Recipe
from harness.study.file import read_study, studies_folder, study_names
from harness.training.method import Setting

out = console()
Entry = dict[str, Any]


def list_(
    what: Annotated[
        Literal["methods", "architectures", "datasets", "studies", "conventions"], typer.Argument()
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            help="Print one: all settings of a method, architecture or dataset, a study's file, or a convention."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List methods, architectures, datasets, studies or conventions; with a name, all of one."""
    if what == "studies":
        if name in study_names() and not as_json:
            out.print((studies_folder() / f"{name}.yaml").read_text(), markup=False, end="")
            return
        entries = [_study_entry(study) for study in _one_or_all("study", name, study_names())]
    elif what == "conventions":
        rows = {row["name"]: row for row in convention_rows()}
        entries = [rows[one] for one in _one_or_all("convention", name, rows)]
    else:
        kind: Any = what.removesuffix("s")
        if name:
            _show(out, name, details(kind, name), as_json)
            return
        entries = [_registry_entry(kind, one) for one in registry.names(kind)]
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    print_table(entries)


def _one_or_all(kind: str, name: str | None, names: Iterable[str]) -> Iterable[str]:
    """Return the names, or the one that is asked for alone.

    Raises:
        UserError: it is none of them.
    """
    if name is None:
        return names
    if name not in names:
        raise UserError(f"{kind} {name!r}", "an unknown name", f"a shipped {kind}", did_you_mean(name, names))
    return [name]


def print_table(entries: list[Entry]) -> None:
    """Print entries with the same keys."""
    table = table_of(entries[0])
    for entry in entries:
        table.add_row(*map(str, entry.values()))
    out.print(table, markup=False)


def table_of(keys: Iterable[str]) -> Table:
    """Return an empty table whose first column, a name or an id, is never cut."""
    table = Table(box=None, pad_edge=False)
    for number, key in enumerate(keys):
        table.add_column(key, overflow="fold", no_wrap=number == 0)
    return table


def details(kind: registry.Kind, name: str) -> dict[str, Any]:
    """Return what a plugin says of itself: ``summary``, ``source``, and lists of ``differences`` and of what can be set or chosen.

    Of a method ``parameters`` and ``presets``, of an architecture ``options`` and ``presets``, of a dataset ``labels``,
    ``splits``, ``pipelines`` and the ``recipe`` of a trial that names none.
    """
    entry = registry.load(kind, name)
    found: dict[str, Any] = {"summary": entry.summary, "source": entry.source}
    found["differences"] = [{_DIFFERS: sentence} for sentence in _differences(kind, entry)]
    if kind == "dataset":
        # a family such as msd: knows labels of a folder only
        labels = getattr(entry, "labels", {})
        found["labels"] = [{"label": value, "region": region} for value, region in labels.items()]
        found["splits"] = [{"split.name": split} for split in (*entry.splits, "generated")]
        found["pipelines"] = [{"recipe.pipeline": pipeline} for pipeline in entry.pipelines]
        found["recipe"] = list(_fields(Recipe, "recipe.", shown_recipe(entry)))
        return found
    if kind == "method":
        found["parameters"] = list(_fields(entry.Parameters, "method."))
        presets = entry.presets(_example())
    else:
        found["options"] = list(_fields(entry.Options, "architecture.", entry.resolve({}, name)))
        presets = entry.presets
        found["checkpoints"] = [
            {"weights.preset": name, "sets": _words(values)} for name, values in entry.checkpoints.items()
        ]
    found["presets"] = [{"preset": preset, "sets": _words(values)} for preset, values in presets.items()]
    return found


_DIFFERS = "otherwise than the original (docs/fidelity.md)"


def _differences(kind: registry.Kind, entry: Any) -> list[str]:
    """Return what an entry does otherwise than the original; a dataset, what its pipelines do."""
    if kind != "dataset":
        return [*entry.differences]
    known = {name: DIFFERENCES[name] for name in entry.pipelines if name in DIFFERENCES}
    return [f"{name}: {sentence}" for name, sentences in known.items() for sentence in sentences]


_NETWORK, _DATASET = "unet", "hippocampus"
_SHOWN_FOR = f", as they are for {_NETWORK} on {_DATASET} (some depend on network and dataset)"


def _example() -> Setting:
    """Return the setting that presets of methods are shown for: some depend on network and dataset."""
    unet = registry.load("architecture", _NETWORK)
    return Setting(_NETWORK, unet(unet.resolve({}, _NETWORK)), _DATASET, (32, 48, 32), "fp32")


def _fields(model: type[BaseModel], prefix: str, values: BaseModel | None = None) -> Iterator[Entry]:
    """Yield key, value, what it may be and what it is of each field, also of the models within.

    Args:
        model: parameters, options or a recipe.
        prefix: of the keys.
        values: in place of the defaults.
    """
    ranges = declared_ranges(model)
    for name, field in model.model_fields.items():
        value = field.get_default(call_default_factory=True) if values is None else getattr(values, name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _fields(inner, f"{prefix}{name}.", value)
            continue
        words = [field.description or "", f"tuned {ranges[name]}" if name in ranges else ""]
        yield {
            "key": f"{prefix}{name}",
            "default": "" if value is PydanticUndefined else str(value),
            "values": " | ".join(map(str, get_args(inner))) if get_origin(inner) is Literal else "",
            "meaning": "; ".join(word for word in words if word),
        }


def _words(values: Any) -> str:
    """Return nested settings as ``a.b value``."""

    def flat(prefix: str, part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            for key, inner in part.items():
                yield from flat(f"{prefix}.{key}".strip("."), inner)
        else:
            yield f"{prefix} {part}"

    return ", ".join(flat("", dict(values)))


def _show(target: Any, name: str, found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"name": name, **found}, indent=1))
        return
    target.print(f"{name}: {found.pop('summary')}\n{found.pop('source')}", markup=False)
    for part, entries in found.items():
        if entries:
            shown_for = _SHOWN_FOR if part == "presets" and "parameters" in found else ""
            target.print(f"\n{part}{shown_for}", markup=False)
            print_table(entries)


def _study_entry(name: str) -> Entry:
    return {"name": name, "question": read_study(studies_folder() / f"{name}.yaml").question}


def _registry_entry(kind: registry.Kind, name: str) -> Entry:
    entry = registry.load(kind, name)
    return {"name": name, "summary": entry.summary, "source": entry.source}
