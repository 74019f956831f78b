"""One training step of the harness against a bare PyTorch loop with the same network, data and augmentation.

The bare loop is what a researcher would write; all run interleaved in one process, one thread. Prints
milliseconds of processor time per step (median), so that other processes disturb little, the ratio, and each
method's step against the supervised one. Then, each in a fresh process and three times, the peak of resident
memory while training, less that after building: of a method that pretrains, in its fine-tuning.

    python tests/benchmarks/step_time.py [--steps N] [--architecture NAME] [--skip-memory]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import torch
from trials import untrained

from harness import registry
from harness.data.augmentation import Augmenter
from harness.data.trial_data import load_trial_data
from harness.seeding import clean_process
from harness.study.resolve import Resolver
from harness.training.loop import memory_format
from harness.training.losses import segmentation_loss
from harness.training.memory import peak_bytes, reset_peak

warnings.filterwarnings("ignore")
WARM_UP = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--architecture", default="unet")
    parser.add_argument("--skip-memory", action="store_true")
    options = parser.parse_args()

    def spec_of(method: str, **parameters: bool):
        settings = {
            "dataset": "phantom", "architecture": options.architecture, "method": method,
            "shots": 2, "subset": 0, "seed": 0, "recipe.steps": options.steps + WARM_UP,
            "recipe.patch": [32, 32, 32] if options.architecture != "swin_unetr" else [64, 32, 32],
        } | {f"method.{name}": value for name, value in parameters.items()}  # fmt: skip
        return Resolver("step_time").trial(settings)

    loops = {"bare": bare_loop(spec_of("supervised"))}
    loops |= {name: harness_loop(spec_of(name)) for name in registry.names("method")}
    loops["medcontext, one pass"] = harness_loop(spec_of("medcontext", one_pass=True))
    times: dict[str, list[float]] = {name: [] for name in loops}
    for step in range(options.steps + WARM_UP):
        for name, loop in loops.items():
            start = time.process_time()
            next(loop)
            if step >= WARM_UP:
                times[name].append(time.process_time() - start)
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    print(f"{'loop':24}{'ms/step':>10}{'to bare':>10}{'to supervised':>16}")
    for name, value in medians.items():
        print(f"{name:24}{value:10.1f}{value / medians['bare']:10.3f}{value / medians['supervised']:16.2f}")
    if options.skip_memory:
        return
    memory = {name: median_growth(spec_of(name)) for name in registry.names("method")}
    print(f"{'method':24}{'peak MiB':>10}{'to supervised':>16}")
    for name, value in memory.items():
        print(f"{name:24}{value / 2**20:10.1f}{value / memory['supervised']:16.2f}")


def median_growth(spec) -> float:
    """Return the median over three fresh processes of what training adds to resident memory, bytes."""
    context = get_context("spawn")
    values = []
    for _ in range(3):
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            values.append(pool.submit(growth, spec).result())
    return statistics.median(values)


def growth(spec) -> int:
    """Return the resident high-water mark of a few steps, less that after building, bytes."""
    loop = untrained(spec)[0].run_until(6)
    reset_peak(torch.device("cpu"))
    built = psutil.Process().memory_info().rss
    for _ in loop:
        pass
    return peak_bytes(torch.device("cpu")) - built


def harness_loop(spec):
    """Yield after each step of the harness."""
    yield from untrained(spec)[0].run_until(spec.recipe.steps)


def bare_loop(spec):
    """Yield after each step of a plain loop: no method, no named seeds, no checks."""
    recipe = spec.recipe
    clean_process(recipe.threads)
    data = load_trial_data(spec, None)
    sampler, augment = data.sampler(), Augmenter(recipe.augmentation, spec.seed)
    architecture_class = registry.load("architecture", spec.architecture.name)
    architecture = architecture_class(architecture_class.Options(**spec.architecture.options))
    network = architecture.build(len(data.dataset.channels), max(data.dataset.labels) + 1, recipe.patch)
    network = network.to(memory_format=memory_format(recipe))
    optimiser = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    loss_function = segmentation_loss(recipe.loss)
    for step in range(recipe.steps):
        image, label = augment(*sampler.draw(step), step)
        optimiser.zero_grad(set_to_none=True)
        loss = loss_function(network(image.to(memory_format=memory_format(recipe))), label.long())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        optimiser.step()
        schedule.step()
        loss.item()
        yield


if __name__ == "__main__":
    main()
