"""How a study's keys below ``split`` become the split of a trial, and how many folds a study stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.split_files import SplitFile, read_split_file
from harness.data.splits import FOLDER, shipped_split
from harness.errors import UserError, did_you_mean
from harness.parsing import parse
from harness.spec import DatasetSpec
from harness.study.cells import GENERATED

KEYS = ("seed", "name", "exclude", "fractions", "folds", "fold", "file")
"""What a study may set below ``split``."""
_NOT_BESIDE_FILE = ("name", "folds")
_OF_GENERATED = ("seed", "fractions", "folds")


@dataclass(frozen=True)
class SplitKeys:
    """Reads the keys below ``split`` of one study.

    Attributes:
        where: the file of the study; a split file's relative path starts at its folder.
    """

    where: str
    _files: dict[Path, SplitFile] = field(default_factory=dict)

    def folds(self, own: Mapping[str, Any]) -> int | None:
        """Return how many folds the keys stand for, each a trial of its own; None where they name one split.

        Raises:
            UserError: a split file that cannot be read.
        """
        if "fold" in own:
            return None
        if "file" in own:
            file = self._file(own["file"])
            return len(file.folds) if file.folded else None
        folds = own.get("folds")
        return folds if isinstance(folds, int) and not isinstance(folds, bool) and folds > 1 else None

    def spec(self, dataset: type[Any], name: str, own: Mapping[str, Any], shots: Any) -> DatasetSpec:
        """Return a dataset with how its cases are divided.

        Args:
            dataset: its class.
            name: by which the study calls it.
            own: the keys below ``split``.
            shots: of the trial: a name has to be one of the split's subsets.

        Raises:
            UserError: an unknown key, a wrong value, or keys that do not go together.
        """
        for key in own:
            if key not in KEYS:
                raise self._error(key, "an unknown key", ", ".join(KEYS), did_you_mean(key, KEYS))
        if "file" in own:
            fields, subsets = self._from_file(dataset, own)
        else:
            fields, subsets = self._by_name(dataset, own)
        if isinstance(shots, str) and shots != "all" and shots not in subsets:
            raise UserError(
                f"{self.where}: shots", repr(shots), "a number, 'all' or a subset of the split",
                did_you_mean(shots, [*subsets, "all"]),
            )  # fmt: skip
        fields |= {f"split_{key}": own[key] for key in ("seed", "exclude", "fractions") if key in own}
        try:
            spec = parse(DatasetSpec, {**fields, "name": name, "version": dataset.version}, self.where)
        except UserError as error:  # of split_seed, where the study has split.seed
            key = error.where.removeprefix(f"{self.where}: split_")
            raise self._error(key, error.found, error.expected, error.remedy) from None
        return self._checked(dataset, spec)

    def _by_name(
        self, dataset: type[Any], own: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Return the fields of a split that is shipped, generated, or the folder's own, and its subsets."""
        own_kind = FOLDER if dataset.folder_layout is not None else GENERATED
        generated = dict.fromkeys((own_kind, GENERATED))
        names = [*dataset.splits, *generated]
        name = own.get("name", own_kind if "folds" in own or "fractions" in own else names[0])
        if name not in names:
            remedy = did_you_mean(str(name), names)
            if name == "file":
                remedy = "Write split: {file: PATH}."
            raise self._error("name", repr(name), "a split of the dataset", remedy)
        for key in _OF_GENERATED if name not in generated else ():
            if key in own:
                raise self._error(
                    key, repr(own[key]), f"none: the split {name!r} is a fixed list",
                    f"Remove it, or set split.name to {GENERATED}.",
                )  # fmt: skip
        if "fold" in own and "folds" not in own:
            raise self._error(
                "fold", repr(own["fold"]), "none without split.folds", "Set split.folds, or remove it."
            )
        subsets = shipped_split(dataset.name(), name).subsets if name not in generated else {}
        fields = {f"split_{key}": own[key] for key in ("folds", "fold") if key in own}
        return fields | ({} if name == GENERATED else {"split_name": name}), subsets

    def _from_file(
        self, dataset: type[Any], own: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Return the fields of a split file or of one of its folds, and its subsets."""
        for key in _NOT_BESIDE_FILE:
            if key in own:
                raise self._error(key, repr(own[key]), "none beside split.file", "Remove one of the two.")
        file, fold = self._file(own["file"]), own.get("fold", 0)
        if "fold" in own and not file.folded:
            raise self._error("fold", repr(fold), f"none: {own['file']} has no folds", "Remove it.")
        if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < len(file.folds):
            last = len(file.folds) - 1
            raise self._error(
                "fold", repr(fold), f"0 to {last}, the folds of {own['file']}", "Correct this value."
            )
        parts = file.folds[fold]
        for key in ("seed", "fractions") if parts.test is not None else ():
            if key in own:
                raise self._error(key, repr(own[key]), f"none: {own['file']} says all parts", "Remove it.")
        fields: dict[str, Any] = {"split_parts": parts}
        if len(file.folds) > 1:
            fields |= {"split_folds": len(file.folds), "split_fold": fold}
        if parts.test is None and dataset.folder_layout is not None:
            fields["split_name"] = FOLDER
        return fields, parts.subsets

    def _checked(self, dataset: type[Any], spec: DatasetSpec) -> DatasetSpec:
        """Return the spec; fractions that are the dataset's own are the same as none."""
        if spec.split_folds is not None and not 0 <= (spec.split_fold or 0) < spec.split_folds:
            last = spec.split_folds - 1
            raise self._error("fold", str(spec.split_fold), f"0 to {last}", "Correct this value.")
        if spec.split_folds is not None and spec.split_fold is None:
            raise self._error("fold", "nothing", "the fold that is held out", "Set split.fold.")
        default = dataset.fractions
        if spec.split_fractions and spec.split_fractions[:2] == (default.train, default.validation):
            return spec.model_copy(update={"split_fractions": None})
        return spec

    def _file(self, name: Any) -> SplitFile:
        if not isinstance(name, str) or not name:
            raise self._error("file", repr(name), "the path of a JSON file", "Correct this value.")
        path = Path(self.where).parent / name
        if path not in self._files:
            self._files[path] = read_split_file(path)
        return self._files[path]

    def _error(self, key: str, found: str, expected: str, remedy: str) -> UserError:
        return UserError(f"{self.where}: split.{key}", found, expected, remedy)
