"""D3PM: diffusion of the levels themselves, which are hidden one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from simulacra.ground.randomness import keyed_uniform, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.diffusion.base import Diffusion, data_channels, stratified, wide
from simulacra.models.takes import Takes
from simulacra.nn.levels import as_input, categorical


class D3PM(Diffusion):
    """Levels are hidden at random until none is left; a network predicts those that are hidden.

    The absorbing diffusion, in continuous time: each value is hidden at a time of its own, so what
    is seen at any time is a random part of the observation, and all that matters is how many
    values m are hidden. The bound is −log p(x) ≤ E_m (D / m) Σ_hidden −log p(x_i | seen), m uniform
    on 1 … D: the paper's bound in continuous time, and that of a model which predicts values in a
    random order (Hoogeboom et al., section 2). A draw is an m and hidden values of its own; of as
    many draws as values, each m comes once.

    Levels need no order, so palettes and binary pictures have a diffusion of their own.

    Paper: J. Austin, D. D. Johnson, J. Ho, D. Tarlow, R. van den Berg, "Structured Denoising
        Diffusion Models in Discrete State-Spaces", 2021, arXiv 2107.03006; in continuous time after
        J. Shi, K. Han, Z. Wang, A. Doucet, M. K. Titsias, 2024, arXiv 2406.04329; the order after
        E. Hoogeboom et al., "Autoregressive Diffusion Models", 2021, arXiv 2110.02037.
    Departs from the paper: absorbing states alone, which lead there on text, and not the
        discretised normal noise that leads on pictures of 256 ordered levels; continuous time; no
        auxiliary loss; a small U-Net, that is told how many values are hidden.

    Args:
        spec: Levels, ordered or not.
        keywords: Of the network, see `Diffusion`.
    """

    takes = Takes(vectors=False)
    preset: ClassVar = {"lr": 2e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"channels": 4, "hidden": (8,)},
        {"channels": 4, "hidden": (8, 8), "context": "label"},
        {"channels": 4, "hidden": (8,), "context": "vector"},
    )

    def __init__(self, spec: DataSpec, **keywords: Any) -> None:  # noqa: ANN401 (of the base)
        own, one = data_channels(spec), 1 if spec.ordered else spec.levels or 1
        # levels as they enter any network, and whether each is seen; of each level a logit
        super().__init__(spec, own * one + own, own * (spec.levels or 1), **keywords)

    @property
    def exact(self) -> bool:
        """Never: the bound of a random order."""
        return False

    @property
    def averaged(self) -> bool:
        """Draws over times are averaged."""
        return True

    @property
    def most_steps(self) -> int:
        """One value in each step."""
        return self.spec.dims

    # ---- what the network says -------------------------------------------------------------------

    def logits(self, x: Tensor, seen: Tensor, told: Tensor, guidance: float = 1.0) -> Tensor:
        """Of each level at each value, `(N, *event_shape, levels)`.

        Args:
            x: Levels `(N, *event_shape)`; hidden ones may be any.
            seen: Booleans of the same shape.
            told: Features of the context `(N, width)`.
            guidance: Weight of the context.
        """
        levels, like = self.spec.levels or 1, self.shift
        shaped, mask = (each if self.spec.is_image else each[:, None] for each in (x, seen))
        inputs = as_input(shaped, self.spec, like.dtype)
        shown = mask.repeat_interleave(inputs.shape[1] // mask.shape[1], 1)
        z = torch.cat([inputs * shown, mask.to(inputs)], 1)
        hidden = 1 - seen.to(inputs).flatten(1).mean(1)
        output = self.guided(z, hidden, told, guidance)
        return output.unflatten(1, (-1, levels)).movedim(2, -1).reshape(*x.shape, levels)

    def _bound(self, x: Tensor, told: Tensor, share: Tensor, ranks: Tensor) -> Tensor:
        """(D / m) Σ_hidden −log p(x_i | seen), of the m that is at a share of 1 … D; `(N,)`.

        Args:
            x: Levels `(N, *event_shape)`.
            told: Features of the context.
            share: Numbers in (0, 1), `(N,)`.
            ranks: When each value is hidden, 0 the first, `(N, D)`.
        """
        dims = self.spec.dims
        count = ((share * dims).floor() + 1).clamp_max(dims)
        hidden = (ranks < count[:, None]).view_as(x)
        logits = self.logits(x, ~hidden, told)
        each = F.cross_entropy(logits.flatten(0, -2), x.flatten().long(), reduction="none")
        # not multiplied: what is seen counts for nothing, whatever it is
        total = torch.where(hidden, each.view_as(x), 0).flatten(1).sum(1)
        return total * (dims / count)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The negative bound in nats, by one m for each observation."""
        x, context = self.several(x, context)
        share = stratified(len(x), self.shift)
        order = torch.rand(len(x), self.spec.dims, device=x.device).argsort(1)
        return {"loss": self._bound(x, self.told(context, share), share, order).mean()}

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """The bound of a random order, by `draws` counts of hidden values; nats, `(N,)`."""
        self.spec.check(x)
        keys, dims = keys_of(x, seed), self.spec.dims
        told = self.context_features(context, keys.to(self.shift))
        at, total = keyed_uniform(keys - 1, ()), self.shift.new_zeros(len(x))
        for draw in range(draws):
            ranks = keyed_uniform(keys + draw, (dims,)).argsort(1)
            share = ((at + draw) / draws).to(self.shift)
            total = total + self._bound(x, told, share, ranks) / draws
        return -total

    # ---- drawing ---------------------------------------------------------------------------------

    def sample_steps(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Iterator[Tensor]:
        """Levels that are shown one after another; those that are hidden are noise meanwhile."""
        shape = (n, *self.spec.event_shape)
        x = torch.randint(self.spec.levels or 1, shape, device=self.shift.device)
        return self._shown(x, torch.zeros_like(x, dtype=torch.bool), context, steps, guidance)

    def completes_exactly(self, observed: Tensor) -> bool:
        """Never: values are drawn some at a time, and orders do not agree."""
        return False

    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """Hidden values drawn given what is shown by then, from the observed ones on."""
        *_, last = self.complete_steps(x, observed, context)
        return last.to(x.dtype)

    def complete_steps(
        self, x: Tensor, observed: Tensor, context: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Levels as they are shown, from the observed ones on; see `Completion.complete`."""
        self.spec.check(x)
        observed = observed.expand_as(x)
        start = torch.where(observed, x.long(), 0)
        return self._shown(start, observed, context, None, 1.0)

    @torch.no_grad()
    def _shown(
        self,
        x: Tensor,
        seen: Tensor,
        context: Tensor | None,
        steps: int | None,
        guidance: float,
    ) -> Iterator[Tensor]:
        """Levels as they are shown: before, and after each step.

        Args:
            x: Levels `(N, *event_shape)`; hidden ones may be any.
            seen: Which are shown to begin with, of the same shape.
            context: One row for each.
            steps: In each of which as many are shown.
            guidance: Weight of the context.
        """
        steps, dims = self.checked_steps(steps, guidance), self.spec.dims
        told = self.context_features(context, x.flatten(1)[:, 0].to(self.shift))
        # when each is shown: those that are seen before all others
        order = torch.rand(len(x), dims, device=x.device)
        order = torch.where(seen.flatten(1), -1.0, order).argsort(1).argsort(1).view_as(x)
        before = seen.flatten(1).sum(1)
        yield x
        for step in range(steps):
            # rounded up, in whole numbers: in as many steps as values each shows one
            left = ((dims - before) * (steps - step - 1) + steps - 1) // steps
            count = dims - left
            shown = (order < wide(count, x)) & ~seen
            logits = self.logits(x, seen, told, guidance)
            x = torch.where(shown, categorical(logits).sample(), x)
            seen = seen | shown
            yield x
