"""Time of networks written here against a literal transcription of their papers' formulas.

Both have the same weights and run interleaved in one process, one thread; their outputs must agree to 1e-5.
Prints milliseconds of processor time (lower quartile) of forward plus backward, so that other processes disturb
little, and the ratio, one line for each network.

    python tests/benchmarks/attention_speed.py [--repeats N] [--networks nnformer,unetr_pp,paired_attention]
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness import registry
from harness.architectures.networks.nnformer import WindowAttention
from harness.architectures.networks.unetr_pp import PairedAttention
from harness.training.memory import keep_freed_memory

Pair = tuple[nn.Module, nn.Module, Tensor]  # ours, the transcription, an image


def nnformer() -> Pair:
    """nnFormer of 4 stages on 64 x 64 x 32 voxels, batch 2."""
    entry = registry.load("architecture", "nnformer")
    sizes = {
        "embed": 24, "strides": [(2, 2, 2)] * 3, "depths": (2, 2, 2, 2), "heads": (1, 2, 4, 8),
        "windows": [(4, 4, 4)] * 3 + [(2, 2, 2)], "decoder_depths": (2, 2, 2), "decoder_heads": (1, 2, 4),
    }  # fmt: skip
    patch = (64, 64, 32)
    ours = entry(entry.resolve(sizes, "benchmark")).build(1, 3, patch)
    return pair(ours, {WindowAttention: ExplicitWindowAttention}, torch.randn(2, 1, *patch))


def unetr_pp() -> Pair:
    """UNETR++ as published for Synapse, without dropout, batch 1."""
    entry = registry.load("architecture", "unetr_pp")
    own = {"preset": "synapse", "dropout": 0.0, "conv_dropout": 0.0, "deep_supervision": False}
    patch = (128, 128, 64)
    ours = entry(entry.resolve(own, "benchmark")).build(1, 14, patch)
    for name, parameter in ours.named_parameters():
        if name.endswith("gamma"):  # 1e-6 at first, which would hide the attention
            nn.init.ones_(parameter)
    return pair(ours, {PairedAttention: ExplicitPairedAttention}, torch.randn(1, 1, *patch))


def paired_attention() -> Pair:
    """The attention of UNETR++'s finest stage alone, at its published size."""
    ours = PairedAttention(32**3, 32, 4, 64, "shared", "concat", "original", 0.0)
    theirs = ExplicitPairedAttention(ours)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(1, 32**3, 32)


def pair(ours: nn.Module, literal: dict[type[nn.Module], Callable[..., nn.Module]], image: Tensor) -> Pair:
    """Return the network, a copy with each module of these classes replaced by its transcription, and the image."""
    ours = ours.to(memory_format=torch.channels_last_3d)  # as recipes have it by default
    theirs = copy.deepcopy(ours)
    for module in list(theirs.modules()):
        for name, child in module.named_children():
            if type(child) in literal:
                setattr(module, name, literal[type(child)](child))
    theirs.to(memory_format=torch.channels_last_3d).load_state_dict(ours.state_dict())
    return ours, theirs, image.to(memory_format=torch.channels_last_3d)


