"""Mixture of Bernoulli distributions, for two levels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.functional import logsigmoid, softplus

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.base import Mixture
from simulacra.models.stages import Stage
from simulacra.models.takes import Takes
from simulacra.nn.precision import double


class BernoulliMixture(Mixture):
    """A weighted sum of products of coins, fitted by expectation–maximisation.

    Each component has a probability of level 1 for every value, and values do not depend on one
    another within a component. Likelihood and completion are exact, and sweeps climb the likelihood
    itself, with a prior.

    Paper: A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum Likelihood from Incomplete Data via
        the EM Algorithm", 1977, J. R. Stat. Soc. B 39(1), section 4.3; A. Juan, E. Vidal,
        "Bernoulli mixture models for binary images", 2004, ICPR, section 2.
    Departs from the paper: a k-means start (sklearn.cluster.KMeans); probabilities of sweeps are
        posterior modes under a Beta prior, so that no value is impossible because a component never
        saw it.

    Args:
        spec: Two levels, with or without an order.
        components: Number of components, where there are five observations for each at least; else
            as many as there are observations for. Where they grow, the most there may be.
        context: What is told beside an observation: none, or label. Classes share the components,
            and have weights of their own.
        grow: Whether their number is found: when sweeps gain nothing any more, the heaviest are
            split, and the best step on validation data decides.
        minibatch: How many observations a sweep goes over; 0 for all.
        prior: Pseudo-observations in each component, of level 1 as often as in all data; 0 for
            maximum likelihood.
        tolerance: A sweep that gains less, in nats per value, has gained nothing.
    """

    takes = Takes(vectors=False, most_levels=2)
    small = (
        {"components": 3},
        {"components": 4, "context": "label", "grow": True},
        {"components": 2, "minibatch": 8},
    )
    smaller = ({"components": 100}, {"components": 10}, {"components": 2})
    pooled: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        components: int = 500,
        context: Literal["none", "label"] = "none",
        grow: bool = False,
        minibatch: int = 0,
        prior: float = 1.0,
        tolerance: float = 1e-5,
    ) -> None:
        if prior < 0:
            raise UsageError(f"prior is at least 0, got {prior}")
        super().__init__(
            spec, components=components, context=context, grow=grow, minibatch=minibatch,
            tolerance=tolerance,
        )  # fmt: skip
        self.prior = prior
        # log-odds of level 1
        self.logits = nn.Parameter(torch.zeros(components, spec.dims))
        self.register_buffer("pooled", torch.full((spec.dims,), 0.5))
        self._remember()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Sweeps alone: gradient steps would climb the same without the prior, and overfit."""
        return super().stages[:1]

    @property
    def exact(self) -> bool:
        """Always."""
        return True

    def completes_exactly(self, observed: Tensor) -> bool:
        """Always."""
        return True

    @property
    def means(self) -> Tensor:
        """Probability of level 1 of each component's values, `(K, D)`."""
        return self.logits.sigmoid()

    def _begin(self, y: Tensor) -> None:
        # half an observation of each level more, so that neither is impossible
        ones = _levels(y).sum(0)
        self.pooled.copy_((ones + 0.5) / (len(y) + 1))

    # ---- sweeps ----------------------------------------------------------------------------------

    def log_parts(self, y: Tensor) -> Tensor:
        """log p(y | k), `(N, K)`."""
        return self._log_mass(_levels(y))

    def _log_mass(self, x: Tensor) -> Tensor:
        """Σ x θ − log (1 + exp θ) of levels `(N, D)` as floats, `(N, K)`."""
        logits = self.logits.to(x)
        return x @ logits.T - softplus(logits).sum(1)

    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Σ r x of each component."""
        return (weights.T @ _levels(y),)

    @torch.no_grad()
    def _fit(self, mass: Tensor, *moments: Tensor) -> None:
        """Posterior modes: p_k = (Σ r x + ν m) / (N_k + ν), with m of all data."""
        (ones,) = moments
        alive, prior = mass > _EMPTY, self.prior
        shares = (ones + prior * self.pooled.to(ones)) / (mass.clamp_min(_EMPTY)[:, None] + prior)
        # without a prior no log-odds are infinite either: the sums of products would be none
        self.logits[alive] = shares[alive].logit(_LEAST).to(self.logits)

    def _log_prior(self) -> Tensor:
        """log-density of the probabilities under the prior, but for a constant."""
        logits, pooled = double(self.logits), double(self.pooled)
        terms = pooled * logsigmoid(logits) + (1 - pooled) * logsigmoid(-logits)
        return self.prior * terms[self.mixing.alive.to(terms.device)].sum()

    @torch.no_grad()
    def _part(self, parents: Tensor, children: Tensor) -> None:
        """Log-odds that are a little higher here, and as much lower there."""
        apart = torch.randn_like(self.logits[parents]) / 2
        self.logits[parents] -= apart
        self.logits[children] += apart

    # ---- likelihood, samples, completion ---------------------------------------------------------

    def log_likelihoods(self, x: Tensor, *, draws: int = 1, seed: int = 0) -> Tensor:
        """log p(x | k), `(N, K)` in nats."""
        return self._log_mass(x.flatten(1).to(self.logits))

    def _draw(self, component: Tensor) -> Tensor:
        """A coin for each value."""
        return self.means[component].bernoulli() - 0.5

    def _conditional(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> Tensor:
        """A component by the observed values, of which the hidden ones do not depend within it."""
        logits = self.logits * mask
        # of a value that is not seen, log-odds of 0 are a factor of a half for every component
        log_joint = log_mixing + x.to(logits) @ logits.T - softplus(logits).sum(1)
        return self._draw(Categorical(logits=log_joint, validate_args=False).sample())


def _levels(y: Tensor) -> Tensor:
    """Levels 0 and 1, of values in units in which their bins are [−1, 0) and [0, 1)."""
    return y + 0.5


_EMPTY = 1e-8
"""Observations below which a component has none, and stays where it is."""
_LEAST = 1e-9
"""Probability below which there is none in sweeps without a prior."""
