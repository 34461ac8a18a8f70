"""NICE: additive couplings and one scaling, between data and independent logistic codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.base import Flow
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.distributions import Logistic
from simulacra.nn.mlp import mlp


class NICE(Flow):
    """Additive couplings and one scaling, between data and independent logistic codes.

    Each coupling adds to one half of the values a function of the other half, so the map is
    inverted exactly and only the scaling changes volume.

    Paper: L. Dinh, D. Krueger, Y. Bengio, "NICE: Non-linear Independent Components Estimation",
        2014, arXiv 1410.8516, sections 3 and 4.
    Departs from the paper: values are standardised first, and counted; every coupling starts as
        the identity; a context, when given, enters every coupling.

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
        super().__init__(spec)
        self.couplings, self.hidden, self.context = couplings, tuple(hidden), context
        self.context_features = ContextEmbedding(context, spec, 32)
        told = self.context_features.width
        # the halves are the even and the odd values: (seen, changed) for even and odd couplings
        halves = ((spec.dims + 1) // 2, spec.dims // 2)
        self.m = nn.ModuleList(
            # every coupling starts as the identity
            mlp(halves[i % 2] + told, hidden, halves[1 - i % 2], zero=True)
            for i in range(couplings)
        )
        self.s = nn.Parameter(torch.zeros(spec.dims))

    def base(self, context: Tensor | None = None) -> Independent[Logistic]:
        """Independent standard logistic codes (equation 9), whatever the context."""
        zero = torch.zeros(self.spec.event_shape, dtype=self.s.dtype, device=self.s.device)
        # not validated: what is not finite must reach the likelihood, where it is counted
        codes = Logistic(zero, torch.ones_like(zero), validate_args=False)
        return Independent(codes, zero.ndim, validate_args=False)

    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Z = exp(s) ⊙ h(y), with h the couplings: log |det| is Σ s (section 3.3)."""
        told = self.context_features(context, y)
        flat = y.flatten(1)
        halves = [flat[:, 0::2], flat[:, 1::2]]
        for i, m in enumerate(self.m):
            seen, changed = i % 2, 1 - i % 2
            halves[changed] = halves[changed] + m(torch.cat([halves[seen], told], 1))
        z = self._join(halves) * self.s.exp()
        return z.view_as(y), self.s.sum().expand(y.shape[0])

    def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The couplings subtracted in reverse order."""
        told = self.context_features(context, z)
        flat = z.flatten(1) * torch.exp(-self.s)
        halves = [flat[:, 0::2], flat[:, 1::2]]
        for i, m in reversed(list(enumerate(self.m))):
            seen, changed = i % 2, 1 - i % 2
            halves[changed] = halves[changed] - m(torch.cat([halves[seen], told], 1))
        return self._join(halves).view_as(z)

    @staticmethod
    def _join(halves: list[Tensor]) -> Tensor:
        even, odd = halves
        flat = even.new_empty(even.shape[0], even.shape[1] + odd.shape[1])
        flat[:, 0::2], flat[:, 1::2] = even, odd
        return flat
