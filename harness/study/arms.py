"""Named arms: a method or an architecture under the study's own name, with what the study sets of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from harness import registry
from harness.errors import UserError
from harness.parsing import merge

Arms = Mapping[str, Mapping[str, Any]]
"""What a study declares below ``methods`` or ``architectures``, by name."""


def load_named(kind: registry.Kind, name: str, where: str) -> type[Any]:
    """Return what is registered as ``name``; where there is none, say which key of the study asks for it."""
    try:
        return registry.load(kind, name)
    except UserError as error:
        found = f"{error.where}, {error.found}"
        raise UserError(where, found, error.expected, error.remedy) from error.__cause__


class NamedArm:
    """A method or an architecture as a cell of a study has it.

    Attributes:
        registered_name, registered: what the study's name for it stands for.
        place: for messages.

    Raises:
        UserError: nothing is registered under that name.
    """

    def __init__(
        self,
        kind: Literal["method", "architecture"],
        name: str,
        arms: Arms,
        dotted: Mapping[str, Any],
        where: str,
    ) -> None:
        """``arms`` are those that the study declares; ``dotted`` is what it sets by keys that begin with ``kind``."""
        self._declared = dict(arms.get(name, {}))
        self._key = f"{where}: {kind}s.{name}" if name in arms else None
        self._dotted = dotted
        self.place = f"{where}: {kind} {name}"
        place = f"{self._key}.name" if "name" in self._declared else f"{where}: {kind}"
        self.registered_name = self._declared.pop("name", name)
        if not isinstance(self.registered_name, str):
            raise UserError(place, repr(self.registered_name), "a registered name", "Correct this value.")
        self.registered = load_named(kind, self.registered_name, place)

    def settings(self) -> dict[str, Any]:
        """Return all that the study sets of it.

        Raises:
            UserError: the preset is no name.
        """
        settings = merge(self._declared, self._dotted)
        preset = settings.get("preset")
        if preset is not None and not isinstance(preset, str):
            raise UserError(
                f"{self.place}: preset", repr(preset), "the name of one preset", "Correct this value."
            )
        return settings

    @contextmanager
    def faults_by_key(self) -> Iterator[None]:
        """Tell faults at ``place`` by the key of the study's file, where it is in the block of arms that they stand."""
        try:
            yield
        except UserError as error:
            below = error.where.removeprefix(self.place).removeprefix(": ").replace(": ", ".")
            if self._key is None or _sets(self._dotted, below):
                raise
            key = f"{self._key}.{below}" if below else self._key
            raise UserError(key, error.found, error.expected, error.remedy) from error.__cause__


def _sets(settings: Any, path: str) -> bool:
    """Return whether nested settings hold what a dotted path leads to, or the value that it leads into."""
    if not isinstance(settings, Mapping):
        return True
    head, _, rest = path.partition(".")
    return head in settings and (not rest or _sets(settings[head], rest))
