"""The generative adversarial network: a generator against a discriminator."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.base import Adversarial, still
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextKind
from simulacra.nn.mlp import mlp
from simulacra.nn.precision import at_least_float32


class GAN(Adversarial):
    """A generator that learns to fool a discriminator, which learns to tell; no likelihood.

    Paper: I. Goodfellow et al., "Generative Adversarial Nets", 2014, arXiv 1406.2661,
        equation 1 and algorithm 1 with k = 1.
    Departs from the paper: leaky ReLU and dropout in the discriminator instead of maxout; real
        levels are dequantised, or the discriminator would tell them from the generator's
        continuous values by that alone, and generated ones end in tanh; a context, when given,
        enters both players (arXiv 1411.1784).

    Args:
        spec: Ordered levels, or continuous vectors.
        latent: Size of a code.
        hidden: Widths of the generator's hidden layers; the discriminator has them in reverse.
        objective: The generator minimises −log D(G(z)), `non-saturating`, or
            log (1 − D(G(z))), `minimax`.
        dropout: Probability of dropping a feature of the discriminator.
        context: What both players are told beside the observation: none, label or vector.
    """

    takes = Takes(unordered=False)
    preset = {"lr": 5e-4, "betas": (0.5, 0.999), "schedule": "constant", "clip": 0.0}
    small = (
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "objective": "minimax", "context": "label"},
        {"latent": 2, "hidden": (8,), "context": "vector"},
    )
    turns = ("discriminator", "generator")
    kept = ("generator",)

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 32,
        hidden: tuple[int, ...] = (256, 512),
        objective: Literal["non-saturating", "minimax"] = "non-saturating",
        dropout: float = 0.2,
        context: ContextKind = "none",
    ) -> None:
        if latent < 1 or any(width < 1 for width in hidden) or not 0 <= dropout < 1:
            raise UsageError(
                "latent and hidden are positive, dropout in [0, 1); got "
                f"latent={latent}, hidden={hidden}, dropout={dropout}"
            )
        if objective not in ("non-saturating", "minimax"):
            raise UsageError(f"objective is non-saturating or minimax, got {objective!r}")
        super().__init__(spec, latent, context)
        self.hidden, self.objective, self.dropout = tuple(hidden), objective, dropout
        width = self.told_width
        self.generator = mlp(latent + width, hidden, spec.dims)
        self.discriminator = mlp(
            spec.dims + width,
            hidden[::-1],
            1,
            lambda: nn.Sequential(nn.LeakyReLU(0.2), nn.Dropout(dropout)),
        )

    def _generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        """G(z), `(N, dims)` on the scale that the discriminator sees."""
        raw: Tensor = self.generator(torch.cat([z, self.told["generator"](context, z)], 1))
        return raw if self.spec.levels is None else raw.tanh()

    def _judge(self, y: Tensor, context: Tensor | None) -> Tensor:
        """The logit of D(y), `(N,)`."""
        told = self.told["discriminator"](context, y)
        logit: Tensor = self.discriminator(torch.cat([y, told], 1))
        return at_least_float32(logit).squeeze(1)

    def discriminate(
        self, x: Tensor, context: Tensor | None = None, *, noise: Tensor | float = 0.5
    ) -> Tensor:
        """The logit of D, `(N,)`, of observations `(N, *event_shape)`: above 0 where it says real.

        Levels fill their bins by noise in [0, 1), and are put into the middle without.
        """
        return self._judge(self.scaled(x, noise), context)

    def scores(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The logit of D."""
        return self.discriminate(x, context)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer of D, of observations without a context."""
        y = self.scaled(x)
        y = torch.cat([y, y.new_zeros(len(y), self.told_width)], 1)
        seen: Tensor = self.discriminator[:-1](y)
        return seen

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "discriminator"
    ) -> dict[str, Tensor]:
        """One player's loss in nats, and the mean of D where that player looks at it."""
        z = self.prior(x.shape[0])
        if turn == "discriminator":
            noise = torch.rand(x.shape, dtype=self.shift.dtype, device=x.device)
            real = self.discriminate(x, context, noise=noise)
            with torch.no_grad():
                y = self._generate(z, context)
            fake = self._judge(y, context)
            loss = -(logsigmoid(real) + logsigmoid(-fake)).mean()
            return {"loss": loss, "real": real.sigmoid().mean(), "fake": fake.sigmoid().mean()}
        with still(self.player("discriminator")):
            fake = self._judge(self._generate(z, context), context)
        saturating = self.objective == "minimax"
        loss = (logsigmoid(-fake) if saturating else -logsigmoid(fake)).mean()
        return {"loss": loss, "fake": fake.sigmoid().mean()}
