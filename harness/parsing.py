"""Settings as a user writes them: mappings laid on one another, and validated with each fault named by its key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from harness.errors import UserError, did_you_mean, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class WrongKey(ValueError):
    """What a validator of a whole mapping raises, to tell which of its keys has to change.

    Args:
        key: dotted, below the mapping.
        found: what stands there.
        expected: what may stand there.
    """

    def __init__(self, key: str, found: str, expected: str) -> None:
        self.key, self.found, self.expected = key, found, expected
        super().__init__(f"{key}: {expected}")


Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], data: Any, where: str | Path, below: str = "") -> Model:
    """Validate plain ``data``, as a user wrote it, as ``model``.

    Args:
        model: what it is.
        data: what was written.
        where: the file.
        below: the key that holds the data.

    Raises:
        UserError: names the first wrong key as a dotted path, and the nearest right one.
    """
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        # an unknown key explains a missing one, so it is named first
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        path, *told = _explained(model, first)
    else:
        misread = next(_misread(data, found), None)
        if misread is None:
            return found
        path, *told = *misread, "Correct this value."
    keys = ".".join(map(str, [below, *path] if below else path))
    raise UserError(f"{where}: {keys}" if keys else where, *told)


_Keys = list[str | int]


def _explained(model: type[BaseModel], error: ErrorDetails) -> tuple[_Keys, str, str, str]:
    """Return the keys that lead to what pydantic refused, what was found and expected there, and a remedy."""
    path: _Keys = [*error["loc"]]
    kind, correct = error["type"], "Correct this value."
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, WrongKey):
        return [*path, *cause.key.split(".")], cause.found, cause.expected, correct
    if kind == "extra_forbidden":
        owner = _model_in(_annotation_at(model, path[:-1]))
        keys = [field.alias or name for name, field in owner.model_fields.items()] if owner else []
        return path, f"unknown key {path[-1]!r}", "a known key", did_you_mean(str(path[-1]), keys)
    found = repr(error["input"])
    found = found if len(found) <= 80 else f"{found[:80]}…"
    if kind == "missing" and isinstance(path[-1], int):  # a fixed number of values, and fewer were given
        return path[:-1], found, _length(model, path[:-1]), correct
    if kind == "missing":
        return path, "nothing", "a value", "Add this key."
    if kind == "too_long":
        return path, found, _length(model, path), correct
    if kind == "literal_error":
        near = nearest(str(error["input"]), re.findall(r"'([^']+)'", error["ctx"]["expected"]))
        return path, found, error["ctx"]["expected"], f"Did you mean {near!r}?" if near else correct
    expected = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return path, found, _WORDS.get(kind, expected), correct


# pydantic's kinds of errors, in words of YAML
_WORDS = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "too_short": "at least one value",
    "string_type": "text",
    "string_pattern_mismatch": "letters, digits, - and _",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


def _length(model: type[BaseModel], path: _Keys) -> str:
    """Return how many values the tuple at ``path`` holds."""
    annotation = _annotation_at(model, path)
    one = _content(annotation) if isinstance(annotation, UnionType) else annotation
    return f"{len(get_args(one))} numbers"


def _misread(given: Any, taken: Any) -> Iterator[tuple[_Keys, str, str]]:
    """Yield what pydantic took for a number or a truth value and is none: where, what was found and expected.

    Text is a number only where it can be a fraction: to YAML, ``1e-3`` is text.
    """
    if given is taken:
        return
    if isinstance(taken, BaseModel) and isinstance(given, Mapping):
        taken = {
            field.alias or name: getattr(taken, name) for name, field in type(taken).model_fields.items()
        }
    parts: Iterable[tuple[str | int, Any]] = ()
    if isinstance(taken, Mapping) and isinstance(given, Mapping):
        parts = ((key, value) for key, value in taken.items() if key in given)
    elif isinstance(taken, list | tuple) and isinstance(given, list | tuple) and len(taken) == len(given):
        parts = enumerate(taken)
    elif isinstance(taken, bool) and not isinstance(given, bool):
        yield [], repr(given), "true or false"
    elif isinstance(taken, int) and isinstance(given, str):
        yield [], repr(given), "an integer without quotes"
    elif isinstance(taken, int | float) and not isinstance(taken, bool) and isinstance(given, bool):
        yield [], repr(given), "a number"
    for key, value in parts:
        for path, found, expected in _misread(given[key], value):
            yield [key, *path], found, expected


def _annotation_at(model: type[BaseModel], path: _Keys) -> Any:
    """Return the type of what the keys at ``path`` lead to, or None."""
    place: Any = model
    for key in path:
        owner = _model_in(place)
        field = owner.model_fields.get(str(key)) if owner else None
        if owner and field is None:
            return None
        place = field.annotation if field else _content(place)
    return place


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a type is, or is beside None."""
    if isinstance(annotation, UnionType):
        annotation = _content(annotation)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _content(annotation: Any) -> Any:
    """Return what a mapping, a sequence or an optional type holds."""
    return next((part for part in get_args(annotation) if part not in (str, int, type(None))), None)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``over`` laid on it, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
