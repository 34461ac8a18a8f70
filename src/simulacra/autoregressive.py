"""`Autoregressive`: what every model that predicts values one after another has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from simulacra.distributions import draw_levels
from simulacra.model import Completion, Likelihood, Sampling


class Autoregressive(Sampling, Likelihood, Completion):
    """Predicts each level from those before it: p(x) = Π p(x_i | x_<i).

    `conditionals` alone makes a model: sampling then runs the whole network once per value. A
    model with a cached form overrides `sample_steps`; this one stays its reference.
    """

    exact = True

    @abstractmethod
    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_i | x_<i) at every position, a batch `(N, *event_shape)` of distributions."""

    @property
    def order(self) -> Tensor:
        """Flat event indices in the order of prediction: by rows, by pixels, then R, G, B."""
        indices = torch.arange(self.spec.dims).reshape(self.spec.event_shape)
        return indices.permute(1, 2, 0).flatten() if self.spec.is_image else indices.flatten()

    def blind_spot(self) -> Tensor:
        """Which earlier values no path of the architecture leads to a later one: none, usually.

        Returns:
            Booleans `(dims, dims)` over flat event indices: true at [i, j] where i comes before j
            in `order` and cannot influence it.
        """
        return torch.zeros(self.spec.dims, self.spec.dims, dtype=torch.bool)

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Exact log p(x) in nats, `(N,)`; `draws` and `seed` change nothing."""
        self.spec.check(x)
        return self.conditionals(x, context).log_prob(x).flatten(1).sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative log-likelihood in nats per observation."""
        return {"loss": -self.log_likelihood(x, context).mean()}

    @torch.no_grad()
    def sample_steps(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        given: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """The observations as they grow: the same tensor after every value.

        Args:
            n: How many at once.
            context: One row for each.
            temperature: Divides the logits; 1 samples the model itself.
            given: `(n, *event_shape)`, levels to keep where `observed`.
            observed: Booleans, shaped as `given`.

        Yields:
            `(n, *event_shape)` int64, still 0 where not yet drawn. Clone it to keep it.
        """
        canvas, uniform = self.blank(n, given, observed)
        flat, flat_uniform = canvas.view(n, -1), uniform.view(n, -1)
        kept = None if observed is None else observed.expand_as(canvas).reshape(n, -1)
        for position in self.order.tolist():
            logits = level_logits(self.conditionals(canvas, context), canvas, self.spec.levels)
            logits = logits.flatten(1, -2)[:, position]
            drawn = draw_levels(logits, flat_uniform[:, position], temperature)
            if kept is not None:
                drawn = torch.where(kept[:, position], flat[:, position], drawn)
            flat[:, position] = drawn
            yield canvas

    def blank(
        self, n: int, given: Tensor | None = None, observed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The canvas that sampling starts from, and the uniform draw of every position.

        All draws are made at once, so that every sampler which follows gives the same picture.
        """
        reference = next(self.parameters())
        shape = (n, *self.spec.event_shape)
        uniform = torch.rand(shape, dtype=reference.dtype, device=reference.device)
        if given is None or observed is None:
            return torch.zeros(shape, dtype=torch.int64, device=reference.device), uniform
        return torch.where(observed, given, 0).to(torch.int64).contiguous(), uniform

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """The last of `sample_steps`."""
        return _last(self.sample_steps(n, context))

    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """Draw each hidden level from its conditional; see `completes_exactly`."""
        self.spec.check(x)
        return _last(
            self.sample_steps(x.shape[0], context, given=x, observed=observed.expand_as(x))
        )

    def completes_exactly(self, observed: Tensor) -> bool:
        """Whether every observed value comes before every hidden one in the order."""
        in_order = observed.reshape(-1, self.spec.dims)[:, self.order.to(observed.device)]
        return not bool((~in_order[:, :-1] & in_order[:, 1:]).any())


def level_logits(conditionals: Distribution, x: Tensor, levels: int | None) -> Tensor:
    """The log-probability of every level at every position, `(*x.shape, levels)`.

    Args:
        conditionals: A batch, shaped as `x`, of distributions over levels.
        x: Any observations.
        levels: How many there are.
    """
    if isinstance(conditionals, Categorical):
        return conditionals.logits
    each = [conditionals.log_prob(torch.full_like(x, level)) for level in range(levels or 0)]
    return torch.stack(each, -1)


def _last(steps: Iterator[Tensor]) -> Tensor:
    *_, last = steps
    return last
