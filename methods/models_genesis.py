"""Models Genesis: the whole network restores an image that was shuffled, remapped and painted over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from harness.ranges import tunable
from harness.spec import Frozen
from harness.training.method import Batch, Losses, Progress
from harness.training.pretraining import Pretrained

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ModelsGenesisParameters(Frozen):
    """Probabilities of the corruptions; defaults are the original's."""

    flip: float = Field(
        0.4,
        title="Flip probability",
        ge=0,
        le=1,
        description="of each of up to three flips, of image and target alike",
    )
    shuffle: float = tunable(0.5, 0.0, 1.0, title="Shuffling probability", ge=0, le=1)
    remap: float = tunable(0.9, 0.0, 1.0, title="Intensity map probability", ge=0, le=1)
    paint: float = tunable(0.9, 0.0, 1.0, title="Painting probability", ge=0, le=1)
    inner: float = Field(
        0.2,
        title="In-painting probability",
        ge=0,
        le=1,
        description="of painting: that it is in-painting and not out-painting",
    )


class ModelsGenesis(Pretrained[ModelsGenesisParameters]):
    """``L = mean (f(corrupted x) - x)^2`` over the whole patch, images scaled to [0, 1] patch by patch."""

    version = 2  # 1 painted one box at least, and up to the faces
    differences = (
        "Flips are along any axis; the original's are along the first or the second one, or along none.",
        "Windows that are shuffled have up to 2 voxels a side where a patch has fewer than 20, in which the original shuffles none.",
        "The optimiser is that of every pretraining here (AdamW); the original's is SGD with rate 1.",
    )
    print_name = "Models Genesis"
    summary = "pretraining: undo shuffling, intensity maps, in- and out-painting with the whole network"
    source = "Zhou et al., MICCAI 2019 and Medical Image Analysis 2021"
    Parameters = ModelsGenesisParameters

    def pretraining_step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the squared error of the restoration."""
        import numpy as np
        import torch

        from harness.training.losses import finest

        rng = progress.numpy_generator("corruption")
        pairs = [self._corrupt(image, rng) for image in batch.image.cpu().numpy()]
        corrupted, target = (
            torch.from_numpy(np.stack(images)).to(batch.image.device) for images in zip(*pairs, strict=True)
        )
        restored = finest(self.modules["student"](corrupted)).float()
        return Losses.weigh({"restoration": (restored - target).square().mean()}, {"restoration": 1.0})

    def _corrupt(
        self, image: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return a corrupted image and its target, both ``(C, D, H, W)``."""
        import numpy as np

        from harness.training.corruption import inpaint, outpaint, remap_intensity, shuffle_locally

        settings = self.parameters
        target = (image - image.min()) / max(float(np.ptp(image)), 1e-6)
        for _ in range(3):
            if rng.random() >= settings.flip:
                break
            target = np.flip(target, int(rng.integers(1, 4)))
        corrupted = target = np.ascontiguousarray(target, dtype=np.float32)
        if rng.random() < settings.shuffle:
            corrupted = shuffle_locally(corrupted, rng)
        if rng.random() < settings.remap:
            corrupted = remap_intensity(corrupted, rng)
        if rng.random() < settings.paint:
            paint = inpaint if rng.random() < settings.inner else outpaint
            corrupted = paint(corrupted, rng)
        return corrupted, target
