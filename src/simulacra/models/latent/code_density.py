"""`CodeDensity`: a second stage that learns a density of codes, from which to draw new ones."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.models import registry
from simulacra.models.keywords import Nested
from simulacra.models.latent.base import Autoencoding
from simulacra.models.model import Latent, Sampling
from simulacra.models.stages import Prepare, Stage
from simulacra.models.swept import Swept


class CodeDensity(Latent, Autoencoding):
    """An autoencoder in a first stage; then a density model of its codes, in stages of its own.

    New observations are codes drawn from that density, decoded. It is told the context that the
    autoencoder is told, if it takes any.

    Paper: P. Ghosh, M. S. M. Sajjadi, A. Vergari, M. Black, B. Schölkopf, "From Variational to
        Deterministic Autoencoders", 2020, arXiv 1903.12436, section 4.
    """

    of_codes: Sampling

    def add_density(self, density: Nested) -> None:
        """Make the model of the codes.

        Raises:
            UsageError: If it does not sample.
        """
        codes = replace(
            self.spec, event_shape=(self.latent,), levels=None, ordered=True, coding="plain",
            palette=None, rate=None, columns=(),
        )  # fmt: skip
        takes_context = "context" in registry.find(density["name"]).signature()
        told = {"context": self.context} if takes_context else {}
        made = registry.build(density["name"], codes, {**density["keywords"], **told})
        if not isinstance(made, Sampling):
            raise UsageError(f"density is a model that samples, got {density['name']}: use gmm")
        self.of_codes = made
        self.players = {_turn(name): player for name, player in made.players.items()}

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The autoencoder, for most of the budget; then those of the density of its codes."""
        own = self.of_codes.stages
        shares = sum(stage.share for stage in own) / _DENSITY
        return (
            Stage("autoencoder", ("autoencoder",), 1 - _DENSITY),
            *(self._stage(stage, stage.share / shares, stage is own[0]) for stage in own),
        )

    def _stage(self, stage: Stage, share: float, first: bool) -> Stage:
        """A stage of the density as one of the whole, which encodes before."""
        begins: list[Prepare] = [self.of_codes.prepare] if first else []
        begins += [] if stage.prepare is None else [stage.prepare]
        score = stage.validation_loss or self.of_codes.validation_loss

        def prepare(x: Tensor, context: Tensor | None) -> None:
            for begin in begins:
                begin(*self._codes(x, context))

        return replace(
            stage, name=f"density {stage.name}", turns=tuple(map(_turn, stage.turns)), share=share,
            kept=None if stage.kept is None else tuple(map(_turn, stage.kept)), prepare=prepare,
            validation_loss=lambda x, context: score(*self._codes(x, context)),
        )  # fmt: skip

    @torch.no_grad()
    def _codes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the density is of, and what it is told."""
        return self.encode(x, context), self._told(context)

    def _told(self, context: Tensor | None) -> Tensor | None:
        return None if self.of_codes.context == "none" else context

    def player(self, turn: str) -> nn.Module:
        """The autoencoder, or who moves in the density's own turn."""
        if turn.startswith(PREFIX):
            return self.of_codes.player(turn.removeprefix(PREFIX))
        return nn.ModuleList(part for part in self.children() if part is not self.of_codes)

    def density_loss(
        self, x: Tensor, context: Tensor | None, turn: str, place: Tensor | float
    ) -> dict[str, Tensor]:
        """The loss of a turn of the density, to which codes are data."""
        codes, told = self._codes(x, context)
        loss = self.of_codes.loss
        more = {"place": place} if "place" in inspect.signature(loss).parameters else {}
        return loss(codes, told, turn=turn.removeprefix(PREFIX), **more)

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """See `Model.moved`, of the density."""
        if turn.startswith(PREFIX):
            self.of_codes.moved(turn.removeprefix(PREFIX), sums)

    @torch.no_grad()
    def prior(self, n: int, context: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Codes `(n, latent)` drawn from their density, each for a row of the context."""
        return self.of_codes.sample(n, self._told(context))


class SweptCodeDensity(CodeDensity, Swept):
    """`CodeDensity` with a density that learns by sweeps."""

    of_codes: Swept  # type: ignore[assignment]

    @property
    def learnt(self) -> int:
        """What the density's sweeps estimate."""
        return self.of_codes.learnt

    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The density's, of the codes."""
        return self.of_codes.statistics(*self._codes(x, context))

    def maximise(self, *sums: Tensor) -> dict[str, float]:
        """The density's."""
        return self.of_codes.maximise(*sums)

    def sums(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, ...]:
        """The density's, of the codes."""
        return self.of_codes.sums(self._codes(x, context) for x, context in batches)


PREFIX = "density "
"""What the density's turns begin with."""

_DENSITY = 0.2
"""Share of the budget."""


def _turn(name: str) -> str:
    """What a turn of the density is called in the whole."""
    return PREFIX + name
