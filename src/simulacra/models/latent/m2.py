"""M2: a VAE that is told some labels, and sums over the classes where they are not told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import keyed_normal, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.bounded import Terms
from simulacra.models.classifying import Classifying
from simulacra.models.latent import networks
from simulacra.models.latent.networks import EncoderKind
from simulacra.models.latent.posteriors import Diagonal, Flowing, Full, log_normal
from simulacra.models.latent.vae import VAE
from simulacra.models.stages import Stage
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.distributions import importance_weighted
from simulacra.nn.levels import as_input
from simulacra.nn.precision import at_least_float32

_LEAST = 1e-3
"""Classes so much less probable than the likeliest are left out of a bound: of digits on which a
classifier is sure one or two are left, and a step takes a fifth of the time."""


class M2(VAE, Classifying):
    """A `vae` of classes and codes, p(y) p(z) p(x | y, z), with a classifier q(y | x) of its own.

    Where a label is told, it is a VAE that is told it. Where it is not, the bound is summed over
    all classes, each with the probability that the classifier gives it; so the classifier learns
    from observations without a label too. Every class is as probable as another, p(y) = 1 / C. Of
    a label of several parts those that are told leave so many classes to sum over.

    Paper: D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised Learning with Deep
        Generative Models", 2014, arXiv 1406.5298, model M2, equations 6 to 9.
    Departs from the paper: as `vae`; batches hold observations with a label, beside those that
        chance brings, and these count like others; q(y | x) may have networks of another kind;
        α weighs the mean over observations with a label, so it is α / N of the paper.

    Args:
        spec: Any observations with labels.
        alpha: Weight of −log q(y | x), beside the bound of an observation in nats.
        told: Part of a batch that has labels, in the mean, where there are any.
        encoder: See `vae`; of the encoder and the decoder, which sees every class of every
            observation.
        classifier: Kind of network that q(y | x) is, as `encoder`.
        context: What it is told: a label, always; −1 where it is not known.

    Raises:
        MissingCapability: If the data have no labels, or are not those that the decoder or the
            networks are for.
        UsageError: If a keyword is out of its range.
    """

    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "hidden": (16,), "context": "label"},
        {"latent": 2, "hidden": (16,), "context": "label", "posterior_family": "full"},
        {
            "latent": 2, "hidden": (16,), "context": "label", "classifier": "rnn",
            "posterior_family": "flow", "free_bits": 0.1, "dropout": 0.2,
        },
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        alpha: float = 10.0,
        told: float = 0.25,
        encoder: EncoderKind = "mlp",
        classifier: EncoderKind = "auto",
        context: ContextKind = "label",
        **keywords: Any,  # noqa: ANN401 (those of `VAE`)
    ) -> None:
        if context != "label":
            raise UsageError(
                f"m2 learns from labels, context='label': got {context!r} (see vae for the rest)"
            )
        if not 0 <= alpha < math.inf or not 0 <= told < 1:
            raise UsageError(
                f"alpha is not negative and told is from 0 to below 1, got {alpha} and {told}"
            )
        if classifier not in networks.TAKES:
            raise UsageError(
                f"classifier is one of {', '.join(networks.TAKES)}, got {classifier!r}"
            )
        networks.TAKES[classifier].check(spec, f"classifier={classifier!r}")
        self.alpha, self.told, self.classifier = alpha, told, classifier
        super().__init__(spec, encoder=encoder, context=context, **keywords)
        self.told_in_batch = told or None

    def build(self, numbers: int, parameters: int) -> None:
        """Make the networks: what the encoder sees of x is the same for every class."""
        if not self.spec.classes:
            raise MissingCapability("M2 needs data with labels, some of them at least; use vae")
        self.context_features = ContextEmbedding(self.context, self.spec, 32)
        wide = (self.hidden or networks.HIDDEN[networks.chosen(self.encoder, self.spec)] or (128,))[
            -1
        ]
        self.encoding, _ = self.pair(wide, 1, 1, told=0)
        self.head = nn.Linear(wide + self.context_features.width, numbers)
        _, self.decoding = self.pair(1, self.latent, parameters)
        self.classifying, _ = self.pair(self.spec.classes, 1, 1, told=0, kind=self.classifier)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """As that of `vae`; what chooses the best step is the loss itself, and no likelihood."""
        return (replace(super().stages[0], validation_loss=self.validation_loss),)

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What all networks and the decoder's distribution are for."""
        own = super().takes_with(**{"encoder": "mlp", **keywords})
        asked = networks.TAKES[keywords.get("classifier", "auto")]
        return replace(
            own, sounds=own.sounds and asked.sounds, vectors=own.vectors and asked.vectors
        )

    # ---- classes --------------------------------------------------------------------------------

    def class_log_probabilities(self, x: Tensor) -> Tensor:
        """Log q(y | x) of every class, `(N, classes)`."""
        self.spec.check(x)
        inputs = self._inputs(x)
        return at_least_float32(self.classifying(inputs, inputs.new_zeros(len(x), 0))).log_softmax(
            1
        )

    def _possible(self, context: Tensor | None, like: Tensor) -> Tensor:
        """Which classes a label leaves, `(N, classes)` booleans: one, or all where none is told."""
        told = self.context_features.checked(context, like)
        assert told is not None  # it takes labels alone
        every = self.spec.labels(torch.arange(self.spec.classes, device=like.device))
        each = every.view(self.spec.classes, -1)
        return ((told[:, None] < 0) | (told[:, None] == each)).all(2)

    def _drawn(self, context: Tensor | None, like: Tensor) -> Tensor:
        """Labels; where one is not told, of a class drawn from p(y), of those that are left."""
        possible = self._possible(context, like)
        lots = torch.rand(possible.shape, device=like.device)
        return self.spec.labels(torch.where(possible, lots, -1).argmax(1))

    def _recognised(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Labels; where one is not told, of the likeliest class, of those that are left."""
        possible = self._possible(context, x)
        log_q = torch.where(possible, self.class_log_probabilities(x), -math.inf)
        return self.spec.labels(log_q.argmax(1))

    # ---- codes of a class -----------------------------------------------------------------------

    def _inputs(self, x: Tensor) -> Tensor:
        values = x if self.spec.levels is not None else self.standardised(x)
        return as_input(values, self.spec, self.shift.dtype)

    def _features(self, x: Tensor) -> Tensor:
        """What the encoder sees of x alone, `(N, features)`."""
        inputs = self._inputs(x)
        seen: Tensor = self.encoding(inputs, inputs.new_zeros(len(x), 0))
        return seen.relu()

    def _numbers(self, features: Tensor, labels: Tensor) -> Tensor:
        """The encoder's numbers `(N, numbers)`, given what it sees of x."""
        told = self.context_features(labels, features)
        return at_least_float32(self.head(torch.cat([features, told], 1)))

    def _posterior(self, features: Tensor, labels: Tensor) -> Diagonal | Full | Flowing:
        """q(z | x, y), given what is seen of x."""
        return self.approximation(self._numbers(features, labels))

    def encoded(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The encoder's numbers `(N, numbers)`; of the likeliest class where none is told."""
        return self._numbers(self._features(x), self._recognised(x, context))

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Diagonal | Full | Flowing:
        """q(z | x, y) over codes; of the likeliest class where the label is not told."""
        return self.approximation(self.encoded(x, context))

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Independent[Distribution]:
        """p(x | y, z); of a class drawn from p(y) where the label is not told."""
        return super().likelihood(z, self._drawn(context, z))

    def _proposed(
        self, x: Tensor, context: Tensor | None, told: Tensor | None
    ) -> tuple[Tensor | None, Tensor | float]:
        """A class that the classifier draws, where the label is not told."""
        possible = self._possible(context, x)
        log_q = torch.where(possible, self.class_log_probabilities(x), -math.inf)
        # broken weights show in the chain, not in an error of the draw
        q = torch.where(possible, log_q.exp().nan_to_num(0).clamp_min(1e-30), 0)
        drawn = q.multinomial(1)[:, 0]
        assert told is not None
        before = self._possible(told, x).long().argmax(1)
        rows = torch.arange(len(x), device=x.device)
        return self.spec.labels(drawn), log_q[rows, drawn] - log_q[rows, before]

    # ---- the bound ------------------------------------------------------------------------------

    def _summed(
        self, x: Tensor, context: Tensor | None, noise: Tensor
    ) -> tuple[Terms, Tensor, Tensor]:
        """Equations 6 and 7: each class that is left, with the probability that q(y | x) gives it.

        Args:
            x: Observations `(N, *event_shape)`.
            context: Their labels.
            noise: Standard normal `(N, latent)`, the same for every class.

        Returns:
            Distortion and rates of the code; KL(q(y | x) ‖ p(y)) `(N,)`, of a label that is told
            −log p(y); and log q of what is told, `(N,)`, 0 where nothing is.
        """
        possible = self._possible(context, x)
        log_q = torch.where(possible, self.class_log_probabilities(x), -math.inf)
        known = log_q.logsumexp(1)
        # q may be any, as one that leaves out what it holds for next to impossible
        # a classifier that says no number must show in the bound, not in classes that it lacks
        kept = possible & ~(log_q < log_q.amax(1, keepdim=True) + math.log(_LEAST))
        log_q = torch.where(kept, log_q, -math.inf)
        log_q = torch.where(kept, log_q - log_q.logsumexp(1, keepdim=True), 0)
        q = torch.where(kept, log_q.exp(), 0)
        rows, classes = kept.nonzero(as_tuple=True)
        labels = self.spec.labels(classes)
        posterior = self._posterior(self._features(x)[rows], labels)
        z, log_density = posterior.placed(noise[rows])
        rates = posterior.rates()
        rates = log_density - log_normal(z) if rates is None else rates
        fit = self._log_likelihood(x[rows], z, labels)
        each = torch.cat([-fit[:, None], rates], 1) * q[rows, classes][:, None]
        whole = each.new_zeros(*possible.shape, each.shape[1])
        whole[rows, classes] = each
        whole = whole.sum(1)
        divergence = (q * log_q).sum(1) + math.log(self.spec.classes)
        return Terms(whole[:, 0], whole[:, 1:]), divergence, known

    def loss(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        turn: str = "model",
        place: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        """Equation 9, of a mean observation in nats, and its parts."""
        terms, divergence, known = self._summed(x, context, self.noise(len(x)))
        reconstruction, units = terms.distortion.mean(), terms.rates.mean(0)
        told = (~self._possible(context, x).all(1)).sum().clamp_min(1)
        classifier = -known.sum() / told
        bound = reconstruction + self._weight(place) * self._paid(units) + divergence.mean()
        return {
            "loss": bound + self.alpha * classifier, "reconstruction": reconstruction,
            "kl": units.sum(), "classes": divergence.mean(), "classifier": classifier,
        }  # fmt: skip

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """What the loss is of each observation, the divergence weighted as at the end, `(N,)`."""
        noise = keyed_normal(keys_of(x), (self.latent,)).to(self.shift)
        terms, divergence, known = self._summed(x, context, noise)
        return terms.distortion + self.beta * terms.kl + divergence - self.alpha * known

    def terms(self, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Terms:
        """See `Bounded.terms`; what a class that is not told costs is counted as distortion."""
        self.spec.check(x)
        noise = keyed_normal(keys_of(x, seed), (self.latent,)).to(self.shift)
        terms, divergence, _ = self._summed(x, context, noise)
        # of what is told itself nothing is asked: p(x | y), or the mean of those of classes left
        left = self._possible(context, x).sum(1).to(divergence).log() - math.log(self.spec.classes)
        return replace(terms, distortion=terms.distortion + divergence + left)

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log p(x | y) by so many codes; log Σ_y p(y) p(x | y) where the label is not told.

        The classes that a label leaves are as many times the cost of one.
        """
        self.spec.check(x)
        possible = self._possible(context, x)
        left = possible.sum(1)
        # those that are left first; in lots of one size, so that no row depends on what is beside
        order = (~possible).long().argsort(dim=1, stable=True)
        features = self._features(x)
        scores = []
        for place in range(int(left.max()) if len(x) else 0):
            there = place < left
            labels = self.spec.labels(torch.where(there, order[:, place], order[:, 0]))
            score = self._given(x, features, labels, draws, seed)
            scores.append(torch.where(there, score, -math.inf))
        return torch.stack(scores).logsumexp(0) - left.to(scores[0]).log()

    def _given(self, x: Tensor, features: Tensor, labels: Tensor, draws: int, seed: int) -> Tensor:
        """The bound of log p(x | y) by so many codes, `(N,)`."""
        posterior = self._posterior(features, labels)

        def log_weight(keys: Tensor) -> Tensor:
            noise = keyed_normal(keys, (self.latent,)).to(self.shift)
            return self.drawn(x, posterior, noise, labels).log_weight()

        return importance_weighted(x, draws, seed, log_weight)
