"""`Mixture`: what weighted sums of simple distributions have in common, and EM's frame."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.clusters import clusters
from simulacra.models.mixture.mixing import Mixing
from simulacra.models.model import Completion, Encoding, Likelihood, Sampling
from simulacra.models.stages import Stage
from simulacra.models.standardised import Standardised
from simulacra.models.swept import Swept
from simulacra.nn.levels import to_levels
from simulacra.nn.precision import double, full_precision


class Mixture(Standardised, Swept, Sampling, Likelihood, Completion, Encoding):
    """p(x) = Σ_k π_k p(x | k), fitted by expectation–maximisation, and by gradients after it.

    First sweeps climb what has its maximum in closed form. When they gain nothing any more, or half
    of the budget is over, gradient steps climb the log-likelihood itself from there. The code of an
    observation is the probabilities that it came from each component.

    A model implements what depends on its components: `log_parts`, by which observations are shared
    out in sweeps, `_moments` and `_fit`, which fit each to its share, `log_likelihoods`, of which
    the likelihood is made, and how they are drawn from. What each component has are parameters
    `(K, …)`.

    Vectors are standardised, and the Jacobian of that is counted. Level k is the middle of the bin
    [k, k + 1), in units in which all bins together are [−1, 1).

    Args:
        spec: The form of the data.
        components: How many there are, where there are five observations for each at least; else
            as many as there are observations for.
        context: What is told beside an observation: none, or label. Classes share the components
            and have weights of their own.
        grow: Whether their number is found: when sweeps gain nothing any more, the heaviest are
            split, and the best step on validation data decides.
        minibatch: How many observations a sweep goes over; 0 for all.
        tolerance: A sweep that gains less, in nats per value, has gained nothing.

    Raises:
        UsageError: If there are no components, the tolerance is negative, or the data have no such
            context.
    """

    last_loss: Tensor
    each: Tensor
    idle: Tensor
    sweeps: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        components: int,
        context: Literal["none", "label"],
        grow: bool,
        minibatch: int,
        tolerance: float,
    ) -> None:
        if components < 1 or minibatch < 0 or tolerance < 0:
            raise UsageError(
                "components is positive, minibatch and tolerance are at least 0; got "
                f"{components}, {minibatch}, {tolerance}"
            )
        super().__init__(spec)
        self.components, self.context, self.grow = components, context, grow
        self.minibatch, self.tolerance = minibatch, tolerance
        self.mixing = Mixing(spec, components, context)
        self.shift, self.scale = self.shift.flatten(), self.scale.flatten()
        if spec.levels is not None:
            self.shift.fill_((spec.levels - 1) / 2)
            self.scale.fill_(spec.levels / 2)
        self.register_buffer("last_loss", torch.tensor(torch.finfo(torch.float32).max))
        self.register_buffer("each", torch.tensor(0.0))
        self.register_buffer("idle", torch.zeros((), dtype=torch.long))
        self.register_buffer("sweeps", torch.zeros((), dtype=torch.long))

    def _remember(self) -> None:
        """Make room for what sweeps over parts of the data remember; last in a constructor."""
        if not self.minibatch:
            return
        moments = self._moments(torch.zeros(0, self.spec.dims), torch.zeros(0, self.components))
        for place, each in enumerate((torch.zeros(2), self.mixing.logits.detach(), *moments)):
            self.register_buffer(f"sum_{place}", torch.zeros_like(each))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Sweeps, for half of the budget at most; then gradient steps."""
        sweeps = Stage("sweeps", (), sweep=self.minibatch or None)
        return sweeps, Stage("gradients", ("model",))

    @property
    def bin_variance(self) -> float:
        """Variance of uniform noise that fills the bin of a level, in units of `_middle`."""
        return 0.0 if self.spec.levels is None else (2 / self.spec.levels) ** 2 / 12

    @property
    def learnt(self) -> int:
        """What parameters count too many: a weight of each class, and components not there."""
        absent = int((~self.mixing.alive).sum())
        each = sum(own[0].numel() for own in self._own()) + len(self.mixing.logits)
        return -absent * each - len(self.mixing.logits)

    # ---- what a model implements -----------------------------------------------------------------

    @abstractmethod
    def log_parts(self, y: Tensor) -> Tensor:
        """Log-density of each component, or what the sweeps climb in its place, `(N, K)`.

        Args:
            y: Observations `(N, D)` in units of `_middle`, in float64 where the device has it.
        """

    @abstractmethod
    def log_likelihoods(self, x: Tensor, *, draws: int = 1, seed: int = 0) -> Tensor:
        """log p(x | k) in nats, or the logarithm of a mean of draws that has it as mean, `(N, K)`.

        Args:
            x: Observations `(N, *event_shape)`.
            draws: Of what is not exact.
            seed: Of these.
        """

    @abstractmethod
    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Sums over observations that fit each component, of responsibilities `(N, K)`."""

    @abstractmethod
    def _fit(self, mass: Tensor, *moments: Tensor) -> None:
        """Fit the components to sums over all observations.

        Args:
            mass: Σ r, `(K,)`.
            moments: See `_moments`.
        """

    @abstractmethod
    def _part(self, parents: Tensor, children: Tensor) -> None:
        """Move components apart that are copies of one another."""

    @abstractmethod
    def _draw(self, component: Tensor) -> Tensor:
        """A draw `(n, D)` from each of some components `(n,)`, in units of `_middle`."""

    @abstractmethod
    def _conditional(self, x: Tensor, mask: Tensor, log_mixing: Tensor) -> Tensor:
        """Draws `(N, D)` whose hidden values follow p(hidden | observed); others are undefined.

        Args:
            x: Observations `(N, D)`.
            mask: Booleans `(D,)`, true where they are observed.
            log_mixing: Log-weights of the components, `(N, K)`.
        """

    def _begin(self, y: Tensor) -> None:
        """Take from observations `(N, D)` what components begin with, before they are clusters."""

    def _log_prior(self) -> Tensor:
        """Log-density of the parameters under a prior, but for a constant; without one, 0."""
        return self.shift.new_zeros(())

    # ---- sweeps ----------------------------------------------------------------------------------

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Start from the clusters of k-means, each with its own moments."""
        super().prepare(x.flatten(1))
        self.last_loss.fill_(torch.finfo(self.last_loss.dtype).max)
        self.idle.zero_()
        self.sweeps.zero_()
        y = double(self._middle(x))
        self._begin(y)
        most = len(self.mixing.frequencies) if self.grow else self.components
        first = min(most, self.components, max(1, len(y) // _ROWS))
        found = clusters(y, self.mixing.classes(context, y), first)
        # who is in none has no part in the start
        members = (one_hot(found.clamp_min(0), self.components) * (found >= 0)[:, None]).to(y)
        self.mixing.alive.copy_(members.sum(0) > 0)
        self.mixing.maximise(self.mixing.members(context, members))
        self._fit(members.sum(0), *self._moments(y, members))

    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The E-step: observations and their bounds, responsibilities by class, and `_moments`."""
        y = double(self._middle(x))
        log_joint = self.mixing(context, y) + self.log_parts(y)
        weights = log_joint.softmax(1)
        counts = torch.stack([y.new_tensor(float(len(y))), log_joint.logsumexp(1).sum()])
        return counts, self.mixing.members(context, weights), *self._moments(y, weights)

    @torch.no_grad()
    def maximise(self, *sums: Tensor) -> dict[str, float]:
        """The M-step.

        Returns:
            `loss`, the negative bound and log-prior per observation before the sweep, in nats; how
            many `components` there were, if not all; and `converged`.
        """
        counts, members, *moments = self._remembered(sums)
        count, bound = counts.tolist()
        loss = self._log_units - (bound + float(self._log_prior().detach())) / count
        self.each.fill_(1 / count)
        self.mixing.maximise(members)
        self._fit(members.sum(0), *moments)
        little = self._gains_little(loss)
        there = int(self.mixing.alive.sum())
        told = {"components": float(there)} if there < self.components or self.grow else {}
        if self.grow:
            little = little and not self._split()
        return {"loss": loss, **told, "converged": float(little)}

    def _gains_little(self, loss: float) -> bool:
        """Whether sweeps gain nothing any more; one that loses saw other data, by chance."""
        # while there is room for more components, these bring more than the last of each gain
        growing = self.grow and not bool(self.mixing.alive.all())
        tolerance = max(self.tolerance, _COARSE) if growing else self.tolerance
        gain = float(self.last_loss) - loss
        little = gain < tolerance * self.spec.dims
        self.idle.copy_((self.idle + 1) * little)
        if not little:
            self.last_loss.fill_(min(loss, torch.finfo(self.last_loss.dtype).max))
        by_chance = not growing and (self.minibatch or gain < 0)
        return int(self.idle) >= (_PATIENCE if by_chance else 1)

    def _remembered(self, sums: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Sums as they are; of a sweep over a part of the data, with what was known before.

        The t-th sweep counts t^−0.7 (Cappé and Moulines 2009, "On-line expectation–maximization
        algorithm for latent data models", J. R. Stat. Soc. B 71(3), whose exponents lie between 1/2
        and 1).
        """
        # sums of a part stand for all; where these are no more than a part, they are of all
        if not self.minibatch or float(sums[0][0]) <= self.minibatch:
            return sums
        self.sweeps += 1
        kept = [self.get_buffer(f"sum_{place}") for place in range(len(sums))]
        for own, each in zip(kept, sums, strict=True):
            own.lerp_(each.to(own), float(self.sweeps) ** -_FORGETS)
        return tuple(own.to(each) for own, each in zip(kept, sums, strict=True))

    @torch.no_grad()
    def _split(self) -> bool:
        """Split the heaviest half of the components, or what there is room for; whether any was."""
        alive = self.mixing.alive
        room = (~alive).nonzero()[:, 0]
        if not len(room):
            return False
        parents = self.mixing.shares.topk(min((int(alive.sum()) + 1) // 2, len(room))).indices
        children = room[: len(parents)]
        self.mixing.split(parents, children)
        for own in self._own():
            own[children] = own[parents]
        self._part(parents, children)
        self.last_loss.fill_(torch.finfo(self.last_loss.dtype).max)
        self.idle.zero_()
        # sums of what there was before would bring them together again
        self.sweeps.zero_()
        return True

    def _own(self) -> list[nn.Parameter]:
        """What components have, each `(K, …)`."""
        weights = set(self.mixing.parameters())
        return [own for own in self.parameters() if own not in weights]

    # ---- likelihood, samples, completion, codes --------------------------------------------------

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """log p(x) or its bound, `(N,)` in nats; `draws` and `seed` are of the bound's noise."""
        self.spec.check(x)
        return self._log_joint(x, context, draws, seed).logsumexp(1).to(self.shift)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """p(k | x), the probability of each component, `(N, K)`."""
        return self._log_joint(x, context, 1, 0).softmax(1).to(self.shift)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative log-likelihood, or bound, and log-prior, in nats per observation."""
        self.spec.check(x)
        nats = -self._quickly(x, context).mean()
        # the prior is of all observations together
        return {"loss": nats - self._log_prior().to(nats) * self.each.to(nats)}

    def _quickly(self, x: Tensor, context: Tensor | None) -> Tensor:
        """What steps climb, `(N,)`: the likelihood, or a bound of it."""
        seed = 0 if self.exact else int(torch.randint(2**31, ()))
        return self.log_likelihood(x, context, seed=seed)

    def _log_joint(self, x: Tensor, context: Tensor | None, draws: int, seed: int) -> Tensor:
        """log π_k + log p(x | k), `(N, K)`; what has no other type is in that of the parts."""
        with full_precision(x):
            parts = self.log_likelihoods(x, draws=draws, seed=seed)
            return self.mixing(context, parts) + parts

    @property
    def _log_units(self) -> float:
        """What a density of `_middle` lacks in nats, as one of the data."""
        return float(double(self.scale).log().sum())

    def _middle(self, x: Tensor) -> Tensor:
        """The middle of each bin, or the vector, in units of their own; `(N, D)`."""
        return self.standardised(x.flatten(1))

    def _to_levels(self, y: Tensor) -> Tensor:
        """The bin of each value, or the vector in the units of the data."""
        values = y * self.scale + self.shift
        return values if self.spec.levels is None else to_levels(values + 0.5, self.spec.levels)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """A component by its weight, then a draw from it, put into its bin."""
        component = self.mixing.components(context, self.shift[:1].expand(n))
        return self._to_levels(self._draw(component)).view(n, *self.spec.event_shape)

    @torch.no_grad()
    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """A component given the observed values, then the hidden ones given both."""
        self.spec.check(x)
        kept = observed.expand_as(x).flatten(1)
        drawn = torch.empty_like(self._middle(x))
        log_mixing = self.mixing(context, drawn).expand(len(x), -1)
        # rows that share a mask share their conditional distributions
        masks, rows = torch.unique(kept, dim=0, return_inverse=True)
        for i, mask in enumerate(masks):
            chosen = rows == i
            drawn[chosen] = self._conditional(x.flatten(1)[chosen], mask, log_mixing[chosen])
        hidden = self._to_levels(drawn).view_as(x)
        return torch.where(kept.view_as(x), x.to(hidden.dtype), hidden)


_FORGETS = 0.7
_COARSE = 1e-3
"""Gain of a sweep, in nats per value, below which components are split."""
_PATIENCE = 10
"""Sweeps over data that change which gain nothing, before nothing is to be gained."""
_ROWS = 5
"""Observations for each component, at least, as they begin."""
