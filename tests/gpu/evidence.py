"""What a GPU shows of the harness within eight minutes: a table on the screen, and JSON.

    python tests/gpu/evidence.py [--small] [--seconds 480] [--json FILE] [--table FILE]

It needs PyTorch, a plain copy of the checkout, and on PYTHONPATH what it says is missing; no Ray and no data. Wheels that
are pure Python, as MONAI's, work as they are: PYTHONPATH=monai-1.6.0-py3-none-any.whl; others have to be unpacked.
``--small`` runs every line on a CPU with the smallest networks. A part that would not end in time is left out, with a line.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
NEEDED = ("einops", "monai", "nibabel", "numpy", "pydantic", "scipy", "torch", "yaml")
if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"{', '.join(missing)} cannot be imported: install it, or put its wheel, unpacked, on PYTHONPATH"
    )

import numpy as np  # noqa: E402
import torch  # noqa: E402

from harness.data.native_grid import NativeGrid  # noqa: E402
from harness.data.resampling import resample_linear  # noqa: E402
from harness.data.trial_data import load_trial_data  # noqa: E402
from harness.errors import UserError  # noqa: E402
from harness.evaluation.metrics import score_case  # noqa: E402
from harness.evaluation.prediction import class_probabilities  # noqa: E402
from harness.seeding import clean_process  # noqa: E402
from harness.study.resolve import Resolver  # noqa: E402
from harness.training.losses import segmentation_loss  # noqa: E402
from harness.training.memory import peak_bytes, reset_peak  # noqa: E402
from harness.training.precision import autocast  # noqa: E402
from harness.trial.build import build_architecture, build_method, build_trainer  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PRESETS = {
    "unetr": "paper",
    "swin_unetr": "paper",
    "nnformer": "synapse",
    "unetr_pp": "synapse",
    "dynunet": "paper",
}
CLASSES = 14  # of Synapse
Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    networks: dict[str, str]
    patch: tuple[int, int, int]
    image: tuple[int, int, int]
    native: tuple[int, int, int]
    steps: int
    loaders: tuple[int, ...]
    packed: int
    one: str  # network of all parts but step times
    in_half: tuple[str, ...]  # networks whose steps are timed in bf16 and fp16 too
    larger: dict[str, tuple[int, int, int]]  # patches of networks that need them


PAPER = Size(
    PRESETS,
    (128, 128, 64),
    (273, 273, 140),
    (512, 512, 140),
    8,
    (0, 2, 4, 8),
    4,
    "dynunet",
    tuple(PRESETS),
    {},
)
SMALL = Size(
    dict.fromkeys(PRESETS, "tiny"),
    (32, 32, 32),
    (70, 40, 36),
    (128, 70, 36),
    1,
    (0, 2),
    2,
    "nnformer",
    ("nnformer",),  # of the others a CPU takes many seconds for a step
    {"swin_unetr": (64, 32, 32)},
)


def spec_of(size: Size, architecture: str, method: str = "supervised", **recipe: Any) -> Any:
    """Return a trial on phantoms; keys of the recipe, and of the method with ``method__``, may be given."""
    own = {f"method.{key[8:]}": recipe.pop(key) for key in list(recipe) if key.startswith("method__")}
    settings = {
        "dataset": "phantom", "architecture": architecture, "architecture.preset": size.networks[architecture],
        "method": method, "shots": "all", "subset": 0, "seed": 0, "recipe.patch": list(size.larger.get(architecture, size.patch)),
        "recipe.batch": 2, "recipe.steps": 1000, **own, **{f"recipe.{key}": value for key, value in recipe.items()},
    }  # fmt: skip
    spec: Any = Resolver("evidence").trial(settings)
    if isinstance(spec, str):
        raise UserError(architecture, spec, "a trial", "It is left out.")
    return spec


def trainer_of(
    size: Size, architecture: str, method: str = "supervised", loaders: int = 0, **recipe: Any
) -> Any:
    """Return a trainer of what :func:`spec_of` returns."""
    spec = spec_of(size, architecture, method, **recipe)
    clean_process(spec.recipe.threads, spec.recipe.kernels, spec.recipe.precision)
    data = load_trial_data(spec, None)
    return build_trainer(spec, data, build_method(spec, data, DEVICE), DEVICE, loaders)


def seconds_per_step(results: Iterator[Any], steps: int) -> float:
    """Return the mean over ``steps``, after two that warm up."""
    for _ in range(2):
        next(results)
    start = now()
    for _ in range(steps):
        next(results)
    return (now() - start) / steps


def now() -> float:
    """Return the time, when the device has done what it was given."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def bare_loop(trainer: Any) -> Iterator[None]:
    """Yield after each step of a plain loop with the same network, kernels and loss, and a fixed batch."""
    network, recipe = trainer.method.modules["student"], trainer.recipe
    loss_function, optimiser = segmentation_loss(recipe.loss), torch.optim.AdamW(network.parameters(), 1e-4)
    scaler = torch.amp.GradScaler(DEVICE.type, enabled=recipe.precision == "fp16")
    image = torch.randn(2, 1, *recipe.patch, device=DEVICE)
    label = torch.zeros(2, 1, *recipe.patch, device=DEVICE, dtype=torch.long)
    while True:
        optimiser.zero_grad(set_to_none=True)
        with autocast(DEVICE, recipe.precision):
            loss = loss_function(network(image), label)
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        yield


