"""A good model, and wrong ones, each with the law that it breaks and what it is told.

`test_check_model.py` holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from simulacra.ground.errors import MissingCapability
from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.made import MADE
from simulacra.models.flow.nice import NICE
from simulacra.models.latent.vae import VAE
from simulacra.models.mixture.gmm import GMM
from simulacra.models.model import Model
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind


class Table(Autoregressive):
    """Each level by the one before it.

    Args:
        spec: Levels.
        smoothing: Divides the logits.
        context: What it is told.
    """

    takes = Takes(vectors=False)

    def __init__(
        self, spec: DataSpec, *, smoothing: float = 2.0, context: ContextKind = "none"
    ) -> None:
        if spec.levels is None:
            raise MissingCapability("a table is of levels")
        super().__init__(spec)
        self.smoothing, self.context = smoothing, context
        self.told = ContextEmbedding(context, spec, 4)
        self.table = nn.Parameter(torch.randn(spec.dims, spec.levels + 1, spec.levels))
        self.shift = nn.Linear(self.told.width, spec.levels) if self.told.width else None

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        """p(x_i | the value before it in the order)."""
        levels, order = self.spec.levels or 0, self.order
        in_order = x.flatten(1)[:, order]
        before = torch.cat([torch.full_like(in_order[:, :1], levels), in_order[:, :-1]], 1)
        logits = self.table[torch.arange(self.spec.dims), before] / self.smoothing
        told = self.told(context, logits[:, :, 0])
        if self.shift is not None:
            logits = logits + self.shift(told)[:, None]
        logits = logits[:, order.argsort()].view(*x.shape, levels)
        return Categorical(logits=logits, validate_args=False)

    def blind_spot(self) -> Tensor:
        """All but the one before."""
        rank = self.order.argsort()
        return rank[None] - rank[:, None] > 1


class SeesItsTarget(Table):
    """A value is predicted from itself."""

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        before = super().conditionals(x, context).logits
        own = nn.functional.one_hot(x, self.spec.levels or 0)
        return Categorical(logits=before + own, validate_args=False)


class ForgetsJacobian(NICE):
    def log_density(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        return super().log_density(y, context) + self.log_scale.sum()


class WrongJacobian(NICE):
    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, ladj = super().transform(y, context)
        return z, -ladj


class IsNoBound(VAE):
    small = VAE.small[:1]

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        entropy: Tensor = self.posterior(x, context).entropy()
        return super().log_likelihood(x, context, draws=draws, seed=seed) + entropy


class DrawsColder(Table):
    def sample_steps(self, *args: Any, **options: Any) -> Iterator[Tensor]:
        return super().sample_steps(*args, **{**options, "temperature": 0.9})


class MovesBoth(GAN):
    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "discriminator"
    ) -> dict[str, Tensor]:
        if turn == "generator":
            logit = self._score(self._generate(self.prior(len(x)), context), context)
            return {"loss": -nn.functional.logsigmoid(logit).mean()}
        return super().loss(x, context, turn=turn)


class DoesNotComeBack(NICE):
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().decode(0.9 * z, context)


class KeepsAnother(Table):
    """Keeps what it was given otherwise.

    Args:
        spec: Levels.
        smoothing: At most 1.5.
        context: What it is told.
    """

    small = ({"smoothing": 3.0},)

    def __init__(
        self, spec: DataSpec, *, smoothing: float = 1.0, context: ContextKind = "none"
    ) -> None:
        super().__init__(spec, smoothing=min(smoothing, 1.5), context=context)


class KeepsNone(Table):
    """Forgets a keyword.

    Args:
        spec: Levels.
        width: Kept nowhere.
    """

    def __init__(self, spec: DataSpec, *, width: int = 3) -> None:
        super().__init__(spec)


class SaysNothing(Table):
    """Has no words for a keyword of its own."""

    def __init__(self, spec: DataSpec, *, sharpening: float = 1.0, **keywords: Any) -> None:
        super().__init__(spec, **keywords)
        self.sharpening = sharpening


class Overwrites(GMM):
    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        return self.sample(len(x))


class Peeks(GMM):
    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        drawn = super().complete(x, observed, context)
        peeked = (drawn + x) % (self.spec.levels or 1)
        return torch.where(observed.expand_as(x), x, peeked)


class MixesContexts(VAE):
    small = (VAE.small[0], {**VAE.small[0], "context": "vector"})

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Any:
        mixed = self.context_features(context, z).mean(0)
        return super().likelihood(z + mixed.sum(), context)


class EncodesAtRandom(VAE):
    small = VAE.small[:1]

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        drawn: Tensor = self.posterior(x, context).sample()
        return drawn


class ScoresByTheBatch(VAE):
    small = VAE.small[:1]

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        z = self.posterior(x, context).sample()
        return self._log_likelihood(x, z, context)


class ValidatesByChance(GAN):
    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.rand(len(x))


class ValidatesByTheBatch(GAN):
    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x.double().flatten(1).sum(1) + len(x)


class TakesLess(NICE):
    takes = Takes(unordered=False, values=2)

    def __init__(self, spec: DataSpec, **keywords: Any) -> None:
        if spec.levels is None:
            raise MissingCapability("no vectors")
        super().__init__(spec, **keywords)

    signature = NICE.signature


class TakesMore(GMM):
    __doc__ = GMM.__doc__

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:
        return Takes(unordered=False, sounds=keywords.get("components") != 3)


class SamplesWithoutSaying(MADE):
    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x.float()


class Forgets(GMM):
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        super().prepare(x, context)
        self.late = 0.5

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        drawn = super().sample(n, context)
        return drawn if hasattr(self, "late") else drawn.flip(0)


class Falls(GMM):
    def complete(self, *args: Any, **options: Any) -> Tensor:
        raise KeyError("oh\nno")


class DrawsTheSame(GAN):
    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return torch.ones(n, self.latent)


class DrawsCodesOnTheCPU(GAN):
    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return temperature * torch.randn(n, self.latent)


class HidesTheCode(GAN):
    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().generate(z.detach(), context) + 0 * z.sum()


class GeneratesAnother(GAN):
    def generate(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().generate(-z, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().decode(-z + 1, context)


class ScoresTheBatch(GAN):
    def scores(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        scores = super().scores(x, context)
        return scores - scores.mean()


class KeepsItsOpponent(GAN):
    kept = ("discriminator",)


class IsNeverCold(GAN):
    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return super().prior(n, context)


class SamplesWarm(GAN):
    def sample(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return super().sample(n, context)


class NeedsSome(Table):
    def log_likelihood(self, x: Tensor, *args: Any, **options: Any) -> Tensor:
        return super().log_likelihood(x, *args, **options) + 0 * x.max()


class HidesWhatIsBroken(Table):
    def log_likelihood(self, *args: Any, **options: Any) -> Tensor:
        return super().log_likelihood(*args, **options).nan_to_num()


class HearsNoContext(Table):
    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return super().loss(x, context if self.context != "none" else None)


class PredictsALittleOtherwise(Table):
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        for prediction in super().in_turn(canvas, context):
            yield prediction + 1e-9 * torch.arange(prediction.shape[1])


class DecodesColder(VAE):
    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().decode(0.5 * z, context)


class ClimbsDown(Table):
    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": -super().loss(x, context)["loss"]}


class DrawsDeaf(Table):
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        return super().sample(n, None if context is None else torch.zeros_like(context))


class ScoresDeaf(Table):
    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        return super().log_likelihood(x, None if context is None else torch.zeros_like(context))


class KeepsItsDefaultOtherwise(Table):
    """Has a width of its own where none is given.

    Args:
        spec: Levels.
        width: Of nothing.
    """

    def __init__(self, spec: DataSpec, *, width: int | None = None) -> None:
        super().__init__(spec)
        self.width = width or 4


WRONG: list[tuple[type[Model], str, str]] = [
    (DrawsTheSame, "draws", "another seed gives the same samples"),
    (HidesTheCode, "game", "no gradient reaches a code"),
    (GeneratesAnother, "game", "what is decoded is not what was generated"),
    (ScoresTheBatch, "game", "what the opponent sees depends on what else is in its batch"),
    (KeepsItsOpponent, "game", "it keeps the average of ('discriminator',), not the generator's"),
    (IsNeverCold, "temperature", "codes spread by "),
    (SamplesWarm, "temperature", "samples of a temperature are not decoded from codes of it"),
    (DrawsCodesOnTheCPU, "device", "`loss` calls `linear` with (8, 2) of the CPU"),
    (NeedsSome, "empty batches", "it raises"),
    (HidesWhatIsBroken, "broken weights", "weights that are no numbers give a finite score"),
    (HearsNoContext, "context refused", "context='none', and one is taken"),
    (PredictsALittleOtherwise, "incremental prediction", "the prediction of value 0 is off"),
    (DecodesColder, "sampling of codes", "samples disagree with the likelihood"),
    (SeesItsTarget, "causality", "value 0 is seen too early"),
    (ForgetsJacobian, "normalisation", "sums to"),
    (WrongJacobian, "jacobian", "log-determinant is off"),
    (IsNoBound, "normalisation", "sums to"),
    (DrawsColder, "sampling", "samples disagree with the likelihood"),
    (ValidatesByChance, "validation", "depends on chance"),
    (ValidatesByTheBatch, "validation", "depends on what else is in its batch"),
    (MovesBoth, "turns", "moves in the turn of the generator"),
    (DoesNotComeBack, "inverse", "decoding what was encoded is off"),
    (KeepsAnother, "keywords", "smoothing=3.0 is kept as 1.5"),
    (KeepsNone, "keywords", "the keyword width is not kept as an attribute"),
    (SaysNothing, "docstring", "say nothing of the keyword sharpening"),
    (Overwrites, "completion", "an observed value changed"),
    (Peeks, "completion", "hidden values are seen"),
    (MixesContexts, "contexts", "a row heard another row's context"),
    (EncodesAtRandom, "encoding", "a code depends on chance"),
    (ScoresByTheBatch, "score alone", "from that in another batch"),
    (TakesLess, "takes", "which the constructor refuses: no vectors"),
    (TakesMore, "takes", "`takes` excludes sequence, which the constructor takes"),
    (SamplesWithoutSaying, "capabilities", "it has encode, and is no Encoding"),
    (Forgets, "saving", "saved and loaded, it draws otherwise"),
    (Falls, "completion", "it raises KeyError: 'oh\\nno'"),
    (ClimbsDown, "learning", "down `loss` take the mean log-likelihood from"),
    (DrawsDeaf, "contexts", "the context changes no sample"),
    (ScoresDeaf, "contexts", "the context changes no score"),
    (KeepsItsDefaultOtherwise, "keywords", "width=None is kept as 4"),
]
"""Wrong models of levels for the most part."""
