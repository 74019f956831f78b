"""What each weighted term of a method's loss is worth: its share of the loss, and of the gradient.

Trains one planned trial as the harness does, without validation and test, and looks at the terms at some of its steps: each
times its weight, over the sum of all, and the norm of its gradient, over the sum of the norms. A term that is said to matter
and has a hundredth of the gradient does not. Nothing is kept.

    python tests/benchmarks/term_shares.py STUDY KEY=VALUE... [--data DIR] [--looks N]

Keys and values are those of one trial, as in ``medctx run --only``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from trials import planned, untrained

from harness.data.caches import data_folder
from harness.spec import TrialSpec
from harness.training.batches import training_batches
from harness.training.method import Losses, Progress


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study")
    parser.add_argument("trial", nargs="+", metavar="KEY=VALUE")
    parser.add_argument("--data")
    parser.add_argument("--looks", type=int, default=5)
    options = parser.parse_args()
    spec = planned(options.study, dict(pair.split("=", 1) for pair in options.trial))
    print(f"{'step':>8}{'term':>16}{'of loss':>10}{'of gradient':>13}")
    for step, shares in looks(spec, options.data, options.looks):
        for name, (of_loss, of_gradient) in shares.items():
            print(f"{step:8}{name:>16}{of_loss:10.2%}{of_gradient:13.2%}", flush=True)


def looks(
    spec: TrialSpec, data: str | None, count: int
) -> Iterator[tuple[int, dict[str, tuple[float, float]]]]:
    """Yield the shares of loss and gradient by term at ``count`` steps, the first and the last of them too."""
    trainer, trial_data = untrained(spec, data_folder(data))
    method = trainer.method
    draw = training_batches(trial_data, method, spec.recipe, spec.seed)
    student = list(method.modules["student"].parameters())
    last = spec.recipe.steps - 1
    for step in sorted({round(last * look / max(1, count - 1)) for look in range(count)}):
        for _ in trainer.run_until(step):
            pass
        with weighed() as terms:  # what this step is about to do
            batch = draw(step)
            batch = replace(batch, label=batch.label.long())
            method.step(batch, Progress(step, spec.recipe.steps, spec.seed))
        yield step, shares_of(terms, student)


@contextmanager
def weighed() -> Iterator[dict[str, Tensor]]:
    """Give the weighted terms, with their graphs, of the losses that are computed within."""
    terms: dict[str, Tensor] = {}
    weigh = Losses.weigh

    def watched(found: Mapping[str, Tensor], weights: Mapping[str, float]) -> Losses:
        terms.update({name: weights[name] * term for name, term in found.items() if name in weights})
        return weigh(found, weights)

    Losses.weigh = staticmethod(watched)  # type: ignore[method-assign,assignment]
    try:
        yield terms
    finally:
        Losses.weigh = weigh  # type: ignore[method-assign]


def shares_of(terms: Mapping[str, Tensor], parameters: list[nn.Parameter]) -> dict[str, tuple[float, float]]:
    """Return each term's share of the loss and of the sum of all gradients' norms."""
    norms = {}
    for name, term in terms.items():
        found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        norms[name] = torch.stack([part.norm() for part in found if part is not None]).norm().item()
    total, length = sum(term.item() for term in terms.values()), sum(norms.values())
    return {name: (term.item() / total, norms[name] / length) for name, term in terms.items()}


if __name__ == "__main__":
    main()