class ExplicitWindowAttention(nn.Module):
    """Window attention step by step as in Zhou et al. 2023: partition, project, softmax, reverse."""

    def __init__(self, like: WindowAttention) -> None:
        super().__init__()
        self.heads, self.grid, self.window, self.shift = like.heads, like.grid, like.window, like.shift
        channels = like.out.in_features
        self.project = nn.Linear(channels, like.project.out_features)
        self.out = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.zeros_like(like.bias))
        self.index, self.mask = like.index, like.mask

    def forward(self, x: Tensor, queries: Tensor | None = None) -> Tensor:
        padding = [
            n
            for side, w in zip(reversed(self.grid), reversed(self.window), strict=True)
            for n in (0, -side % w)
        ]

        def partitioned(tokens: Tensor) -> Tensor:
            tokens = functional.pad(tokens, (0, 0, *padding))
            if any(self.shift):
                tokens = torch.roll(tokens, [-s for s in self.shift], dims=(1, 2, 3))
            self.size = (b, d, h, w, c) = tokens.shape
            i, j, k = self.window
            tokens = tokens.view(b, d // i, i, h // j, j, w // k, k, c)
            return tokens.permute(0, 1, 3, 5, 2, 4, 6, 7).contiguous().view(-1, i * j * k, c)

        windows = partitioned(x)
        count, length, channels = windows.shape
        size = channels // self.heads
        parts = self.project(windows).reshape(count, length, -1, self.heads, size).permute(2, 0, 3, 1, 4)
        if queries is None:
            q, k, v = parts[0], parts[1], parts[2]
        else:
            q = partitioned(queries).view(count, length, self.heads, size).permute(0, 2, 1, 3)
            k, v = parts[0], parts[1]
        logits = (q * size**-0.5) @ k.transpose(-2, -1)
        bias = self.bias[self.index.view(-1)].view(length, length, -1).permute(2, 0, 1).contiguous()
        logits = logits + bias.unsqueeze(0)
        if self.mask is not None:
            n = len(self.mask)
            logits = logits.view(count // n, n, self.heads, length, length) + self.mask[None, :, None]
            logits = logits.view(-1, self.heads, length, length)
        windows = self.out((logits.softmax(dim=-1) @ v).transpose(1, 2).reshape(count, length, channels))
        b, d, h, w, c = self.size
        i, j, k = self.window
        tokens = windows.view(b, d // i, h // j, w // k, i, j, k, c)
        tokens = tokens.permute(0, 1, 4, 2, 5, 3, 6, 7).contiguous().view(b, d, h, w, c)
        if any(self.shift):
            tokens = torch.roll(tokens, self.shift, dims=(1, 2, 3))
        return tokens[:, : self.grid[0], : self.grid[1], : self.grid[2]].contiguous()


class ExplicitPairedAttention(nn.Module):
    """Efficient paired attention step by step as in Shaker et al. 2024, eqs. 1 to 5, halves concatenated."""

    def __init__(self, like: PairedAttention) -> None:
        super().__init__()
        self.heads = like.heads
        self.t1 = nn.Parameter(torch.ones(like.heads, 1, 1))
        self.t2 = nn.Parameter(torch.ones(like.heads, 1, 1))
        channels, places, projected = (
            like.qkvv.in_features,
            like.E.in_features,
            like.E.out_features,
        )
        self.qkvv = nn.Linear(channels, 4 * channels, bias=False)
        self.E = self.F = nn.Linear(places, projected)
        self.out_spatial = nn.Linear(channels, channels // 2)
        self.out_channel = nn.Linear(channels, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        parts = self.qkvv(x).reshape(b, n, 4, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v_c, v_s = (part.transpose(-2, -1) for part in parts)
        k_p, v_p = self.E(k), self.F(v_s)
        q, k = functional.normalize(q, dim=-1), functional.normalize(k, dim=-1)
        a_c = ((q @ k.transpose(-2, -1)) * self.t1).softmax(dim=-1)
        x_c = (a_c @ v_c).permute(0, 3, 1, 2).reshape(b, n, c)
        a_s = ((q.permute(0, 1, 3, 2) @ k_p) * self.t2).softmax(dim=-1)
        x_s = (a_s @ v_p.transpose(-2, -1)).permute(0, 3, 1, 2).reshape(b, n, c)
        return torch.cat((self.out_spatial(x_s), self.out_channel(x_c)), dim=-1)


NETWORKS: dict[str, Callable[[], Pair]] = {
    "nnformer": nnformer, "unetr_pp": unetr_pp, "paired_attention": paired_attention,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"{'network':18}{'ours ms':>10}{'literal ms':>12}{'literal / ours':>16}{'largest difference':>20}")
    for name in options.networks.split(","):
        torch.manual_seed(0)
        ours, theirs, image = NETWORKS[name]()
        difference = (ours.eval()(image) - theirs.eval()(image)).abs().max().item()
        if difference > 1e-5:
            raise SystemExit(f"{name}: outputs differ by {difference:.1e}")
        ours.train(), theirs.train()
        times: dict[nn.Module, list[float]] = {ours: [], theirs: []}
        for repeat in range(options.repeats + 2):
            for network in times:
                seconds = step(network, image)
                if repeat >= 2:
                    times[network].append(seconds)
        one, other = (sorted(values)[len(values) // 4] * 1000 for values in times.values())
        print(f"{name:18}{one:10.1f}{other:12.1f}{other / one:16.2f}{difference:20.1e}")


def step(network: nn.Module, image: Tensor) -> float:
    """Return the seconds of processor time of one forward and backward pass."""
    network.zero_grad(set_to_none=True)
    start = time.process_time()
    output = network(image)
    output.backward(output.detach())
    return time.process_time() - start


if __name__ == "__main__":
    main()
