"""`CodeDensity`: a second stage that learns a density of codes, from which to draw new ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.models.keywords import Nested
from simulacra.models.latent.base import Autoencoding
from simulacra.models.latent.second_stage import SecondStage
from simulacra.models.model import Sampling
from simulacra.models.swept import Swept


class CodeDensity(SecondStage, Autoencoding):
    """An autoencoder in a first stage; then a density model of its codes, in stages of its own.

    New observations are codes drawn from that density, decoded. It is told the context that the
    autoencoder is told, if it takes any.

    Paper: P. Ghosh, M. S. M. Sajjadi, A. Vergari, M. Black, B. Schölkopf, "From Variational to
        Deterministic Autoencoders", 2020, arXiv 1903.12436, section 4.
    """

    second = "density"
    second_share = 0.2

    def add_density(self, density: Nested) -> None:
        """Make the model of the codes.

        Raises:
            UsageError: If it does not sample.
        """
        codes = replace(
            self.spec, event_shape=(self.latent,), levels=None, ordered=True, coding="plain",
            palette=None, rate=None, columns=(), map_width=0,
        )  # fmt: skip
        made = self.nest(density, codes)
        if not isinstance(made, Sampling):
            raise UsageError(f"density is a model that samples, got {density['name']}: use gmm")
        self.of_codes = made

    def as_data(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The codes themselves."""
        return self.encode(x, context)

    @torch.no_grad()
    def prior(self, n: int, context: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Codes `(n, latent)` drawn from their density, each for a row of the context."""
        return self.of_codes.sample(n, self.told_to_codes(context))


class SweptCodeDensity(CodeDensity, Swept):
    """`CodeDensity` with a density that learns by sweeps."""

    of_codes: Swept  # type: ignore[assignment]

    @property
    def learnt(self) -> int:
        """What the density's sweeps estimate."""
        return self.of_codes.learnt

    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The density's, of the codes."""
        return self.of_codes.statistics(*self.told_codes(x, context))

    def maximise(self, *sums: Tensor) -> dict[str, float]:
        """The density's."""
        return self.of_codes.maximise(*sums)

    def sums(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, ...]:
        """The density's, of the codes."""
        return self.of_codes.sums(self.told_codes(x, context) for x, context in batches)