def step_times(size: Size) -> Iterator[Row]:
    """Yield a row for each network, method and choice of kernels."""
    choices: list[Row] = [
        {"precision": precision, "kernels": kernels}
        for precision in ("fp32", "bf16", "fp16")
        for kernels in ("deterministic", "fast")
    ]
    quick = choices[3 if "dynunet" in size.in_half else 1]
    for choice in choices:  # so that each network has its turn before the time is out
        for architecture in size.networks if choice["precision"] == "fp32" else size.in_half:
            for method in ("bare", "supervised", "medcontext"):
                yield measured(size, architecture, method, choice)
            if choice == quick:
                yield measured(size, architecture, "medcontext", quick | {"method__one_pass": True})
    yield measured(size, "dynunet", "supervised", quick | {"compile": True})


def measured(size: Size, architecture: str, method: str, choice: Row) -> Row:
    """Return seconds of a step, its peak of memory and how many such trials a GPU holds."""
    row = {"network": architecture, "method": method, **choice}
    reset_peak(DEVICE)
    try:
        trainer = trainer_of(size, architecture, "supervised" if method == "bare" else method, **choice)
        loop = bare_loop(trainer) if method == "bare" else trainer.run_until(1000)
        row["seconds"] = seconds_per_step(loop, size.steps)
        loop.close()
    except (UserError, RuntimeError) as error:  # such as one without torch.compile, or no memory
        return row | {"left out": str(error).splitlines()[0][:100]}
    peak = peak_bytes(DEVICE)
    row["peak_gib"] = peak / 2**30
    if DEVICE.type == "cuda":
        row["trials_that_fit"] = int(torch.cuda.get_device_properties(DEVICE).total_memory // peak)
    return row


def loaders(size: Size) -> Iterator[Row]:
    """Yield the share of time in which the device does not wait for data, by the number of loaders."""
    changes = {"affine_probability": 0.2, "rotation": 30.0, "scale_range": [0.7, 1.4], "enlarge": True,
               "gamma_probability": 0.3, "noise_probability": 0.1, "blur_probability": 0.1}  # fmt: skip
    for version in (1, 2):
        for count in size.loaders:
            augmentation = {f"augmentation.{key}": value for key, value in changes.items()}
            trainer = trainer_of(
                size, size.one, loaders=count, precision="bf16", kernels="fast",
                **augmentation, **{"augmentation.version": version},
            )  # fmt: skip
            loop = trainer.run_until(1000)
            for _ in range(2):
                next(loop)
            start, waited = now(), trainer.seconds_waiting
            for _ in range(2 * size.steps):
                next(loop)
            wall = now() - start
            loop.close()
            busy = 1 - (trainer.seconds_waiting - waited) / wall
            yield {"augmentation": version, "loaders": count, "busy": busy, "seconds": wall / 2 / size.steps}


def inference(size: Size) -> Iterator[Row]:
    """Yield seconds of a case of Synapse's size and classes: predicted, brought to its grid, and scored by Dice and HD95."""
    coarse = np.random.default_rng(0).normal(size=[side // 8 for side in size.image]).astype(np.float32)
    image = resample_linear(coarse, size.image)[
        None
    ]  # smooth, and so is what a network without training says of it
    for precision in ("fp32", "bf16"):
        spec = spec_of(size, size.one, precision=precision)
        clean_process(spec.recipe.threads, spec.recipe.kernels, precision)
        network = build_architecture(spec.architecture).build(1, CLASSES, spec.recipe.patch).to(DEVICE)
        reset_peak(DEVICE)
        start = now()
        found = class_probabilities(network, image, spec.recipe, DEVICE)
        predicted = now()
        spacing = (0.8, 0.8, 3.0)
        box = tuple((0, side) for side in size.native)
        grid = NativeGrid(np.diag([*spacing, 1.0]), spacing, size.native, box)
        labels = grid.labels(found, "linear")
        resampled = now()
        reference = np.roll(labels, 2, axis=0)  # two voxels away: what is scored is not empty
        regions = {str(value): (value,) for value in np.unique(labels[labels > 0]).tolist()}
        rows = score_case(labels, reference, spacing, regions, ("dice", "hd95"))
        scored = time.perf_counter()
        peak = peak_bytes(DEVICE) / 2**30
        others = grid.labels(list(found), "linear")  # class by class on the CPU
        yield {
            "precision": precision, "predicting": predicted - start, "resampling": resampled - predicted,
            "scoring": scored - resampled, "peak_gib": peak, "on_device": found.held is not None,
            "voxels_unlike_cpu": int((labels != others).sum()), **of_regions(rows),
        }  # fmt: skip


def of_regions(rows: list[Row]) -> Row:
    """Return the mean of each metric over regions."""
    return {
        metric: float(np.nanmean([row["value"] for row in rows if row["metric"] == metric] or [np.nan]))
        for metric in ("dice", "hd95")
    }


def resume(size: Size) -> Iterator[Row]:
    """Yield the largest difference of losses between a run and one put down in its middle, in fp16."""
    steps, network = 2 * size.steps, size.one
    whole = trainer_of(size, network, precision="fp16")
    calm = [result.losses["total"] for result in whole.run_until(steps)]
    first = trainer_of(size, network, precision="fp16")
    put_down = [result.losses["total"] for result in first.run_until(size.steps)]
    state = first.state_dict()
    second = trainer_of(size, network, precision="fp16")
    second.load_state_dict(state)
    put_down += [result.losses["total"] for result in second.run_until(steps)]
    yield {
        "network": network,
        "precision": "fp16",
        "steps": steps,
        "largest_difference": float(np.abs(np.subtract(calm, put_down)).max()),
    }


def packing(size: Size) -> Iterator[Row]:
    """Yield steps per second of one trial alone, and of several at a time in processes of their own."""
    for count in (1, size.packed):
        command = [sys.executable, __file__, "--worker", *(["--small"] if size is SMALL else [])]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
        lines = [process.communicate(timeout=180)[0].splitlines()[-1] for process in running]
        yield {"trials": count, "steps_per_second": sum(1 / float(line) for line in lines)}


PARTS: dict[str, tuple[Callable[[Size], Iterator[Row]], float]] = {
    "inference": (inference, 0.1), "resume": (resume, 0.1), "loaders": (loaders, 0.2),
    "packing": (packing, 0.15), "step times": (step_times, 1.0),
}  # fmt: skip
"""Parts and the share of the time that each may take; the longest comes last and takes what is left."""


def run_parts(size: Size, seconds: float) -> dict[str, list[Row]]:
    """Return the rows of all parts, printed as they come."""
    begun, found = time.perf_counter(), {}
    for name, (part, share) in PARTS.items():
        left = seconds - (time.perf_counter() - begun)
        limit = min(share * seconds, left)
        found[name] = rows = list[Row]()
        print(f"\n{name} (at most {max(limit, 0):.0f} s)")
        start, pending = time.perf_counter(), part(size)
        try:
            while time.perf_counter() - start < limit:
                row = next(pending, None)
                if row is None:
                    break
                rows.append(row)
                print("  " + ", ".join(f"{key} {_shown(value)}" for key, value in row.items()), flush=True)
            else:
                rows.append({"left out": "what followed: out of time"})
                print("  left out: what follows, if anything: out of time")
        except (UserError, RuntimeError, subprocess.TimeoutExpired, OSError) as error:
            rows.append({"failed": f"{type(error).__name__}: {error}"[:300]})
            print(f"  failed: {rows[-1]['failed']}")
    return found


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run all parts, or for ``--worker`` one trial."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="the smallest sizes, for a CPU")
    parser.add_argument("--seconds", type=float, default=480, help="after which nothing new begins")
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    size = SMALL if given.small else PAPER
    if given.worker:
        trainer = trainer_of(size, size.one, precision="bf16", kernels="fast")
        print(seconds_per_step(trainer.run_until(1000), 4 * size.steps))
        return
    if DEVICE.type == "cpu" and not given.small:
        sys.exit("no CUDA device: on a CPU, run it with --small")
    name = torch.cuda.get_device_name(DEVICE) if DEVICE.type == "cuda" else "CPU"
    form = "small" if given.small else "paper"
    title = f"{name}, PyTorch {torch.__version__}, Python {sys.version.split()[0]}, {form} size"
    print(title)
    parts = run_parts(size, given.seconds)
    if given.json:
        given.json.write_text(
            json.dumps({"device": name, "torch": torch.__version__, "parts": parts}, indent=1)
        )
    if given.table:
        given.table.write_text(as_tables(title, parts))


def as_tables(title: str, parts: dict[str, list[Row]]) -> str:
    """Return a Markdown table of each part."""
    lines = [f"# {title}"]
    for name, rows in parts.items():
        keys = list(dict.fromkeys(key for row in rows for key in row))
        lines += ["", f"## {name}", "", f"| {' | '.join(keys)} |", "| --- " * len(keys) + "|"]
        lines += [f"| {' | '.join(_shown(row.get(key, '')) for key in keys)} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
