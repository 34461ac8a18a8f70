"""`Flow`: what every invertible model has in common, dequantisation first."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution

from simulacra.ground.randomness import keyed_uniform
from simulacra.ground.spec import DataSpec
from simulacra.models.flow.completion import DensityCompletion
from simulacra.models.model import Invertible, Latent, Likelihood
from simulacra.nn.distributions import importance_weighted
from simulacra.nn.levels import to_levels
from simulacra.nn.precision import moments


class Flow(Likelihood, Invertible, Latent, DensityCompletion):
    """An invertible map from data to a simple density.

    Continuous vectors are mapped as they are. Discrete levels are dequantised: y = x + u with
    u ~ U[0, 1)^D, and log P(x) = log E_u p(x + u) ≥ E_u log p(x + u) (Theis, van den Oord and
    Bethge 2016, arXiv 1511.01844), which importance draws tighten. Before the model's own
    layers, y is standardised value by value with moments taken from the training data, and the
    Jacobian of that is counted.

    A flow implements `transform`, its inverse `invert`, and its density `base`.

    Example:
        >>> import simulacra as sim, torch
        >>> from torch.distributions import Independent, Normal
        >>> class Gaussian(sim.Flow):
        ...     def base(self, context=None):
        ...         zeros = torch.zeros(self.spec.event_shape)
        ...         return Independent(Normal(zeros, 1.0), zeros.ndim)
        ...     def transform(self, y, context=None):
        ...         return y, y.new_zeros(len(y))
        ...     def invert(self, z, context=None):
        ...         return z
        >>> model = Gaussian(sim.DataSpec((2,), levels=None))
        >>> model.prepare(5 + torch.randn(1000, 2))
        >>> bool((model.sample(1000).mean(0) - 5).abs().max() < 0.5)
        True
    """

    laws = ("simulacra.models.flow.laws",)
    shift: Tensor
    log_scale: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        levels = spec.levels or 0
        half = torch.full(spec.event_shape, levels / 2.0)
        self.register_buffer("shift", half)
        self.register_buffer("log_scale", torch.zeros_like(half) if not levels else half.log())

    @property
    def exact(self) -> bool:
        """Exact on continuous vectors; on levels, the dequantisation bound."""
        return self.spec.levels is None

    @abstractmethod
    def base(self, context: Tensor | None = None) -> Distribution:
        """The density of codes, over events `(*event_shape)`.

        Args:
            context: One row for each code.

        Returns:
            One for all rows, with no batch; or where the context moves it a batch `(N,)`.
        """

    @abstractmethod
    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Codes z `(N, *event_shape)` of standardised y, and log |det ∂z/∂y| `(N,)`."""

    @abstractmethod
    def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The y whose code is z."""

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the mean and standard deviation of each value of y = x + u."""
        y = self._dequantise(x, torch.tensor(0.5, dtype=self.shift.dtype, device=x.device))
        mean, spread = moments(y, 1 / 12 if self.spec.levels else 0.0)
        self.shift.copy_(mean)
        self.log_scale.copy_(spread.log())

    def _dequantise(self, x: Tensor, noise: Tensor) -> Tensor:
        return x.to(noise.dtype) + noise if self.spec.levels else x.to(self.shift.dtype)

    def log_density(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Log p(y) in nats `(N,)`, of y in the units of the data."""
        z, ladj = self.transform((y - self.shift) * torch.exp(-self.log_scale), context)
        return self.base(context).log_prob(z) + ladj - self.log_scale.sum()

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log p(x), or the importance-weighted dequantisation bound; nats, `(N,)`."""
        self.spec.check(x)
        if self.exact:
            return self.log_density(x.to(self.shift.dtype), context)

        def log_weight(keys: Tensor) -> Tensor:
            noise = keyed_uniform(keys, self.spec.event_shape).to(self.shift)
            return self.log_density(self._dequantise(x, noise), context)

        return importance_weighted(x, draws, seed, log_weight)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative log-density of freshly dequantised data, nats per observation."""
        noise = torch.rand(x.shape, dtype=self.shift.dtype, device=x.device)
        return {"loss": -self.log_density(self._dequantise(x, noise), context).mean()}

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The code of each observation; of a level, the code of its bin's middle."""
        self.spec.check(x)
        y = self._dequantise(x, torch.tensor(0.5, dtype=self.shift.dtype, device=x.device))
        return self.transform((y - self.shift) * torch.exp(-self.log_scale), context)[0]

    def inverse_error(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The largest |y′ − y| of an observation, of standardised y; of a level, its bin's middle.

        What is not finite on the way back is an infinite error.
        """
        self.spec.check(x)
        y = self._dequantise(x, torch.tensor(0.5, dtype=self.shift.dtype, device=x.device))
        y = (y - self.shift) * torch.exp(-self.log_scale)
        error = (self.invert(self.transform(y, context)[0], context) - y).abs()
        return error.nan_to_num(nan=torch.inf).flatten(1).amax(1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The observation of a code: the bin that y falls into.

        A draw beyond the range is put into the outer bin, where `log_likelihood` does not count
        it: a flow on levels samples a little otherwise than its bound says.
        """
        y = self.invert(z, context) * self.log_scale.exp() + self.shift
        return to_levels(y, self.spec.levels)

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Codes drawn from `base`, their distances from its mean times the temperature.

        Kingma and Dhariwal 2018 (arXiv 1807.03039, section 6) show faces of 0.7.
        """
        codes = self.base(context)
        z = codes.sample(() if codes.batch_shape else (n,))
        return z if temperature == 1 else codes.mean + temperature * (z - codes.mean)
