"""`Model` and its capabilities: what a generative model promises, whatever its family.

A capability is a class, asked for by `isinstance`; one that a model lacks does not exist on it.
Observations are raw levels (see `DataSpec`); likelihoods are in nats per observation.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from simulacra.distributions import draw_levels, log_mean_exp
from simulacra.nn.context import ContextKind
from simulacra.randomness import keyed_uniform, keys_of
from simulacra.spec import DataSpec


class Model(nn.Module, ABC):
    """Something that learns from observations, given a `DataSpec`.

    A constructor takes the spec and keywords, stores each keyword verbatim as an attribute, and
    checks them: the keywords are the configuration.

    Args:
        spec: The form of the data.
    """

    turns: ClassVar[tuple[str, ...]] = ("model",)
    """Who moves in one training step, in order; one optimiser for each distinct name."""

    context: ContextKind = "none"
    """What the model is told beside an observation."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec

    @classmethod
    def signature(cls) -> dict[str, inspect.Parameter]:
        """The constructor's keywords, with their types and defaults."""
        parameters = inspect.signature(cls, eval_str=True).parameters.values()
        return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}

    @property
    def keywords(self) -> dict[str, Any]:
        """The keywords that this model was built with."""
        return {name: getattr(self, name) for name in self.signature()}

    def player(self, turn: str) -> nn.Module:
        """The module that moves in a turn: the model itself, unless it is a game."""
        return self

    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initialise from data, once, before the first step; nothing unless a model needs it.

        Args:
            x: A few thousand training observations `(N, *event_shape)`.
            context: Their context.
        """

    @abstractmethod
    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Scalars of one turn's move; the one called `loss` is minimised.

        Args:
            x: Observations `(N, *event_shape)`.
            context: Row *i* belongs to row *i* of `x`.
            turn: Whose move it is, one of `turns`.
        """


class Swept(Model):
    """Learns by whole sweeps over the training data instead of gradient steps."""

    turns = ()

    @abstractmethod
    def update(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> dict[str, float]:
        """One sweep over all training observations.

        Returns:
            `loss` as before the sweep, and `converged` as 1.0 once another sweep is not worth it.
        """


class Sampling(Model):
    """Draws new observations."""

    @abstractmethod
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Independent draws.

        Args:
            n: How many.
            context: One row for each draw.

        Returns:
            `(n, *event_shape)`: int64 levels, or floats of a continuous vector.
        """


class Likelihood(Model):
    """Says how probable an observation is."""

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether `log_likelihood` is the log-likelihood itself and not a lower bound of it."""

    @abstractmethod
    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log p(x), or a lower bound of it, in nats; a row's value does not depend on the others.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each observation.
            draws: Importance draws of a stochastic bound: more make it tighter.
            seed: Of the bound's noise, which is keyed by (seed, observation).

        Returns:
            `(N,)`.
        """


class Encoding(Model):
    """Maps observations to codes."""

    @abstractmethod
    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The codes `(N, …)` of observations `(N, *event_shape)`, without noise."""


class Decoding(Model):
    """Maps codes to observations."""

    @abstractmethod
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Observations `(N, *event_shape)` from codes, drawn where the decoder is random."""


class Latent(Sampling, Decoding):
    """Draws observations by decoding codes drawn from a prior."""

    @abstractmethod
    def prior(self, n: int) -> Tensor:
        """Codes `(n, …)` drawn from the prior."""

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """Decode codes drawn from the prior; see `Sampling.sample`."""
        with torch.no_grad():
            return self.decode(self.prior(n), context)


class Completion(Model):
    """Draws the hidden part of an observation given the rest."""

    @abstractmethod
    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """Observations with the hidden values drawn and the observed ones kept.

        Args:
            x: `(N, *event_shape)`; hidden values may hold anything valid.
            observed: Booleans `(N, *event_shape)` or `(*event_shape)`, true where `x` is given.
            context: One row for each observation.
        """

    @abstractmethod
    def completes_exactly(self, observed: Tensor) -> bool:
        """Whether draws come from the model's own conditional given this mask."""


class Autoregressive(Sampling, Likelihood, Completion):
    """Predicts each level from those before it: p(x) = Π p(x_i | x_<i).

    `conditionals` alone makes a model: sampling then runs the whole network once per value. A
    model with a cached form overrides `sample_steps`; this one stays its reference.
    """

    exact = True

    @abstractmethod
    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_i | x_<i) at every position, a batch `(N, *event_shape)` of distributions."""

    @property
    def order(self) -> Tensor:
        """Flat event indices in the order of prediction: by rows, by pixels, then R, G, B."""
        indices = torch.arange(self.spec.dims).reshape(self.spec.event_shape)
        return indices.permute(1, 2, 0).flatten() if self.spec.is_image else indices.flatten()

    def blind_spot(self) -> Tensor:
        """Which earlier values no path of the architecture leads to a later one: none, usually.

        Returns:
            Booleans `(dims, dims)` over flat event indices: true at [i, j] where i comes before j
            in `order` and cannot influence it.
        """
        return torch.zeros(self.spec.dims, self.spec.dims, dtype=torch.bool)

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Exact log p(x) in nats, `(N,)`; `draws` and `seed` change nothing."""
        self.spec.check(x)
        return self.conditionals(x, context).log_prob(x).flatten(1).sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative log-likelihood in nats per observation."""
        return {"loss": -self.log_likelihood(x, context).mean()}

    @torch.no_grad()
    def sample_steps(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        given: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """The observations as they grow: the same tensor after every value.

        Args:
            n: How many at once.
            context: One row for each.
            temperature: Divides the logits; 1 samples the model itself.
            given: `(n, *event_shape)`, levels to keep where `observed`.
            observed: Booleans, shaped as `given`.

        Yields:
            `(n, *event_shape)` int64, still 0 where not yet drawn. Clone it to keep it.
        """
        canvas, uniform = self.blank(n, given, observed)
        flat, flat_uniform = canvas.view(n, -1), uniform.view(n, -1)
        kept = None if observed is None else observed.expand_as(canvas).reshape(n, -1)
        for position in self.order.tolist():
            conditionals = self.conditionals(canvas, context)
            if not isinstance(conditionals, Categorical):
                raise TypeError("the plain sampler needs Categorical conditionals")
            logits = conditionals.logits.flatten(1, -2)[:, position]
            drawn = draw_levels(logits, flat_uniform[:, position], temperature)
            if kept is not None:
                drawn = torch.where(kept[:, position], flat[:, position], drawn)
            flat[:, position] = drawn
            yield canvas

    def blank(
        self, n: int, given: Tensor | None = None, observed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The canvas that sampling starts from, and the uniform draw of every position.

        All draws are made at once, so that every sampler which follows gives the same picture.
        """
        reference = next(self.parameters())
        shape = (n, *self.spec.event_shape)
        uniform = torch.rand(shape, dtype=reference.dtype, device=reference.device)
        if given is None or observed is None:
            return torch.zeros(shape, dtype=torch.int64, device=reference.device), uniform
        return torch.where(observed, given, 0).to(torch.int64).contiguous(), uniform

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """The last of `sample_steps`."""
        return _last(self.sample_steps(n, context))

    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """Draw each hidden level from its conditional; see `completes_exactly`."""
        self.spec.check(x)
        return _last(
            self.sample_steps(x.shape[0], context, given=x, observed=observed.expand_as(x))
        )

    def completes_exactly(self, observed: Tensor) -> bool:
        """Whether every observed value comes before every hidden one in the order."""
        in_order = observed.reshape(-1, self.spec.dims)[:, self.order.to(observed.device)]
        return not bool((~in_order[:, :-1] & in_order[:, 1:]).any())


