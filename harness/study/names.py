"""What people read in place of the names that they type: arms, factors, values and regions in tables, figures and page.

The study's ``labels`` come first. Then come the names that the registered classes give: ``print_name`` of a method, an
architecture or a dataset, and the ``title`` of a parameter's field. What has neither is shown in the words of its key.
Plans, filters, CSV and parquet have what is typed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from harness import registry
from harness.errors import UserError
from harness.spec import Recipe
from harness.study.cells import Cell
from harness.study.file import Labels

ARMS: tuple[registry.Kind, ...] = ("method", "architecture", "dataset")
"""Factors whose values a class is registered for."""


def value_text(value: Any) -> str:
    """Return a factor's value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return " × ".join(value_text(part) for part in value)
    return str(value)


def heading(key: str) -> str:
    """Return a key in words: ``Method``, or ``Masking axis`` of ``method.masking.axis``."""
    words = (key.partition(".")[2] or key).replace(".", " ").replace("_", " ")
    return words[:1].upper() + words[1:]


@dataclass(frozen=True)
class Names:
    """The names for print of a study.

    Attributes:
        factors: by key, where a study or a class gives one.
        values: by key and by the text of the value.
        regions: by region.
    """

    factors: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]]
    regions: Mapping[str, str]

    def factor(self, key: str) -> str:
        """Return what heads a column of a factor."""
        return self.factors.get(key) or heading(key)

    def value(self, key: str, value: Any) -> str:
        """Return what stands in a column of a factor."""
        text = value_text(value)
        return self.values.get(key, {}).get(text, text)

    def region(self, name: str) -> str:
        """Return what a region is called."""
        return self.regions.get(name, name)

    def arm(self, method: str, settings: Sequence[tuple[str, Any]]) -> str:
        """Return the name of an arm: its method, then the other factors that it sets, by their names or the end of their key.

        Where two would be called alike, as much of their keys is written as in a table's heading.
        """
        ends = [self.within(key) for key, _ in settings]
        names = [
            end if ends.count(end) == 1 else _lower(self.factor(key))
            for end, (key, _) in zip(ends, settings, strict=True)
        ]
        parts = [
            f"{name} {self.value(key, value)}" for name, (key, value) in zip(names, settings, strict=True)
        ]
        return ", ".join([self.value("method", method), *parts])

    def within(self, key: str) -> str:
        """Return a factor's name within a sentence; of a key without a name its end."""
        return _lower(self.factors.get(key) or key.rpartition(".")[2].replace("_", " "))

    def typed(self) -> list[tuple[str, str]]:
        """Return each name that is not what one types, and what one types."""
        pairs = [(name, key) for key, name in self.factors.items() if name != heading(key)]
        for named in self.values.values():
            pairs += [(name, text) for text, name in named.items()]
        pairs += [(name, region) for region, name in self.regions.items()]
        return [(name, typed) for name, typed in dict.fromkeys(pairs) if name != typed]


def _lower(name: str) -> str:
    """Return a name within a line: ``mask ratio``, but ``EMA momentum``."""
    return name[:1].lower() + name[1:] if name[1:2].islower() or name[1:2] == " " else name


def names_of(cells: Sequence[Cell], factors: Iterable[str], labels: Labels) -> Names:
    """Return the names for print of a study's cells.

    Args:
        cells: of the study.
        factors: their keys.
        labels: of the study's file.
    """
    values: dict[str, dict[str, str]] = {}
    registered = {kind: dict.fromkeys(_registered(cells, kind)) for kind in ARMS}
    for kind, pairs in registered.items():
        values[kind] = _defaults(kind, pairs)
        values[kind] |= {name: labels.arms[name] for name, _ in pairs if name in labels.arms}
    for key, named in labels.values.items():
        values[key] = values.get(key, {}) | {value_text(value): name for value, name in named.items()}
    titles = _distinct({key: title for key in factors if (title := _title(key, registered))})
    return Names(titles | labels.factors, values, labels.regions)


def _registered(cells: Sequence[Cell], kind: str) -> Iterator[tuple[str, str]]:
    """Yield how the study names each method, architecture or dataset, and how it is registered."""
    for cell in cells:
        yield str(cell.factors[kind]), getattr(cell.spec, kind).name


def _defaults(kind: registry.Kind, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the names that classes give to what a study calls by its registered name; spaces for ``_`` of arms of its own."""
    found = {}
    for name, registered in pairs:
        entry = _class_of(kind, registered) if name == registered else None
        given = (
            vars(entry).get("print_name") if entry else None
        )  # what a class inherits is the name of another one
        found[name] = given or (name if kind == "dataset" or ":" in name else name.replace("_", " "))
    clear = _distinct(found)
    return {name: clear.get(name, name) for name in found}


def _class_of(kind: registry.Kind, name: str) -> type[Any] | None:
    """Return a registered class; None where it is not here any more, and its records still are."""
    try:
        return registry.load(kind, name)
    except UserError:
        return None


def _distinct(names: Mapping[str, str]) -> dict[str, str]:
    """Return the names that no other key has."""
    often = Counter(names.values())
    return {key: name for key, name in names.items() if often[name] == 1}


def _title(key: str, registered: Mapping[registry.Kind, Iterable[tuple[str, str]]]) -> str | None:
    """Return the title of the field that a dotted key leads to, in the first class that has one."""
    head, _, rest = key.partition(".")
    if head == "recipe":
        return _field_title(Recipe, rest)
    if head not in ("method", "architecture") or not rest:
        return None
    kind: registry.Kind = "method" if head == "method" else "architecture"
    classes = (_class_of(kind, name) for _, name in registered[kind])
    models = (one.Parameters if kind == "method" else one.Options for one in classes if one)
    return next(filter(None, (_field_title(model, rest) for model in models)), None)


def _field_title(model: type[BaseModel], path: str) -> str | None:
    name, _, rest = path.partition(".")
    field = model.model_fields.get(name)
    if field is None or not rest:
        return field.title if field else None
    below = field.annotation
    return _field_title(below, rest) if isinstance(below, type) and issubclass(below, BaseModel) else None
