"""InfoVAE: a VAE whose codes together, not each by itself, are held to the prior."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent.vae import VAE
from simulacra.nn.precision import full_precision


class InfoVAE(VAE):
    """A `vae` that pays less for what a code tells, and for codes that are together no prior's.

    The loss is −E log p(x | z) + (1 − α) KL(q(z | x) ‖ p(z)) + (α + λ − 1) MMD(q(z), p(z)), with
    q(z) the codes of all observations. With α = 1 it is the MMD-VAE, with α = 0 and λ = 1 the VAE.

    Paper: S. Zhao, J. Song, S. Ermon, "InfoVAE: Balancing Learning and Inference in Variational
        Autoencoders", 2017, arXiv 1706.02262, equation 6 and section 4 (MMD).
    Departs from the paper: as `vae`; the kernel is a sum of Gaussian ones, of which the
        expectations over the prior are known, so that no codes of the prior are drawn, and a
        code's product with itself is left out, so that the estimate has no bias.

    Args:
        spec: Any observations.
        alpha: What of the divergence is not paid for, from 0 to 1; at 1 nothing keeps the
            posterior of an observation from becoming a point, and its likelihood from being none.
        mmd: λ, which weighs the discrepancy between all codes and the prior.
        beta: See `vae`; it weighs the divergence beside α.

    Raises:
        UsageError: If α is out of its range, or the discrepancy's weight is negative.
    """

    small = (
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "alpha": 1.0, "context": "label"},
        {"latent": 2, "hidden": (8,), "context": "vector"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        alpha: float = 0.2,
        mmd: float = 10.0,
        **keywords: Any,  # noqa: ANN401 (those of `VAE`)
    ) -> None:
        if not 0 <= alpha <= 1 or alpha + mmd < 1:
            raise UsageError(
                f"alpha is from 0 to 1 and alpha + mmd at least 1, got {alpha} and {mmd}"
            )
        super().__init__(spec, **keywords)
        self.alpha, self.mmd = alpha, mmd

    def loss(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        turn: str = "model",
        place: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        """The paper's objective in nats, and its parts."""
        terms, z = self.parts(x, context, self.noise(len(x)))
        reconstruction, units = terms.distortion.mean(), terms.rates.mean(0)
        apart = discrepancy(z)
        weight = (1 - self.alpha) * self._weight(place)
        loss = reconstruction + weight * self._paid(units) + (self.alpha + self.mmd - 1) * apart
        return {"loss": loss, "reconstruction": reconstruction, "kl": units.sum(), "mmd": apart}


_WIDTHS = (0.25, 0.5, 1.0, 2.0)
"""Squared widths of the kernels, in units of the squared distance of two codes of the prior."""


def discrepancy(z: Tensor) -> Tensor:
    """The squared maximum mean discrepancy between codes and N(0, I), without bias.

    Of a kernel exp(−‖x − y‖² / 2s) and y ~ N(0, I) of d dimensions, the expectation over y is
    (s / (s + 1))^(d/2) exp(−‖x‖² / (2 (s + 1))), and over both (s / (s + 2))^(d/2).

    Args:
        z: `(N, d)`, of at least two observations; of one nothing can be said, and 0 is.
    """
    n, d = z.shape
    if n < 2:
        return z.sum() * 0
    lengths = z.square().sum(1)
    # a distance of two codes far out is a small difference of large numbers
    with full_precision(z):
        apart = (lengths[:, None] + lengths - 2 * z @ z.T).clamp_min(0)
    total = z.new_zeros(())
    for width in _WIDTHS:
        s = 2 * d * width
        among = ((-apart / (2 * s)).exp().sum() - n) / (n * (n - 1))
        across = (s / (s + 1)) ** (d / 2) * (-lengths / (2 * (s + 1))).exp().mean()
        total = total + among - 2 * across + (s / (s + 2)) ** (d / 2)
    return total / len(_WIDTHS)