CAPABILITIES: dict[type[Model], str] = {
    Sampling: "samples",
    Likelihood: "likelihood",
    Completion: "completes",
    Encoding: "encodes",
    Decoding: "decodes",
    Latent: "latent",
}
"""What a model can do, in the words that people see."""


def capabilities(model: type[Model]) -> list[str]:
    """The capabilities of a class, derived from its bases."""
    return [word for kind, word in CAPABILITIES.items() if issubclass(model, kind)]


def _last(steps: Iterator[Tensor]) -> Tensor:
    *_, last = steps
    return last


class Flow(Likelihood, Encoding, Latent):
    """An invertible map from data to a simple density.

    Continuous vectors are mapped as they are. Discrete levels are dequantised: y = x + u with
    u ~ U[0, 1)^D, and log P(x) = log E_u p(x + u) ≥ E_u log p(x + u) (Theis, van den Oord and
    Bethge 2016, arXiv 1511.01844), which importance draws tighten. Before the model's own
    layers, y is standardised value by value with moments taken from the training data, and the
    Jacobian of that is counted.

    A flow implements `transform`, its inverse `invert`, and its density `base`.
    """

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

    @property
    @abstractmethod
    def base(self) -> Distribution:
        """The density of codes, over one event `(*event_shape)` with no batch."""

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
        variance = y.var(0, unbiased=False) + (1 / 12 if self.spec.levels else 1e-6)
        self.shift.copy_(y.mean(0))
        self.log_scale.copy_(0.5 * variance.log())

    def _dequantise(self, x: Tensor, noise: Tensor) -> Tensor:
        return x.to(noise.dtype) + noise if self.spec.levels else x.to(self.shift.dtype)

    def log_density(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Log p(y) in nats `(N,)`, of y in the units of the data."""
        z, ladj = self.transform((y - self.shift) * torch.exp(-self.log_scale), context)
        return self.base.log_prob(z) + ladj - self.log_scale.sum()

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log p(x), or the importance-weighted dequantisation bound; nats, `(N,)`."""
        self.spec.check(x)
        if self.exact:
            return self.log_density(x.to(self.shift.dtype), context)
        keys = keys_of(x, seed)
        log_weights = []
        for draw in range(draws):
            noise = keyed_uniform(keys + draw, self.spec.event_shape).to(self.shift.dtype)
            log_weights.append(self.log_density(self._dequantise(x, noise), context))
        return log_mean_exp(torch.stack(log_weights))

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

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The observation of a code: the bin that y falls into, the outer bins being open."""
        y = self.invert(z, context) * self.log_scale.exp() + self.shift
        if self.spec.levels is None:
            return y
        return y.floor().clamp(0, self.spec.levels - 1).long()

    def prior(self, n: int) -> Tensor:
        """Codes drawn from `base`."""
        return self.base.sample((n,))
