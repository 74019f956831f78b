"""Which factors tell the rows of a report apart, and whether what a study declares of its report can be shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness.errors import UserError, did_you_mean
from harness.study_file import ReportSpec, TableSpec

SCORED = ("metric", "region", "role")
_SHARED = ("dataset", "shots", "subset")


def row_keys(report: ReportSpec, varying: Sequence[str]) -> tuple[str, ...]:
    """Return the factors that tell the rows of a table apart.

    All that vary but the seed, those in which rows must agree to be compared first and the method last;
    those that the report names go before.
    """
    found = [key for key in varying if key != "seed"]
    if "method" not in found:
        found.append("method")

    def rank(key: str) -> int:
        if is_shared(key):
            return 0
        return 2 if key == "method" or key.startswith("method.") else 1

    named = [key for key in report.rows if key in found]
    return tuple(named + [key for key in sorted(found, key=rank) if key not in named])


def is_shared(key: str) -> bool:
    """Return whether rows must agree in this factor to be compared."""
    return key in _SHARED or key.startswith("split.")


def check_rows(where: str, report: ReportSpec, factors: Sequence[str], arms: Collection[str]) -> None:
    """Refuse rows that no cell sets, and a baseline that is no arm of the study.

    Args:
        where: the file of the study.
        report: what the study declares.
        factors: that its cells set.
        arms: its methods.

    Raises:
        UserError: either of them.
    """
    for key in report.rows:
        if key not in factors:
            raise UserError(
                f"{where}: report.rows", repr(key), "a factor of the study", did_you_mean(key, factors)
            )
    if arms and "baseline" in report.model_fields_set and report.baseline not in arms:
        raise UserError(
            f"{where}: report.baseline", repr(report.baseline), "a method of the study",
            did_you_mean(report.baseline, arms),
        )  # fmt: skip


def check_axes(where: str, spec: TableSpec, keys: Sequence[str], may_vary: Sequence[str] = ()) -> None:
    """Refuse a declared table that cannot show a study.

    Args:
        where: the file of the study.
        spec: the table.
        keys: of :func:`row_keys`.
        may_vary: factors of which it is not known yet, because a search has still to set them.

    Raises:
        UserError: an unknown row or column, one that stands twice, or a varying factor in neither.
    """
    where, named = f"{where}: report.tables[{spec.name}]", (*spec.rows, *spec.columns)
    allowed = tuple(dict.fromkeys((*keys, *may_vary, *SCORED)))
    for key in named:
        if key not in allowed:
            raise UserError(where, repr(key), f"one of {', '.join(allowed)}", did_you_mean(key, allowed))
        if named.count(key) > 1:
            raise UserError(where, f"{key} twice", "each once", "Leave it in rows or in columns.")
    plural = {"metric": spec.metrics, "region": spec.regions, "role": spec.roles}
    left = [key for key in keys if key not in named]
    left += [key for key, values in plural.items() if len(values) > 1 and key not in named]
    if left:
        raise UserError(
            where, f"neither rows nor columns have {', '.join(left)}", "everything that varies", "Add it to one of them."
        )  # fmt: skip
