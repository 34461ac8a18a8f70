"""`CodeCompletion`: hidden values drawn by a Markov chain through codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from simulacra.models.latent.posteriors import Posterior, log_normal
from simulacra.models.latent.variational import Variational
from simulacra.models.model import Completion

_FREE = 10
"""Moves without a test, with which a chain begins."""
_DEFENSIVE = 0.1
"""Share of proposals that the prior makes."""


class CodeCompletion(Variational, Completion):
    """Completes by turns: a code given the whole observation, then hidden values given the code.

    Codes are proposed by q(z | x), and pass a Metropolis–Hastings test against the code before, so
    that a chain keeps p(hidden, z | observed) whatever q is like (Metropolis within Gibbs: P.-A.
    Mattei, J. Frellsen, "Leveraging the exact likelihood of deep latent variable models", 2018,
    arXiv 1802.04826, algorithm 2). Without the test it is pseudo-Gibbs (D. Rezende, S. Mohamed, D.
    Wierstra, "Stochastic backpropagation and approximate inference in deep generative models",
    2014, arXiv 1401.4082, appendix F), which is right only if q is the true posterior; the first
    moves of a chain go without, to leave what it began with: hidden values of a sample of the
    model. After so few moves a chain need not have seen all of the conditional: completions are
    approximate.

    Departs from the paper: one proposal in ten is drawn from the prior, and the proposals' density
    is that of both together, so that a chain does not stay for ever where q(z | x) is too narrow to
    have put it.

    Tried besides, on the lower half of the 180 validation digits by `vae` with 16 codes and
    categorical levels after 20 s: the share whose completion a support vector machine takes for the
    class of the truth, twice each. The truth has 0.99, samples put beside what is observed 0.43.
    This chain: 0.78; of 50 moves 0.75, of 200 0.74; with three proposals in ten from the prior
    0.79. Without a test: 0.70 after 10 moves, 0.73 after 50, 0.68 after 100. With 2 codes: 0.76;
    without a test 0.68.
    """

    moves: ClassVar[int] = 100
    """Of a chain."""

    def filled(
        self, x: Tensor, observed: Tensor, z: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Observations whose hidden values are drawn given their codes.

        Args:
            x: See `complete_steps`.
            observed: Booleans of the same shape.
            z: Codes `(N, latent)`.
            context: One row for each observation.
        """
        return torch.where(observed, x, self.decode(z, context).to(x.dtype))

    def completes_exactly(self, observed: Tensor) -> bool:
        """Never: a chain of so many moves is near to the conditional, and no more."""
        return False

    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """The end of a chain of each observation; see `Completion.complete`."""
        *_, last = self.complete_steps(x, observed, context)
        return last

    @torch.no_grad()
    def complete_steps(
        self, x: Tensor, observed: Tensor, context: Tensor | None = None
    ) -> Iterator[Tensor]:
        """The observations as their chains go: where each begins, and after each move.

        Args:
            x: `(N, *event_shape)`; hidden values may hold anything valid.
            observed: Booleans `(N, *event_shape)` or `(*event_shape)`, true where `x` is given.
            context: One row for each observation.

        Yields:
            `(N, *event_shape)`, of the form of the data.
        """
        observed = observed.expand_as(x)
        z = self.prior(len(x), context)
        whole = self.filled(x, observed, z, context)
        yield whole
        if bool(observed.all()) or not bool(observed.any()):
            # nothing to draw, or nothing to be told: the sample is one of the model's own
            return
        told = context
        for move in range(self.moves):
            other, more = self._proposed(whole, context, told)
            posterior = self.posterior(whole, other)
            proposed, _ = posterior.placed(self.noise(len(x)).to(z))
            taken = torch.ones(len(x), dtype=torch.bool, device=z.device)
            if move >= _FREE:
                own = torch.rand(len(x), device=z.device) < _DEFENSIVE
                proposed = torch.where(own[:, None], self.noise(len(x)).to(z), proposed)
                before = posterior if other is told else self.posterior(whole, told)
                gained = self._log_ratio(whole, proposed, posterior, other) - self._log_ratio(
                    whole, z, before, told
                )
                # what is no number is not gone to
                chance = (gained - more).nan_to_num(nan=-math.inf).clamp_max(0).exp()
                taken = torch.rand_like(chance) < chance
            z = torch.where(taken[:, None], proposed, z)
            if other is not None and told is not None:
                told = torch.where(taken.view(-1, *[1] * (other.ndim - 1)), other, told)
            whole = self.filled(x, observed, z, told)
            yield whole

    def _proposed(
        self, x: Tensor, context: Tensor | None, told: Tensor | None
    ) -> tuple[Tensor | None, Tensor | float]:
        """What goes with the next code, where a context leaves that open: here it leaves nothing.

        Args:
            x: Observations as the chains have them.
            context: As the user gave it.
            told: What goes with the code that a chain is at.

        Returns:
            A context; and log of how much likelier it is to be proposed than `told`, over how much
            likelier it is by itself, `(N,)`.
        """
        return context, 0.0

    def _log_ratio(
        self, x: Tensor, z: Tensor, posterior: Posterior, context: Tensor | None
    ) -> Tensor:
        """Log of p(x, z) over the density that z is proposed with, `(N,)`."""
        prior = log_normal(z).sum(1)
        proposals = torch.logaddexp(
            posterior.log_prob(z) + math.log1p(-_DEFENSIVE), prior + math.log(_DEFENSIVE)
        )
        return self._log_likelihood(x, z, context) + prior - proposals
