"""`Mixture`: what weighted sums of simple distributions have in common, and EM's frame."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn.functional import one_hot

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Completion, Likelihood, Sampling
from simulacra.models.standardised import Standardised
from simulacra.models.swept import Swept
from simulacra.nn.context import ContextEmbedding
from simulacra.nn.levels import to_levels
from simulacra.nn.precision import double


class Mixture(Standardised, Swept, Sampling, Likelihood, Completion):
    """p(x) = Σ_k w_k p(x | k), fitted by expectation–maximisation.

    A model implements what depends on its components: `_log_joint`, by which observations are
    shared out, `_moments` and `_maximise`, which fit each to its share, and how they are drawn
    from. Continuous vectors are standardised, and the Jacobian of that is counted; levels stay as
    they are, and are met in the middle of their bins.

    Args:
        spec: The form of the data.
        components: How many there are.
        tolerance: Converged once a sweep gains less than this, in nats per value.
    """

    log_weights: Tensor
    last_loss: Tensor

    def __init__(self, spec: DataSpec, components: int, tolerance: float) -> None:
        super().__init__(spec)
        self.components, self.tolerance = components, tolerance
        self.context_features = ContextEmbedding("none", spec)
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.shift, self.scale = self.shift.flatten(), self.scale.flatten()
        self.register_buffer("last_loss", torch.tensor(torch.finfo(torch.float32).max))

    @abstractmethod
    def _log_joint(self, y: Tensor) -> Tensor:
        """Log weight + log-density of each component, or what the sweeps climb instead, `(N, K)`.

        Args:
            y: See `_middle`, in float64 where the device has it.
        """

    @abstractmethod
    def _moments(self, y: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        """Sums over observations that fit each component, of responsibilities `(N, K)`."""

    @abstractmethod
    def _maximise(self, *moments: Tensor) -> None:
        """Fit weights and components to the moments of all observations."""

    def _log_prior(self) -> float:
        """Log-density of the parameters under a prior, but for a constant; without one, 0."""
        return 0.0

    @abstractmethod
    def _draw(self, component: Tensor) -> Tensor:
        """A draw `(n, D)` from each of some components `(n,)`, in the units of `_middle`."""

    @abstractmethod
    def _conditional(self, x: Tensor, mask: Tensor) -> Tensor:
        """Draws `(N, D)` whose hidden values follow p(hidden | observed); others are undefined."""

    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The E-step: number of observations, sum of their bounds, and `_moments`."""
        y = double(self._middle(x))
        self.context_features(context, y)
        log_joint = self._log_joint(y)
        bound = log_joint.logsumexp(1).sum()
        return y.new_tensor(len(y)), bound, *self._moments(y, log_joint.softmax(1))

    def maximise(self, *sums: Tensor) -> dict[str, float]:
        """The M-step.

        Returns:
            `loss`, the negative bound and log-prior per observation before the sweep, in nats, and
            `converged`.
        """
        count, bound, *moments = sums
        # of vectors, in their own units
        units = float(double(self.scale).log().sum())
        loss = units - (float(bound) + self._log_prior()) / float(count)
        self._maximise(*moments)
        gain = float(self.last_loss) - loss
        self.last_loss.fill_(min(loss, torch.finfo(self.last_loss.dtype).max))
        return {"loss": loss, "converged": float(gain < self.tolerance * self.spec.dims)}

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative log-likelihood, or bound, in nats per observation."""
        return {"loss": -self.log_likelihood(x, context).mean()}

    def _clusters(self, y: Tensor) -> Tensor:
        """Which of as many clusters of k-means each observation is in, `(N, K)` of 0 and 1.

        Raises:
            UsageError: If there are fewer observations than components.
        """
        from sklearn.cluster import KMeans  # a second to import, and needed once

        if len(y) < self.components:
            fewer, name = min(10, len(y)), type(self).__name__.lower()
            raise UsageError(
                f"{self.components} components need as many observations, got {len(y)}: take "
                f"fewer, --set components={fewer} (--set {name}.components={fewer} to compare)"
            )
        seed = int(torch.randint(2**31, ()))
        clusters = KMeans(self.components, n_init=1, random_state=seed).fit_predict(y.cpu().numpy())
        return one_hot(torch.as_tensor(clusters).long(), self.components).to(y)

    @property
    def _log_mixing(self) -> Tensor:
        """Log of the weights, which sum to 1 in whatever type they are in."""
        return self.log_weights.log_softmax(0)

    def _middle(self, x: Tensor) -> Tensor:
        """The middle of each bin, or the standardised vector; `(N, D)`."""
        y = self.standardised(x.flatten(1))
        return y + 0.5 if self.spec.levels else y

    def _to_levels(self, y: Tensor) -> Tensor:
        """The bin of each value, or the vector in the units of the data."""
        return to_levels(y * self.scale + self.shift, self.spec.levels)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """A component by its weight, then a draw from it, put into its bin."""
        self.context_features(context, self.log_weights[:1].expand(n))
        component = Categorical(logits=self.log_weights).sample((n,))
        return self._to_levels(self._draw(component)).view(n, *self.spec.event_shape)

    @torch.no_grad()
    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """A component given the observed values, then the hidden ones given both."""
        self.spec.check(x)
        self.context_features(context, x)
        kept = observed.expand_as(x).flatten(1)
        drawn = torch.empty_like(self._middle(x))
        # rows that share a mask share their conditional distributions
        masks, rows = torch.unique(kept, dim=0, return_inverse=True)
        for i, mask in enumerate(masks):
            chosen = rows == i
            drawn[chosen] = self._conditional(x.flatten(1)[chosen], mask)
        hidden = self._to_levels(drawn).view_as(x)
        return torch.where(kept.view_as(x), x.to(hidden.dtype), hidden)
