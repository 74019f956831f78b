"""nnU-Net's half of peers.py, run by the interpreter of its own environment: train, predict, score.

    python peers_nnunet.py train DATASET MINUTES IMAGES OUTPUT
    python peers_nnunet.py score REFERENCES PREDICTIONS LABEL…

Each prints one line of JSON last. The folders of nnU-Net stand in its environment variables.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import product
from pathlib import Path

import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

MEASURED = 4  # iterations, after one that warms up
EPOCHS = 50  # at most
TRAINING_TO_VALIDATION = 5  # as nnU-Net has it, give or take one iteration


class FittedTrainer(nnUNetTrainer):
    """nnU-Net's default trainer; epochs and iterations are set to what the time allows, and nothing else."""

    def fit_to(self, seconds: float, training: float, validation: float) -> None:
        """Set epochs and iterations that take ``seconds``, with seconds per iteration of training and validation."""
        round_of_both = TRAINING_TO_VALIDATION * training + validation
        validations = max(1, round(seconds / round_of_both / EPOCHS))
        about = TRAINING_TO_VALIDATION * validations
        self.num_val_iterations_per_epoch = validations
        self.num_epochs, self.num_iterations_per_epoch = min(
            product(range(1, EPOCHS + 1), range(about - validations, about + validations + 1)),
            key=lambda plan: abs(plan[0] * (plan[1] * training + validations * validation) - seconds),
        )


def new_trainer(dataset: str) -> FittedTrainer:
    """Return the trainer of fold 0 at full resolution, on the CPU."""
    folder = Path(nnUNet_preprocessed) / dataset
    plans = json.loads((folder / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    described = json.loads((folder / "dataset.json").read_text())
    return FittedTrainer(plans, "3d_fullres", 0, described, device=torch.device("cpu"))


def seconds_per_iteration(dataset: str) -> tuple[float, float]:
    """Return what an iteration of training and one of validation take."""
    trainer = new_trainer(dataset)
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    trainer.train_step(next(trainer.dataloader_train))
    start = time.perf_counter()
    for _ in range(MEASURED):
        trainer.train_step(next(trainer.dataloader_train))
    training = (time.perf_counter() - start) / MEASURED
    trainer.on_validation_epoch_start()
    with torch.no_grad():
        start = time.perf_counter()
        trainer.validation_step(next(trainer.dataloader_val))
        validation = time.perf_counter() - start
    trainer.on_train_end()
    return training, validation


def train(dataset: str, minutes: float, images: str, output: str) -> dict[str, float]:
    """Train for so long, and predict the images of a folder as nnU-Net does, mirrored copies included."""
    training, validation = seconds_per_iteration(dataset)
    trainer = new_trainer(dataset)
    trainer.fit_to(minutes * 60, training, validation)
    start = time.perf_counter()
    trainer.run_training()
    seconds = time.perf_counter() - start
    trainer.set_deep_supervision_enabled(False)
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    start = time.perf_counter()
    predictor.predict_from_files(
        images, output, num_processes_preprocessing=1, num_processes_segmentation_export=1
    )
    return {
        "seconds": seconds,
        "steps": trainer.num_epochs * trainer.num_iterations_per_epoch,
        "batch": trainer.batch_size,
        "seconds_testing": time.perf_counter() - start,
        "parameters": sum(value.numel() for value in trainer.network.parameters()),
    }


def score(references: str, predictions: str, *labels: str) -> dict[str, float]:
    """Return the mean Dice of each label by nnU-Net's evaluator."""
    regions = [int(label) for label in labels]
    found = compute_metrics_on_folder(
        references, predictions, None, SimpleITKIO(), ".nii.gz", regions, num_processes=1, chill=False
    )
    return {str(label): values["Dice"] for label, values in found["mean"].items()}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "train":
        result = train(arguments[0], float(arguments[1]), arguments[2], arguments[3])
    else:
        result = score(*arguments)
    print(json.dumps(result))
