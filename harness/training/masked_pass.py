"""The masked pass: a second look of the student, at a volume of which a part is hidden.

Parameters and presets are read without PyTorch; :class:`MaskedPass` does the work.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from harness.ranges import tunable
from harness.spec import Frozen, Triple
from harness.training.method import Context, Progress, Setting

if TYPE_CHECKING:
    from torch import Tensor, nn


class MaskingParameters(Frozen):
    """What the student's second pass does not see."""

    kind: Literal["tube", "random", "block"] = Field(
        "tube", title="Mask shape", description="shape of what is hidden"
    )
    level: Literal["token", "image"] = Field(
        "token",
        title="Mask level",
        description="patch tokens of a transformer, or blocks of the image; presets take what the network has",
    )
    ratio: float = tunable(
        0.4,
        0.1,
        0.9,
        title="Mask ratio",
        ge=0,
        le=1,
        description="mask ratio: share of the cells that are hidden",
    )
    axis: int = Field(
        2,
        title="Mask axis",
        ge=0,
        le=2,
        description="along which a tube runs; 2 is the slice axis of RAS arrays",
    )
    block: int = Field(
        8, title="Mask block", ge=1, description="side of an image block, voxels (level image)"
    )
    per_sample: bool = Field(
        True, title="Mask per sample", description="another mask for each sample of a batch"
    )
    before_pos: bool = Field(
        False, title="Mask before positions", description="mask tokens before positions are added"
    )
    fill: Literal["learned", "zero", "mean"] = Field(
        "learned", title="Mask fill", description="of hidden places; presets take zero for image blocks"
    )
    mask_image_skip: bool = Field(
        False, title="Image skip closed", description="close the raw-image skip of UNETR-like networks"
    )


MASKING_ACTS_WITH = {"masking.block": {"masking.level": "image"}}


def published_masking(setting: Setting) -> dict[str, Any]:
    """Return what differs from the defaults in our reading of MedContext's intent: ratio, level and fill."""
    return {**_level(setting), "ratio": 0.6 if setting.dataset_name == "acdc" else 0.4}


def released_masking(setting: Setting) -> dict[str, Any]:
    """Return what MedContext's released trainers do; a network without released code follows UNETR's."""
    shared = {**_level(setting), "per_sample": False}
    if setting.architecture_name != "nnformer":
        return {**shared, "axis": 0, "ratio": 0.6}
    # the arrays of the released nnFormer begin with the slices, ours end with them
    return {**shared, "axis": 2, "ratio": 0.6 if setting.dataset_name == "brats" else 0.4}


def unsupported_masking(setting: Setting, masking: MaskingParameters) -> str | None:
    """Return why a trial cannot be masked so: no tokens to mask, or a ratio that hides nothing; or None."""
    if masking.level == "token" and setting.architecture.tokens(setting.patch) is None:
        return "it has no patch tokens to mask; use masking.level image"
    tube = masking.kind == "tube"
    cells = _mask_grid(setting, masking)
    count = math.prod(side for axis, side in enumerate(cells) if not (tube and axis == masking.axis))
    if 0 < masking.ratio * count < 1:
        return f"ratio {masking.ratio} of {count} mask cells hides nothing"
    return None


def block_grid(patch: Triple, block: int) -> Triple:
    """Return how many blocks of about ``block`` voxels a side fit along each axis of a patch, at least one."""
    x, y, z = (max(1, round(side / block)) for side in patch)
    return (x, y, z)


class MaskedPass:
    """Draws masks, and runs a network on a volume of which they hide a part.

    Attributes:
        masker: the module that fills hidden places; it is trained where the fill is learned.
    """

    def __init__(self, context: Context, masking: MaskingParameters) -> None:
        from harness.training.masks import Masker

        self._masking = masking
        self._grid = _mask_grid(context.setting, masking)
        by_token = masking.level == "token"
        self._tokens = context.setting.architecture.tokens(context.setting.patch) if by_token else None
        self._skip = context.setting.architecture.image_skip() if masking.mask_image_skip else None
        self.masker = Masker(self._tokens.channels if self._tokens else context.in_channels, masking.fill)

    def draw(self, image: Tensor, progress: Progress, name: str = "mask") -> Tensor:
        """Return the masks ``(B, *grid)`` of a step for the images ``(B, C, D, H, W)``."""
        from harness.training.masks import draw_mask

        masking = self._masking
        return draw_mask(
            masking.kind,
            self._grid,
            masking.ratio,
            len(image),
            axis=masking.axis,
            per_sample=masking.per_sample,
            generator=progress.generator(name),
        ).to(image.device)

    def __call__(self, network: nn.Module, image: Tensor, mask: Tensor) -> Tensor | list[Tensor]:
        """Return what ``network`` gives where ``mask`` hides tokens or blocks of the image."""
        if self._tokens is None:
            return network(self.masker.hide_image(image, mask))
        before = self._masking.before_pos
        with self.masker.hide_tokens(network, self._tokens, mask, before_position=before, skip=self._skip):
            return network(image)

    def with_whole(self, network: nn.Module, whole: Tensor, image: Tensor, mask: Tensor) -> tuple[Any, Any]:
        """Return what ``network`` gives of ``whole``, and of ``image`` where ``mask`` hides a part, from one pass of both.

        For networks that normalise each sample by itself: up to rounding, two passes say the same.
        """
        import torch

        nothing = mask.new_zeros(len(whole), *mask.shape[1:])
        found = self(network, torch.cat([whole, image]), torch.cat([nothing, mask]))
        if isinstance(found, list):
            return [level[: len(whole)] for level in found], [level[len(whole) :] for level in found]
        return found[: len(whole)], found[len(whole) :]


def normalises_each_sample(network: nn.Module) -> bool:
    """Return whether what a network says of a sample does not depend on the others of its batch."""
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.instancenorm import _InstanceNorm

    norms = [module for module in network.modules() if isinstance(module, _BatchNorm | _InstanceNorm)]
    return not any(isinstance(norm, _BatchNorm) or norm.track_running_stats for norm in norms)


def _level(setting: Setting) -> dict[str, str]:
    """Return that tokens are masked where there are tokens, and else blocks of the image.

    Blocks are filled with zeros: a learned fill needs the gradient of the whole image, which nothing else in
    a step does, and which costs a small network a tenth of its pass.
    """
    if setting.architecture.tokens(setting.patch):
        return {"level": "token"}
    return {"level": "image", "fill": "zero"}


def _mask_grid(setting: Setting, masking: MaskingParameters) -> Triple:
    tokens = setting.architecture.tokens(setting.patch)
    if masking.level == "token" and tokens is not None:
        return tokens.mask_grid
    return block_grid(setting.patch, masking.block)
