"""Segmentation losses by name, and consistency losses between two networks' logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

Logits = Tensor | list[Tensor]


def finest(logits: Logits) -> Tensor:
    """Return the output at full resolution, of a network with or without deep supervision."""
    return logits if isinstance(logits, Tensor) else logits[0]


def segmentation_loss(name: str, ignore: int | None = None) -> Callable[[Logits, Tensor], Tensor]:
    """Return a loss of logits ``(B, K, D, H, W)``, or a list of them finest first, and labels ``(B, 1, D, H, W)``.

    ``dice_ce``: soft Dice per sample with squared denominators, background included, plus cross-entropy, as
    UNETR's released training (MONAI's DiceCELoss). ``dice_ce_nnunet``: soft Dice over the batch without
    background, smoothed by 1e-5, plus cross-entropy, as nnU-Net where patches show a small part of a volume;
    ``dice_ce_nnunet_sample``: the same with Dice per sample, as nnU-Net otherwise. Lower outputs of deep
    supervision weigh half of the one above, against :func:`reduced_labels`; the weights sum to 1.

    Args:
        name: of the loss.
        ignore: label of voxels that are not counted: sums of the Dice leave them out, and the cross-entropy is the
            mean over the others. Where there is no other, the loss has no gradient.
    """
    from monai.losses import DiceCELoss

    unetr = {"squared_pred": True, "smooth_nr": 0.0, "smooth_dr": 1e-6}
    nnunet = {
        "include_background": False,
        "batch": name == "dice_ce_nnunet",
        "smooth_nr": 1e-5,
        "smooth_dr": 1e-5,
    }
    settings = unetr if name == "dice_ce" else nnunet
    loss: Callable[[Tensor, Tensor], Tensor]
    if ignore is None:
        loss = DiceCELoss(softmax=True, to_onehot_y=True, **settings)
    else:
        loss = _counted_loss(settings, ignore)

    def supervise(logits: Logits, label: Tensor) -> Tensor:
        if isinstance(logits, Tensor):
            return loss(logits.float(), label)
        weights = [0.5**level for level in range(len(logits))]
        total = torch.zeros((), device=label.device)
        for weight, output in zip(weights, logits, strict=True):
            target = reduced_labels(label, output.shape[2:])
            total = total + weight / sum(weights) * loss(output.float(), target)
        return total

    return supervise


def reduced_labels(label: Tensor, size: Sequence[int]) -> Tensor:
    """Return labels ``(B, 1, D, H, W)`` on a coarser grid: of the voxel in which the centre of each new one lies.

    Where the centre lies between two, the one further on counts, as in nnU-Net, nnFormer and UNETR++ (scikit-image's
    ``resize`` of order 0).
    """
    return functional.interpolate(label.float(), size=list(size), mode="nearest-exact").to(label.dtype)


def _counted_loss(settings: Mapping[str, Any], ignore: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Return soft Dice plus cross-entropy over the voxels that do not carry the label ``ignore``."""
    from monai.losses import DiceLoss

    dice = DiceLoss(softmax=True, to_onehot_y=True, ignore_index=ignore, **settings)

    def loss(logits: Tensor, label: Tensor) -> Tensor:
        target = label[:, 0].long()
        entropy = functional.cross_entropy(logits, target, ignore_index=ignore, reduction="sum")
        counted = (target != ignore).sum().clamp_min(1)
        overlap: Tensor = dice(logits, label)
        return overlap + entropy / counted

    return loss


Consistency = Literal["mse_logits", "mse_softmax", "kl", "soft_ce", "cosine", "spatial_ce", "spatial_kl"]
Norm = Literal["fro", "per_sample", "rms", "none"]


