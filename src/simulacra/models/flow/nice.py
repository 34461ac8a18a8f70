"""NICE: additive couplings and one scaling, between data and independent logistic codes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.base import Flow
from simulacra.models.flow.elementwise import Additive
from simulacra.models.flow.halves import HalvesCoupling
from simulacra.models.flow.maps import Scaling
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextKind
from simulacra.nn.distributions import Logistic


class NICE(Flow):
    """Additive couplings and one scaling, between data and independent logistic codes.

    Each coupling adds to one half of the values a function of the other half, so the map is
    inverted exactly and only the scaling changes volume.

    Paper: L. Dinh, D. Krueger, Y. Bengio, "NICE: Non-linear Independent Components Estimation",
        2014, arXiv 1410.8516, sections 3 and 4.
    Departs from the paper: levels are stretched by a logit and values standardised first, and
        counted; every coupling starts as the identity; a context, when given, enters every
        coupling; the log-scales s are ten times their weights, or an optimiser that moves each
        weight by its rate a step would not bring them where they belong.

    Args:
        spec: Ordered levels, or continuous vectors.
        couplings: Number of additive couplings, at least 2; the halves change places after each.
        hidden: Widths of each coupling's hidden layers.
        context: What the couplings are told beside the observation: none, label or vector.
    """

    takes = Takes(unordered=False, values=2)
    preset = {"weight_decay": 1e-4}
    small = (
        {"hidden": (8,)},
        {"hidden": (8,), "couplings": 3, "context": "label"},
        {"hidden": (8,), "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        couplings: int = 4,
        hidden: tuple[int, ...] = (512, 512),
        context: ContextKind = "none",
    ) -> None:
        if couplings < 2 or any(width < 1 for width in hidden):
            raise UsageError(
                f"couplings is at least 2 and hidden positive, got {couplings} and {hidden}"
            )
        super().__init__(spec, context)
        self.couplings, self.hidden = couplings, tuple(hidden)
        told = self.context_features.width
        # the even values are changed first, given the odd ones
        for i in range(couplings):
            self.maps.append(HalvesCoupling(spec.dims, Additive(), hidden, told, changes=1 - i % 2))
        self.maps.append(Scaling(spec.event_shape))

    def base(self, context: Tensor | None = None) -> Independent[Logistic]:
        """Independent standard logistic codes (equation 9), whatever the context."""
        zero = torch.zeros_like(self.shift)
        # not validated: what is not finite must reach the likelihood, where it is counted
        codes = Logistic(zero, torch.ones_like(zero), validate_args=False)
        return Independent(codes, zero.ndim, validate_args=False)
