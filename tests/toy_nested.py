"""Toys that are right: a flow whose base hears the context, and models made of models.

`test_toy_nested.py` holds them to the laws.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.flow.base import Flow
from simulacra.models.keywords import Nested
from simulacra.models.model import Encoding, Likelihood, Model, Sampling
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind


class ConditionalBase(Flow):
    """A scaling of normal codes whose means a context moves; without one they are learnt alone.

    Args:
        spec: Any observations.
        context: What the base is told: none, label or vector.
    """

    def __init__(self, spec: DataSpec, *, context: ContextKind = "none") -> None:
        super().__init__(spec)
        self.context = context
        self.told = ContextEmbedding(context, spec, 4)
        # one number more than is told, which is always 1
        self.mean = nn.Linear(self.told.width + 1, spec.dims, bias=False)
        self.log_stretch = nn.Parameter(torch.zeros(spec.event_shape))

    def base(self, context: Tensor | None = None) -> Independent[Normal]:
        """N(μ(context), 1) for each row; one for all where there is no context."""
        n = 1 if context is None else len(context)
        one = self.mean.weight.new_ones(n, 1)
        mean = self.mean(torch.cat([self.told(context, one), one], 1))
        mean = mean.view(n, *self.spec.event_shape)
        mean = mean[0] if context is None else mean
        codes = Normal(mean, torch.ones_like(mean), validate_args=False)
        return Independent(codes, len(self.spec.event_shape), validate_args=False)

    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y * self.log_stretch.exp(), self.log_stretch.sum().expand(len(y))

    def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return z * torch.exp(-self.log_stretch)


SMALL: Nested = {"name": "made", "keywords": {"hidden": (6,)}}


class TwoScales(Likelihood, Sampling):
    """Every other value from one model, and those between from another that is told them.

    p(x) = p(coarse) p(between | coarse); the likelihood is exact if those of both are.

    Args:
        spec: Levels.
        coarse: The model of every other value.
        between: The model of the rest, which has a keyword `context`.
    """

    takes = Takes(vectors=False, values=2)
    small = ({}, {"coarse": {"name": "pixel-rnn", "keywords": {"hidden": 4}}})

    def __init__(self, spec: DataSpec, *, coarse: Nested = SMALL, between: Nested = SMALL) -> None:
        super().__init__(spec)
        self.coarse, self.between = coarse, between
        half = (spec.dims + 1) // 2
        first = DataSpec((half,), spec.levels, spec.ordered)
        rest = DataSpec((spec.dims - half,), spec.levels, spec.ordered, context_width=half)
        told = {**between["keywords"], "context": "vector"}
        self.first = registry.build(coarse["name"], first, coarse["keywords"])
        self.second = registry.build(between["name"], rest, told)
        for part in (self.first, self.second):
            if not (isinstance(part, Likelihood) and isinstance(part, Sampling)):
                raise UsageError(f"{type(part).__name__} lacks a likelihood or samples: use made")

    @property
    def exact(self) -> bool:
        return self.first.exact and self.second.exact

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """log p(coarse) + log p(between | coarse), in nats `(N,)`."""
        self.spec.check(x)
        coarse, between = x.flatten(1)[:, ::2], x.flatten(1)[:, 1::2]
        bound = {"draws": draws, "seed": seed}
        log_p = self.first.log_likelihood(coarse, context, **bound)
        return log_p + self.second.log_likelihood(between, coarse.to(log_p.dtype), **bound)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": -self.log_likelihood(x, context).mean()}

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """The coarse values first, then those between."""
        coarse = self.first.sample(n, context)
        x = coarse.new_empty(n, self.spec.dims)
        x[:, ::2], x[:, 1::2] = coarse, self.second.sample(n, coarse.float())
        return x.view(n, *self.spec.event_shape)


class MayHavePrior(Autoregressive):
    """Levels by chance, and a model that may be left out.

    Args:
        spec: Levels.
        prior: Another model.
    """

    takes = Takes(vectors=False)

    def __init__(self, spec: DataSpec, *, prior: Nested | None = None) -> None:
        super().__init__(spec)
        self.prior = prior
        self.logits = nn.Parameter(torch.zeros(*spec.event_shape, self._levels))

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        return Categorical(logits=self.logits.expand(len(x), *self.logits.shape))


class Chosen(Model):
    """A mean, that with codes encodes by it.

    Args:
        spec: Anything.
        codes: Whether it encodes.
    """

    small = ({}, {"codes": True})

    def __init__(self, spec: DataSpec, *, codes: bool = False) -> None:
        super().__init__(spec)
        self.codes = codes
        self.told = ContextEmbedding("none", spec)
        self.mean = nn.Parameter(torch.zeros(spec.event_shape))

    @classmethod
    def class_for(cls, **keywords: Any) -> type[Model]:
        return ChosenWithCodes if keywords.get("codes") else cls

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        self.told(context, self.mean.expand(len(x), *self.mean.shape))
        return {"loss": (x - self.mean).square().flatten(1).sum(1).mean()}


class ChosenWithCodes(Chosen, Encoding):
    __doc__ = Chosen.__doc__

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.told(context, self.mean.expand(len(x), *self.mean.shape))
        return x - self.mean
