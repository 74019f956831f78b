"""What the author of a method, an architecture or a dataset wants to know before a study: is the contract kept?

Nothing is written but to the cache of preprocessed data.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness import registry
from harness.architectures.contract import Architecture
from harness.data.default_recipe import DefaultRecipes
from harness.data.part_counts import PATIENTS_NOT_KNOWN
from harness.errors import UserError
from harness.parsing import parse
from harness.plugins.parameters import parameter_findings
from harness.plugins.rehearsal import bits_after, must, overfit, rehearse, same_bits, trainer_of
from harness.seeding import seed_everything
from harness.spec import Recipe, TrialSpec, Triple
from harness.study.file import ReportSpec

_PATCHES: tuple[Triple, ...] = ((32, 32, 32), (64, 32, 32), (32, 64, 64), (64, 64, 64), (96, 96, 96))
_BATCH = (
    2  # not 1: for a single small sample PyTorch takes convolutions that are several times slower on a CPU
)
_CLASSES = 3
_CHEAPEST = "unet"  # of a step
_WITH_TOKENS = "unetr"  # with positions and a skip of the raw image, too: where most parameters do something
_LEAST_DICE, _SECONDS, _STEPS = 0.9, 150.0, 2000
_LEARNS = f"learns two organs to Dice above {_LEAST_DICE}"


@dataclass(frozen=True)
class Finding:
    """One check: its name, whether it was passed, and what was seen."""

    check: str
    passed: bool
    seen: str


Check = Callable[[], str]


class _Broken(Exception):
    """A check is not passed; the message says what was seen."""


def check_plugin(
    kind: registry.Kind, name: str, data_root: Path | None = None, *, quick: bool = False
) -> Iterator[Finding]:
    """Yield what was found, check by check.

    Args:
        kind: of the plug-in.
        name: as in a study.
        data_root: where a dataset's files lie.
        quick: leave out what takes longest: whether it learns, and whether every parameter does something.

    Raises:
        UserError: the name is unknown, or nothing fits what is to be tried.
    """
    entry = registry.load(kind, name)
    checks = {"architecture": _architecture, "method": _method, "dataset": _dataset}[kind]
    for label, check in checks(entry, name, data_root):
        if not (quick and label == _LEARNS):
            yield _attempt(label, check)
    if kind == "method" and not quick:
        partner, patch = _partner(name, _WITH_TOKENS)
        for pretraining in [stage == "pretrain" for stage in entry.stages][:1]:
            settings = {"recipe.patch": patch, "recipe.steps": 3, "recipe.batch": _BATCH}
            for path, passed, seen in parameter_findings(name, partner, settings, pretraining):
                yield Finding(f"parameter {path}", passed, seen)


def _attempt(label: str, check: Check) -> Finding:
    try:
        return Finding(label, True, check())
    except _Broken as broken:
        return Finding(label, False, str(broken))
    except UserError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Finding(
            label,
            False,
            f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})",
        )


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Broken(otherwise)


def _architecture(entry: type[Any], name: str, _root: Path | None) -> Iterator[tuple[str, Check]]:
    architecture: Architecture[Any] = entry(entry.resolve({"preset": "tiny"}, name))
    patch = _taken_patches(architecture, name)[0]
    image = torch.randn(2, 1, *patch, generator=torch.Generator().manual_seed(0))

    def build(seed: int = 0) -> nn.Module:
        seed_everything(seed, "network")
        return architecture.build(1, _CLASSES, patch)

    def outputs() -> str:
        network = build()
        expected = (2, _CLASSES, *patch)
        with torch.no_grad():
            evaluated, trained = network.eval()(image), network.train()(image)
        _expect(isinstance(evaluated, Tensor), f"a {type(evaluated).__name__} in evaluation mode")
        levels = trained if isinstance(trained, list) else [trained]
        for shape in (tuple(evaluated.shape), tuple(levels[0].shape)):
            _expect(shape == expected, f"{shape} instead of {expected}")
        _expect(all(level.shape[:2] == expected[:2] for level in levels), "a lower output of other channels")
        return f"{expected} from {tuple(image.shape)}, {len(levels)} output(s) in training"

    def raw() -> str:
        with torch.no_grad():
            logits = build().eval()(image)
        sums = logits.sum(dim=1)
        normal = torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
        _expect(not normal and float(logits.min()) < 0, "values that look like probabilities")
        return f"from {float(logits.min()):.2f} to {float(logits.max()):.2f}"

    def gradients() -> str:
        network = build().train()
        output = network(image)
        levels = output if isinstance(output, list) else [output]
        sum(level.square().mean() for level in levels).backward()
        bare = {key for key, parameter in network.named_parameters() if parameter.grad is None}
        declared = {key for key in bare if any(part in key for part in architecture.unused)}
        _expect(bare == declared, f"none for {sorted(bare - declared)[:5]}; name what is meant in 'unused'")
        return f"all parameters but {len(declared)} declared as unused"

    def state() -> str:
        one, other = build(0).eval(), build(1).eval()
        other.load_state_dict(one.state_dict(), strict=True)
        with torch.no_grad():
            _expect(torch.equal(one(image), other(image)), "another output after the state was loaded")
        return f"{len(one.state_dict())} entries"

    yield "output", outputs
    yield "raw logits", raw
    yield "gradient reaches every parameter", gradients
    yield "state dict round trip", state
    yield from _training(ReportSpec().baseline, name, patch)


def _method(entry: type[Any], name: str, _root: Path | None) -> Iterator[tuple[str, Check]]:
    partner, patch = _partner(name, _CHEAPEST)
    settings = {"recipe.patch": patch, "recipe.batch": _BATCH}
    spec = must(rehearse(name, partner, settings), f"method {name!r}")

    def roles() -> str:
        trainer, _ = trainer_of(spec)
        found = trainer.method.roles()
        _expect("student" in found, f"roles {sorted(found)} without a student")
        shape = (1, _CLASSES, *patch)
        for role, network in found.items():
            with torch.no_grad():
                logits = network.eval()(torch.randn(1, 1, *patch))
            _expect(tuple(logits.shape) == shape, f"{role}: {tuple(logits.shape)} instead of {shape}")
            _expect(float(logits.min()) < 0, f"{role}: values that look like probabilities")
        return f"{', '.join(found)} give {shape} on {partner}"

    def gradients() -> str:
        trainer, _ = trainer_of(spec)
        method, before = trainer.method, {}
        trained = {id(parameter) for parameter in method.trainable()}
        named = {key: value for key, value in method.modules.named_parameters() if id(value) in trained}
        before = {key: value.detach().clone() for key, value in named.items()}
        _expect(bool(named), "nothing to train")
        for _ in trainer.run_until(2):
            pass
        unused = registry.load("architecture", partner).unused
        still = [key for key, value in named.items() if torch.equal(value, before[key])]
        still = [key for key in still if not any(part in key for part in unused)]
        _expect(not still, f"two steps do not move {still[:5]}")
        return f"two steps move all of {len(named)}"

    def state() -> str:
        trainer, _ = trainer_of(spec)
        for _ in trainer.run_until(1):
            pass
        kept = {key: value.clone() for key, value in trainer.method.state_dict().items()}
        other, _ = trainer_of(spec)
        other.method.load_state_dict(kept)
        loaded = other.method.state_dict()
        changed = [key for key in kept if not torch.equal(kept[key], loaded[key])]
        _expect(kept.keys() == loaded.keys() and not changed, f"{changed[:5]} are not restored")
        return f"{len(kept)} entries"

    yield "roles", roles
    yield "gradient reaches every parameter", gradients
    yield "state dict round trip", state
    yield from _training(name, partner, patch)


def _training(method: str, architecture: str, patch: Triple) -> Iterator[tuple[str, Check]]:
    """Yield what holds for a method on an architecture: same bits twice, and a case that is learnt by heart."""
    settings = {"recipe.patch": patch, "recipe.steps": _STEPS, "recipe.schedule": "constant"}
    settings |= {"recipe.batch": _BATCH}

    spec = must(rehearse(method, architecture, settings), method)

    def deterministic() -> str:
        runs = [bits_after(spec, 2) for _ in range(2)]
        _expect(same_bits(*runs), "two runs of two steps differ")
        return "two runs of two steps give the same bits"

    def learns() -> str:
        score, steps, seconds = overfit(spec, _LEAST_DICE, _SECONDS)
        seen = f"mean Dice {score:.2f} after {steps} steps, {seconds:.0f} s, of {method} on {architecture}"
        _expect(score > _LEAST_DICE, seen)
        return seen

    yield "deterministic step", deterministic
    yield _LEARNS, learns


def _dataset(entry: type[Any], name: str, root: Path | None) -> Iterator[tuple[str, Check]]:
    dataset = entry()
    cases = dataset.cases(root)

    def listing() -> str:
        ids = [case.id for case in cases]
        _expect(len(set(ids)) == len(ids) >= 3, f"{len(ids)} cases, {len(set(ids))} ids; 3 at least")
        _expect(ids == sorted(ids), "cases that are not sorted by id")
        patients = f" of {len({case.patient for case in cases})} patients"
        return f"{len(ids)} cases" + (
            patients if dataset.knows_patients(cases) else f"; {PATIENTS_NOT_KNOWN}"
        )

    def declarations() -> str:
        recipe = parse(Recipe, DefaultRecipes(root).of(entry, {}), f"dataset {name}: recipe")
        _expect(dataset.labels.get(0) is not None, "no background (0) among the labels")
        values = {value for region in dataset.scored_regions().values() for value in region}
        _expect(
            values <= set(dataset.labels),
            f"regions of undeclared labels {sorted(values - set(dataset.labels))}",
        )
        lacking = dataset.scored_regions().keys() ^ dataset.tolerances.keys() if dataset.tolerances else ()
        _expect(not lacking, f"tolerances that are not one for each region: {', '.join(sorted(lacking))}")
        return f"patch {list(recipe.patch)}, regions {', '.join(dataset.scored_regions())}"

    def volumes() -> str:
        seen: set[int] = set()
        wanted = np.min_scalar_type(max(dataset.file_labels()))  # uint8, unless a label is above 255
        dataset.numbering()
        for case in cases:
            image, label = dataset.image(case), dataset.label(case)
            _expect(image.array.dtype == np.float32 and label.array.dtype == wanted, f"{case.id}: dtypes")
            _expect(len(image.array) == len(dataset.channels), f"{case.id}: {len(image.array)} channels")
            _expect(image.array.shape[1:] == label.array.shape, f"{case.id}: image and label differ in shape")
            _expect(np.allclose(image.affine, label.affine, atol=1e-3), f"{case.id}: affines differ")
            _expect(bool(np.isfinite(image.array).all()), f"{case.id}: NaN or infinity")
            seen |= {int(value) for value in np.unique(label.array)} - {dataset.ignore}
        _expect(seen == set(dataset.labels), f"labels {sorted(seen)}, declared {sorted(dataset.labels)}")
        return f"{len(cases)} images and labels agree; labels {sorted(seen)} occur"

    def content() -> str:
        first = [dataset.content(case) for case in cases]
        _expect(first == [entry().content(case) for case in cases], "hashes that change from call to call")
        _expect(len(set(first)) == len(first), "two cases of the same content")
        return "hashes are stable and tell the cases apart"

    yield "cases", listing
    yield "declarations", declarations
    yield "volumes", volumes
    yield "content", content


def _taken_patches(architecture: Architecture[Any], name: str) -> list[Triple]:
    taken = [patch for patch in _PATCHES if architecture.supports(patch) is None]
    if not taken:
        raise UserError(
            f"architecture {name!r}", f"none of the patches {_PATCHES} is taken", "one", "See 'supports'."
        )
    return taken


def _partner(method: str, first: str) -> tuple[str, Triple]:
    """Return a registered architecture that the method runs on, and the smallest patch: ``first``, if it does."""
    reason = "no architecture is registered"
    for name in [first, *registry.names("architecture")]:
        entry = registry.load("architecture", name)
        for patch in _taken_patches(entry(entry.resolve({"preset": "tiny"}, name)), name):
            spec = rehearse(method, name, {"recipe.patch": patch})
            if isinstance(spec, TrialSpec):
                return name, patch
            reason = spec
    raise UserError(
        f"method {method!r}", f"no network that it can be tried on ({reason})", "one", "See 'supports'."
    )
