"""The harness and nnU-Net v2 on the same split of a dataset, with the same wall time for training on a CPU.

nnU-Net comes from PyPI, in an environment of its own; its trainer is its default one with epochs and iterations fitted
to the time (peers_nnunet.py), the schedule of its learning rate with them. Ours is the one trial of a study, by default of
``hippocampus_half_hour``, with steps fitted to the time, and its schedule with them. Both train once on the same training
cases and see the validation cases as such: nnU-Net validates in each epoch, which is in its time, ours never. Both predict the
test cases with the weights of the last step: nnU-Net averages over mirrored copies along three axes, ours along those that the
study's recipe names. Planning and preprocessing, the probe that finds out how long a step takes, and prediction are not in the
time of either. Prints the seconds that training took, and Dice and HD95 of both predictions by our evaluator and Dice by
nnU-Net's (which has no HD95).

One tool runs at a time, on the cores that this process may use. To compare them on one core each, at once:

    taskset -c 0 python tests/benchmarks/peers.py --work DIR/ours --tools ours &
    taskset -c 1 python tests/benchmarks/peers.py --work DIR/nnunet --tools nnunet

    python tests/benchmarks/peers.py --work DIR [--data DIR] [--study STUDY] [--minutes 1 5 10 30] [--tools ours nnunet]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import venv
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from harness.data.trial_data import load_trial_data
from harness.evaluation.folder_scoring import evaluate_pairs
from harness.evaluation.pairing import pair_files
from harness.spec import TrialSpec
from harness.study.expand import load_study
from harness.trial.run import run_trial
from harness.trial.settings import RunSettings

warnings.filterwarnings("ignore")
NNUNET = ("torch==2.13.0", "nnunetv2==2.8.1")
DATASET = "Dataset001_Peers"
PROBE_STEPS = 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="nnU-Net's environment and everything it writes"
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("MEDCTX_DATA"))
    parser.add_argument(
        "--study", default="hippocampus_half_hour", help="of one trial, on a dataset of one channel"
    )
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 5, 10, 30])
    parser.add_argument("--tools", nargs="+", choices=("ours", "nnunet"), default=["ours", "nnunet"])
    options = parser.parse_args()
    work, root = options.work.resolve() / Path(options.study).stem, Path(options.data).resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = nnunet_python(work)
    labels = prepare_nnunet(work, options.study, root, python)
    regions = "".join(f"{name:>{width(name)}}" for name in labels.values())
    print(f"{'tool':8}{'cores':>6}{'minutes':>8}{'seconds':>9}{'steps':>7}{'batch':>6}{'parameters':>12}"
          f"{'Dice':>8}{regions}{'HD95 mm':>9}{'Dice by nnU-Net':>17}", flush=True)  # fmt: skip
    for minutes in options.minutes:
        for tool in options.tools:
            output = work / tool / f"{minutes:g}"
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            run = (
                train_ours(options.study, root, minutes, output)
                if tool == "ours"
                else train_nnunet(work, minutes, output, python)
            )
            print(row(tool, minutes, run, output, work, python, labels), flush=True)


def width(region: str) -> int:
    """Return the letters that the column of a region takes."""
    return max(len(region), 6) + 2


def row(
    tool: str,
    minutes: float,
    run: dict[str, Any],
    output: Path,
    work: Path,
    python: Path,
    labels: dict[int, str],
) -> str:
    """Return a line with the scores of the predictions in ``output``."""
    scores = our_scores(work / "references", output, labels)
    theirs = call(work, python, "score", work / "references", output, *labels)
    nnunet_dice = sum(theirs.values()) / len(theirs)
    dice = "".join(f"{scores['dice'][name]:{width(name)}.4f}" for name in labels.values())
    return (
        f"{tool:8}{len(os.sched_getaffinity(0)):6}{minutes:8g}{run['seconds']:9.0f}{run['steps']:7}{run['batch']:6}{run['parameters']:12,}"
        f"{scores['dice'].mean():8.4f}{dice}{scores['hd95'].mean():9.2f}{nnunet_dice:17.4f}"
    )


def our_scores(references: Path, predictions: Path, labels: dict[int, str]) -> pd.Series:
    """Return means over cases by metric and region."""
    found = evaluate_pairs(pair_files(predictions, references), names=labels, metrics=("dice", "hd95"))
    if found.problems:
        raise SystemExit(str(found.problems[0]))
    return pd.DataFrame(found.rows).groupby(["metric", "region"]).value.mean()


def spec_with(study: str, steps: int) -> TrialSpec:
    """Return the one trial of the study, with so many steps, on the cores of this process."""
    threads = len(os.sched_getaffinity(0))
    return load_study(study, [f"recipe.steps={steps}", f"recipe.threads={threads}"]).cells[0].spec


def train_ours(study: str, root: Path, minutes: float, output: Path) -> dict[str, Any]:
    """Train for so long, and leave the predictions of the test cases in ``output``."""
    settings = RunSettings(output / "results", root)
    probe = run_trial(spec_with(study, PROBE_STEPS), settings)
    spec = spec_with(study, round(minutes * 60 / probe.cost.seconds_per_step))
    record = run_trial(spec, settings)
    if record is None or record.status != "complete":
        raise SystemExit(str(record and record.cause))
    for path in (settings.results / "trials" / record.id / "predictions").glob("*.student.nii.gz"):
        shutil.copy(path, output / path.name.replace(".student", ""))
    cost = record.cost
    return {"seconds": cost.seconds_training, "steps": cost.steps, "batch": spec.recipe.batch,
            "parameters": cost.parameters}  # fmt: skip


def train_nnunet(work: Path, minutes: float, output: Path, python: Path) -> dict[str, Any]:
    """Do the same with nnU-Net."""
    return call(work, python, "train", DATASET, minutes, work / "raw" / DATASET / "imagesTs", output)


def nnunet_python(work: Path) -> Path:
    """Return the interpreter of nnU-Net's environment, which is made where it is missing."""
    python = work / "environment" / "bin" / "python"
    if not python.exists():
        venv.create(work / "environment", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *NNUNET], check=True)
    return python


