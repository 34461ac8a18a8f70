"""`InversionCompletion`: hidden values generated from a code that fits the observed ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from simulacra.models.game import Game
from simulacra.models.inversion import RESTARTS, chosen, nearing
from simulacra.models.model import Completion

_MISFIT = 0.2
"""Of what a generator lacks of data, about: a fifth of half the range of levels."""


class InversionCompletion(Game, Completion):
    """Completes by inversion: a code that fits what is observed generates the rest.

    Several codes of the prior go down the cost of `nearing`, each to observed values with noise of
    its own and pulled to where it began, and one is taken by exp(−cost). What observed values leave
    open stays so as the prior has it: of a linear generator this is a draw from the conditional,
    but for one value's noise; of others completions are approximate.

    Paper: R. Yeh et al., "Semantic Image Inpainting with Deep Generative Models", 2016, arXiv
        1607.07539.
    Departs from the paper: the prior is the log-density of codes, and not what the discriminator
        says; all observed values count alike; several restarts; no blending.
    """

    def completes_exactly(self, observed: Tensor) -> bool:
        """Only where nothing is hidden, or all is: what is generated is a sample then."""
        return bool(observed.all()) or not bool(observed.any())

    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """What the code at the end of its way generates; see `Completion.complete`."""
        last = deque(self._steps(x, observed.expand_as(x), context), maxlen=1)
        return last[0]()

    @torch.no_grad()
    def complete_steps(
        self, x: Tensor, observed: Tensor, context: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The observations as their codes go: where the best of these begin, and after each step.

        Args:
            x: `(N, *event_shape)`; hidden values may hold anything valid.
            observed: Booleans `(N, *event_shape)` or `(*event_shape)`, true where `x` is given.
            context: One row for each observation.

        Yields:
            `(N, *event_shape)`, of the form of the data.
        """
        for step in self._steps(x, observed.expand_as(x), context):
            yield step()

    @torch.no_grad()
    def _steps(
        self, x: Tensor, observed: Tensor, context: Tensor | None
    ) -> Iterator[Callable[[], Tensor]]:
        """What makes the observations of each step, for who wants them."""
        self.spec.check(x)

        def whole(z: Tensor) -> Tensor:
            return torch.where(observed, x, self.decode(z, context).to(x.dtype))

        if self.completes_exactly(observed):
            yield partial(whole, self.prior(len(x), context))
            return
        told = None if context is None else context.repeat_interleave(RESTARTS, 0)
        starts = self.prior(RESTARTS * len(x), told).unflatten(0, (len(x), RESTARTS))
        # the largest of −cost and noise of Gumbel's distribution is a draw by exp(−cost)
        luck = -torch.empty(starts.shape[:2], device=starts.device).exponential_().log()
        seen = torch.where(observed, x, torch.zeros_like(x))
        ways = nearing(
            self, seen, starts, context, observed=observed, misfit=_MISFIT, randomised=True
        )
        for codes, costs in ways:
            # what is no number is not taken
            worth = (luck.to(costs) - costs).nan_to_num(nan=-math.inf)
            yield partial(whole, chosen(codes, worth.argmax(1)))
