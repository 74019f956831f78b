"""What every method must do on every architecture that it supports.

The lists come from the registry, so a new method or architecture is tested without a line here.
"""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from pairs import covering
from torch import Tensor, nn

from harness import registry
from harness.data.preprocessing import prepare
from harness.data.splits import Split
from harness.data.trial_data import TrialData
from harness.errors import UserError
from harness.seeding import seed_everything
from harness.spec import TrialSpec, Triple, identity
from harness.study.resolve import Resolver
from harness.training.batches import pretraining_batches, training_batches
from harness.training.checkpoint import load_checkpoint, save_checkpoint
from harness.training.loop import DrawBatch, StepResult, Trainer
from harness.training.method import Batch, Losses, Method, Progress, Setting
from harness.trial.build import build_method

METHODS, ARCHITECTURES = registry.names("method"), registry.names("architecture")
PATCHES: list[Triple] = [(32, 32, 32), (64, 32, 32), (64, 64, 64), (96, 96, 96)]
CPU = torch.device("cpu")
STEPS = 2
# MONAI's transformer blocks carry this layer without ever using it
WITHOUT_GRADIENT = ("norm_cross_attn",)


def smallest_patch(architecture: str) -> Triple:
    entry = registry.load("architecture", architecture)
    built = entry(entry.resolve({"preset": "tiny"}, architecture))
    return next(patch for patch in PATCHES if built.supports(patch) is None)


def make_setting(architecture: str) -> Setting:
    entry = registry.load("architecture", architecture)
    built = entry(entry.resolve({"preset": "tiny"}, architecture))
    return Setting(architecture, built, "phantom", smallest_patch(architecture), "fp32")


def make_spec(method: str, architecture: str, **settings: Any) -> TrialSpec | str:
    """Return the trial that a study would run, or the reason why it would not.

    Of a method that pretrains, it is the pretraining: its trials are supervised ones.
    """
    fixed = {"dataset": "phantom", "shots": 2, "subset": 0, "seed": 7, "architecture.preset": "tiny"}
    fixed |= {"recipe.patch": smallest_patch(architecture), "recipe.steps": STEPS, "recipe.batch": 2}
    chosen = {"method": method, "architecture": architecture, **fixed, **settings}
    outcome = Resolver("contract.yaml").resolve(chosen)
    return outcome if isinstance(outcome, str) else outcome.node or outcome.spec


def presets(method: str, architecture: str) -> list[str | None]:
    return [*registry.load("method", method).presets(make_setting(architecture))] or [None]


def supported(method: str, architecture: str) -> bool:
    return isinstance(make_spec(method, architecture), TrialSpec)


HEAVY = ("mednext", "swin_unetr")  # a step takes seconds: these pairs run with the slow tests
PAIRS = covering(METHODS, ARCHITECTURES, supported)


def marks_of(method: str, architecture: str) -> list[pytest.MarkDecorator]:
    if (method, architecture) not in PAIRS:
        return [pytest.mark.full_matrix]
    return [pytest.mark.slow] if architecture in HEAVY else []


ARMS = [
    pytest.param(
        (method, preset, architecture),
        id="-".join(filter(None, (method, preset, architecture))),
        marks=marks_of(method, architecture),
    )
    for architecture in ARCHITECTURES
    for method in METHODS
    if supported(method, architecture)
    for preset in presets(method, architecture)
]


