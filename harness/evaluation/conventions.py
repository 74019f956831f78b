"""What a metric is, and by which convention its number was made. Imports nothing heavy.

The default convention, ``harness``, is the one to publish. The ``released_*`` ones reproduce the habits of the
scripts that were published with MedContext, nnFormer and UNETR++, for comparison with printed tables; what
they print is always labelled with their name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.data.datasets.acdc import ACDC
from harness.data.datasets.brats import BraTS
from harness.data.datasets.synapse import ORGANS, REPORTED
from harness.errors import UserError, did_you_mean
from harness.study.file import RECORDED, REGION_NSD

Regions = Mapping[str, tuple[int, ...]]
"""Region -> label values, in the order in which they are reported."""

Dimension = Literal["share", "length", "volume"]
NOT_COUNTED = math.nan


@dataclass(frozen=True)
class Metric:
    """A number that is computed for each case and region.

    Attributes:
        name: as in records and files.
        label: as in tables.
        dimension: a share has no unit, a length has the convention's, a volume is in ml.
        higher_is_better: its direction; None where it has none.
        definition: in one line.
        tolerance: of normalised surface Dice, in the convention's unit of length.
        by_region: whether each region has a tolerance of its own, which study or dataset declares.
    """

    name: str
    label: str
    dimension: Dimension
    higher_is_better: bool | None
    definition: str
    tolerance: float = 0.0
    by_region: bool = False

    @property
    def of_surface(self) -> bool:
        """Whether it is computed from surface distances."""
        return self.dimension == "length" or self.tolerance > 0 or self.by_region


METRICS = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", "share", True, "2|A∩B| / (|A|+|B|)"),
        Metric("hd95", "HD95", "length", False, "95th percentile of the pooled surface distances"),
        Metric("assd", "ASSD", "length", False, "mean of the pooled surface distances"),
        Metric("nsd", "NSD", "share", True, "share of the surface voxels of both within the tolerance"),
        Metric("sensitivity", "Sensitivity", "share", True, "|A∩B| / |reference|"),
        Metric("precision", "Precision", "share", True, "|A∩B| / |prediction|"),
        Metric("volume", "Volume", "volume", None, "volume of the prediction"),
        Metric("reference_volume", "Reference volume", "volume", None, "volume of the reference"),
    )
}
RECORDED_METRICS = RECORDED
"""What a trial records of each case and region; normalised surface Dice at the region's own tolerance where that is declared."""
_NSD = re.compile(r"nsd@(\d+(?:\.\d+)?)")


def metric_named(name: str, where: str = "metric") -> Metric:
    """Return the metric of a name; normalised surface Dice is named with its tolerance, as ``nsd@2``.

    Raises:
        UserError: there is no such metric.
    """
    if name == REGION_NSD:
        return replace(METRICS["nsd"], name=name, label="NSD", by_region=True)
    nsd = _NSD.fullmatch(name)
    if nsd:
        return replace(METRICS["nsd"], name=name, label=f"NSD@{nsd[1]}", tolerance=float(nsd[1]))
    if name not in METRICS or name == "nsd":
        known = [*(metric for metric in METRICS if metric != "nsd"), "nsd@1", REGION_NSD]
        raise UserError(where, repr(name), f"one of {', '.join(known)}", did_you_mean(name, known))
    return METRICS[name]


