"""What one arm takes on this machine's device: a few steps, one prediction and one checkpoint, in this process.

python -m harness.sweep.probe < {"spec": …, "data_root": …, "plugin_folders": […]}    prints the Need as JSON
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import UserError
from harness.spec import TrialSpec, plain
from harness.sweep.packing import Need, share_for

_WARM_UP, _TIMED = 3, 8  # steps
_KEPT = 2  # batches that are drawn before, for a step without them


def probe_apart(spec: TrialSpec, data_root: Path | None) -> Need:
    """Measure in a fresh process, so that one arm's memory is not another's.

    Raises:
        UserError: the arm cannot run here, out of memory for example.
    """
    folders = [str(folder) for folder in registry.plugin_folders()]
    job = {"spec": plain(spec), "data_root": str(data_root) if data_root else None, "plugin_folders": folders}
    command = [sys.executable, "-m", "harness.sweep.probe"]
    done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"{spec.method.name} on {spec.architecture.name}",
            f"a probe that failed ({reason})",
            "a few steps of training",
            "Correct what the message names, or take a smaller recipe.patch or recipe.batch.",
        )
    return Need(**json.loads(done.stdout.splitlines()[-1]))


def measure(spec: TrialSpec, data_root: Path | None) -> Need:
    """Measure one arm in this process."""
    import torch

    from harness.data.nifti import write_label
    from harness.data.trial_data import load_trial_data
    from harness.evaluation.prediction import predict
    from harness.seeding import clean_process
    from harness.training.batches import pretraining_batches, training_batches
    from harness.training.checkpoint import save_checkpoint
    from harness.training.loop import Trainer
    from harness.training.memory import peak_bytes, reset_peak
    from harness.trial.build import build_method

    begun = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clean_process(spec.recipe.threads, spec.recipe.kernels, spec.recipe.precision)
    reset_peak(device)
    data = load_trial_data(spec, data_root)
    method = build_method(spec, data, device)
    source = pretraining_batches(data, spec.recipe, spec.seed) if spec.kind == "pretrain" else None
    draw = source or training_batches(data, method, spec.recipe, spec.seed)
    ready = time.perf_counter() - begun

    batches, per_batch = _drawn(draw)
    trainer = Trainer(method, spec.recipe, spec.seed, device, lambda step, into=None: batches[step % _KEPT])

    _run(trainer, _WARM_UP, device)
    start = time.perf_counter()
    _run(trainer, _WARM_UP + _TIMED, device)
    per_step = (time.perf_counter() - start) / (min(spec.recipe.steps, _WARM_UP + _TIMED) - _WARM_UP or 1)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        save_checkpoint(path, {"trainer": trainer.state_dict()})
        resume = path.stat().st_size
        save_checkpoint(path, {"method": method.state_dict()})
        selected = path.stat().st_size
        per_case = prediction = 0.0
        if spec.kind == "train":
            roles, case = method.roles(), data.split.train[0]
            start = time.perf_counter()
            volume = data.to_native(case, predict(roles["student"], data.image(case), spec.recipe, device))
            write_label(Path(folder) / "label.nii.gz", volume.array, volume.affine)
            per_case = (time.perf_counter() - start) * len(roles)
            prediction = (Path(folder) / "label.nii.gz").stat().st_size * len(roles)
    tested = len(data.split.test) if spec.kind == "train" else 0
    memory = peak_bytes(device)
    cuda = device.type == "cuda"
    share = share_for(memory, torch.cuda.get_device_properties(device).total_memory) if cuda else 1.0
    return Need(
        device=torch.cuda.get_device_name(device) if cuda else "CPU",
        memory=memory,
        seconds_per_step=per_step,
        seconds_beside=ready + per_case * tested,
        share=share,
        bytes_running=2 * resume + selected,
        bytes_kept=int(selected + prediction * tested),
        seconds_per_batch=per_batch,
    )


def _drawn(draw: Callable[[int], Any]) -> tuple[list[Any], float]:
    """Return the first batches, and the seconds that one takes, without the first one, which reads from a cold disk."""
    batches = [draw(step) for step in range(_KEPT)]
    begun = time.perf_counter()
    for step in range(_KEPT, _KEPT + _TIMED):
        draw(step)
    return batches, (time.perf_counter() - begun) / _TIMED


def _run(trainer: Any, stop: int, device: Any) -> None:
    for _ in trainer.run_until(min(stop, trainer.recipe.steps)):
        pass
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def main() -> None:
    """Read a job from standard input, and print what it takes."""
    job = json.loads(sys.stdin.read())
    root = Path(job["data_root"]) if job["data_root"] else None
    registry.look_in(*map(Path, job["plugin_folders"]))
    print(json.dumps(asdict(measure(TrialSpec.model_validate(job["spec"]), root))))


if __name__ == "__main__":
    main()
