"""`Amortised`: what VAEs of one level have in common, an encoder trained with a decoder."""

from __future__ import annotations

from typing import Any, get_args

from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent.base import Autoencoding
from simulacra.models.latent.lower_bound import LowerBound
from simulacra.models.latent.posteriors import Diagonal, Flowing, Full, PosteriorHead, PosteriorKind


class Amortised(LowerBound, Autoencoding):
    """An encoder's q(z | x), trained with a decoder on the evidence lower bound.

    A subclass makes both networks by `build`, and implements p(x | z).

    Args:
        spec: Any observations.
        posterior_family: Of q(z | x): Gaussian with a diagonal or full covariance, or a diagonal
            one moved on by an inverse autoregressive flow.
        beta: Weight of the divergence in the loss; the likelihood's bound has 1.
        warmup: Part of the training over which that weight rises from 0, from 0 to 1.
        free_bits: What a unit of the code may cost in nats before it is paid for.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        posterior_family: PosteriorKind = "diagonal",
        beta: float = 1.0,
        warmup: float = 0.1,
        free_bits: float = 0.0,
        **keywords: Any,  # noqa: ANN401 (those of `Autoencoding`)
    ) -> None:
        if posterior_family not in get_args(PosteriorKind):
            raise UsageError(
                f"posterior_family is one of {', '.join(get_args(PosteriorKind))}, "
                f"got {posterior_family!r}"
            )
        self.check_weights(beta, warmup, free_bits)
        super().__init__(spec, **keywords)
        self.beta, self.warmup, self.free_bits = beta, warmup, free_bits
        self.posterior_family = posterior_family
        self.approximation = PosteriorHead(posterior_family, self.latent)

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Diagonal | Full | Flowing:
        """q(z | x) over codes; batch `(N,)`, event `(latent,)`."""
        return self.approximation(self.encoded(x, context))
