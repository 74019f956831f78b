"""A bundle that MONAI's own command runs: a network in TorchScript, and the rules of prediction as copies of our files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = "medctx_inference"
_COPIED = (
    "inference/bundle_rules.py", "data/images.py", "data/native_grid.py", "data/resampling.py", "data/volume.py",
    "evaluation/windows.py",
)  # fmt: skip
_LOAD = {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader"}


def write_bundle(folder: Path, described: Mapping[str, Any]) -> None:
    """Write all of a bundle but the network, which lies in ``models/model.ts``.

    Args:
        folder: of the bundle.
        described: as :func:`harness.inference.description.describe` gives it, and ``batch of windows``.
    """
    for name in ("configs", "docs", PACKAGE):
        (folder / name).mkdir()
    _write_json(folder / "configs" / "metadata.json", _metadata(described))
    _write_json(folder / "configs" / "inference.json", _inference(described))
    (folder / "docs" / "README.md").write_text(_readme(described))
    (folder / PACKAGE / "__init__.py").write_text(
        f'"""The rules of prediction, as the trial followed them."""\n\nfrom {PACKAGE}.bundle_rules import *  # noqa: F403\n'
    )
    home = Path(__file__).parents[1]
    for name in _COPIED:
        text = (home / name).read_text()
        for room in ("data", "evaluation", "inference"):
            text = text.replace(f"from harness.{room}.", f"from {PACKAGE}.")
        (folder / PACKAGE / Path(name).name).write_text(text)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False))


def _inference(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration by which ``python -m monai.bundle run`` predicts a folder."""
    settings = dict(described["settings"])
    if described["batch of windows"] is not None:
        settings["batch"] = described["batch of windows"]
    rules = PACKAGE
    save = {
        "_target_": "SaveImaged", "output_dir": "@output_dir", "separate_folder": False, "resample": False,
        "print_log": False,
    }  # fmt: skip
    return {
        "imports": [f"$import {rules}"],
        "bundle_root": ".",
        "dataset_dir": "images",
        "output_dir": "predictions",
        "save_probabilities": False,
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "channels": described["channels"],
        "settings": settings,
        "rules": f"${rules}.rules_of(@settings)",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "datalist": f"${rules}.images_in(@dataset_dir, @channels)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                _LOAD,
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": f"{rules}.Preprocessd", "keys": "image", "rules": "@rules"},
            ],
        },
        "inferer": {"_target_": f"{rules}.WindowInferer", "rules": "@rules"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": f"{rules}.ToFiled",
                    "keys": "pred",
                    "rules": "@rules",
                    "numbers": described["numbers in files"],
                },
                {**save, "keys": "pred_labels", "output_postfix": "", "output_dtype": "$np.uint32"
                 if max(described["numbers in files"]) > 65535 else "$np.uint16"
                 if max(described["numbers in files"]) > 255 else "$np.uint8"},
                {**save, "keys": "pred", "output_postfix": "probabilities", "_disabled_": "$not @save_probabilities"},
            ],
        },
        "run": [
            f"${rules}.predict_all(@datalist, @preprocessing, @inferer, @network_def, @postprocessing, @device)"
        ],
    }  # fmt: skip


def _metadata(described: Mapping[str, Any]) -> dict[str, Any]:
    """Return what MONAI's bundles say of themselves."""
    packages = {name: metadata.version(name) for name in ("nibabel", "scipy")}
    patch, classes = list(described["settings"]["patch"]), described["classes"]
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "0.1.0",
        "changelog": {"0.1.0": f"trial {described['trial']}"},
        "monai_version": metadata.version("monai"),
        "pytorch_version": metadata.version("torch"),
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": packages,
        "name": f"{described['architecture']['name']}, {described['method']['name']}, {described['dataset']['name']}",
        "task": "segmentation",
        "description": " ".join(described["steps"]),
        "authors": "exported by medctx",
        "copyright": "",
        "data_source": described["dataset"]["source"],
        "data_type": "nibabel",
        "image_classes": ", ".join(described["channels"]),
        "label_classes": ", ".join(classes.values()),
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image", "format": "magnitude", "modality": described["channels"][0],
                    "num_channels": len(described["channels"]), "spatial_shape": patch, "dtype": "float32",
                    "value_range": [], "is_patch_data": True,
                    "channel_def": {str(index): name for index, name in enumerate(described["channels"])},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image", "format": "segmentation", "num_channels": len(described["numbers in files"]),
                    "spatial_shape": patch, "dtype": "float32", "value_range": [], "is_patch_data": True,
                    "channel_def": classes,
                }
            },
        },
        "medctx": dict(described),
    }  # fmt: skip


def _readme(described: Mapping[str, Any]) -> str:
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(described["steps"], start=1))
    classes = "\n".join(f"- {index}: {name}" for index, name in described["classes"].items())
    return f"""# Trial {described["trial"]}, {described["role"]}

{described["architecture"]["name"]} trained by {described["method"]["name"]} on {described["dataset"]["name"]}
({described["dataset"]["source"]}). For research only.

    pip install 'monai[fire,nibabel]' scipy
    cd THIS_FOLDER
    python -m monai.bundle run --config_file configs/inference.json --dataset_dir IMAGES --output_dir PREDICTIONS

`--save_probabilities true` writes the probabilities too. A case is one file, or with several channels
({", ".join(described["channels"])}) a file for each: `<case>_0000.nii.gz`, `<case>_0001.nii.gz`, …

## What happens to an image

{steps}

## Classes

{classes}
"""