def prepare_nnunet(work: Path, study: str, root: Path, python: Path) -> dict[int, str]:
    """Write the dataset in nnU-Net's layout, let it plan and preprocess, give it our split, and return the names of labels."""
    data = load_trial_data(spec_with(study, 1), root)
    labels = {value: name for value, name in data.dataset.labels.items() if value}
    if (work / "preprocessed" / DATASET / "splits_final.json").exists():
        return labels
    files = {case.id: case for case in data.dataset.cases(root)}
    raw = work / "raw" / DATASET
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (raw / name).mkdir(parents=True, exist_ok=True)
    (work / "references").mkdir(exist_ok=True)
    for case in (*data.split.train, *data.split.validation):
        shutil.copy(files[case].image, raw / "imagesTr" / f"{case}_0000.nii.gz")
        shutil.copy(files[case].label, raw / "labelsTr" / f"{case}.nii.gz")
    for case in data.split.test:
        shutil.copy(files[case].image, raw / "imagesTs" / f"{case}_0000.nii.gz")
        shutil.copy(files[case].label, work / "references" / f"{case}.nii.gz")
    described = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **{name: value for value, name in labels.items()}},
        "numTraining": len(data.split.train) + len(data.split.validation),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(described))
    start = time.perf_counter()
    command = [
        python.parent / "nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "3d_fullres", "-np", "2", "-npfp", "2",
    ]  # fmt: skip
    subprocess.run(command, check=True, env=environment(work), stdout=subprocess.DEVNULL)
    print(
        f"nnU-Net planned and preprocessed in {time.perf_counter() - start:.0f} s, outside the time",
        flush=True,
    )
    split = [{"train": list(data.split.train), "val": list(data.split.validation)}]
    (work / "preprocessed" / DATASET / "splits_final.json").write_text(json.dumps(split))
    return labels


def environment(work: Path) -> dict[str, str]:
    """Return the environment variables of nnU-Net."""
    folders = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    return {**os.environ, **folders}


def call(work: Path, python: Path, *arguments: Any) -> dict[str, Any]:
    """Run peers_nnunet.py and return what it found."""
    script = Path(__file__).with_name("peers_nnunet.py")
    done = subprocess.run(
        [python, script, *map(str, arguments)],
        env=environment(work),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stdout[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
