"""Transforms and an inferer for MONAI that preprocess, predict and come back to an image's grid as a trial does.

``medctx export`` puts a copy of this file into a bundle, beside copies of what it imports; it runs there without the
harness.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers import Inferer
from monai.transforms import MapTransform
from torch import Tensor

from harness.data.images import preprocess_image
from harness.data.native_grid import NativeGrid, most_probable
from harness.data.volume import Volume
from harness.evaluation.windows import predict_by_windows

_PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}


def rules_of(settings: Mapping[str, Any]) -> Any:
    """Return settings as attributes, as the rules of the harness read them."""
    return SimpleNamespace(**settings)


def images_in(folder: str, channels: Sequence[str]) -> list[dict[str, Any]]:
    """Return an entry for each image of a folder: one file, or ``<case>_0000``, ``<case>_0001``, … for several channels."""
    files = sorted(path for path in Path(folder).iterdir() if path.name.endswith((".nii", ".nii.gz")))
    if len(channels) == 1:
        return [{"image": str(path)} for path in files]
    cases: dict[str, list[str]] = {}
    for path in files:
        case = path.name.partition(".")[0].rpartition("_")[0]
        cases.setdefault(case, []).append(str(path))
    lacking = [case for case, own in cases.items() if len(own) != len(channels)]
    if lacking:
        raise ValueError(f"{lacking[0]}: {len(channels)} channel files are needed ({', '.join(channels)})")
    return [{"image": own} for own in cases.values()]


class Preprocessd(MapTransform):
    """An image ``(C, X, Y, Z)`` in RAS, cropped, resampled and normalised; where it came from is kept beside it."""

    def __init__(self, keys: Hashable | Sequence[Hashable], rules: Any) -> None:
        super().__init__(keys)
        self.rules = rules

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the entry with the image preprocessed, and its grid as ``<key>_grid``."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            pixdim = image.meta.get("pixdim")
            zooms = None if pixdim is None else (float(pixdim[1]), float(pixdim[2]), float(pixdim[3]))
            volume = Volume(image.numpy(), np.asarray(image.affine, np.float64), zooms)
            array, grid = preprocess_image(volume, self.rules)
            result[key] = MetaTensor(torch.from_numpy(array), meta=dict(image.meta))
            result[f"{key}_grid"] = grid
        return result


class _Held:
    """Planes of a whole volume in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.values = torch.zeros(shape)

    def add(self, first: int, planes: Tensor) -> None:
        self.values[:, first : first + planes.shape[1]] += planes.cpu()

    def change(self, function: Callable[[Tensor], Tensor]) -> None:
        self.values = function(self.values)


class WindowInferer(Inferer):
    """Class probabilities ``(1, K, X, Y, Z)`` of an image ``(1, C, X, Y, Z)`` by the sliding windows of the trial."""

    def __init__(self, rules: Any) -> None:
        super().__init__()
        self.rules = rules

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return the probabilities, on the CPU."""
        image, held = torch.as_tensor(inputs), list[_Held]()

        def new_sums(classes: int) -> _Held:
            held.append(_Held((classes, *image.shape[2:])))
            return held[0]

        precision = _PRECISIONS.get(self.rules.precision)
        with torch.autocast(image.device.type, precision, enabled=precision is not None):
            predict_by_windows(lambda window: network(window).float(), image, self.rules, new_sums)
        return held[0].values[None]


class ToFiled(MapTransform):
    """Probabilities ``(K, X, Y, Z)`` on the grid of the image's file, and the labels ``(1, X, Y, Z)``, as ``<key>_labels``."""

    def __init__(self, keys: Hashable | Sequence[Hashable], rules: Any, numbers: Sequence[int]) -> None:
        super().__init__(keys)
        self.rules, self.numbers = rules, np.asarray(numbers)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the entry with both, with the affine of the image; ``image`` and ``image_grid`` have to be in it."""
        result = dict(data)
        grid: NativeGrid = result["image_grid"]
        for key in self.key_iterator(result):
            channels = [np.asarray(channel) for channel in result[key]]
            native = [np.array(one) for one in grid.native(channels, self.rules.output_resampling)]
            labels = self.numbers[grid.turned_back(most_probable(native))]
            turned = np.stack([grid.turned_back(one) for one in native])
            for name, array in ((key, turned), (f"{key}_labels", labels[None])):
                meta = {**result["image"].meta, "affine": torch.from_numpy(grid.affine)}
                result[name] = MetaTensor(torch.from_numpy(np.ascontiguousarray(array)), meta=meta)
        return result


def predict_all(
    entries: Iterable[Mapping[str, Any]],
    preprocessing: Callable[..., Any],
    inferer: Inferer,
    network: torch.nn.Module,
    postprocessing: Callable[..., Any],
    device: torch.device,
) -> None:
    """Predict all entries; ``postprocessing`` writes their files."""
    network.to(device).eval()
    for entry in entries:
        given = preprocessing(entry)
        given["pred"] = inferer(given["image"][None].to(device), network)[0]
        postprocessing(given)
