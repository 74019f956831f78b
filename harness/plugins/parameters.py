"""Does every declared parameter of a method do something? Two runs that differ in it alone must differ in bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from harness import registry
from harness.errors import UserError
from harness.plugins.rehearsal import bits_after, rehearse, same_bits
from harness.spec import TrialSpec

_STEPS = 3


def parameter_findings(
    method: str, architecture: str, settings: Mapping[str, Any], pretraining: bool
) -> Iterator[tuple[str, bool, str]]:
    """Yield each parameter as a dotted path, whether it passes, and what was seen.

    A parameter that changes nothing beside the others' defaults must be declared in the method's
    ``acts_with``: with the settings under which it acts, where it is tried again, or with words, where the
    condition lies in the network, and then it is checked that it does nothing here.
    """
    entry = registry.load("method", method)

    def bits(extra: Mapping[str, Any]) -> list[Any] | str:
        own = {f"method.{path}": value for path, value in extra.items()}
        try:
            spec = rehearse(method, architecture, {**settings, **own}, pretraining=pretraining)
        except UserError as error:
            return str(error)
        return bits_after(spec, _STEPS) if isinstance(spec, TrialSpec) else spec

    without = bits({})

    def effect(path: str, values: list[Any], given: Mapping[str, Any]) -> tuple[bool | None, str]:
        """Return whether a value had an effect, None where none could be tried, and what was seen."""
        base, tried, refusal = bits(given) if given else without, [], ""
        if isinstance(base, str):
            return None, base
        for value in values:
            found = bits({**given, path: value})
            if isinstance(found, str):
                refusal = found
                continue
            tried.append(value)
            if not same_bits(base, found):
                return True, f"{value!r} changes the bits"
        return (False, f"{tried} change nothing") if tried else (None, refusal or "no other value to try")

    spec = rehearse(method, architecture, settings, pretraining=pretraining)
    assert isinstance(spec, TrialSpec)
    defaults = entry.Parameters(**spec.method.parameters)
    for path, values in alternatives(defaults):
        acts, seen = effect(path, values, {})
        condition = entry.acts_with.get(path)
        if acts:
            yield path, True, seen
        elif isinstance(condition, str):
            yield path, acts is False, f"{seen}, as declared: it acts in {condition}"
        elif condition is not None:
            acts, seen = effect(path, values, condition)
            yield path, bool(acts), f"with {dict(condition)}: {seen}"
        else:
            yield path, False, f"{seen}, and acts_with declares no condition"


def alternatives(parameters: BaseModel, prefix: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield the dotted path of each parameter, with other values of its type that its bounds allow."""
    for name, field in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        if isinstance(value, BaseModel):
            yield from alternatives(value, f"{prefix}{name}.")
            continue
        others = [other for other in _others(value, field.annotation) if other != value]
        yield f"{prefix}{name}", [other for other in others if _allowed(type(parameters), name, other)]


def _others(value: Any, annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, value // 2, value - 1]
    if isinstance(value, float):
        return [value / 2, 2 * value, 0.5, 1.0, 0.0]
    if isinstance(value, tuple):
        return [tuple(reversed(value)), tuple(part + 1 for part in value)]
    return []


def _allowed(model: type[BaseModel], name: str, value: Any) -> bool:
    """Return whether a field takes the value by itself; what fields say of each other shows when it is run."""
    field = model.model_fields[name]
    bounded: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    try:
        TypeAdapter(bounded).validate_python(value)
    except ValidationError:
        return False
    return True
