"""Weights from a file that was made elsewhere: read, renamed, and loaded into a network as far as they fit."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError, did_you_mean
from harness.spec import WeightsSpec
from harness.training.transfer import Transfer, copy_fitting

_HOMES = ("state_dict", "model_state_dict", "model", "network_weights", "net", "weights", "method")
_SHOWN = 3  # names in a message
State = dict[str, Tensor]


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        found = (
            "no such file"
            if isinstance(error, FileNotFoundError)
            else f"a file that cannot be read ({error.strerror})"
        )
        raise UserError(
            path, found, "a file of weights", "Correct the path; a relative one begins at the study's folder."
        ) from error  # fmt: skip


def read_weights(path: Path, key: str | None = None) -> State:
    """Return the tensors of a checkpoint by name; no code that it may carry is run.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote.
        key: under which they stand; by default they are the whole file, or stand under the one usual key that it has.

    Raises:
        UserError: it is no checkpoint, holds more than data, or its weights stand elsewhere.
    """
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    if key is None and _is_state(content):
        return {name: value for name, value in content.items() if isinstance(value, Tensor)}
    keys = [one for one, value in content.items() if _is_state(value)] if isinstance(content, Mapping) else []
    usual = [one for one in _HOMES if one in keys] or keys
    if key is not None and key not in keys:
        remedy = did_you_mean(key, map(str, keys))
        raise UserError(path, f"no weights under {key!r}", "the key under which they stand", remedy)
    if key is None and len(usual) != 1:
        found = (
            f"weights under {', '.join(map(repr, keys[:5]))}" if keys else f"no weights ({_kind(content)})"
        )
        remedy = (
            "Name one of them with weights.key."
            if keys
            else "Write the file with torch.save(network.state_dict(), FILE)."
        )
        raise UserError(path, found, "names and tensors, or one key under which they stand", remedy)
    state = content[key if key is not None else usual[0]]
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _safetensors(path: Path) -> Any:
    if find_spec("safetensors") is None:
        raise UserError(
            path, "no package safetensors", "it to be installed, to read this file", "Run 'pip install safetensors', or convert the file."
        )  # fmt: skip
    try:
        return import_module("safetensors.torch").load_file(path)
    except Exception as error:  # the package has an error of its own, which is no subclass of these
        raise UserError(
            path, f"a file that cannot be read ({error})", "a .safetensors file", "Fetch it again."
        ) from error


def _pickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # of a pickle that PyTorch did not write
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" not in str(error).casefold() and path.read_bytes()[:1] != pickle.PROTO:
            raise _no_checkpoint(path, error) from error
        raise UserError(
            path, "a file that holds more than weights, which may run code when it is read", "tensors and plain data alone",
            "Where you trust it, load it and write torch.save(network.state_dict(), FILE).",
        ) from error  # fmt: skip
    except (RuntimeError, ValueError, LookupError, EOFError, OSError, AttributeError, TypeError) as error:
        raise _no_checkpoint(path, error) from error


def _no_checkpoint(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
    return UserError(
        path,
        f"a file that is no checkpoint ({reason})",
        "what torch.save wrote",
        "Fetch it again, or name another.",
    )


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor) for one in value.values())


def _kind(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"keys {', '.join(map(repr, [*content][:5]))}" if content else "an empty mapping"
    return f"a {type(content).__name__}"


def renamed(state: Mapping[str, Tensor], spec: WeightsSpec) -> State:
    """Return the weights under the names that they have in a network.

    Those that begin with ``prefix`` are taken, without it; then parts between dots are renamed, the longest first, and ``into``
    is put before them.
    """
    taken = {
        name.removeprefix(spec.prefix): value for name, value in state.items() if name.startswith(spec.prefix)
    }
    parts = sorted(spec.renamed, key=lambda pair: -len(pair[0]))
    into = f"{spec.into.rstrip('.')}." if spec.into else ""
    return {f"{into}{_replaced(name, parts)}": value for name, value in taken.items()}


def _replaced(name: str, parts: Iterable[tuple[str, str]]) -> str:
    dotted = f".{name}."
    for old, new in parts:
        dotted = dotted.replace(f".{old.strip('.')}.", f".{new.strip('.')}." if new.strip(".") else ".")
    return dotted.strip(".")


@dataclass(frozen=True)
class Fit:
    """What would become of a file's weights in a network.

    Attributes:
        transfer: name by name.
        tensors: of the file.
        used: of them, those that find a place.
    """

    transfer: Transfer
    tensors: int
    used: int

    def __str__(self) -> str:
        parts = [
            f"{self.transfer.share:.0%} of the network's parameters, {self.used} of the file's {self.tensors} tensors"
        ]
        for what, names in (
            ("of another shape", self.transfer.unfit),
            ("not in the network", self.transfer.unexpected),
        ):
            if names:
                more = ", …" if len(names) > _SHOWN else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})")
        return "; ".join(parts)


def load_into(network: nn.Module, state: Mapping[str, Tensor], spec: WeightsSpec) -> Fit:
    """Load what fits by name and shape, however little that is."""
    weights = renamed(state, spec)
    found = copy_fitting(network, weights, set(network.state_dict()))
    return Fit(found, len(state), len(found.loaded))


def check_fit(network: nn.Module, state: Mapping[str, Tensor], spec: WeightsSpec, where: str) -> Fit:
    """Load what fits, and return what does.

    Args:
        network: of the trial.
        state: of the file.
        spec: how its names are read.
        where: the key of the study, for messages.

    Raises:
        UserError: no name begins with the prefix, nothing fits, or less than the stated share.
    """
    if spec.prefix and not any(name.startswith(spec.prefix) for name in state):
        raise UserError(
            f"{where}.prefix", repr(spec.prefix), "what names in the file begin with",
            did_you_mean(spec.prefix, [*_beginnings(state)]),
        )  # fmt: skip
    fit = load_into(network, state, spec)
    if fit.used and fit.transfer.share >= spec.share:
        return fit
    better = _better_prefix(network, state, spec)
    remedy = f"Did you mean prefix: {better!r}?" if better is not None else (
        f"Correct prefix, into and map, name another network, or set share to less than {fit.transfer.share:.2g}."
        if fit.used else "Correct prefix, into and map, or name another network."
    )  # fmt: skip
    if not fit.used:
        file, own = [*renamed(state, spec)], [*network.state_dict()]
        shapes = f", {len(fit.transfer.unfit)} of another shape" * bool(fit.transfer.unfit)
        found = f"no weight that fits{shapes} (the file has {', '.join(file[:_SHOWN])}, …)"
        raise UserError(where, found, f"names of the network, such as {', '.join(own[:_SHOWN])}", remedy)
    raise UserError(where, str(fit), f"at least {spec.share:.0%} of its parameters", remedy)


def _beginnings(names: Iterable[str]) -> Iterator[str]:
    """Yield what names begin with, up to three dots, the most frequent first."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(4, len(parts))))
    yield from (beginning for beginning, _ in counts.most_common(200))


def _better_prefix(network: nn.Module, state: Mapping[str, Tensor], spec: WeightsSpec) -> str | None:
    """Return the prefix with which at least the stated share would fit, if there is one."""
    own = {name: values.shape for name, values in network.state_dict().items()}
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}

    def share(prefix: str) -> float:
        weights = renamed(state, spec.model_copy(update={"prefix": prefix}))
        fitting = (sizes.get(name, 0) for name, values in weights.items() if own.get(name) == values.shape)
        return sum(fitting) / sum(sizes.values())

    best = max(["", *_beginnings(state)], key=share)
    return best if best != spec.prefix and share(best) >= spec.share else None
