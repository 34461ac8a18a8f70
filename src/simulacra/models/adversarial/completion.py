"""`InversionCompletion`: hidden values generated from a code that fits the observed ones."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from simulacra.models.adversarial.inversion import RESTARTS, chosen, nearing
from simulacra.models.game import Game
from simulacra.models.model import Completion

_MISFIT = 0.2
"""Of what a generator lacks of data, about: a fifth of half the range of levels."""


class InversionCompletion(Game, Completion):
    """Completes by inversion: a code that fits what is observed generates the rest.

    Several codes of the prior go down the cost of `nearing`, of observed values alone, and one of
    them is taken, by chance as its cost says: by exp(−cost), as if they were all there are. So
    several completions of one observation differ by where they began. That is no draw from the
    conditional, which has more than the places where such ways end: completions are approximate.

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
        *_, last = self.complete_steps(x, observed, context)
        return last

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
        self.spec.check(x)
        observed = observed.expand_as(x)

        def whole(z: Tensor) -> Tensor:
            return torch.where(observed, x, self.decode(z, context).to(x.dtype))

        if self.completes_exactly(observed):
            yield whole(self.prior(len(x), context))
            return
        told = None if context is None else context.repeat_interleave(RESTARTS, 0)
        starts = self.prior(RESTARTS * len(x), told).unflatten(0, (len(x), RESTARTS))
        # the largest of −cost and noise of Gumbel's distribution is a draw by exp(−cost)
        luck = -torch.empty(starts.shape[:2], device=starts.device).exponential_().log()
        seen = torch.where(observed, x, torch.zeros_like(x))
        for codes, costs in nearing(self, seen, starts, context, observed=observed, misfit=_MISFIT):
            # what is no number is not taken
            worth = (luck.to(costs) - costs).nan_to_num(nan=-math.inf)
            yield whole(chosen(codes, worth.argmax(1)))