@pytest.fixture(scope="module")
def data_for(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[TrialSpec], TrialData]]:
    """Give the data of a trial on two labelled and two unlabelled phantom patients."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MEDCTX_CACHE", str(tmp_path_factory.mktemp("cache")))
    torch.set_num_threads(1)
    dataset = registry.load("dataset", "phantom")()
    cases = dataset.cases(None)[:4]
    ids = tuple(case.id for case in cases)

    def build(spec: TrialSpec) -> TrialData:
        cache = prepare(dataset, "phantom", cases, spec.recipe)
        return TrialData(dataset, Split(ids, (), (), "four cases"), ids[:2], cache, spec)

    yield build
    patch.undo()


def set_up(spec: TrialSpec, data: TrialData) -> tuple[Trainer, DrawBatch]:
    """Return a trainer at step 0 and its batches, made by the code path of trials."""
    method = build_method(spec, data, CPU)
    pretrains = spec.kind == "pretrain"
    draw = (
        pretraining_batches(data, spec.recipe, spec.seed)
        if pretrains
        else training_batches(data, method, spec.recipe, spec.seed)
    )
    return Trainer(method, spec.recipe, spec.seed, CPU, draw), draw


def networks(method: Method[Any]) -> dict[str, nn.Module]:
    """Return all networks of the architecture that the method holds, scored or not."""
    kind = type(method.modules["student"])
    return {name: module for name, module in method.modules.items() if type(module) is kind}


def advance(trainer: Trainer, stop: int) -> list[StepResult]:
    return [result for result in trainer.run_until(stop) if result is not None]


@dataclass
class Watch:
    """What each network was given and what it returned, while training ran."""

    inputs: dict[str, list[Tensor]] = field(default_factory=dict)
    outputs: dict[str, list[Tensor]] = field(default_factory=dict)
    losses: list[Losses] = field(default_factory=list)

    def attach(self, role: str, network: nn.Module) -> list[Any]:
        seen, given = self.inputs.setdefault(role, []), self.outputs.setdefault(role, [])

        def before(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.append(inputs[0].detach().clone())

        def after(_module: nn.Module, _inputs: Any, output: Any) -> None:
            given.append(first(output).detach().clone())

        return [network.register_forward_pre_hook(before), network.register_forward_hook(after)]


@dataclass
class Run:
    """Two steps, and the second one again from a checkpoint of the first."""

    spec: TrialSpec
    draw: DrawBatch
    method: Method[Any]
    losses: list[StepResult]
    start: dict[str, Tensor]
    end: dict[str, Any]
    resumed: dict[str, Any]
    resumed_losses: list[StepResult]
    watch: Watch
    unmasked: dict[str, Tensor]  # what the networks that are not trained give for the image of step 1


def first(output: Any) -> Tensor:
    """Return the finest output where there are several."""
    return output[0] if isinstance(output, list | tuple) else output


def watched_step(trainer: Trainer, draw: DrawBatch) -> tuple[list[StepResult], Watch, dict[str, Tensor]]:
    """Run one step; return also what every network saw, and what the others than the student give without mask."""
    image = draw(trainer.step).image
    roles = trainer.method.roles()
    with torch.no_grad():
        seed_everything("unmasked")
        unmasked = {
            role: first(copy.deepcopy(network)(image)) for role, network in roles.items() if role != "student"
        }
    watch = Watch()
    hooks = [
        hook for name, network in networks(trainer.method).items() for hook in watch.attach(name, network)
    ]
    step = trainer.method.step

    def noted(batch: Batch, progress: Progress) -> Losses:
        watch.losses.append(step(batch, progress))
        return watch.losses[-1]

    trainer.method.step = noted  # type: ignore[method-assign]
    results = advance(trainer, trainer.step + 1)
    for hook in hooks:
        hook.remove()
    return results, watch, unmasked


@pytest.fixture(scope="module", params=ARMS)
def run(
    request: pytest.FixtureRequest,
    data_for: Callable[[TrialSpec], TrialData],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    name, preset, architecture = request.param
    spec = make_spec(name, architecture, **({"method.preset": preset} if preset else {}))
    assert isinstance(spec, TrialSpec)
    data = data_for(spec)
    trainer, draw = set_up(spec, data)
    start = copy.deepcopy(trainer.method.state_dict())
    losses = advance(trainer, 1)
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    save_checkpoint(path, trainer.state_dict())
    losses += advance(trainer, STEPS)
    again, _ = set_up(spec, data)
    again.load_state_dict(load_checkpoint(path))
    resumed_losses, watch, unmasked = watched_step(again, draw)
    return Run(
        spec, draw, trainer.method, losses, start, trainer.state_dict(),
        again.state_dict(), resumed_losses, watch, unmasked,
    )  # fmt: skip


def test_every_step_has_finite_named_losses(run: Run) -> None:
    assert [result.step for result in run.losses] == [0, 1]
    for result in run.losses:
        assert len(result.losses) > 1, "no named term beside the total"
        assert all(math.isfinite(value) for value in result.losses.values()), result.losses


def test_the_total_has_a_gradient_and_the_terms_have_none(run: Run) -> None:
    (losses,) = run.watch.losses
    assert losses.total.requires_grad and losses.total.shape == ()
    assert all(not term.requires_grad and term.shape == () for term in losses.terms.values())


def test_every_role_predicts_raw_logits_of_the_patch(run: Run) -> None:
    roles = run.method.roles()
    assert "student" in roles
    dataset = registry.load("dataset", "phantom")
    restores = run.spec.kind == "pretrain"
    classes = len(dataset.channels) if restores else max(dataset.labels) + 1
    image = run.draw(0).image[:1]
    for role, network in roles.items():
        network.eval()
        with torch.no_grad():
            logits = first(network(image))
        assert logits.shape == (1, classes, *run.spec.recipe.patch), role
        if restores:
            continue  # an image
        sums = logits.sum(dim=1)
        assert logits.min() < 0 and not torch.allclose(sums, torch.ones_like(sums)), f"{role}: not raw"


def test_two_steps_change_every_trainable_parameter(run: Run) -> None:
    end = run.end["method"]
    trainable = {id(parameter) for parameter in run.method.trainable()}
    named = {
        name: parameter
        for name, parameter in run.method.modules.named_parameters()
        if id(parameter) in trainable
    }
    assert len(named) == len(trainable) > 0
    still = [
        name
        for name in named
        if torch.equal(run.start[name], end[name]) and not any(part in name for part in WITHOUT_GRADIENT)
    ]
    assert not still


def test_a_resumed_step_is_bit_equal_to_the_uninterrupted_one(run: Run) -> None:
    assert run.resumed_losses == run.losses[1:]
    assert run.resumed["step"] == run.end["step"] == STEPS
    one, other = run.end["method"], run.resumed["method"]
    assert one.keys() == other.keys()
    assert [key for key in one if not torch.equal(one[key], other[key])] == []
    moments, again = run.end["optimiser"]["state"], run.resumed["optimiser"]["state"]
    assert moments.keys() == again.keys()
    assert all(torch.equal(moments[i][name], again[i][name]) for i in moments for name in moments[i])


def test_only_the_student_is_trained_by_gradient(run: Run) -> None:
    others = {role: network for role, network in run.method.roles().items() if role != "student"}
    for role, network in others.items():
        for name, parameter in network.named_parameters():
            assert not parameter.requires_grad and parameter.grad is None, f"{role}.{name}"


def test_no_other_network_than_the_student_is_ever_masked(run: Run) -> None:
    if "masking" not in type(run.method.parameters).model_fields:
        pytest.skip("it hides nothing")
    image = run.draw(1).image
    for role, unmasked in run.unmasked.items():
        for seen, given in zip(run.watch.inputs[role], run.watch.outputs[role], strict=True):
            assert torch.equal(seen, image), f"{role} was given a changed image"
            assert torch.equal(given, unmasked), f"something changed {role} within its forward pass"


def test_forward_passes_are_counted_as_they_happen(run: Run) -> None:
    passes = Counter({role: len(seen) for role, seen in run.watch.inputs.items()})
    assert passes.total() == run.method.forward_passes()


def test_no_hook_is_left_on_a_network(run: Run) -> None:
    for network in networks(run.method).values():
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def has_deep_supervision(architecture: str) -> bool:
    return "deep_supervision" in registry.load("architecture", architecture).Options.model_fields


@pytest.mark.parametrize("ds", ["first", "all"])
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("architecture", filter(has_deep_supervision, ARCHITECTURES))
def test_medcontext_compares_lists_of_outputs(
    architecture: str, mode: str, ds: str, data_for: Callable[[TrialSpec], TrialData]
) -> None:
    """A teacher in training mode gives as many outputs as the student, one in evaluation mode the finest."""
    settings = {"method.teacher.mode": mode, "method.consistency.ds": ds, "method.losses.cons": 1.0}
    spec = make_spec("medcontext", architecture, **{"architecture.deep_supervision": True}, **settings)
    assert isinstance(spec, TrialSpec)
    trainer, _ = set_up(spec, data_for(spec))
    assert isinstance(trainer.method.roles()["student"](torch.zeros(2, 1, *spec.recipe.patch)), list)
    (result,) = advance(trainer, 1)
    assert all(value > 0 and math.isfinite(value) for value in result.losses.values()), result.losses


def has_extra_terms(method: str) -> bool:
    losses = registry.load("method", method).Parameters.model_fields.get("losses")
    return losses is not None and "sup" in losses.annotation.model_fields


@pytest.fixture(scope="module")
def supervised(
    data_for: Callable[[TrialSpec], TrialData],
) -> Callable[[str], tuple[list[float], dict[str, Tensor]]]:
    """Give the losses and the weights of two supervised steps on an architecture, which are run once."""

    @cache
    def run(architecture: str) -> tuple[list[float], dict[str, Tensor]]:
        spec = make_spec("supervised", architecture)
        assert isinstance(spec, TrialSpec)
        trainer, _ = set_up(spec, data_for(spec))
        losses = [result.losses["total"] for result in advance(trainer, STEPS)]
        return losses, trainer.method.roles()["student"].state_dict()

    return run


@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[pytest.mark.slow] if name in HEAVY else []) for name in ARCHITECTURES],
)
@pytest.mark.parametrize("method", filter(has_extra_terms, METHODS))
def test_without_its_extra_terms_a_method_gives_the_supervised_bits(
    method: str,
    architecture: str,
    data_for: Callable[[TrialSpec], TrialData],
    supervised: Callable[[str], tuple[list[float], dict[str, Tensor]]],
) -> None:
    terms = registry.load("method", method).Parameters.model_fields["losses"].annotation.model_fields
    off = {f"method.losses.{term}": float(term == "sup") for term in terms}
    bare = make_spec(method, architecture, **off)
    if isinstance(bare, str):
        pytest.skip(bare)
    losses, weights = supervised(architecture)
    trainer, _ = set_up(bare, data_for(bare))
    assert [result.losses["total"] for result in advance(trainer, STEPS)] == losses
    their = trainer.method.roles()["student"].state_dict()
    assert [key for key in weights if not torch.equal(weights[key], their[key])] == []


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    entry = registry.load("method", name)
    assert entry.summary and entry.source and entry.version >= 1 and entry.Parameters.__doc__


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", METHODS)
def test_parameters_survive_the_way_through_a_spec(name: str, architecture: str) -> None:
    entry, setting = registry.load("method", name), make_setting(architecture)
    for preset in presets(name, architecture):
        parameters = entry.resolve({"preset": preset} if preset else {}, name, setting)
        assert entry.Parameters(**identity(parameters)) == parameters


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_parameter_and_an_unknown_preset_are_refused(name: str) -> None:
    entry, setting = registry.load("method", name), make_setting(ARCHITECTURES[0])
    with pytest.raises(UserError, match="not_a_parameter"):
        entry.resolve({"not_a_parameter": 1}, name, setting)
    with pytest.raises(UserError, match="not_a_preset"):
        entry.resolve({"preset": "not_a_preset"}, name, setting)


def test_registered_entries_can_be_read_without_torch_monai_or_ray() -> None:
    code = (
        "import sys; from harness import registry\n"
        "for kind in registry.KINDS:\n"
        "    for name in registry.names(kind): registry.load(kind, name)\n"
        "print([name for name in ('torch', 'monai', 'ray') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
