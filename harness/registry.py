"""Names to classes, on demand: methods, architectures and datasets.

A name is one of
- a file of ours: ``methods/medcontext.py`` is ``medcontext``;
- an entry point of an installed package, in the groups ``medctx.methods``, ``medctx.architectures`` and
  ``medctx.datasets``;
- ``module:Class`` of anything importable, or of a file beside the study or in the working directory;
- of datasets also ``msd:FOLDER`` and ``nnunet:FOLDER``, any folder of these layouts below the data root.

A file of ours holds exactly one class of its kind's contract, and every class has the attributes that the contract
leaves open. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MethodType
from typing import Any, Literal

from harness.errors import UserError, did_you_mean
from harness.spec import Frozen

Kind = Literal["method", "architecture", "dataset"]

# kind -> (package that is listed, module and class of the contract)
_HOMES: dict[str, tuple[str, str, str]] = {
    "method": ("methods", "harness.training.method", "Method"),
    "architecture": ("harness.architectures", "harness.architectures.contract", "Architecture"),
    "dataset": ("harness.data.datasets", "harness.data.datasets.contract", "Dataset"),
}
KINDS = tuple(_HOMES)

# kind -> class attributes that have no default: what each has to be
_OPEN: dict[str, dict[str, type]] = {
    "method": {"summary": str, "source": str, "Parameters": Frozen, "presets": MethodType},
    "architecture": {"summary": str, "source": str, "Options": Frozen, "presets": Mapping},
    "dataset": {"summary": str, "source": str, "recipe": Mapping, "channels": tuple, "labels": Mapping},
}
_WORDS: dict[type, str] = {
    str: "a string",
    Mapping: "a mapping",
    MethodType: "a class method",
    tuple: "a tuple",
    Frozen: "a class derived from harness.spec.Frozen",
}
_OF_A_FOLDER = ("channels", "labels")  # read with the folder, where a dataset may be any


@cache
def _ours(kind: Kind) -> dict[str, str]:
    """Return name -> module of the files of ours."""
    package = importlib.import_module(_HOMES[kind][0])
    return {
        module.name: f"{package.__name__}.{module.name}"
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg and module.name != "contract"
    }


@cache
def _plugins(kind: Kind) -> dict[str, str]:
    """Return name -> ``module:Class`` of other packages' entry points."""
    found: dict[str, str] = {}
    for point in entry_points(group=f"medctx.{kind}s"):
        taken = found.get(point.name) or _ours(kind).get(point.name)
        if taken not in (None, point.value):
            raise UserError(
                f"{kind} {point.name!r}",
                f"two definitions, {taken} and {point.value}",
                "one",
                "Uninstall one of the packages, or name yours differently.",
            )
        found[point.name] = point.value
    return found


def names(kind: Kind) -> list[str]:
    """Return all registered names of ``kind``, sorted."""
    return sorted({*_ours(kind), *_plugins(kind)})


_folders: dict[Path, None] = {}
"""Where modules of ``module:Class`` names may lie beside what is installed, in the order in which they were named."""


def look_in(*folders: Path) -> None:
    """Find the modules of ``module:Class`` names in these folders too, after all that can be imported already."""
    for folder in (one.resolve() for one in folders):
        if folder not in _folders:
            _folders[folder] = None
            sys.path.append(str(folder))
            load.cache_clear()  # a name that is known may stand for another file here


def plugin_folders() -> tuple[Path, ...]:
    """Return the folders of :func:`look_in`, for another process to look in."""
    return tuple(_folders)


@cache
def contract(kind: Kind) -> type[Any]:
    """Return the class that every entry of ``kind`` derives from."""
    _, module, attribute = _HOMES[kind]
    return getattr(importlib.import_module(module), attribute)


@cache
def load(kind: Kind, name: str) -> type[Any]:
    """Return the class registered as ``name``.

    Raises:
        UserError: the name is unknown, the module lacks the class, or it does not follow the contract.
    """
    if name in _ours(kind):
        entry = _only_entry(kind, _ours(kind)[name])
        _check_attributes(kind, name, entry)
        return entry
    family, _, folder = name.partition(":")
    if folder and family in _ours(kind):
        entry = _only_entry(kind, _ours(kind)[family])
        if getattr(entry, "folder_layout", None) is not None:
            return entry.of_folder(folder)
    address = _plugins(kind).get(name, name)
    if ":" not in address:
        raise UserError(
            f"{kind} {name!r}", "an unknown name", f"a registered {kind}", did_you_mean(name, names(kind))
        )
    module_name, _, attribute = address.partition(":")
    try:
        entry = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # whatever a plug-in's module does when it is imported
        raise UserError(
            f"{kind} {name!r}",
            f"an address that fails to load ({type(error).__name__}: {error})",
            "module:Class of an importable module",
            "Put the file beside the study, install its package, or put its folder on PYTHONPATH.",
        ) from error
    _check_one_file(kind, name, module_name.partition(".")[0])
    _check_base(kind, name, entry)
    _check_attributes(kind, name, entry)
    return entry


def _check_one_file(kind: Kind, name: str, package: str) -> None:
    """Refuse a module that is imported from one place while a folder of :func:`look_in` has another of its name."""
    used = Path(str(getattr(sys.modules[package], "__file__", None) or "")).resolve()
    for folder in _folders:
        for own in (folder / f"{package}.py", folder / package / "__init__.py"):
            if own.is_file() and own.resolve() != used:
                raise UserError(
                    f"{kind} {name!r}", f"two modules {package}: {used}, which is used, and {own}", "one",
                    "Rename one of the files.",
                )  # fmt: skip


def _only_entry(kind: Kind, module_name: str) -> type[Any]:
    module = importlib.import_module(module_name)
    base = contract(kind)
    entries = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module_name
    ]
    if len(entries) != 1:
        raise UserError(
            module.__file__ or module_name,
            f"{len(entries)} classes derived from {base.__name__}",
            "exactly one",
            f"Keep one {kind} in one file.",
        )
    return entries[0]


def _check_base(kind: Kind, name: str, entry: object) -> None:
    base = contract(kind)
    if not (inspect.isclass(entry) and issubclass(entry, base)):
        raise UserError(
            f"{kind} {name!r}",
            f"{entry!r}",
            f"a class derived from {base.__module__}.{base.__name__}",
            "Derive it from the contract.",
        )


def _fits(value: object, expected: type) -> bool:
    if expected is Frozen:  # whose classes are asked for, not what is made of them
        return inspect.isclass(value) and issubclass(value, Frozen)
    return isinstance(value, expected)


def _check_attributes(kind: Kind, name: str, entry: type[Any]) -> None:
    for attribute, expected in _OPEN[kind].items():
        if attribute in _OF_A_FOLDER and entry.folder_layout is not None:
            continue
        value = getattr(entry, attribute, None)
        if not _fits(value, expected):
            raise UserError(
                f"{kind} {name!r}",
                f"{attribute} = {value!r}" if hasattr(entry, attribute) else f"no attribute {attribute!r}",
                f"{_WORDS[expected]} as {attribute!r} of class {entry.__name__}",
                "Set it in the class; docs/methods.md and docs/data.md have examples.",
            )
