"""Mixture of factor analysers: Gaussians whose covariances have few directions of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_normal, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.analysers import Analysers
from simulacra.models.mixture.base import Mixture
from simulacra.models.mixture.binned_analysers import Binned, drawn, explained, resampled
from simulacra.models.mixture.gmm import EMPTY
from simulacra.models.takes import Takes
from simulacra.nn.distributions import log_mean_exp
from simulacra.nn.precision import double, full_precision


class MFA(Mixture):
    """A weighted sum of factor analysers: N(μ_k, Λ_k Λ_kᵀ + Ψ_k) with Ψ_k diagonal.

    y = μ_k + Λ_k z + ε with a few factors z: a picture is drawn from one of several flat pieces.
    The density of vectors is exact. On levels, a level k is the bin [k, k + 1), the outer ones
    open, and p(x | k) = E_z Π_d [Φ((x_d + 1 − m_d) / σ_d) − Φ((x_d − m_d) / σ_d)], m = μ_k + Λ_k z:
    exactly what samples put into their bins follow. Of two levels it is a probit factor analysis.
    The likelihood is a bound on this that importance draws tighten, from a Gaussian at the top of
    p(x, z | k) as curved as that is; components that explain an observation far worse than others
    are left out of its sum. The sweeps climb the looser bound of `gmm`, in closed form.

    Paper: Z. Ghahramani, G. E. Hinton, "The EM Algorithm for Mixtures of Factor Analyzers", 1996,
        University of Toronto CRG-TR-96-1; E. Richardson, Y. Weiss, "On GANs and GMMs", 2018, arXiv
        1805.12462.
    Departs from the paper: a Ψ_k for each component, where the first paper has one for all; bins
        of levels, and gradient steps on their mass after the sweeps; each component is that of the
        greatest posterior under pseudo-observations of the pooled variances without factors; a
        k-means start with principal components of each cluster; vectors are standardised first,
        and counted.

    Args:
        spec: Ordered levels, or continuous vectors.
        components: Number of factor analysers, where there are five observations for each at least;
            else as many as there are observations for. Where they grow, the most there may be.
        rank: Number of factors of each.
        context: What is told beside an observation: none, or label. Classes share the analysers,
            and have weights of their own.
        grow: Whether their number is found: when sweeps gain nothing any more, the heaviest are
            split, and the best step on validation data decides.
        minibatch: How many observations a sweep goes over; 0 for all.
        prior: Pseudo-observations of the pooled variances, without factors, in each component; 0
            for maximum likelihood.
        tolerance: A sweep that gains less, in nats per value, has gained nothing.
    """

    takes = Takes(unordered=False)
    not_compiled = "for it sorts observations by what explains them"
    preset = {"lr": 2e-2, "batch": 128}
    small = (
        {"components": 3, "rank": 2},
        {"components": 6, "rank": 1, "prior": 0.0},
        {"components": 4, "rank": 2, "context": "label", "grow": True, "minibatch": 8},
    )
    smaller = ({"rank": 8}, {"components": 10}, {"rank": 1, "components": 2})
    pooled: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        components: int = 20,
        rank: int = 16,
        context: Literal["none", "label"] = "none",
        grow: bool = False,
        minibatch: int = 0,
        prior: float = 3.0,
        tolerance: float = 1e-3,
    ) -> None:
        if rank < 1 or prior < 0:
            raise UsageError(f"rank is positive and prior at least 0, got {rank} and {prior}")
        super().__init__(
            spec, components=components, context=context, grow=grow, minibatch=minibatch,
            tolerance=tolerance,
        )  # fmt: skip
        self.rank, self.prior = rank, prior
        # more factors than values would say nothing more
        factors = min(rank, spec.dims)
        # in units of each value's deviation, so that one learning rate fits all
        self.means = nn.Parameter(torch.zeros(components, spec.dims))
        self.loadings = nn.Parameter(0.1 * torch.randn(components, spec.dims, factors))
        self.log_scales = nn.Parameter(torch.zeros(components, spec.dims))
        self.register_buffer("pooled", torch.ones(spec.dims))
        self._remember()

    @property
    def exact(self) -> bool:
        """A density of vectors; of levels a bound, for nobody integrates over a box."""
        return self.spec.levels is None

    def completes_exactly(self, observed: Tensor) -> bool:
        """Vectors are; of levels the hidden factors are resampled from a few draws."""
        return self.exact

    @property
    def _floor(self) -> float:
        """Least variance of a value within a component: its bin's, or next to none."""
        return self.bin_variance or 1e-6

    def _analysers(self, like: Tensor) -> Analysers:
        """In units of `_middle`, in the type of another tensor."""
        unit = self.pooled.to(like).sqrt()
        means, loadings = self.means.to(like) * unit, self.loadings.to(like) * unit[:, None]
        return Analysers(means, loadings, self.log_scales.to(like).exp() * unit)

    @torch.no_grad()
    def _keep(self, components: Tensor, means: Tensor, loadings: Tensor, variances: Tensor) -> None:
        """Write down some components, by a mask or their numbers, in units of `_middle`."""
        unit = self.pooled.to(means).sqrt()
        self.means[components] = (means / unit).to(self.means)
        self.loadings[components] = (loadings / unit[:, None]).to(self.loadings)
        self.log_scales[components] = (0.5 * variances.log() - unit.log()).to(self.log_scales)

    def _binned(self, like: Tensor) -> Binned:
        """The same with the bins of levels."""
        assert self.spec.levels is not None
        means, loadings, scales = self._analysers(like)
        shift, scale = self.shift.to(like) + 0.5, self.scale.to(like)
        analysers = Analysers(means * scale + shift, loadings * scale[:, None], scales * scale)
        return Binned(analysers, self.spec.levels, self.mixing.shares.detach().to(like))

    # ---- sweeps ----------------------------------------------------------------------------------

    def _begin(self, y: Tensor) -> None:
        self.pooled.copy_(y.var(0, unbiased=False) + self._floor)

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start from the clusters of k-means, with the principal components of each."""
        self.loadings.zero_()
        super().prepare(x, context)
        y = double(self._middle(x))
        alive = self.mixing.alive.nonzero()[:, 0]
        means, loadings, scales = self._analysers(y)
        nearest = alive[torch.cdist(y, means[alive]).argmin(1)]
        # what no principal component fills begins with chance: loadings of zero would stay so
        loadings = 0.01 * scales[..., None] * torch.randn_like(loadings)
        for k in alive.tolist():
            gaps = y[nearest == k] - means[k]
            found = min(len(gaps) - 1, loadings.shape[2])
            if found < 1:
                continue
            _, lengths, directions = torch.svd_lowrank(gaps, q=found)
            # a part of the variance, for a small cluster's own components overfit it
            loadings[k, :, :found] = directions * (lengths * (0.5 / len(gaps)) ** 0.5)
        variances = scales.square()
        variances = (variances - loadings.square().sum(2)).maximum(0.1 * variances)
        self._keep(alive, means[alive], loadings[alive], variances[alive])

    def log_parts(self, y: Tensor) -> Tensor:
        """log N(y; μ_k, C_k), or E log N(y + u) with the bins' noise, `(N, K)`."""
        analysers = self._analysers(y)
        log_density, _ = analysers.given(y)
        if self.spec.levels is None:
            return log_density
        return log_density - 0.5 * self.bin_variance * analysers.traces()

    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Σ r E y², Σ r E y zᵀ and Σ r E z zᵀ, of factors z beside which a 1 stands."""
        analysers, noise = self._analysers(y), self.bin_variance
        slopes, covariances = analysers.regressions()
        _, codes = analysers.given(y)
        codes = torch.cat([codes, torch.ones_like(codes[..., :1])], 2)
        weighted, mass = codes * weights[..., None], weights.sum(0)[:, None, None]
        second = weights.T @ y.square() + noise * mass[..., 0]
        mixed = (y.T @ weighted.flatten(1)).unflatten(1, weighted.shape[1:]).movedim(0, 1)
        mixed[..., :-1] += noise * mass * slopes.mT
        inner = weighted.permute(1, 2, 0) @ codes.movedim(1, 0)
        inner[:, :-1, :-1] += mass * (covariances + noise * slopes @ slopes.mT)
        return second, mixed, inner

    @torch.no_grad()
    def _fit(self, mass: Tensor, *moments: Tensor) -> None:
        """A regression of values on factors; posterior modes under ν pseudo-observations."""
        second, mixed, inner = moments
        alive = mass > EMPTY
        second, mixed, inner, mass = second[alive], mixed[alive], inner[alive], mass[alive]
        ridge = torch.full_like(inner[0, 0], max(self.prior, 1e-6))
        ridge[-1] = 0
        slopes = torch.linalg.solve(inner + ridge.diag(), mixed.mT).mT
        left = (second - (slopes * mixed).sum(2)).clamp_min(0) + self.prior * self.pooled.to(second)
        variances = (left / (mass + self.prior)[:, None]).clamp_min(self._floor)
        self._keep(alive, slopes[..., -1], slopes[..., :-1], variances)

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """Keep the least variance of vectors, as sweeps do: a constant has no density."""
        if self.spec.levels is None:
            least = 0.5 * (math.log(self._floor) - self.pooled.log())
            self.log_scales.copy_(self.log_scales.maximum(least))

    def _log_prior(self) -> Tensor:
        """log-density of the covariances under the prior, but for a constant."""
        # in units of the pooled deviations
        log_variances, loadings = 2 * double(self.log_scales), double(self.loadings)
        terms = log_variances + (1 + loadings.square().sum(2)) * (-log_variances).exp()
        return -0.5 * self.prior * terms[self.mixing.alive.to(terms.device)].sum()

    @torch.no_grad()
    def _part(self, parents: Tensor, children: Tensor) -> None:
        """Half of a draw to one side of what was one, and to the other."""
        means = self.means[parents]
        apart = (self._draw(parents) / self.pooled.sqrt() - means) / 2
        self.means[parents] = means - apart
        self.means[children] += apart

    # ---- likelihood ------------------------------------------------------------------------------

    def log_likelihoods(self, x: Tensor, *, draws: int = 1, seed: int = 0) -> Tensor:
        """log p(x | k) of vectors; of levels the bound of each component, `(N, K)` in nats."""
        if self.spec.levels is None:
            return self.log_parts(double(self._middle(x))) - self._log_units
        return self._bounds(x, self._even(x), draws, seed, self.components)

    def _log_joint(self, x: Tensor, context: Tensor | None, draws: int, seed: int) -> Tensor:
        """log π_k + log p(x | k); of levels −∞ where a component is left out."""
        if self.spec.levels is None:
            return super()._log_joint(x, context, draws, seed)
        with full_precision(x):
            log_mixing = self.mixing(context, double(self._middle(x))).expand(len(x), -1)
            return log_mixing + self._bounds(x, log_mixing, draws, seed, _KEPT)

    def _even(self, x: Tensor) -> Tensor:
        return double(self._middle(x)).new_zeros(len(x), self.components)

    def _bounds(self, x: Tensor, log_mixing: Tensor, draws: int, seed: int, kept: int) -> Tensor:
        """A bound of log p(x | k) for the components that are kept, else −∞; `(N, K)`.

        Which are kept depends on no draw, so each draw of the sum has its mean below p(x).
        """
        values, keys = x.flatten(1), keys_of(x, seed)
        size = max(1, _VALUES // (self.spec.dims * max(kept, min(_RANKED, self.components))))
        parts = zip(values.split(size), log_mixing.split(size), keys.split(size), strict=True)
        return torch.cat([self._bound(*each, draws, kept) for each in parts])

    def _bound(self, x: Tensor, log_mixing: Tensor, keys: Tensor, draws: int, kept: int) -> Tensor:
        binned = self._binned(log_mixing)
        chosen, tops, pairs = explained(
            binned, x, log_mixing, ranked=max(kept, _RANKED), kept=kept, steps=2
        )
        weights = []
        for draw in range(draws):
            shape = (chosen.shape[1], self.loadings.shape[2])
            noise = keyed_normal(keys + draw, shape).to(log_mixing)
            codes, log_weight = tops.draw(pairs.sorted(noise))
            log_weight = log_weight - 0.5 * codes.square().sum(1) + pairs.log_mass_exact(codes)
            weights.append(pairs.back(log_weight))
        found = torch.full_like(log_mixing, -torch.inf)
        return found.scatter(1, chosen, log_mean_exp(torch.stack(weights)))

    def _quickly(self, x: Tensor, context: Tensor | None) -> Tensor:
        """The bound of one draw, `(N,)`, with fewer components and digits: what steps go along."""
        if self.spec.levels is None:
            return super()._quickly(x, context)
        with full_precision(x):
            log_mixing = self.mixing(context, self._middle(x)).expand(len(x), -1)
            binned = self._binned(self.means)
            values = x.flatten(1)
            chosen, tops, pairs = explained(binned, values, log_mixing, ranked=4, kept=2, steps=1)
            codes, log_weight = tops.draw(torch.randn_like(tops.codes))
            log_weight = log_weight - 0.5 * codes.square().sum(1) + pairs.log_mass(codes)
            return (log_mixing.gather(1, chosen) + pairs.back(log_weight)).logsumexp(1)

    # ---- samples, completion ---------------------------------------------------------------------

    def _draw(self, component: Tensor) -> Tensor:
        """μ_k + Λ_k z + σ_k ε, without a matrix for each row."""
        codes = torch.randn_like(self.loadings[component, 0])
        return self._decode(component, codes)

    def _decode(self, component: Tensor, codes: Tensor) -> Tensor:
        """A draw `(n, D)` given the factors, in units of `_middle`."""
        drawn = torch.randn_like(self.means[component])
        drawn = self.means[component] + self.log_scales[component].exp() * drawn
        for k in component.unique().tolist():
            rows = component == k
            drawn[rows] += codes[rows] @ self.loadings[k].T
        return drawn * self.pooled.sqrt()

    def _conditional(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> Tensor:
        """A component and factors by the observed values, on which alone the hidden ones depend."""
        parts = [
            self._decode(*self._hidden(part, mask, weights))
            for part, weights in zip(x.split(_ROWS), log_mixing.split(_ROWS), strict=True)
        ]
        return torch.cat(parts)

    def _hidden(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> tuple[Tensor, Tensor]:
        """A component `(N,)` and its factors `(N, R)`, drawn given the observed values.

        Of levels several draws of both, from the Gaussian at each top, are resampled by their
        importance: a component and factors of the posterior itself, in the limit of many.
        """
        log_mixing = double(log_mixing)
        if self.spec.levels is None:
            analysers = self._analysers(log_mixing).of(mask)
            log_density, codes = analysers.given(double(self._middle(x))[:, mask])
            component = drawn(log_mixing + log_density)
            _, covariances = analysers.regressions()
            factors = torch.linalg.cholesky(covariances)[component]
            noise = torch.randn_like(codes[:, 0])
            moved = (factors @ noise[..., None])[..., 0]
            codes = codes[torch.arange(len(x), device=x.device), component] + moved
            return component, codes.to(self.means)
        binned = self._binned(log_mixing).of(mask)
        component, codes = resampled(binned, x[:, mask], log_mixing, _TRIALS)
        return component, codes.to(self.means)


_KEPT, _RANKED = 3, 8
"""Components that a bound is summed over, and those that are looked at for them."""
_TRIALS = 16
"""Draws of which a completion takes one."""
_ROWS = 64
"""Observations completed at once."""
_VALUES = 1 << 21
"""Of observations beside components at once."""
