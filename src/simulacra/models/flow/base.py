"""`Flow`: what every invertible model has in common, dequantisation first."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.nn.functional import logsigmoid

from simulacra.ground.randomness import keyed_uniform
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.completion import DensityCompletion
from simulacra.models.flow.dequantiser import Dequantiser
from simulacra.models.flow.maps import FlowMap
from simulacra.models.model import Invertible, Latent, Likelihood
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.distributions import importance_weighted
from simulacra.nn.levels import to_levels
from simulacra.nn.precision import moments


class Flow(Likelihood, Invertible, Latent, DensityCompletion):
    """An invertible map from data to a simple density, made of maps one after another.

    log p(y) = log p(z) + Σ_l log |det ∂f_l|, with z = f_L(… f_1(y)). Continuous vectors are mapped
    as they are. Discrete levels are dequantised: y = x + u, and log P(x) ≥ E log p(x + u) − log q(u
    | x), which importance draws tighten. The noise u in [0, 1)^D is uniform (Theis, van den Oord
    and Bethge 2016, arXiv 1511.01844), or drawn by a flow of its own, given x (`Dequantiser`). The
    range of levels is then stretched over all numbers, by the logit of y / levels, so that no
    probability is lost beyond the ends (RealNVP, arXiv 1605.08803, section 4.1). Before the first
    map values are standardised with moments taken from the training data. Of all this the
    Jacobians are counted.

    A flow has `maps`, and its density `base`; or implements `transform` and its inverse `invert`.

    Args:
        spec: The form of the data.
        context: What each map is told beside the observation: none, label or vector.

    Example:
        >>> import simulacra as sim, torch
        >>> class Gaussian(sim.Flow):
        ...     pass  # without any map: standardised values that are normal
        >>> model = Gaussian(sim.DataSpec((2,), levels=None))
        >>> model.prepare(5 + torch.randn(1000, 2))
        >>> bool((model.sample(1000).mean(0) - 5).abs().max() < 0.5)
        True
    """

    laws = ("simulacra.models.flow.laws",)
    shift: Tensor
    log_scale: Tensor
    maps: nn.ModuleList
    """Each a `FlowMap`, the first of which meets the data."""
    dequantiser: Dequantiser | None
    """Draws the noise given the levels; it is uniform without."""

    def __init__(self, spec: DataSpec, context: ContextKind = "none") -> None:
        super().__init__(spec)
        self.context = context
        self.context_features = ContextEmbedding(context, spec, 32)
        self.maps, self.dequantiser = nn.ModuleList(), None
        zeros = torch.zeros(spec.event_shape)
        self.register_buffer("shift", zeros)
        self.register_buffer("log_scale", zeros.clone())

    @property
    def exact(self) -> bool:
        """Exact on continuous vectors; on levels, the dequantisation bound."""
        return self.spec.levels is None

    def base(self, context: Tensor | None = None) -> Distribution:
        """The density of codes, over events `(*event_shape)`: standard normal, unless overridden.

        Args:
            context: One row for each code.

        Returns:
            One for all rows, with no batch; or where the context moves it a batch `(N,)`.
        """
        zero = torch.zeros_like(self.shift)
        # not validated: what is not finite must reach the likelihood, where it is counted
        codes = Normal(zero, torch.ones_like(zero), validate_args=False)
        return Independent(codes, zero.ndim, validate_args=False)

    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes z `(N, *event_shape)` of standardised y, and log |det ∂z/∂y| `(N,)`."""
        told = self.context_features(context, y)
        ladj = y.new_zeros(len(y))
        for each in self._maps:
            y, more = each(y, told)
            ladj = ladj + more
        return y, ladj

    def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The y whose code is z."""
        told = self.context_features(context, z)
        for each in reversed(self._maps):
            z = each.inverse(z, told)
        return z

    @property
    def _maps(self) -> list[FlowMap]:
        # all of them, or what is undone would not be what was done
        return [cast("FlowMap", each) for each in self.maps]

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the moments of the values, and let each map start from what reaches it."""
        y, _ = self._stretched(self._dequantise(x, self._uniform(x)))
        mean, spread = self._moments(y)
        self.shift.copy_(mean)
        self.log_scale.copy_(spread.log())
        if not len(self.maps):
            return
        y = (y[:_START] - self.shift) * torch.exp(-self.log_scale)
        told = self.context_features(None if context is None else context[:_START], y)
        for each in self._maps:
            each.start(y, told)
            y, _ = each(y, told)

    def _moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each value, of which standardising makes 0 and 1."""
        return moments(y)

    def _uniform(self, x: Tensor) -> Tensor:
        return torch.rand(x.shape, dtype=self.shift.dtype, device=x.device)

    def _dequantise(self, x: Tensor, noise: Tensor) -> Tensor:
        return x.to(noise.dtype) + noise if self.spec.levels else x.to(self.shift.dtype)

    def _stretched(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Values over all numbers, of y in the units of the data; and the log-determinant."""
        if self.spec.levels is None:
            return y, y.new_zeros(len(y))
        slope = (1 - 2 * _EDGE) / self.spec.levels
        v = torch.logit(_EDGE + slope * y)
        return v, (math.log(slope) - logsigmoid(v) - logsigmoid(-v)).flatten(1).sum(1)

    def _shrunk(self, v: Tensor) -> Tensor:
        """The y of stretched values."""
        if self.spec.levels is None:
            return v
        return (torch.sigmoid(v) - _EDGE) * (self.spec.levels / (1 - 2 * _EDGE))

    def log_density(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Log p(y) in nats `(N,)`, of y in the units of the data."""
        v, stretched = self._stretched(y)
        z, ladj = self.transform((v - self.shift) * torch.exp(-self.log_scale), context)
        return self.base(context).log_prob(z) + ladj + stretched - self.log_scale.sum()

    def log_density_after(self, y: Tensor, count: int, context: Tensor | None = None) -> Tensor:
        """Log-density in nats `(N,)` of what the first `count` maps make of standardised data.

        After none it is that of the data themselves, after all the base's.

        Args:
            y: What the first maps made `(N, *event_shape)`.
            count: From 0 to the number of `maps`.
            context: One row for each.
        """
        told = self.context_features(context, y)
        ladj = y.new_zeros(len(y))
        for each in self._maps[count:]:
            y, more = each(y, told)
            ladj = ladj + more
        return self.base(context).log_prob(y) + ladj

    def _log_weight(self, x: Tensor, uniform: Tensor, context: Tensor | None) -> Tensor:
        """Log p(x + u) / q(u | x), of the noise u that uniform draws make."""
        if self.dequantiser is None:
            return self.log_density(self._dequantise(x, uniform), context)
        noise, log_q = self.dequantiser(x, uniform, self.context_features(context, uniform))
        return self.log_density(self._dequantise(x, noise), context) - log_q

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log p(x), or the importance-weighted dequantisation bound; nats, `(N,)`."""
        self.spec.check(x)
        if self.exact:
            return self.log_density(x.to(self.shift.dtype), context)

        def log_weight(keys: Tensor) -> Tensor:
            uniform = keyed_uniform(keys, self.spec.event_shape).to(self.shift)
            return self._log_weight(x, uniform, context)

        return importance_weighted(x, draws, seed, log_weight)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative log-density of freshly dequantised data, nats per observation."""
        if self.exact:
            return {"loss": -self.log_density(x.to(self.shift.dtype), context).mean()}
        return {"loss": -self._log_weight(x, self._uniform(x), context).mean()}

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The code of each observation; of a level, the code of its bin's middle."""
        self.spec.check(x)
        return self.transform(self.standardised(x), context)[0]

    def standardised(self, x: Tensor) -> Tensor:
        """Standardised vectors; of levels the middles of their bins, stretched first."""
        v, _ = self._stretched(self._dequantise(x, torch.full_like(self.shift, 0.5)))
        return (v - self.shift) * torch.exp(-self.log_scale)

    def inverse_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The largest |y′ − y| of an observation, of standardised y; of a level, its bin's middle.

        What is not finite on the way back is an infinite error.
        """
        self.spec.check(x)
        y = self.standardised(x)
        error = (self.invert(self.transform(y, context)[0], context) - y).abs()
        return error.nan_to_num(nan=torch.inf, posinf=torch.inf).flatten(1).amax(1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The observation of a code: the bin that y falls into."""
        y = self._shrunk(self.invert(z, context) * self.log_scale.exp() + self.shift)
        return to_levels(y, self.spec.levels)

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Codes drawn from `base`, their distances from its mean times the temperature.

        Kingma and Dhariwal 2018 (arXiv 1807.03039, section 6) show faces of 0.7.
        """
        codes = self.base(context)
        z = codes.sample(() if codes.batch_shape else (n,))
        return z if temperature == 1 else codes.mean + temperature * (z - codes.mean)


_START = 256
"""Observations that maps start from: each goes through all of the flow."""

_EDGE = 1e-6
"""What is kept clear of 0 and 1, where the logit ends."""
