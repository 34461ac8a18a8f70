"""Mixture of Gaussians with diagonal covariances, or full ones (see `gmm_full`)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.functional import one_hot
from torch.utils.checkpoint import checkpoint

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.base import Mixture
from simulacra.models.model import Model
from simulacra.models.takes import Takes
from simulacra.nn.distributions import DiscretisedNormal
from simulacra.nn.precision import double


class GMM(Mixture):
    """A weighted sum of Gaussian densities, fitted by expectation–maximisation, then by gradients.

    On levels, a level k is the bin [k, k + 1). With diagonal covariances each component is
    integrated over the bins (the outer ones open), and the likelihood is exact. With full
    covariances it is the dequantisation bound, E_u log p(x + u) with u ~ U[0, 1)^D, which
    importance draws tighten. The sweeps climb a looser bound in closed form, that of Jensen within
    each component, E_u log N(x + u): the moments of u enter as x + 1/2 and 1/12. The gradient steps
    after them climb what is printed.

    Paper: A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum Likelihood from Incomplete Data via
        the EM Algorithm", 1977, J. R. Stat. Soc. B 39(1), section 4.3.
    Departs from the paper: a k-means start (sklearn.cluster.KMeans); the bins of levels, where the
        paper's section 4.2 would take truncated moments, which the gradient steps find; variances
        of sweeps are posterior modes under pseudo-observations of the pooled variance (Fraley and
        Raftery 2007), so that no component shrinks onto a value that never varies in it; vectors
        are standardised first, and counted.

    Args:
        spec: Ordered levels, or continuous vectors.
        components: Number of Gaussians, where there are five observations for each at least; else
            as many as there are observations for. Where they grow, the most there may be.
        covariance: `diagonal` or `full`; for low-rank ones see `mfa`.
        context: What is told beside an observation: none, or label. Classes share the Gaussians,
            and have weights of their own.
        grow: Whether their number is found: when sweeps gain nothing any more, the heaviest are
            split, and the best step on validation data decides.
        minibatch: How many observations a sweep goes over; 0 for all.
        prior: Pseudo-observations of the pooled variances in each component; 0 for maximum
            likelihood.
        tolerance: A sweep that gains less, in nats per value, has gained nothing.
    """

    takes = Takes(unordered=False)
    preset = {"lr": 2e-2, "batch": 128}
    small = (
        {"components": 3},
        {"components": 3, "covariance": "full"},
        {"components": 4, "context": "label", "grow": True, "minibatch": 8},
    )
    smaller = ({"covariance": "diagonal"}, {"components": 10}, {"components": 2})
    pooled: Tensor
    _full: ClassVar = False

    def __init__(
        self,
        spec: DataSpec,
        *,
        components: int = 100,
        covariance: Literal["diagonal", "full"] = "diagonal",
        context: Literal["none", "label"] = "none",
        grow: bool = False,
        minibatch: int = 0,
        prior: float = 3.0,
        tolerance: float = 1e-5,
    ) -> None:
        if covariance == "full" and not self._full:
            raise UsageError(
                "full covariances have a class of their own: "
                "simulacra.build('gmm', spec, {'covariance': 'full'}), or FullGMM"
            )
        if prior < 0 or covariance not in ("diagonal", "full"):
            raise UsageError(
                "prior is at least 0, covariance is diagonal or full; got "
                f"{prior} and {covariance!r}"
            )
        super().__init__(
            spec, components=components, context=context, grow=grow, minibatch=minibatch,
            tolerance=tolerance,
        )  # fmt: skip
        self.covariance, self.prior = covariance, prior
        self.means = nn.Parameter(torch.zeros(components, spec.dims))
        self.register_buffer("pooled", torch.ones(spec.dims))
        self._make_spreads()
        self._remember()

    def _make_spreads(self) -> None:
        self.log_scales = nn.Parameter(torch.zeros_like(self.means))

    @classmethod
    def class_for(cls, **keywords: object) -> type[Model]:
        """Full covariances are bounded and not exact, and have a class of their own."""
        if keywords.get("covariance") == "full":
            from simulacra.models.mixture.gmm_full import FullGMM

            return FullGMM
        return cls

    @property
    def exact(self) -> bool:
        """Integrated over the bins of levels; a density of vectors."""
        return True

    def completes_exactly(self, observed: Tensor) -> bool:
        """Where the likelihood is exact; a full covariance conditions on the bins' middles."""
        return self.exact

    @property
    def _floor(self) -> float:
        """Least variance of a value within a component: its bin's, or next to none."""
        return self.bin_variance or 1e-6

    def _begin(self, y: Tensor) -> None:
        self.pooled.copy_(y.var(0, unbiased=False) + self._floor)

    # ---- sweeps ----------------------------------------------------------------------------------

    def log_parts(self, y: Tensor) -> Tensor:
        """log N(y; μ_k, σ_k²), or E log N(y + u) with the bins' noise, `(N, K)`."""
        means, scales = self.means.to(y), self.log_scales.to(y)
        precision = (-2 * scales).exp()
        # the square completed, so that nothing of size (N, K, D) is made
        centre = means.mean(0)
        shifted, around = y - centre, means - centre
        distance = (
            shifted.square() @ precision.T
            - 2 * shifted @ (around * precision).T
            + (around.square() * precision).sum(1)
        )
        constant = y.shape[1] * math.log(2 * math.pi) + 2 * scales.sum(1)
        return -0.5 * (distance + constant + self.bin_variance * precision.sum(1))

    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Σ r y and Σ r y² of each component."""
        return weights.T @ y, weights.T @ y.square()

    @torch.no_grad()
    def _fit(self, mass: Tensor, *moments: Tensor) -> None:
        """Posterior modes: σ_k² = (Σ r (y − μ)² + N_k e + ν v) / (N_k + ν)."""
        first, second = moments
        alive, safe = mass > EMPTY, mass.clamp_min(EMPTY)[:, None]
        means = first / safe
        scatter = (second - safe * means.square()).clamp_min(0)
        scatter += safe * self._floor + self.prior * self.pooled.to(means)
        variances = scatter / (safe + self.prior)
        self.means[alive] = means[alive].to(self.means)
        self.log_scales[alive] = variances[alive].log().mul(0.5).to(self.log_scales)

    def _log_prior(self) -> Tensor:
        """log-density of the covariances under the prior, but for a constant."""
        log_variances, pooled = 2 * double(self.log_scales), double(self.pooled)
        terms = log_variances + pooled * (-log_variances).exp()
        return -0.5 * self.prior * terms[self.mixing.alive.to(terms.device)].sum()

    @torch.no_grad()
    def _part(self, parents: Tensor, children: Tensor) -> None:
        """Half of a draw to one side of what was one, and to the other."""
        apart = (self._draw(parents) - self.means[parents]) / 2
        self.means[parents] -= apart
        self.means[children] += apart

    # ---- likelihood, samples, completion ---------------------------------------------------------

    def log_likelihoods(self, x: Tensor, *, draws: int = 1, seed: int = 0) -> Tensor:
        """log p(x | k), integrated over the bins of levels, `(N, K)` in nats."""
        if self.spec.levels is None:
            return self.log_parts(double(self._middle(x))) - self._log_units
        values = x.flatten(1)
        # of few levels the mass of each is computed once, of many that of those that came
        few = self.spec.levels <= len(values)
        of = self._masses if few else self._mass_of_each
        size = self.spec.levels * self.spec.dims if few else values.numel()
        # so many components at a time that what is made for them stays small, with gradients too
        part = max(1, _VALUES // max(1, size))
        if part >= self.components:
            return of(values, self.means, self.log_scales)
        several = zip(self.means.split(part), self.log_scales.split(part), strict=True)
        if not torch.is_grad_enabled():
            return torch.cat([of(values, *each) for each in several], 1)
        made = [checkpoint(of, values, *each, use_reentrant=False) for each in several]
        return torch.cat(cast(list[Tensor], made), 1)

    def _masses(self, x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """log-probability of rows `(N, D)` under some components, `(N, k)`: a matrix product."""
        assert self.spec.levels is not None
        levels = torch.arange(self.spec.levels, device=x.device)
        each = self._normal(means[..., None], log_scales[..., None]).log_prob(levels)
        # a mass of none would make no number of the others
        least = torch.finfo(each.dtype).min / x.shape[1]
        chosen = one_hot(x.long(), self.spec.levels).to(each.dtype).flatten(1)
        return chosen @ each.clamp_min(least).flatten(1).T

    def _mass_of_each(self, x: Tensor, means: Tensor, log_scales: Tensor) -> Tensor:
        """The same where levels are many, from the mass of each value that came."""
        return self._normal(means, log_scales).log_prob(x[:, None]).sum(2)

    def _normal(self, means: Tensor, log_scales: Tensor) -> DiscretisedNormal:
        """Components over the bins of levels; the last dimensions are values, or levels of them."""
        assert self.spec.levels is not None
        wide = (slice(None),) + (None,) * (means.ndim - 2)
        scale, shift = self.scale[wide], self.shift[wide]
        return DiscretisedNormal(
            means * scale + shift + 0.5, log_scales.exp() * scale, self.spec.levels,
            validate_args=False,
        )  # fmt: skip

    def _draw(self, component: Tensor) -> Tensor:
        """μ_k + σ_k ε."""
        means = self.means[component]
        return means + self.log_scales[component].exp() * torch.randn_like(means)

    def _conditional(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> Tensor:
        """A component by the observed values, of which the hidden ones do not depend within it."""
        if self.spec.levels is None:
            gap = (self._middle(x)[:, None] - self.means) / self.log_scales.exp()
            log_values = -0.5 * gap.square() - self.log_scales
        else:
            log_values = self._normal(self.means, self.log_scales).log_prob(x[:, None])
        log_joint = log_mixing + (log_values * mask).sum(2)
        return self._draw(Categorical(logits=log_joint, validate_args=False).sample())


EMPTY = 1e-8
"""Observations below which a component has none, and stays where it is."""
_VALUES = 1 << 22
"""Of a batch under some components at once."""
