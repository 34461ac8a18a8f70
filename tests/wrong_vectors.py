"""Models of vectors that are right, and wrong ones of vectors and codes, with the laws they break.

`test_check_model.py` holds them to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Laplace, Normal, StudentT

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent.vae import VAE
from simulacra.models.model import Decoding, Encoding, Likelihood, Model, Sampling
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind


class Bell(Likelihood, Sampling):
    """A normal density.

    Args:
        spec: Vectors.
    """

    takes = Takes(pictures=False, sounds=False)
    exact = True

    def __init__(self, spec: DataSpec) -> None:
        if spec.levels is not None:
            raise MissingCapability("a bell is of vectors")
        super().__init__(spec)
        self.mean = nn.Parameter(torch.zeros(spec.event_shape))
        self.log_scale = nn.Parameter(torch.zeros(spec.event_shape))

    def density(self) -> Distribution:
        return Normal(self.mean, self.log_scale.exp(), validate_args=False)

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        if context is not None:
            raise UsageError("a bell is told nothing")
        log_prob: Tensor = Independent(self.density(), 1, validate_args=False).log_prob(x)
        return log_prob

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": -self.log_likelihood(x, context).mean()}

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        return self.density().sample((n,))


class HeavyTails(Bell):
    def density(self) -> Distribution:
        return StudentT(2.0, self.mean, self.log_scale.exp(), validate_args=False)


class Peaked(Bell):
    def density(self) -> Distribution:
        return Laplace(self.mean, 0.3 * self.log_scale.exp(), validate_args=False)


class Narrow(Bell):
    def density(self) -> Distribution:
        return Normal(self.mean, 0.05 * self.log_scale.exp(), validate_args=False)


class Edged(Bell):
    """Half of it between edges."""

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        edged = (x.flatten(1).abs() < 1.1).all(1) / 2.2**self.spec.dims
        bell = super().log_likelihood(x, context).exp()
        return ((edged + bell) / 2).log()

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        bell = super().sample(n)
        edged = 1.1 * (2 * torch.rand_like(bell) - 1)
        return torch.where(torch.rand(n, 1, device=bell.device) < 0.5, edged, bell)


GOOD: list[type[Model]] = [Bell, HeavyTails, Peaked, Narrow, Edged]
"""Right ones, smooth and not, wide and narrow."""


class ForgetsItsConstant(Bell):
    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        constant = 0.5 * math.log(2 * math.pi) * self.spec.dims
        return super().log_likelihood(x, context) + constant


class IsALittleMore(Bell):
    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        return super().log_likelihood(x, context) + 0.002


class DrawsWider(Bell):
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        return self.mean + 1.03 * (super().sample(n) - self.mean)


class SumsToMore(Bell):
    """A bound that is none."""

    exact = False

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        return super().log_likelihood(x, context) + 0.1


class IsNoBoundOfVectors(VAE):
    __doc__ = VAE.__doc__
    small = VAE.small[:1]

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        bound = super().log_likelihood(x, context, draws=draws, seed=seed)
        return bound if self.spec.levels else bound + self.posterior(x, context).entropy()


class EncodesTogether(Encoding):
    """Codes that hear what the other rows are told.

    Args:
        spec: Anything.
        context: What they are told.
    """

    def __init__(self, spec: DataSpec, *, context: ContextKind = "none") -> None:
        super().__init__(spec)
        self.context = context
        self.told = ContextEmbedding(context, spec, 3)
        self.layer = nn.Linear(spec.dims, 3)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        codes: Tensor = self.layer(x.to(self.layer.weight.dtype).flatten(1))
        told = self.told(context, codes)
        return codes if self.context == "none" else codes + told.mean(0)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": (self.encode(x, context) - 1).square().mean()}


class EncodesUnsaved(EncodesTogether):
    """Codes of what is in no buffer.

    Args:
        spec: Anything.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.late = 0.0

    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        self.late = 0.5

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().encode(x, context) + self.late


class DecodesToFloats(Encoding, Decoding):
    """An autoencoder, which is no more than that.

    Args:
        spec: Anything.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.layer = nn.Linear(spec.dims, spec.dims)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.layer(x.float().flatten(1))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return z.view(-1, *self.spec.event_shape)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        if context is not None:
            raise UsageError("takes no context")
        return {"loss": self.encode(x).square().mean()}


class DecodesAlone(Decoding):
    """Decodes, and does not say what.

    Args:
        spec: Anything.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.weight = nn.Parameter(torch.zeros(1))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return z

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        if context is not None:
            raise UsageError("takes no context")
        return {"loss": (self.weight - 1).square().sum()}


WRONG: list[tuple[type[Model], str, str]] = [
    (ForgetsItsConstant, "normalisation of vectors", "integrates to 6.28"),
    (IsALittleMore, "normalisation of vectors", "integrates to 1.00"),
    (DrawsWider, "sampling of vectors", "samples disagree with the density"),
    (SumsToMore, "normalisation of vectors", "integrates to 1.1"),
    (IsNoBoundOfVectors, "normalisation of vectors", "integrates to"),
    (DecodesToFloats, "decoding", "expected integer levels"),
    (EncodesTogether, "contexts", "a row heard another row's context"),
    (EncodesUnsaved, "saving", "saved and loaded, it encodes otherwise"),
]
"""Wrong models of vectors, and of codes."""
