"""`Autoregressive`: what every model that predicts values one after another has in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from simulacra.ground.errors import UsageError
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Completion, Likelihood, Stepwise
from simulacra.nn.distributions import Narrowing, draw_levels
from simulacra.nn.logistic_mixture import DiscretisedLogisticMixture


class Autoregressive(Stepwise, Likelihood, Completion):
    """Predicts each level from those before it: p(x) = Π p(x_i | x_<i).

    `conditionals` alone makes a model: sampling then runs the whole network once per value. A
    model with a cached form overrides `in_turn`; the one here stays its reference.

    Example:
        >>> import simulacra as sim, torch
        >>> class Bits(sim.Autoregressive):
        ...     def __init__(self, spec):
        ...         super().__init__(spec)
        ...         self.logits = torch.nn.Parameter(torch.zeros(spec.event_shape + (2,)))
        ...     def conditionals(self, x, context=None):
        ...         logits = self.logits.expand(len(x), *self.logits.shape)
        ...         return torch.distributions.Categorical(logits=logits)
        >>> Bits(sim.DataSpec((1, 4, 4), levels=2)).sample(3).shape
        torch.Size([3, 1, 4, 4])
    """

    exact = True
    laws = ("simulacra.models.autoregressive.laws",)

    @abstractmethod
    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_i | x_<i) at every position, a batch `(N, *event_shape)` of distributions."""

    @property
    def _levels(self) -> int:
        """How many levels a value has, for models that take nothing but levels."""
        assert self.spec.levels is not None
        return self.spec.levels

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
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The prediction of one value after another, in `order`.

        This form runs the whole network once per value. It is the reference of every cached form
        that overrides it.

        Args:
            canvas: `(n, *event_shape)` int64 levels. A value is read only after its prediction was
                yielded: whoever iterates writes it in between.
            context: One row for each observation.

        Yields:
            Logits `(n, levels)` of the next value, which need not be normalised.
        """
        for position in self.order.tolist():
            logits = level_logits(self.conditionals(canvas, context), canvas, self.spec.levels)
            yield logits.flatten(1, -2)[:, position]

    def draw(self, prediction: Tensor, uniform: Tensor, narrowing: Narrowing) -> Tensor:
        """Values `(n,)` of a prediction of `in_turn`, from a uniform draw `(n,)` for each."""
        return draw_levels(narrowing.applied(prediction), uniform)

    @torch.no_grad()
    def sample_steps(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        given: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> Iterator[Tensor]:
        """The observations as they grow: the same tensor after every value.

        Args:
            n: How many at once.
            context: One row for each.
            temperature: Divides the logits; 1 samples the model itself.
            top_k: Draw each value from its so many likeliest levels only.
            top_p: Draw each value from its likeliest levels that together have this probability
                only (nucleus sampling, Holtzman et al. 2020, arXiv 1904.09751).
            given: `(n, *event_shape)`, levels to keep where `observed`.
            observed: Booleans, shaped as `given`.

        Yields:
            `(n, *event_shape)`, still 0 where not yet drawn. Clone it to keep it.

        Raises:
            UsageError: If an option is out of its range.
        """
        narrowing = Narrowing(temperature, top_k, top_p)
        canvas, uniform = self.blank(n, given, observed)
        flat, flat_uniform = canvas.flatten(1), uniform.flatten(1)
        kept = None if observed is None else observed.expand_as(canvas).flatten(1)
        predictions = self.in_turn(canvas, context)
        for position, prediction in zip(self.order.tolist(), predictions, strict=True):
            drawn = self.draw(prediction, flat_uniform[:, position], narrowing)
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
        dtype = reference.dtype if self.spec.levels is None else torch.int64
        if given is None or observed is None:
            return torch.zeros(shape, dtype=dtype, device=reference.device), uniform
        # vectors that are given keep their own precision
        dtype = given.dtype if given.is_floating_point() else dtype
        return torch.where(observed, given, 0).to(dtype).contiguous(), uniform

    def complete(
        self,
        x: Tensor,
        observed: Tensor,
        context: Tensor | None = None,
        *,
        candidates: int = 1,
    ) -> Tensor:
        """Draw each hidden level from its conditional; see `completes_exactly`.

        Args:
            x: See `Completion.complete`.
            observed: See there.
            context: See there.
            candidates: Of so many draws one is chosen: see `resample`. Where the mask is completed
                exactly all are worth the same, and one is drawn.

        Raises:
            UsageError: If there is no candidate.
        """
        if candidates < 1 or (candidates > 1 and not self.completes_exactly(observed)):
            return self.resample(x, observed, context, candidates=candidates)[0]
        self.spec.check(x)
        steps = self.sample_steps(len(x), context, given=x, observed=observed.expand_as(x))
        *_, last = steps
        return last

    @torch.no_grad()
    def resample(
        self, x: Tensor, observed: Tensor, context: Tensor | None = None, *, candidates: int
    ) -> tuple[Tensor, Tensor]:
        """Completions that are each chosen from several, by how well these lead to what is seen.

        Sampling importance resampling (Rubin 1987). A candidate's hidden values are drawn from
        q = Π_{hidden i} p(x_i | x_<i), which knows nothing of the observed values that come later,
        so that its weight is p(x) / q(hidden) = Π_{observed i} p(x_i | x_<i). The choice comes
        from p(hidden | observed) as the candidates become many.

        Args:
            x: See `Completion.complete`.
            observed: See there.
            context: See there.
            candidates: K, drawn for each completion.

        Returns:
            The completions, and of how many candidates the weights in effect chose, 1 / Σ w², from
            1 to K: `(N,)` float64.

        Raises:
            UsageError: If there is no candidate.
        """
        if candidates < 1:
            raise UsageError(f"candidates is at least 1, got {candidates}")
        self.spec.check(x)
        rows = self._weighed_at_once(x, context)
        many, kept = (
            each.repeat_interleave(candidates, 0).split(rows) for each in (x, observed.expand_as(x))
        )
        told: list[Tensor | None] = [None] * len(many)
        if context is not None:
            told = list(context.repeat_interleave(candidates, 0).split(rows))
        drawn, log_weights = [], []
        for some, seen, own in zip(many, kept, told, strict=True):
            drawn.append(self.complete(some, seen, own))
            each = self.conditionals(drawn[-1], own).log_prob(drawn[-1])
            # the rest was drawn from what it would be weighed by
            log_weights.append(torch.where(seen, each, 0).flatten(1).sum(1))
        # what is not finite weighs nothing; where that is all of them, they weigh the same
        log_w = torch.cat(log_weights).cpu().double().view(len(x), candidates)
        w = log_w.nan_to_num(nan=torch.finfo(log_w.dtype).min).softmax(1)
        chosen = torch.arange(len(x)) * candidates + w.multinomial(1)[:, 0]
        return torch.cat(drawn)[chosen.to(x.device)], 1 / w.square().sum(1)

    def _weighed_at_once(self, x: Tensor, context: Tensor | None) -> int:
        """How many candidates to draw and weigh together: the weighing takes the most."""

        def weigh(n: int) -> None:
            own = None if context is None else context[:1].expand(n, *context.shape[1:])
            some = x[:1].expand(n, *x.shape[1:])
            self.conditionals(some, own).log_prob(some)

        return rows_at_once(weigh, max(1, _AT_ONCE // self.spec.dims)) if len(x) else 1

    def completes_exactly(self, observed: Tensor) -> bool:
        """Whether every observed value comes before every hidden one in the order."""
        in_order = observed.reshape(-1, self.spec.dims)[:, self.order.to(observed.device)]
        return not bool((~in_order[:, :-1] & in_order[:, 1:]).any())


_AT_ONCE = 100_000
"""Values of candidates that are drawn and weighed together, where they are small."""


def level_logits(conditionals: Distribution, x: Tensor, levels: int | None) -> Tensor:
    """The log-probability of every level at every position, `(*x.shape, levels)`.

    Args:
        conditionals: A batch, shaped as `x`, of distributions over levels.
        x: Any observations.
        levels: How many there are.
    """
    if isinstance(conditionals, Categorical):
        return conditionals.logits
    if isinstance(conditionals, DiscretisedLogisticMixture):
        return conditionals.level_log_probs()
    each = [conditionals.log_prob(torch.full_like(x, level)) for level in range(levels or 0)]
    return torch.stack(each, -1)
