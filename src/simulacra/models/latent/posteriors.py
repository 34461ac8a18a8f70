"""Approximate posteriors q(z | x): diagonal, with a full covariance, or moved by a flow."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Independent, MultivariateNormal, Normal
from torch.nn import functional as F

from simulacra.nn.masked_linear import MaskedLinear, deal_degrees
from simulacra.nn.precision import at_least_float32, full_precision

PosteriorKind = Literal["diagonal", "full", "flow"]


class Posterior(ABC):
    """A distribution over codes `(N, latent)` that noise is placed by.

    The Gaussian ones are `torch.distributions.Distribution`s; what moves on has `mean` and
    `rsample` alike.
    """

    mean: Any

    @abstractmethod
    def placed(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The code of standard normal noise, and what its units add to log q(z | x).

        Args:
            noise: `(N, latent)`.

        Returns:
            z `(N, latent)`, and `(N, latent)` in nats, of which a row sums to log q(z | x). They
            come from the noise itself: z − mean would lose it where the scale is small.
        """

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z | x) of any codes `(N, latent)`, nats, `(N,)`."""

    @abstractmethod
    def rates(self) -> Tensor | None:
        """KL(q(z | x) ‖ N(0, I)) by units, `(N, latent)` nats, or `None` without a closed form."""


class Diagonal(Independent[Normal], Posterior):
    """N(loc, diag scale²).

    Args:
        loc: `(N, latent)`.
        scale: `(N, latent)`, positive.
    """

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        # not validated: what is not finite must reach the likelihood, where it is counted
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)

    def placed(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z = μ + σ ε."""
        scale = self.base_dist.scale
        return self.base_dist.loc + scale * noise, log_normal(noise) - scale.log()

    def rates(self) -> Tensor:
        """½ (μ² + σ² − 1) − log σ (arXiv 1312.6114, appendix B)."""
        loc, scale = self.base_dist.loc, self.base_dist.scale
        return 0.5 * (loc.square() + scale.square() - 1) - scale.log()


class Full(MultivariateNormal, Posterior):
    """N(loc, L Lᵀ).

    Args:
        loc: `(N, latent)`.
        scale_tril: L `(N, latent, latent)`, lower triangular with a positive diagonal.
    """

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        super().__init__(loc, scale_tril=scale_tril, validate_args=False)

    def placed(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """z = μ + L ε; unit j given those before it has the deviation L_jj."""
        with full_precision(noise):
            moved = (self._unbroadcasted_scale_tril @ noise[..., None])[..., 0]
        return self.loc + moved, log_normal(noise) - self._deviations.log()

    def rates(self) -> Tensor:
        """½ (μ_j² + Σ_i L_ji² − 1) − log L_jj: what unit j costs when those before it are told."""
        squares = self._unbroadcasted_scale_tril.square().sum(-1)
        return 0.5 * (self.loc.square() + squares - 1) - self._deviations.log()

    @property
    def _deviations(self) -> Tensor:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1)


