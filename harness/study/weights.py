"""A study's key ``weights`` of an arm: which file its networks start from, and whether it fits them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from harness.architectures.contract import Architecture
from harness.data.datasets.contract import Dataset
from harness.errors import UserError, did_you_mean
from harness.parsing import merge, parse
from harness.spec import Frozen, Triple, WeightsSpec, digest, plain

if TYPE_CHECKING:
    from torch import Tensor

KEY = "weights"


class _Keys(Frozen):
    """What a study sets below ``weights``; ``preset`` is one of the architecture's ``checkpoints``.

    ``sha256`` stands for the file where it is not, as where a report is written elsewhere.
    """

    file: str
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    preset: str | None = None
    key: str | None = None
    prefix: str = ""
    map: dict[str, str] = {}
    into: str = ""
    share: float = Field(0.5, gt=0, le=1)


@dataclass(frozen=True)
class WeightsFile:
    """Weights that a study asks for.

    Attributes:
        spec: of them.
        path: of the file, on this machine.
        place: the key, for messages.
    """

    spec: WeightsSpec
    path: Path
    place: str


@dataclass
class WeightsKeys:
    """Reads the keys ``weights`` of one study, each file once.

    Attributes:
        where: the file of the study; a relative path starts at its folder.
        data_root: folder of the datasets: of one that may be any folder, channels and labels lie there.
        files: SHA-256 -> file, of those that were asked for.
        lines: of each that was compared with a network, what fits.
    """

    where: str
    data_root: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)
    lines: dict[str, None] = field(default_factory=dict)
    _hashes: dict[Path, str] = field(default_factory=dict)
    _states: dict[tuple[str, str | None], dict[str, Tensor]] = field(default_factory=dict)
    _checked: set[str] = field(default_factory=set)

    def of(self, settings: Any, place: str, architecture: type[Architecture[Any]]) -> WeightsFile | None:
        """Return the weights that ``settings`` ask for; None where they are None.

        Args:
            settings: what stands below the key.
            place: the key, for messages.
            architecture: of the networks that shall start from them.

        Raises:
            UserError: an unknown key or preset, a file that is not there, or one that holds no weights.
        """
        if settings is None:
            return None
        if not isinstance(settings, Mapping):
            raise UserError(
                place, repr(settings), "a mapping", "Write for example weights: {file: model.pt}."
            )
        known, preset = architecture.checkpoints, settings.get("preset")
        if preset is not None and preset not in known:
            expected = (
                "one of the architecture's checkpoints"
                if known
                else "none: the architecture has no checkpoints"
            )
            raise UserError(f"{place}: preset", repr(preset), expected, did_you_mean(str(preset), known))
        keys = parse(_Keys, merge(known[preset], settings) if preset else settings, place)
        path = Path(self.where).parent / Path(keys.file).expanduser()
        spec = WeightsSpec(
            sha256=self._found(path, keys, place), key=keys.key, prefix=keys.prefix,
            renamed=tuple(sorted(keys.map.items())), into=keys.into, share=keys.share,
        )  # fmt: skip
        return WeightsFile(spec, path, place)

    def _found(self, path: Path, keys: _Keys, place: str) -> str:
        """Return the hash of a file that holds weights, or the one that the study states of a file that is not here."""
        if keys.sha256 and not path.exists():
            return keys.sha256
        try:
            sha256 = self._hash(path)
            self._state(path, sha256, keys.key)
        except UserError as error:
            raise UserError(
                f"{place}: file", f"{keys.file}: {error.found}", error.expected, error.remedy
            ) from error
        if keys.sha256 not in (None, sha256):
            raise UserError(
                f"{place}: sha256", str(keys.sha256), f"that of {keys.file}, {sha256}", "Correct one of them."
            )
        self.files[sha256] = path
        return sha256

    def check(
        self, asked: WeightsFile, architecture: Architecture[Any], dataset: type[Dataset], patch: Triple
    ) -> None:
        """Refuse weights that do not fit the network of a trial; of a folder or file that is not here
        that shows when it trains.

        Raises:
            UserError: nothing fits, or less than the stated share.
        """
        sizes = _sizes(dataset, self.data_root)
        if sizes is None or asked.spec.sha256 not in self.files:
            return
        key = digest(
            [plain(asked.spec), type(architecture).__qualname__, plain(architecture.options), sizes, patch]
        )
        if key in self._checked:
            return
        import torch

        from harness.training.weights import check_fit

        with torch.random.fork_rng(devices=[]):
            network = architecture.build(*sizes, patch)
        fit = check_fit(
            network, self._state(asked.path, asked.spec.sha256, asked.spec.key), asked.spec, asked.place
        )
        self._checked.add(key)
        name = asked.place.removeprefix(f"{self.where}: ").removesuffix(f": {KEY}")
        self.lines[f"weights of {name}: {asked.path.name} gives {fit}"] = None

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            from harness.training.weights import hash_of

            self._hashes[path] = hash_of(path)
        return self._hashes[path]

    def _state(self, path: Path, sha256: str, key: str | None) -> dict[str, Tensor]:
        if (sha256, key) not in self._states:
            from harness.training.weights import read_weights

            self._states[sha256, key] = read_weights(path, key)
        return self._states[sha256, key]


def _sizes(dataset: type[Dataset], root: Path | None) -> tuple[int, int] | None:
    """Return the numbers of channels and of labels with background; None where they lie in a folder that is not there."""
    entry = dataset()
    if dataset.folder_layout is not None:
        try:
            entry.cases(root)
        except UserError:
            return None
    return len(entry.channels), max(entry.training_labels()) + 1
