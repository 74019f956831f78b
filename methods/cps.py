"""Cross pseudo supervision: two networks label unlabelled images for each other."""

from __future__ import annotations

from harness.training.method import Batch, Context, Losses, Progress
from harness.training.semi_supervised import (
    SemiSupervised,
    UnlabelledParameters,
    UnlabelledWeights,
    forward_both,
)


class CPSParameters(UnlabelledParameters):
    """Defaults of SSL4MIS, where 200 units of 150 steps are all the steps."""

    losses: UnlabelledWeights = UnlabelledWeights()


class CPS(SemiSupervised[CPSParameters]):
    """``L = sum over both of sup Seg(f_i(x), y) + cons ramp(t) CE(f_i(u), argmax f_j(u))``, j the other one.

    Pseudo labels are taken without gradient, on unlabelled patches alone, as in SSL4MIS. The networks begin
    from different draws of the architecture's own initialisation; the first, which is scored, from the same
    weights as every other method of the seed. One optimiser trains both, and the recipe's clipping looks at
    the norm of both gradients together.
    """

    differences = (
        "The weight of unlabelled patches rises at every step; the authors' code moves it every 150 steps (`ramp_every`).",
        "The supervised term and the optimiser are those of the recipe; the authors' code has a Dice of its own, and SGD.",
        "Both networks begin from draws of the network's own initialisation; SSL4MIS draws one by Kaiming's rule and one by Xavier's.",
    )
    print_name = "CPS"
    summary = "semi-supervised: two networks, each trained on the other's hard labels of unlabelled images"
    source = "Chen et al., CVPR 2021; settings of HiLab-git/SSL4MIS"
    Parameters = CPSParameters

    def setup(self, context: Context) -> None:
        """Build two networks; without a term that joins them, one."""
        from torch import nn

        self.modules = nn.ModuleDict({"student": context.build_network()})
        if self.parameters.losses.cons:
            self.modules["second"] = context.build_network("second network")
        self._segmentation = context.segmentation_loss

    def step(self, batch: Batch, progress: Progress) -> Losses:
        """Return the supervised and the cross terms of both networks."""
        from torch.nn import functional

        from harness.training.losses import finest

        weights = self.parameters.losses
        terms, weighed, unlabelled = {}, {}, {}
        for name, network in self.modules.items():
            labelled, other = forward_both(network, batch)
            term = "supervised" if name == "student" else "supervised_second"
            terms[term], weighed[term] = self._segmentation(labelled, batch.label), weights.sup
            if other is not None:
                unlabelled[name] = finest(other).float()
        for name, other_name in (("student", "second"), ("second", "student")) if unlabelled else ():
            pseudo = unlabelled[other_name].detach().argmax(dim=1)
            terms[f"cross_{name}"] = functional.cross_entropy(unlabelled[name], pseudo)
            weighed[f"cross_{name}"] = self.unlabelled_weight(progress)
        return Losses.weigh(terms, weighed)

    def forward_passes(self) -> int:
        """Return one for each network."""
        return 1 + bool(self.parameters.losses.cons)
