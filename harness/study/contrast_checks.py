"""Whether the contrasts that a study declares can be made from its arms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.errors import UserError, did_you_mean
from harness.spec import as_tuples
from harness.study.axes import REPEATED
from harness.study.cells import FACTORS
from harness.study.contrasts import ROLE, Arm, ContrastSpec, expand, is_level
from harness.study.names import value_text
from harness.study.study import Study

_ROLES = ("student", "teacher")


def planned_arms(study: Study) -> list[Arm]:
    """Return the arms of a study by the factors that they set, all but seed and fold, in the order of cells."""
    return _arms(study, [cell.factors for cell in study.cells])


def _arms(study: Study, cells: Iterable[Mapping[str, Any]]) -> list[Arm]:
    keys = [key for key in study.factors if key not in REPEATED]
    arms: dict[tuple[tuple[str, Any], ...], None] = {}
    for factors in cells:
        values = ((key, factors.get(key)) for key in keys)
        arms[tuple((key, as_tuples(value)) for key, value in values if value is not None)] = None
    return [dict(arm) for arm in arms]


def check_contrasts(where: str, study: Study) -> None:
    """Refuse contrasts of what a study does not have.

    Raises:
        UserError: two of one name, an unknown factor or value, a trend over what is no number, or no arms that it compares;
            ``where`` is the file.
    """
    # what is skipped here, as with another patch, is declared all the same
    specs, arms = (
        study.report.contrasts,
        [*planned_arms(study), *_arms(study, [skip.factors for skip in study.skipped])],
    )
    for name, number in Counter(spec.name for spec in specs).items():
        if number > 1:
            raise UserError(
                f"{where}: report.contrasts", f"{name!r} {number} times", "a name for each", "Rename one."
            )
    for spec in specs:
        place = f"{where}: report.contrasts[{spec.name}]"
        _check_factors(place, spec, [key for key in study.factors if key not in REPEATED])
        if not arms:
            continue
        for values in (
            *spec.selections(),
            *({key: value} for key, pair in spec.between.items() for value in pair),
        ):
            _check_values(place, values, arms, study)
        _check_trend(place, spec, arms)
        if not study.search and not any(expand(spec, arms, study.report.baseline)):
            raise UserError(
                place, "no two planned arms that it compares", "arms that differ as it says",
                "Name the factors in which they differ, or pool over them.",
            )  # fmt: skip


def _check_factors(place: str, spec: ContrastSpec, factors: Sequence[str]) -> None:
    chosen = [key for values in spec.selections() for key in values if key != ROLE]
    for key in [*chosen, *spec.named()]:
        if key in REPEATED:
            raise UserError(
                place, repr(key), "a factor that tells arms apart", "Leave it out: all of them count."
            )
        if key not in factors:
            raise UserError(place, repr(key), "a factor of the study", did_you_mean(key, factors))


def _check_values(place: str, values: Mapping[str, Any], arms: Sequence[Arm], study: Study) -> None:
    """Refuse a value that no arm has; what a search sets is not known before it has."""
    for key, value in values.items():
        known = list(_ROLES) if key == ROLE else list(dict.fromkeys(arm[key] for arm in arms if key in arm))
        if value not in known and (key in (*FACTORS, ROLE) or not study.search):
            texts = [value_text(one) for one in known]
            raise UserError(
                f"{place}.{key}", repr(value), f"one of {', '.join(texts)}", did_you_mean(value_text(value), texts)
            )  # fmt: skip


def _check_trend(place: str, spec: ContrastSpec, arms: Sequence[Arm]) -> None:
    levels = {arm[spec.trend] for arm in arms if spec.trend and is_level(arm.get(spec.trend), spec.scale)}
    if spec.trend and len(levels) < 2:
        count, above = (
            f"{len(levels)} number{'' if len(levels) == 1 else 's'}",
            " above zero" * (spec.scale == "log2"),
        )
        raise UserError(
            f"{place}.trend", f"{spec.trend}, with {count} as its values", f"two or more{above}", "Name another factor."
        )  # fmt: skip
