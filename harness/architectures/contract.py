"""What an architecture is: typed options, named presets, and where its patch tokens are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from harness.errors import UserError, did_you_mean
from harness.parsing import parse
from harness.spec import Frozen, Triple

if TYPE_CHECKING:
    from torch import nn

OptionsT = TypeVar("OptionsT", bound=Frozen)


@dataclass(frozen=True)
class Tokens:
    """Where a network turns the image into patch tokens, so that they can be masked from outside.

    Attributes:
        module: path of the module whose output are the tokens, as released codes mask them.
        before_position: path of the module whose output are the tokens before positions are added.
        layout: ``BNC`` for ``(B, N, C)`` with the first token axis slowest, ``BCDHW`` for ``(B, C, *grid)``.
        grid: number of tokens along each spatial axis.
        channels: size of one token.
        mask_grid: cells of the mask along each axis; coarser than ``grid`` where tokens are tiny.
    """

    module: str
    before_position: str
    layout: Literal["BNC", "BCDHW"]
    grid: Triple
    channels: int
    mask_grid: Triple


class Architecture(Generic[OptionsT]):
    """Base of all architectures. Derive, set the class attributes, write ``build``.

    Networks take ``(B, C, D, H, W)`` and return raw logits ``(B, classes, D, H, W)``, or, where deep
    supervision is on and the network is in training mode, a list of them, finest first. ``unused`` are parts
    of the names of parameters that a network carries and never uses. ``checkpoints`` are public weights by name: how their
    files are read, as keys below ``weights`` of a study. ``print_name``
    is what tables and figures call it; a class does not inherit it. ``compiles``: whether torch.compile takes its networks as
    they are, in training and in evaluation. ``differences`` are sentences on what it does
    otherwise than the code of its ``source``, on purpose.
    """

    version: ClassVar[int] = 1
    print_name: ClassVar[str] = ""
    differences: ClassVar[tuple[str, ...]] = ()
    summary: ClassVar[str]
    source: ClassVar[str]
    Options: ClassVar[type[Frozen]]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    unused: ClassVar[tuple[str, ...]] = ()
    checkpoints: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    compiles: ClassVar[bool] = False

    def __init__(self, options: OptionsT) -> None:
        self.options = options

    def spec_version(self) -> int:
        """Return the version that enters the ids of trials: ``version``, and one more with deep supervision.

        In the first release lower outputs were compared with labels that lay off by up to half of their voxels. Trials with
        the option ``deep_supervision`` have other ids since; those without it keep theirs.
        """
        return self.version + bool(getattr(self.options, "deep_supervision", False))

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], where: str) -> OptionsT:
        """Return the options of ``settings``: those of its ``preset`` (default ``tiny``), then its own keys.

        Raises:
            UserError: unknown preset, unknown key or wrong value.
        """
        own = dict(settings)
        preset = own.pop("preset", "tiny")
        if preset not in cls.presets:
            raise UserError(
                f"{where}: preset", repr(preset), "a preset", did_you_mean(str(preset), cls.presets)
            )
        return parse(cls.Options, {**cls.presets[preset], **own}, where)  # type: ignore[return-value]

    def multiple(self) -> Triple:
        """Return what the sides of a patch must be multiples of."""
        return (1, 1, 1)

    def needs_two_cells(self) -> bool:
        """Return whether a patch of one multiple along every axis is too small to train on.

        So it is where the coarsest features are normalised over space, by instance, and one voxel is left.
        """
        return False

    def supports(self, patch: Triple) -> str | None:
        """Return why a patch cannot be taken, with the nearest that can, or None."""
        multiple = self.multiple()
        cells = [max(1, round(side / m)) for side, m in zip(patch, multiple, strict=True)]
        if self.needs_two_cells() and max(cells) == 1:
            cells[0] = 2
        nearest = [count * m for count, m in zip(cells, multiple, strict=True)]
        if list(patch) == nearest:
            return None
        larger = ", and not all sides just that" if self.needs_two_cells() else ""
        return (
            f"patch {list(patch)}: sides must be multiples of {list(multiple)}{larger}; "
            f"the nearest patch that can be taken: {nearest}"
        )

    def build(self, in_channels: int, out_channels: int, patch: Triple) -> nn.Module:
        """Return the network with random weights drawn from PyTorch's global generator."""
        raise NotImplementedError

    def tokens(self, patch: Triple) -> Tokens | None:
        """Return where the patch tokens are, or None for a network without tokens."""
        return None

    def bottleneck(self) -> str | None:
        """Return the path of the module whose output are the deepest features, if it is one module.

        They are ``(B, C, D, H, W)`` or tokens ``(B, N, C)``, and the encoder has run when they are there.
        """
        return None

    def image_skip(self) -> str | None:
        """Return the path of a module that is fed with the raw image beside the tokens, if there is one."""
        return None
