"""What every shipped study asks for: trials, steps, operations, and hours on a device of a given speed.

Operations are counted without computing them (on PyTorch's meta device): multiply-accumulates of a forward pass, times
forward passes a step, batch and steps, times three for a forward and a backward pass. Passes without a gradient are
counted like the others, so this is the most that training takes; tests come on top, and are few beside it.

    python tests/benchmarks/study_costs.py [--speed TERA-MULTIPLY-ACCUMULATES-A-SECOND] [STUDY ...]
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from functools import cache

from harness import registry
from harness.spec import TrialSpec, canonical_json
from harness.study.expand import load_study
from harness.study.file import study_names
from harness.study.selection import search_entry
from harness.study.study import Study
from harness.training.pretraining import Pretrained
from harness.trial.operations import multiply_accumulates

warnings.filterwarnings("ignore")


def main() -> None:
    """Print one row per study, as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=float, default=10.0, help="sustained; default: 10")
    parser.add_argument("studies", nargs="*")
    options = parser.parse_args()
    print("| study | trials | pretrainings | skipped | million steps | 10^18 MACs | device-hours |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    for name in options.studies or study_names():
        print(row(name, load_study(name), options.speed), flush=True)


def row(name: str, study: Study, speed: float) -> str:
    """Return a study's line; of a search, the suggestions and what confirms them count as trials of the default."""
    specs = [cell.spec for cell in (*study.nodes, *study.cells)]
    trained = [spec for spec in specs if spec.kind == "train"]
    operations, steps = total(specs)
    to_come = 0
    for arm in study.search.arms if study.search else ():
        entry = search_entry(arm)
        number = int(str(entry["trials"])) + int(str(entry["confirming"]))
        own, more = total(
            [cell.spec for cell in study.cells if cell.factors["method"] == arm.settings["method"]][:1]
        )
        operations, steps, to_come = operations + number * own, steps + number * more, to_come + number
    cells = (
        name, len(trained) + to_come, len(study.nodes), len(study.skipped), f"{steps / 1e6:.4g}",
        f"{operations / 1e18:.3g}", f"{operations / (speed * 1e12) / 3600:.3g}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def total(specs: Sequence[TrialSpec]) -> tuple[float, int]:
    """Return multiply-accumulates and steps of trainings."""
    operations = sum(
        3.0 * forward(spec) * passes(spec) * spec.recipe.batch * spec.recipe.steps for spec in specs
    )
    return operations, sum(spec.recipe.steps for spec in specs)


def forward(spec: TrialSpec) -> int:
    """Return the multiply-accumulates of the student's forward pass on one patch."""
    dataset = registry.load("dataset", spec.dataset.name)
    sizes = (len(dataset.channels), max(dataset.labels) + 1, spec.recipe.patch)
    return _forward(spec.architecture.name, canonical_json(spec.architecture.options), sizes)


@cache
def _forward(name: str, options: str, sizes: tuple[int, int, tuple[int, int, int]]) -> int:
    channels, classes, patch = sizes
    entry = registry.load("architecture", name)
    network = entry(entry.Options.model_validate_json(options)).build(channels, classes, patch)
    return multiply_accumulates(network.to("meta"), channels, patch)


def passes(spec: TrialSpec) -> int:
    """Return the forward passes of a step."""
    entry = registry.load("method", spec.method.name)
    method = entry(entry.Parameters(**spec.method.parameters))
    if isinstance(method, Pretrained):
        return method.pretraining_passes() if spec.kind == "pretrain" else 1
    return int(method.forward_passes())


if __name__ == "__main__":
    main()