class Flowing(Posterior):
    """A diagonal Gaussian, whose draws an autoregressive flow moves on.

    Args:
        start: The Gaussian.
        steps: What moves a code, and gives log |∂z′/∂z| of each unit.
        features: What the steps are told of x, `(N, …)`.
    """

    def __init__(self, start: Diagonal, steps: nn.ModuleList, features: Tensor) -> None:
        self.start, self.steps, self.features = start, steps, features

    @property
    def mean(self) -> Tensor:
        """Where the flow moves the Gaussian's mean: the middle of q, if not its mean."""
        return self.placed(torch.zeros_like(self.start.mean))[0]

    def placed(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Kingma et al. 2016, arXiv 1606.04934, equations 10 to 14; units keep their places."""
        z, log_q = self.start.placed(noise)
        for step in self.steps:
            z, log_scale = step(z, self.features)
            log_q = log_q - log_scale
        return z, log_q

    def rates(self) -> None:
        """There is no closed form."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log q(z | x) of any codes, nats, `(N,)`: each step is undone, unit by unit."""
        log_scales = torch.zeros_like(z)
        for step in reversed(self.steps):
            assert isinstance(step, FlowStep)
            z, log_scale = step.inverse(z, self.features)
            log_scales = log_scales + log_scale
        scale = self.start.base_dist.scale
        noise = (z - self.start.base_dist.loc) / scale
        return (log_normal(noise) - scale.log() - log_scales).sum(1)

    def rsample(self) -> Tensor:
        """One code of each observation, `(N, latent)`."""
        return self.placed(torch.randn_like(self.start.mean))[0]

    @torch.no_grad()
    def sample(self) -> Tensor:
        """`rsample`, without gradients."""
        return self.rsample()


class FlowStep(nn.Module):
    """z′_i = σ_i z_i + (1 − σ_i) m_i, where m and σ see the units before i and what x says.

    Args:
        latent: Size of a code.
        features: Width of what x says.
        width: Of the hidden layer.
        backwards: Whether the units before i are those of larger numbers.
    """

    def __init__(self, latent: int, features: int, width: int, *, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards
        order = torch.arange(latent)[None]
        hidden = deal_degrees(width, 0, max(latent - 1, 0), 1, 0)
        self.first = MaskedLinear(order, hidden)
        self.told = nn.Linear(features, width, bias=False)
        self.last = MaskedLinear(hidden, (order - 1).repeat(1, 2))
        # what x says reaches the first unit too, which sees no other
        self.direct = nn.Linear(features, 2 * latent, bias=False)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.direct.weight)

    def inverse(self, moved: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The codes that were moved to these, and log σ, `(N, latent)` each."""
        z = torch.zeros_like(moved)
        units = range(z.shape[1])
        # one after another: each depends on those before it alone
        for unit in reversed(units) if self.backwards else units:
            forth, log_scale = self(z, features)
            z[:, unit] = (moved - forth)[:, unit] * (-log_scale[:, unit]).exp()
        return z, log_scale

    def forward(self, z: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The moved codes and log σ, `(N, latent)` each."""
        z = z.flip(1) if self.backwards else z
        hidden = (self.first(z) + self.told(features)).relu()
        raw = at_least_float32(self.last(hidden)) + at_least_float32(self.direct(features))
        m, gate = raw.chunk(2, 1)
        # nearly the identity to begin with (the paper's appendix advises so)
        log_scale = F.logsigmoid(gate + 2)
        scale = log_scale.exp()
        moved = scale * z + (1 - scale) * m
        if self.backwards:
            return moved.flip(1), log_scale.flip(1)
        return moved, log_scale


_FLOW_STEPS, _FLOW_WIDTH, _FLOW_FEATURES = 4, 128, 64


class PosteriorHead(nn.Module):
    """An encoder's numbers as q(z | x).

    Args:
        kind: Which family.
        latent: Size of a code.

    Attributes:
        numbers: How many an encoder has to give for each observation.
    """

    def __init__(self, kind: PosteriorKind, latent: int) -> None:
        super().__init__()
        self.kind, self.latent = kind, latent
        below = latent * (latent - 1) // 2
        self.numbers = 2 * latent + {"full": below, "flow": _FLOW_FEATURES}.get(kind, 0)
        if kind == "flow":
            self.steps = nn.ModuleList(
                FlowStep(latent, _FLOW_FEATURES, _FLOW_WIDTH, backwards=i % 2 == 1)
                for i in range(_FLOW_STEPS)
            )

    def forward(self, raw: Tensor) -> Diagonal | Full | Flowing:
        """The posterior of numbers `(N, numbers)`."""
        loc, log_scale = raw[:, : 2 * self.latent].chunk(2, 1)
        scale, rest = log_scale.clamp(-10, 10).exp(), raw[:, 2 * self.latent :]
        if self.kind == "full":
            rows, columns = torch.tril_indices(self.latent, self.latent, -1, device=raw.device)
            below = rows * self.latent + columns
            tril = torch.diag_embed(scale).flatten(1).index_add(1, below, rest)
            return Full(loc, tril.unflatten(1, (self.latent, self.latent)))
        start = Diagonal(loc, scale)
        return Flowing(start, self.steps, rest) if self.kind == "flow" else start


def log_normal(z: Tensor) -> Tensor:
    """Standard normal log-density of each value, in nats."""
    return -0.5 * (z.square() + math.log(2 * math.pi))
