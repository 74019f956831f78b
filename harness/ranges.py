"""Ranges of values that a search draws from: in a study file, or declared with a method's parameter."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, model_validator

from harness.spec import Frozen


class Range(Frozen):
    """The values of one parameter that a search tries: ``choices``, or those from ``low`` to ``high``.

    ``log`` spreads them evenly over orders of magnitude; ``step`` leaves ``low`` plus its multiples; with
    ``complement`` one minus the value is drawn, for a momentum close to 1. The word ``declared``, or no key,
    stands for the range that the method's own file declares.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = Field(None, gt=0)
    complement: bool = False
    choices: tuple[Any, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _by_its_word(cls, value: Any) -> Any:
        return {} if value == "declared" else value

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        given = self.model_fields_set
        if self.choices and given != {"choices"}:
            raise ValueError("either choices, or low and high")
        if any(self.choices.count(value) > 1 for value in self.choices):
            raise ValueError("choices that are all different")
        if self.low is None or self.high is None:
            if not self.choices and given:
                raise ValueError("both low and high, or choices")
            return self
        if not self.low < self.high:
            raise ValueError("low below high")
        if self.log and not (self.high < 1 if self.complement else self.low > 0):
            raise ValueError(
                "high below 1 where log and complement" if self.complement else "low above 0 where log"
            )
        if self.step and (self.log or self.complement):
            raise ValueError("step without log and complement")
        return self

    @property
    def is_declared(self) -> bool:
        """Whether the method's file has to say what the range is."""
        return not self.choices and self.low is None

    def ends(self) -> tuple[Any, ...]:
        """Return the values that must be possible if all are: every choice, or both ends."""
        return self.choices or (self.low, self.high)

    def __str__(self) -> str:
        if self.choices:
            return " | ".join(map(str, self.choices))
        words = [f"{self.low:g} to {self.high:g}"]
        words += [f"step {self.step:g}"] if self.step else []
        words += ["log of 1 − value" if self.complement else "log"] if self.log else []
        return ", ".join(words)


def tunable(
    default: Any, low: float, high: float, *, log: bool = False, complement: bool = False, **options: Any
) -> Any:
    """Declare a parameter with the range that is worth searching, beside the bounds of what is possible."""
    declared = Range(low=low, high=high, log=log, complement=complement)
    return Field(default, json_schema_extra={"search": declared.model_dump(exclude_defaults=True)}, **options)


def declared_ranges(model: type[BaseModel], prefix: str = "") -> dict[str, Range]:
    """Return the ranges that the fields of ``model`` declare, by dotted path."""
    found: dict[str, Range] = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "search" in extra:
            found[f"{prefix}{name}"] = Range.model_validate(extra["search"])
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= declared_ranges(field.annotation, f"{prefix}{name}.")
    return found
