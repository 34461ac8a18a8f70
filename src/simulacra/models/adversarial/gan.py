"""The generative adversarial network, of parts that its descendants choose otherwise."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.augment import ENOUGH, augmented
from simulacra.models.adversarial.base import Adversarial, still
from simulacra.models.adversarial.completion import InversionCompletion
from simulacra.models.adversarial.networks import (
    TAKES,
    NetworkKind,
    chosen,
    generator_body,
    opponent_body,
)
from simulacra.models.adversarial.objectives import ObjectiveName, objective_of, told_rightly
from simulacra.models.adversarial.players import Generator, Opponent
from simulacra.models.adversarial.regularisers import (
    PENALTIES,
    RegulariserName,
    check_regulariser,
    gradient_penalty,
    squared_slope,
    usual_penalty,
)
from simulacra.models.stages import Player
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind


class GAN(InversionCompletion, Adversarial):
    """A generator that learns to fool a discriminator, which learns to tell; no likelihood.

    Three choices make a game of this family: what the players minimise (`objective`), what keeps
    the discriminator's slope in bounds (`regulariser`), and what the players are (`network`). Other
    names of the family are papers' choices, and all of them can be chosen here.

    Paper: I. Goodfellow et al., "Generative Adversarial Nets", 2014, arXiv 1406.2661,
        equation 1 and algorithm 1 with k = 1.
    Departs from the paper: leaky ReLU in the discriminator instead of maxout, and Adam; levels and
        generated values are shown with noise of one level's width, or the discriminator would tell
        them apart by that alone, and generated ones end in tanh; a context, when given, is told to
        the generator beside its code (arXiv 1411.1784) and to the discriminator by projection
        (arXiv 1802.05637).

    Args:
        spec: Ordered levels, or continuous vectors.
        latent: Size of a code; by default 32, and of vectors twice as many as they have values, if
            that is less.
        network: What the players are: `mlp`, `convolutional` or `residual`; `auto` is mlp for
            vectors and pictures of a side below 16, and convolutional for others and sounds.
        hidden: Widths of an MLP generator's hidden layers, which its opponent has in reverse; by
            default 256 and 512, and of vectors three of 128.
        channels: Of a convolutional or residual player at half the resolution of the data; twice as
            many at each further halving.
        dropout: Probability of dropping a feature of an MLP opponent.
        objective: What the players minimise: `minimax`, `non-saturating`, `least-squares`,
            `wasserstein`, `hinge` or `relativistic`.
        regulariser: What keeps the opponent's slope in bounds: `none`, `spectral` (each weight but
            the last divided by its largest singular value), `gradient-penalty` (a slope of 1
            between real and generated observations), `r1` (no slope at real ones) or `r1-r2` (nor
            at generated ones).
        penalty: Weight of the penalty, of regularisers that are one; its usual one, without.
        moves: How often in a step the opponent moves, and the generator.
        rates: Their learning rates, as multiples of the training's; by default 1, and of MLPs a
            half and a quarter.
        augment: Whether the opponent is shown pictures in random light, moved and with a part
            covered (arXiv 2006.10738); `auto` where it is no MLP, to which a picture that is moved
            is another one, and learns from fewer than 5000.
        context: What both players are told beside the observation: none, label or vector.

    Raises:
        MissingCapability: If the data are not those that the networks are for.
        UsageError: If a keyword is out of its range.
    """

    takes = Takes(unordered=False)
    preset = {"lr": 4e-3, "betas": (0.0, 0.99), "schedule": "constant", "clip": 0.0}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "objective": "minimax", "context": "label"},
        {
            "latent": 2, "hidden": (8,), "context": "vector", "objective": "least-squares",
            "regulariser": "r1", "dropout": 0.0, "moves": (2, 1), "rates": (2.0, 1.0),
        },
    )  # fmt: skip
    turns: tuple[str, ...] = ("discriminator", "generator")
    augmenting: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int | None = None,
        network: NetworkKind = "mlp",
        hidden: tuple[int, ...] | None = None,
        channels: int = 16,
        dropout: float = 0.2,
        objective: ObjectiveName = "non-saturating",
        regulariser: RegulariserName = "none",
        penalty: float | None = None,
        moves: tuple[int, ...] = (1, 1),
        rates: tuple[float, ...] | None = None,
        augment: Literal["auto", "always", "never"] = "auto",
        context: ContextKind = "none",
    ) -> None:
        if (
            (latent is not None and latent < 1)
            or channels < 1
            or any(w < 1 for w in hidden or ())
            or not 0 <= dropout < 1
        ):
            raise UsageError(
                "latent, hidden and channels are positive, dropout in [0, 1); got "
                f"latent={latent}, hidden={hidden}, channels={channels}, dropout={dropout}"
            )
        if len(moves) != 2 or min(moves) < 1 or (rates is not None and len(rates) != 2):
            raise UsageError(
                "moves and rates are two numbers, of the opponent and of the generator, and each "
                f"moves at least once; got moves={moves}, rates={rates}"
            )
        if augment not in ("auto", "always", "never"):
            raise UsageError(f"augment is auto, always or never; got {augment!r}")
        check_regulariser(regulariser)
        if penalty is not None and not (regulariser in PENALTIES and 0 <= penalty < math.inf):
            raise UsageError(
                f"penalty is a weight, at least 0, of one of {', '.join(PENALTIES)}; got {penalty} "
                f"with regulariser={regulariser}"
            )
        size = 32 if spec.levels is not None else min(32, 2 * spec.dims)
        super().__init__(spec, size if latent is None else latent, context)
        self.latent = latent
        kind = chosen(network, spec)
        if kind != "mlp":
            TAKES.check(spec, f"{type(self).__name__} of {kind} players")
        if augment == "always" and not spec.is_image:
            raise UsageError("augment=always is for pictures, and these are none")
        self.network, self.channels = network, channels
        self.hidden = None if hidden is None else tuple(hidden)
        self.dropout, self.objective, self.regulariser = dropout, objective, regulariser
        self.penalty, self.augment = penalty, augment
        self.moves, self.rates = tuple(moves), None if rates is None else tuple(rates)
        self._game = objective_of(objective)
        self.undecided = self._game.undecided
        # of a critic whose slope is held at 1 alone
        held = regulariser == "gradient-penalty" and penalty != 0
        self.estimates_distance = self._game.estimates_distance and held
        self._weight = usual_penalty(regulariser, spec) if penalty is None else penalty
        if regulariser in PENALTIES:
            self.not_compiled = "for its penalty needs second derivatives"
        self.turns = (self.opponent,) * moves[0] + ("generator",) * moves[1]
        usual = _MLP_RATES if kind == "mlp" else (1.0, 1.0)
        self.players = {
            player: Player(lr=rate)
            for player, rate in zip((self.opponent, "generator"), self.rates or usual, strict=True)
        }
        self.register_buffer("augmenting", torch.tensor(augment == "always"))
        self._build(kind)

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """Convolutions are for pictures and sounds."""
        return TAKES if keywords.get("network") in ("convolutional", "residual") else cls.takes

    def _build(self, kind: NetworkKind) -> None:
        """Make the players."""
        spec, spectral = self.spec, self.regulariser == "spectral"
        hidden = _HIDDEN["vectors" if spec.levels is None else "levels"]
        hidden = hidden if self.hidden is None else self.hidden
        told = ContextEmbedding(self.context, spec, _TOLD)
        self.generator = Generator(
            told,
            generator_body(
                kind, spec, self.code_size + told.width, hidden=hidden, channels=self.channels,
                normalised=True,
            ),
            squashed=spec.levels is not None,
        )  # fmt: skip
        # a penalty is of each observation alone, which a normalisation over batches is not
        body, width = opponent_body(
            kind, spec, hidden=hidden, channels=self.channels, dropout=self.dropout,
            normalised=self.regulariser == "none", spectral=spectral,
        )  # fmt: skip
        opponent = Opponent(ContextEmbedding(self.context, spec, width), body, width)
        setattr(self, self.opponent, opponent)

    def prepare(self, x: Tensor, context: Tensor | None = None, *, count: int = 0) -> None:
        """Decide whether pictures are augmented; see also `Standardised.prepare`.

        Args:
            x: Training observations.
            context: Their context.
            count: How many there are in all; as many as `x` has, if that is more.
        """
        super().prepare(x, context)
        if self.augment == "auto":
            convolves = chosen(self.network, self.spec) != "mlp"
            few = self.spec.is_image and max(count, len(x)) < ENOUGH
            self.augmenting.fill_(convolves and few)

    def _generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        y: Tensor = self.generator(z, context)
        return y

    def _score(self, y: Tensor, context: Tensor | None) -> Tensor:
        """What the opponent says, `(N,)`, of observations on the scale that the players share."""
        scores: Tensor = self.player(self.opponent)(y, context)
        return scores

    def _shown(self, y: Tensor) -> Tensor:
        """Observations as the opponent sees them while it learns.

        Levels, and what is generated in their place, are anywhere within half a level: bins
        filled on one side alone would give that away, however few the levels are.
        """
        if self.spec.levels is not None:
            y = y + (2 * torch.rand_like(y) - 1) / self.spec.levels
        return augmented(y) if self.augmenting else y

    def scores(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The opponent's scores; of the 2014 game the logit of D."""
        return self._score(self.scaled(x), context)

    def features(self, x: Tensor) -> Tensor:
        """The last layer but one of the opponent, `(N, features)`, whatever the context."""
        opponent = self.player(self.opponent)
        assert isinstance(opponent, Opponent)
        seen: Tensor = opponent.body(self.scaled(x))
        return seen

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = ""
    ) -> dict[str, Tensor]:
        """One player's loss.

        Args:
            x: Observations `(N, *event_shape)`.
            context: One row for each.
            turn: Whose it is, the opponent's without.

        Returns:
            `loss`, and in the opponent's turn `accuracy`, the share of its batch that it told
            rightly, `penalty` where there is one, before it is weighed, and `distance` where the
            scores estimate one.
        """
        z = self.prior(len(x))
        if turn == "generator":
            return self._generator_loss(x, context, z)
        with torch.no_grad():
            fake = self._shown(self._generate(z, context))
        y = self._shown(self.scaled(x))
        of_real, of_fake = self._score(y, context), self._score(fake, context)
        loss = self._game.opponent(of_real, of_fake)
        scalars = {"accuracy": told_rightly(of_real.detach(), of_fake.detach(), self.undecided)}
        if self.estimates_distance:
            scalars["distance"] = (of_real - of_fake).detach().mean()
        if self.regulariser in PENALTIES:
            few = slice(math.ceil(len(x) / _PENALISED))
            penalty = self._penalty(y[few], fake[few], None if context is None else context[few])
            loss = loss + self._weight * penalty
            scalars["penalty"] = penalty.detach()
        return {"loss": loss, **scalars}

    def _penalty(self, real: Tensor, fake: Tensor, context: Tensor | None) -> Tensor:
        """What the opponent pays for its slope, before it is weighed."""

        def score(y: Tensor) -> Tensor:
            return self._score(y, context)

        if self.regulariser == "gradient-penalty":
            return gradient_penalty(score, real, fake)
        # γ/2 E ‖∇ score‖², at real and at generated ones: arXiv 2501.05441, equations 3 and 4
        places = (real, fake) if self.regulariser == "r1-r2" else (real,)
        return torch.stack([squared_slope(score, y).mean() for y in places]).sum() / 2

    def _generator_loss(self, x: Tensor, context: Tensor | None, z: Tensor) -> dict[str, Tensor]:
        with still(self.player(self.opponent)):
            fake = self._score(self._shown(self._generate(z, context)), context)
            real = fake
            if self._game.paired:
                real = self._score(self._shown(self.scaled(x)), context)
        return {"loss": self._game.generator(real, fake)}


_HIDDEN = {"levels": (256, 512), "vectors": (128, 128, 128)}
_MLP_RATES = (0.5, 0.25)
"""Of MLPs, where convolutions have 1: faster, they lose modes of toys again."""
_PENALISED = 4
"""Of so many observations of a batch one is asked for its slope, which takes two more passes."""
_TOLD = 32
"""Features of a context that a generator is told."""
