"""Distributions over integer levels that torch lacks, and draws by inverse distribution function.

In a discretised density a level k stands for the bin [k, k + 1) of a continuous variable; the
outer bins are open, so the probabilities of all levels sum to 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keys_of
from simulacra.nn.levels import to_levels


class Logistic(Distribution):
    """The logistic density, without the saturation of a transformed uniform one.

    Args:
        loc: Location.
        scale: Scale, positive.
        validate_args: As in torch.
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor, *, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The location, which it is symmetric about."""
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        """log-density in nats."""
        z = (value - self.loc) / self.scale
        return logsigmoid(z) + logsigmoid(-z) - self.scale.log()

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """By the inverse distribution function."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.loc + self.scale * _logistic_variates(shape, self.loc)


def _logistic_variates(shape: torch.Size, like: Tensor) -> Tensor:
    # rand gives multiples of eps / 2; its 0, whose logit is −∞, becomes the middle of its step
    uniform = torch.rand(shape, dtype=like.dtype, device=like.device)
    return torch.logit(uniform.clamp_min(torch.finfo(like.dtype).eps / 4))


class Discretised(Distribution, ABC):
    """A location–scale density, integrated over the bins of the levels.

    Args:
        loc: Location in units of levels: k + 0.5 is the middle of level k.
        scale: Scale in units of levels, positive.
        levels: Number of levels.
        validate_args: As in torch.
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}

    def __init__(
        self, loc: Tensor, scale: Tensor, levels: int, *, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def support(self) -> Any:  # noqa: ANN401 (torch's constraints have no public type)
        """The integers 0 … levels − 1."""
        return constraints.integer_interval(0, self.levels - 1)

    @abstractmethod
    def log_mass(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Log ∫ of the standard density from `lower` to `upper`, both possibly infinite."""

    @abstractmethod
    def draw(self, shape: torch.Size) -> Tensor:
        """Standard variates of a shape."""

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of integer levels, in nats; computed so that no tail underflows."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.to(self.loc.dtype)
        lower = (value - self.loc) / self.scale
        upper = (value + 1 - self.loc) / self.scale
        lower = torch.where(value <= 0, -math.inf, lower)
        upper = torch.where(value >= self.levels - 1, math.inf, upper)
        return self.log_mass(lower, upper)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Levels as int64."""
        shape = self._extended_shape(torch.Size(sample_shape))
        y = self.loc + self.scale * self.draw(shape)
        return to_levels(y, self.levels)


class DiscretisedLogistic(Discretised):
    """Logistic density over bins (Salimans et al. 2017, arXiv 1701.05517, equation 2)."""

    @property
    def mean(self) -> Tensor:
        """The expected level: the sum over levels j ≥ 1 of the probability of being at least j."""
        ends = torch.arange(1, self.levels, dtype=self.loc.dtype, device=self.loc.device)
        return ((self.loc[..., None] - ends) / self.scale[..., None]).sigmoid().sum(-1)

    def log_mass(self, lower: Tensor, upper: Tensor) -> Tensor:
        """σ(b) − σ(a) = σ(b) σ(−a) (1 − exp(a − b)), which no tail cancels."""
        return logsigmoid(upper) + logsigmoid(-lower) + log1m_exp(upper - lower)

    def draw(self, shape: torch.Size) -> Tensor:
        """By the inverse distribution function."""
        return _logistic_variates(shape, self.loc)


class DiscretisedNormal(Discretised):
    """Normal density over bins."""

    def log_mass(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Φ(b) − Φ(a), taken in whichever tail is the smaller."""
        mirrored = lower > -upper
        low = torch.where(mirrored, -upper, lower)
        high = torch.where(mirrored, -lower, upper)
        log_high, log_low = _log_ndtr(high), _log_ndtr(low)
        return log_high + log1m_exp(log_high - log_low)

    def draw(self, shape: torch.Size) -> Tensor:
        """Standard normal variates."""
        return torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)


