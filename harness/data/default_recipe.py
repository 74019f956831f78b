"""The recipe of a trial that names none: the dataset's own or, of any folder, what headers and nnU-Net's rules make of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.data.datasets.contract import Dataset
from harness.data.suggestion import CPU_MEMORY, Suggestion, suggest_recipe, turning
from harness.errors import UserError
from harness.parsing import merge, parse
from harness.spec import Recipe

_BY_THE_FILES = "from the headers of the folder's files"


class DefaultRecipes:
    """Default recipes of datasets; the headers of a folder are read once.

    Args:
        root: data root.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._found: dict[type[Dataset], Suggestion] = {}

    def of(self, dataset: type[Dataset], own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the recipe that a study's ``own`` keys are laid on.

        Of a folder that no class describes, patch and spacing go by its files' headers, for so little memory as a CPU core
        can do with, whatever machine asks. Where a study sets both, no file is read.

        Raises:
            UserError: the folder is not there, and the study leaves one of them out.
        """
        recipe = dataset.recipe
        if "patch" in recipe:
            return recipe
        found = {
            key: own[key] if key in own else self._suggestion(dataset).value(key)
            for key in ("patch", "spacing")
        }
        recipe = merge(recipe, found)
        if all(map(_are_three, found.values())):  # what is no such thing will be refused
            for rule in turning(found["patch"], found["spacing"]):
                recipe = merge(recipe, rule.nested)
        return recipe

    def _suggestion(self, dataset: type[Dataset]) -> Suggestion:
        if dataset not in self._found:
            from harness.data.fingerprint import read_headers

            try:
                fingerprint = read_headers(dataset(), self._root)
            except UserError as error:
                remedy = f"{error.remedy} Or set recipe.patch and recipe.spacing: a study without them takes them {_BY_THE_FILES}."
                raise UserError(error.where, error.found, error.expected, remedy) from error.__cause__
            self._found[dataset] = suggest_recipe(fingerprint, CPU_MEMORY)
        return self._found[dataset]


def shown_recipe(dataset: type[Dataset]) -> Recipe:
    """Return the default recipe to be listed, with words in place of what goes by files."""
    if "patch" in dataset.recipe:
        return Recipe(**dataset.recipe)
    shown = parse(Recipe, {"patch": (1, 1, 1), "spacing": (1, 1, 1), **dataset.recipe}, "recipe")
    words: Any = {"patch": _BY_THE_FILES, "spacing": _BY_THE_FILES}
    turned = shown.augmentation.model_copy(update={"rotation": _BY_THE_FILES, "planar": _BY_THE_FILES})
    return shown.model_copy(update={**words, "augmentation": turned})


def _are_three(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and len(value) == 3
    return numbers and all(isinstance(one, int | float) and one > 0 for one in value)
