"""`SecondStage`: a model of the codes of another one, nested in it, which learns after it."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.keywords import Nested
from simulacra.models.model import Encoding, Latent, Model, Sampling
from simulacra.models.stages import Prepare, Stage


class SecondStage(Encoding, Latent):
    """What encodes, in a first stage; then a model of its codes, in stages of its own.

    That model is told the context that this one is told, if it takes any.
    """

    of_codes: Sampling
    first: ClassVar[str] = "autoencoder"
    """What the first stage and its turn are called."""
    second: ClassVar[str]
    """What the stages of the model of codes, and its turns, begin with."""
    second_share: ClassVar[float]
    """Of the budget."""

    def nest(self, nested: Nested, codes: DataSpec) -> Model:
        """A model of codes of a form, told the context if it takes one; its players become ours."""
        takes_context = "context" in registry.find(nested["name"]).signature()
        told = {"context": self.context} if takes_context else {}
        own = nested["keywords"].get("context", "none")
        if own not in ("none", told.get("context", "none")):
            raise UsageError(
                f"{nested['name']} is told what the whole model is told, context={self.context}: "
                f"leave its own context={own} out"
            )
        made = registry.build(nested["name"], codes, {**nested["keywords"], **told})
        self.players = {self._turn(name): player for name, player in made.players.items()}
        return made

    @abstractmethod
    def as_data(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The codes of observations, as the model of codes takes them."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The first one, for its share of the budget; then those of the model of its codes."""
        own = self.of_codes.stages
        shares = sum(stage.share for stage in own) / self.second_share
        return (
            Stage(self.first, (self.first,), 1 - self.second_share),
            *(self._stage(stage, stage.share / shares, stage is own[0]) for stage in own),
        )

    def _stage(self, stage: Stage, share: float, first: bool) -> Stage:
        """A stage of the model of codes as one of the whole, which encodes before."""
        begins: list[Prepare] = [self.of_codes.prepare] if first else []
        begins += [] if stage.prepare is None else [stage.prepare]
        score = stage.validation_loss or self.of_codes.validation_loss

        def prepare(x: Tensor, context: Tensor | None) -> None:
            for begin in begins:
                begin(*self.told_codes(x, context))

        return replace(
            stage, name=f"{self.second} {stage.name}", turns=tuple(map(self._turn, stage.turns)),
            share=share, prepare=prepare,
            kept=None if stage.kept is None else tuple(map(self._turn, stage.kept)),
            validation_loss=lambda x, context: score(*self.told_codes(x, context)),
        )  # fmt: skip

    @torch.no_grad()
    def told_codes(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the model of codes is of, and what it is told."""
        return self.as_data(x, context), self.told_to_codes(context)

    def told_to_codes(self, context: Tensor | None) -> Tensor | None:
        """The context, where the model of codes takes one."""
        return None if self.of_codes.context == "none" else context

    def player(self, turn: str) -> nn.Module:
        """The first stage's, or who moves in a turn of the model of codes."""
        if self.is_second(turn):
            return self.of_codes.player(self._own(turn))
        return nn.ModuleList(part for part in self.children() if part is not self.of_codes)

    def second_loss(
        self, x: Tensor, context: Tensor | None, turn: str, place: Tensor | float
    ) -> dict[str, Tensor]:
        """The loss of a turn of the model of codes, to which codes are data."""
        codes, told = self.told_codes(x, context)
        loss = self.of_codes.loss
        more = {"place": place} if "place" in inspect.signature(loss).parameters else {}
        return loss(codes, told, turn=self._own(turn), **more)

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """See `Model.moved`, of the model of codes."""
        if self.is_second(turn):
            self.of_codes.moved(self._own(turn), sums)

    def is_second(self, turn: str) -> bool:
        """Whether a turn is one of the model of codes."""
        return turn.startswith(f"{self.second} ")

    def _turn(self, name: str) -> str:
        """What a turn of the model of codes is called in the whole."""
        return f"{self.second} {name}"

    def _own(self, turn: str) -> str:
        """What a turn of the whole is called by the model of codes."""
        return turn.removeprefix(f"{self.second} ")