class _LogNormalCDF(torch.autograd.Function):
    """log Φ, with a gradient that holds in the tails: torch's is wrong there in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401 (autograd's own object)
        ctx.save_for_backward(x)
        return torch.special.log_ndtr(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        """φ(x) / Φ(x)."""
        (x,) = ctx.saved_tensors
        return grad * math.sqrt(2 / math.pi) / torch.special.erfcx(-x * math.sqrt(0.5))


_log_ndtr: Callable[[Tensor], Tensor] = _LogNormalCDF.apply


def log1m_exp(gap: Tensor) -> Tensor:
    """log(1 − exp(−gap)) for gap > 0 (Mächler 2012), with a finite gradient everywhere."""
    gap = gap.clamp_min(torch.finfo(gap.dtype).tiny)
    near = gap < math.log(2)
    small = torch.where(near, gap, 0.5)
    large = torch.where(near, 1.0, gap)
    return torch.where(near, (-torch.expm1(-small)).log(), torch.log1p(-torch.exp(-large)))


def log_mean_exp(log_weights: Tensor) -> Tensor:
    """Log of the mean of exp over the first dimension."""
    return log_weights.logsumexp(0) - math.log(log_weights.shape[0])


def importance_weighted(
    x: Tensor, draws: int, seed: int, log_weight: Callable[[Tensor], Tensor]
) -> Tensor:
    """Log (1/k) Σ w_j, of weights whose noise is keyed by (seed, observation).

    Args:
        x: Observations `(N, …)`.
        draws: How many weights each has, k.
        seed: Of the noise.
        log_weight: Told the keys `(N,)` of one draw's noise, gives log w `(N,)`.

    Returns:
        `(N,)`; a row's value does not depend on the others.
    """
    keys = keys_of(x, seed)
    return log_mean_exp(torch.stack([log_weight(keys + draw) for draw in range(draws)]))


@dataclass(frozen=True)
class Narrowing:
    """How draws of levels are kept to the likelier ones; the defaults leave them as they are.

    Args:
        temperature: Divides the logits, first of all.
        top_k: So many likeliest levels are left, and those equal to the last of them.
        top_p: Of what is left, the likeliest levels that reach this probability together.

    Raises:
        UsageError: If one is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what leaves no level, or more than all."""
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"temperature is positive and finite, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k is at least 1, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is above 0 and at most 1, got {self.top_p}")

    def applied(self, logits: Tensor) -> Tensor:
        """Logits `(…, levels)` with those of the levels left out at −∞."""
        if self.temperature != 1:
            # from the likeliest level down, by no less than is a number here: no ∞ − ∞, no 0 / 0
            lowest = torch.finfo(logits.dtype).tiny
            logits = (logits - logits.amax(-1, keepdim=True)) / max(self.temperature, lowest)
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k, -1).values[..., -1:]
            logits = logits.masked_fill(logits < least, -math.inf)
        if self.top_p < 1:
            likeliest, order = logits.sort(stable=True, dim=-1, descending=True)
            p = likeliest.softmax(-1)
            # a level stays if those before it have not reached the probability yet
            out = p.cumsum(-1) - p >= self.top_p
            # the first stays whatever rounding says
            out[..., 0] = False
            logits = logits.masked_fill(out.scatter(-1, order, out), -math.inf)
        return logits


def draw_levels(logits: Tensor, uniform: Tensor) -> Tensor:
    """Levels at which the distribution function passes given uniform draws.

    Args:
        logits: `(…, levels)`, need not be normalised.
        uniform: `(…)` in [0, 1).

    Returns:
        `(…)` int64.
    """
    cdf = torch.softmax(logits, -1).cumsum(-1)
    # rounding leaves the last edge a little off 1: the draw is of what the levels do sum to, or
    # whatever is missing would go to the last level, however improbable
    return (uniform.unsqueeze(-1) * cdf[..., -1:] >= cdf[..., :-1]).sum(-1)
