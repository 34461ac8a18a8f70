"""Importance-weighted autoencoder: a VAE that is trained on a tighter bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.latent.vae import VAE
from simulacra.models.stages import Stage


class IWAE(VAE):
    """A `vae` whose loss is the bound of several codes, of which those that fit count for more.

    Paper: Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", 2015, arXiv
        1509.00519, equations 8 and 13.
    Departs from the paper: as `vae`; one layer of codes, where importance weighting was tried with
        two as well. While it is warmed up, and with `beta`, log p(z) / q(z | x) is weighted within
        each code's weight; free bits there are none, for the bound has no divergence of its own.

    Args:
        spec: Any observations.
        draws: Codes of each observation in a step.

    Raises:
        UsageError: If a keyword is out of its range, or acts on what the bound does not have.
    """

    small = (
        {"latent": 2, "hidden": (8,), "draws": 3},
        {"latent": 2, "hidden": (8,), "draws": 2, "context": "label"},
        {"latent": 2, "hidden": (8,), "draws": 2, "context": "vector"},
    )

    def __init__(self, spec: DataSpec, *, draws: int = 5, **keywords: Any) -> None:  # noqa: ANN401
        super().__init__(spec, **keywords)
        if draws < 1:
            raise UsageError(f"draws is positive, got {draws}")
        if self.free_bits:
            raise UsageError(
                f"iwae has no free bits, for its bound has no divergence: got {self.free_bits:g}"
            )
        # as many passes as there are codes
        self.draws = self.validation_cost = draws

    @property
    def stages(self) -> tuple[Stage, ...]:
        """As those of `vae`; what chooses the best step is a likelihood's bound, whatever β."""
        return (replace(super().stages[0], validation_loss=None),)

    def loss(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        turn: str = "model",
        place: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        """The negative importance-weighted bound in nats."""
        weight = self._weight(place)
        return {"loss": self.negative_weighted_bound(x, self.draws, context, weight)}

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The negative bound of as many codes, unweighted, nats, `(N,)`."""
        return -self.log_likelihood(x, context, draws=self.draws)