@dataclass(frozen=True)
class Convention:
    """How a metric becomes a number where definitions leave room.

    Attributes:
        unit: of distances.
        dice_both_empty: Dice (and every share) where neither mask has a voxel; NaN is not counted.
        distance_one_empty: a distance where one mask alone has a voxel; what is not counted is NaN.
        distance_both_empty: a distance where neither has.
        regions: what its script reports; None for the data set's own.
        aggregation: ``region_first``: mean over cases for each region, then over regions;
            ``case_first``: mean over regions for each case, then over cases.
        grid: what the arrays are that its script compares.
        remark: what a reader has to know of its numbers.
    """

    name: str
    source: str
    unit: Literal["mm", "voxel"]
    dice_both_empty: float
    distance_one_empty: Literal["diagonal", "zero", "not counted"]
    distance_both_empty: float
    regions: Regions | None
    aggregation: Literal["region_first", "case_first"]
    grid: str
    remark: str = ""

    @property
    def label(self) -> str:
        """What is printed beside its numbers."""
        return f"convention {self.name}" + (f" ({self.remark})" if self.remark else "")

    def spacing(self, spacing: Sequence[float]) -> tuple[float, ...]:
        """Return the size of a voxel in the convention's unit, from that in mm."""
        return tuple(spacing) if self.unit == "mm" else (1.0,) * len(spacing)

    def unit_of(self, metric: Metric) -> str:
        """Return the unit of a metric's value; a share has none."""
        return {"share": "", "length": self.unit, "volume": "ml"}[metric.dimension]


SYNAPSE_13 = {short: (value,) for value, (_, short) in ORGANS.items()}
SYNAPSE_8 = {ORGANS[value][1]: (value,) for value in REPORTED}

_MEDCONTEXT = "hananshafi/MedContext at 6b97c57"
_VOXELS = "voxels, not mm; 0 where a mask is empty, which rewards a missed region"


def _released(name: str, source: str, regions: Regions) -> Convention:
    return Convention(
        name, source, "voxel", 1.0, "zero", 0.0, regions, "region_first", "the files' own", _VOXELS
    )


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "harness", "this harness, distances by medpy's definition", "mm", NOT_COUNTED, "diagonal",
            NOT_COUNTED, None, "region_first", "the files' own",
        ),
        _released("released_synapse", f"{_MEDCONTEXT}, nnformer/inference_synapse.py", SYNAPSE_8),
        _released(
            "released_acdc", f"{_MEDCONTEXT}, inference_acdc.py", ACDC.regions
        ),
        _released(
            "released_brats", f"{_MEDCONTEXT}, inference_tumor.py", BraTS.regions
        ),
        Convention(
            "released_unetr", f"{_MEDCONTEXT}, UNETR/BTCV/test_8.py", "voxel", 0.0, "zero", 0.0, SYNAPSE_13,
            "case_first", "resampled to 1.5 x 1.5 x 2.0 mm and cropped: give it such files",
            f"{_VOXELS}; a mean of 13 organs that is printed as one of 8",
        ),
    )
}  # fmt: skip
HARNESS = CONVENTIONS["harness"]


def convention_named(name: str, where: str = "convention") -> Convention:
    """Return the convention of a name.

    Raises:
        UserError: there is no such convention.
    """
    if name not in CONVENTIONS:
        raise UserError(where, repr(name), "a convention", did_you_mean(name, CONVENTIONS))
    return CONVENTIONS[name]


def written_regions(regions: Regions, between: str = ",") -> str:
    """Return regions with their labels, as ``--regions`` takes them: ``ET=3,TC=2+3``."""
    return between.join(f"{name}={'+'.join(map(str, values))}" for name, values in regions.items())


def convention_rows() -> list[dict[str, str]]:
    """Return one row of text for each convention, as ``docs/scoring.md`` and ``medctx list conventions`` show them."""
    value = {0.0: "0", 1.0: "1"}
    orders = {
        "region_first": "over cases for each region, then over regions",
        "case_first": "over regions for each case, then over cases",
    }
    costs = {"diagonal": "the diagonal of the volume, a miss", "zero": "0", "not counted": "not counted"}
    return [
        {
            "name": one.name,
            "unit": one.unit,
            "both masks empty": f"Dice {value.get(one.dice_both_empty, 'not counted')}, "
            f"distance {value.get(one.distance_both_empty, 'not counted')}",
            "one mask empty": f"Dice 0, distance {costs[one.distance_one_empty]}",
            "regions": written_regions(one.regions, " ") if one.regions else "the data set's",
            "mean": orders[one.aggregation],
            "grid": one.grid,
            "source": one.source,
        }
        for one in CONVENTIONS.values()
    ]