def consistency_loss(
    target: Tensor, student: Tensor, kind: Consistency, norm: Norm, region: Tensor | None = None
) -> Tensor:
    """Return the distance of the student's logits from the target's, both ``(B, K, D, H, W)``.

    ``mse_logits`` with ``fro`` is the term of MedContext's released trainers,
    ``mean((z_t - z_m)^2) / ||z_t||_F``, both over the whole batch tensor; the other kinds are those left
    commented out there.

    Args:
        target: logits of the teacher; no gradient is taken unless they carry one.
        student: logits of the masked branch.
        kind: ``mse_logits`` and ``mse_softmax`` average squares over all elements; ``kl`` and ``soft_ce``
            compare classes at each voxel; ``cosine`` is one minus the mean cosine of class probabilities
            (target sharpened with temperature 0.5); ``spatial_ce`` and ``spatial_kl`` compare, for each
            class, distributions over all voxels.
        norm: what the value is divided by: the Frobenius norm of the target's logits over the batch,
            the norm of each sample's, the root mean square of the logits, or nothing.
        region: boolean ``(B, D, H, W)``, the voxels that count; None for all.
    """
    per_voxel = _per_voxel(target, student, kind)
    if per_voxel is None:
        per_sample = _spatial(target, student, kind, region)
    elif norm == "per_sample":
        per_sample = torch.stack(
            [_mean(values, None if region is None else region[i]) for i, values in enumerate(per_voxel)]
        )
    else:
        return _mean(per_voxel, region) / _divisor(target, norm)
    return (per_sample / _divisor(target, norm)).mean()


def _divisor(target: Tensor, norm: Norm) -> Tensor:
    """Return what the loss is divided by, without gradient: one number, or one for each sample."""
    values = target.detach().float()
    if norm == "fro":
        return values.norm().clamp_min(1e-12)
    if norm == "per_sample":
        return values.flatten(1).norm(dim=1).clamp_min(1e-12)
    if norm == "rms":
        return values.square().mean().sqrt().clamp_min(1e-12)
    return torch.ones((), device=target.device)


def _mean(values: Tensor, region: Tensor | None) -> Tensor:
    if region is None:
        return values.mean()
    return (values * region).sum() / region.sum().clamp_min(1)


def _per_voxel(target: Tensor, student: Tensor, kind: Consistency) -> Tensor | None:
    """Return the loss at each voxel ``(B, D, H, W)``, or None for the kinds that compare whole volumes."""
    target, student = target.float(), student.float()
    if kind == "mse_logits":
        return (target - student).square().mean(dim=1)
    if kind == "mse_softmax":
        return (target.softmax(1) - student.softmax(1)).square().mean(dim=1)
    if kind == "soft_ce":
        return -(target.softmax(1) * student.log_softmax(1)).sum(dim=1)
    if kind == "kl":
        return (target.softmax(1) * (target.log_softmax(1) - student.log_softmax(1))).sum(dim=1)
    if kind == "cosine":
        return 1 - functional.cosine_similarity((target / 0.5).softmax(1), student.softmax(1), dim=1)
    return None


def _spatial(target: Tensor, student: Tensor, kind: Consistency, region: Tensor | None) -> Tensor:
    """Return the loss of each sample ``(B,)``, the mean over classes."""
    target, student = target.float().flatten(2), student.float().flatten(2)
    if region is not None:
        hidden = ~region.flatten(1)[:, None]
        lowest = torch.finfo(target.dtype).min
        target, student = target.masked_fill(hidden, lowest), student.masked_fill(hidden, lowest)
    share = target.softmax(2)
    if kind == "spatial_ce":
        per_class = -(share * student.log_softmax(2))
    else:
        per_class = share * (target.log_softmax(2) - student.log_softmax(2))
    if region is not None:
        per_class = per_class.masked_fill(hidden, 0.0)
    return per_class.sum(dim=2).mean(dim=1)


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Return the contrastive loss of two views ``(B, C)`` of each sample (SimCLR, Chen et al., ICML 2020)."""
    vectors = functional.normalize(torch.cat([one, other]), dim=1)
    logits = vectors @ vectors.T / temperature
    logits = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool, device=logits.device), -torch.inf)
    partner = torch.arange(len(logits), device=logits.device).roll(len(one))
    return functional.cross_entropy(logits, partner)
