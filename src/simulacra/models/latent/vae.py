"""Variational autoencoder: a decoder of Gaussian codes, and an encoder that approximates them."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
)

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent.base import Variational
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.distributions import DiscretisedLogistic
from simulacra.nn.levels import as_input, input_channels
from simulacra.nn.mlp import mlp
from simulacra.nn.precision import at_least_float32

Observation = Literal["auto", "bernoulli", "categorical", "discretised-logistic", "gaussian"]

_TAKES: dict[Observation, Takes] = {
    "auto": Takes(),
    "bernoulli": Takes(vectors=False, most_levels=2),
    "categorical": Takes(vectors=False),
    "discretised-logistic": Takes(vectors=False, unordered=False),
    "gaussian": Takes(pictures=False, sounds=False),
}
"""Distribution of a value given its code → the data that it is for."""

_NARROWEST = 1e-3
"""Least standard deviation of the Gaussian decoder, in those of the data: a density has no top."""


class VAE(Variational):
    """A decoder of Gaussian codes, trained with an encoder on the evidence lower bound.

    The decoder is a distribution over levels, so the bound is one on a discrete likelihood; of
    continuous vectors, which are standardised first, and counted, it is one on their density.
    With k importance draws it is that of Burda, Grosse and Salakhutdinov 2015 (arXiv 1509.00519);
    with `objective=iwae`, which has the name `iwae`, that tighter bound is trained on, too.

    Paper: D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2013, arXiv 1312.6114,
        section 3 and appendices B and C; Y. Burda, R. Grosse, R. Salakhutdinov, "Importance
        Weighted Autoencoders", 2015, arXiv 1509.00519, equations 8 and 13.
    Departs from the paper: ReLU instead of tanh; discrete levels have a categorical or
        discretised logistic decoder instead of a Gaussian one, whose standard deviation is at
        least a thousandth of the data's; one layer of codes, where importance weighting was
        tried with two as well; a context, when given, enters both networks.

    Args:
        spec: Any observations.
        latent: Size of a code.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        observation: Distribution of a value given its code. `auto`: Bernoulli for 2 levels,
            categorical for up to 32 or unordered ones, discretised logistic for more, Gaussian
            for continuous vectors.
        objective: The bound to train on: `elbo`, or the importance-weighted one, `iwae`.
        draws: Codes of each observation in a step on the importance-weighted bound.
        context: What both networks are told beside the observation: none, label or vector.

    Raises:
        MissingCapability: If the data are not those that the decoder is for.
    """

    takes = Takes()
    preset = {"lr": 2e-3}
    small = (
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "observation": "categorical"},
        {"latent": 2, "hidden": (8,), "observation": "discretised-logistic"},
        {"latent": 2, "hidden": (8,), "context": "label"},
        {"latent": 2, "hidden": (8,), "context": "vector"},
        {"latent": 2, "hidden": (8,), "objective": "iwae", "draws": 3},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 16,
        hidden: tuple[int, ...] = (512, 256),
        observation: Observation = "auto",
        objective: Literal["elbo", "iwae"] = "elbo",
        draws: int = 5,
        context: ContextKind = "none",
    ) -> None:
        if min(latent, draws, *hidden) < 1:
            raise UsageError(
                f"latent, hidden and draws are positive, got {latent}, {hidden} and {draws}"
            )
        if objective not in ("elbo", "iwae"):
            raise UsageError(f"objective is elbo or iwae, got {objective!r}")
        if observation not in get_args(Observation):
            raise UsageError(
                f"observation is one of {', '.join(get_args(Observation))}, got {observation!r}"
            )
        _TAKES[observation].check(spec, f"observation={observation!r}")
        super().__init__(spec, latent)
        self.hidden, self.observation, self.context = tuple(hidden), observation, context
        self.objective, self.draws = objective, draws
        self.kind = _decoder(spec) if observation == "auto" else observation
        parameters = {"bernoulli": 1, "categorical": spec.levels or 0}.get(self.kind, 2)
        self.context_features = ContextEmbedding(context, spec, 32)
        told = self.context_features.width
        pixels = spec.dims // spec.event_shape[0] * input_channels(spec)
        self.encoder = mlp(pixels + told, hidden, 2 * latent)
        self.decoder = mlp(latent + told, hidden[::-1], spec.dims * parameters)

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the decoder's distribution is for."""
        return _TAKES[keywords.get("observation", "auto")]

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Independent[Normal]:
        """q(z | x), a diagonal Gaussian over codes; batch `(N,)`, event `(latent,)`."""
        values = x if self.spec.levels is not None else self.standardised(x)
        inputs = as_input(values, self.spec, self.shift.dtype).flatten(1)
        told = self.context_features(context, inputs)
        raw = at_least_float32(self.encoder(torch.cat([inputs, told], 1)))
        loc, log_scale = raw.chunk(2, 1)
        # not validated: what is not finite must reach the likelihood, where it is counted
        scale = log_scale.clamp(-10, 10).exp()
        return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Independent[Distribution]:
        """p(x | z) over levels or standardised vectors; batch `(N,)`, event `(*event_shape)`."""
        told = self.context_features(context, z)
        raw = at_least_float32(self.decoder(torch.cat([z, told], 1)))
        raw = raw.unflatten(1, (*self.spec.event_shape, -1))
        values: Distribution
        if self.kind == "bernoulli":
            values = Bernoulli(logits=raw.squeeze(-1), validate_args=False)
        elif self.kind == "categorical":
            values = Categorical(logits=raw, validate_args=False)
        elif self.spec.levels is None:
            loc, log_variance = raw.unbind(-1)
            scale = (0.5 * log_variance.clamp(-20, 14)).exp() + _NARROWEST
            values = Normal(loc, scale, validate_args=False)
        else:
            loc, log_scale = raw.unbind(-1)
            levels = self.spec.levels
            # in the middle of the range and a twentieth of it wide to begin with, and never
            # narrower than a twentieth of a bin
            scale = (levels / 20 * log_scale.clamp(-10, 7).exp()).clamp_min(0.05)
            values = DiscretisedLogistic((loc + 0.5) * levels, scale, levels, validate_args=False)
        return Independent(values, len(self.spec.event_shape), validate_args=False)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The negative evidence lower bound in nats, with its two parts; or the tighter one."""
        if self.objective == "iwae":
            return {"loss": self.negative_weighted_bound(x, self.draws, context)}
        reconstruction, kl = self.negative_bound(x, context)
        return {"loss": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


def _decoder(spec: DataSpec) -> Observation:
    """The distribution that suits the levels."""
    if spec.levels is None:
        return "gaussian"
    if spec.levels == 2:
        return "bernoulli"
    return "categorical" if spec.levels <= 32 or not spec.ordered else "discretised-logistic"
