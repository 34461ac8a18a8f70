"""`LowerBound`: what models that are trained on the evidence lower bound have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.models.bounded import Terms
from simulacra.models.latent.variational import Variational
from simulacra.models.stages import Stage

_PATIENCE = 2.0
"""On 1,258 digits the best step comes after 7 of 45 seconds; dropout, narrow layers and decay of
weights were tried in its place, and find less on validation: docs/models/vae.md."""
_WARM = 1 / 3
"""Of the training, in which no patience ends, see `Stage`."""


class LowerBound(Variational):
    """Trained on the evidence lower bound, its divergence weighted, warmed up, and in part free.

    A subclass stores `beta`, `warmup` and `free_bits`, which `check_weights` has seen.
    """

    beta: float
    warmup: float
    free_bits: float

    @staticmethod
    def check_weights(beta: float, warmup: float, free_bits: float) -> None:
        """Refuse weights that no divergence has.

        Raises:
            UsageError: If one is out of its range.
        """
        if min(beta, free_bits) < 0 or not 0 <= warmup <= 1:
            raise UsageError(
                "beta and free_bits are not negative and warmup is from 0 to 1, got "
                f"{beta}, {free_bits} and {warmup}"
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, which ends when it has long been learning the training split by heart.

        Not where the warm-up goes on in its second third: what comes before its end may look better
        than it is. Of another β what chooses the best step is no likelihood's, and named otherwise.
        """
        (stage,) = super().stages
        patience = _PATIENCE if self.warmup <= _WARM else None
        score: Any = None if self.beta == 1 else self.validation_loss
        return (replace(stage, patience=patience, validation_loss=score),)

    def loss(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        turn: str = "model",
        place: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        """The negative evidence lower bound in nats, its divergence weighted, and its two parts."""
        terms, _ = self.parts(x, context, self.noise(len(x)))
        reconstruction, units = terms.distortion.mean(), terms.rates.mean(0)
        loss = reconstruction + self._weight(place) * self._paid(units)
        told = {"loss": loss, "reconstruction": reconstruction, "kl": units.sum()}
        return told | self._told_of(units)

    def _told_of(self, units: Tensor) -> dict[str, Tensor]:
        """What else is told of the mean rates of units: here nothing."""
        return {}

    def _paid(self, units: Tensor) -> Tensor:
        """What is paid for units of these mean rates: a cheap one costs its free bits."""
        return units.clamp_min(self.free_bits).sum() if self.free_bits else units.sum()

    def _weight(self, place: Tensor | float) -> Tensor | float:
        """Of the divergence, at a place from 0 to 1 of the training."""
        if not self.warmup:
            return self.beta
        return self.beta * (torch.as_tensor(place) / self.warmup).clamp(max=1.0)

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The negative bound with the divergence weighted as at the end, nats, `(N,)`."""
        terms: Terms = self.terms(x, context)
        return terms.distortion + self.beta * terms.kl
