"""The folder layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
from pathlib import Path

from harness.data.datasets.contract import Case
from harness.errors import UserError


def msd_cases(folder: Path) -> list[Case]:
    """Return the training cases that ``dataset.json`` in ``folder`` lists; each is its own patient.

    Raises:
        UserError: ``dataset.json`` is missing or broken, or lists a file that is not there.
    """
    listing = folder / "dataset.json"
    try:
        entries = json.loads(listing.read_text())["training"]
        pairs = [(folder / entry["image"], folder / entry["label"]) for entry in entries]
    except FileNotFoundError:
        raise UserError(
            listing, "no such file", "the Decathlon's dataset.json", "Restore the file."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            listing, f"a listing that cannot be read ({error!r})",
            "JSON with a list 'training' of objects with 'image' and 'label'", "Restore the file.",
        ) from error  # fmt: skip
    cases = []
    for image, label in pairs:
        if image.name.startswith("._"):
            continue
        for path in (image, label):
            if not path.is_file():
                raise UserError(
                    path, "no such file", f"a file that {listing} lists", "Restore it, or remove the entry."
                )
        id = image.name.removesuffix(".gz").removesuffix(".nii")
        cases.append(Case(id=id, patient=id, image=image, label=label))
    return cases
