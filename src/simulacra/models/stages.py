"""`Stage` and `Player`: how a model learns that is not one player in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from simulacra.ground.errors import UsageError

Prepare = Callable[[Tensor, Tensor | None], None]
"""Initialises from observations `(N, *event_shape)` and their context."""
Score = Callable[[Tensor, Tensor | None], Tensor | None]
"""A loss of each observation, `(N,)`, given its context."""


@dataclass(frozen=True)
class Player:
    """How one player moves, where it does not move as the training's options say.

    Args:
        lr: Its learning rate, as a multiple of the training's.
        betas: Its decay rates of the gradient's first and second moments.

    Raises:
        UsageError: If a rate is none that AdamW can have.

    Example:
        >>> import simulacra as sim
        >>> sim.Player(lr=4.0).betas is None
        True
    """

    lr: float = 1.0
    betas: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Refuse rates that no optimiser can have."""
        betas = self.betas or (0.0, 0.0)
        if not 0 < self.lr < float("inf") or not all(0 <= beta < 1 for beta in betas):
            raise UsageError(
                "a player's lr is positive and finite, its betas are in [0, 1); got "
                f"{self.lr} and {self.betas}"
            )


@dataclass(frozen=True)
class Stage:
    """A part of a training, with optimisers, an average and a best step of its own.

    A stage begins with what was best in the one before, and moves its own players alone.

    Args:
        name: What it is called where people see it.
        turns: Who moves in one step, in order; nobody where it goes by sweeps (see `Swept`).
        share: Its part of the budget, in proportion to those of the other stages.
        kept: Players of whose weights the average is taken, which is what is validated and kept;
            all that move, unless it says otherwise.
        prepare: What it initialises from data before its first step, beside `Model.prepare`, which
            is called once for all stages.
        validation_loss: What its best step is chosen by, in place of `Model.validation_loss`.
        sweep: Where it goes by sweeps, how many observations one goes over, in an order shuffled
            anew in each epoch, of which the sums stand for all; all of them, unless it says
            otherwise or there are fewer.
        patience: The training ends, if this is its last stage, when so many times what its best
            step took has passed without a better one: what it would go on to learn is not in the
            validation split. Not in the first third of what it was to be; never, without.

    Raises:
        UsageError: If its share or patience is not positive, it keeps nobody or who does not move,
            or a sweep goes over nothing.

    Example:
        >>> import simulacra as sim
        >>> sim.Stage("codebook", ("autoencoder",), share=2.0).by_sweeps
        False
    """

    name: str
    turns: tuple[str, ...]
    share: float = 1.0
    kept: tuple[str, ...] | None = None
    prepare: Prepare | None = None
    validation_loss: Score | None = None
    sweep: int | None = None
    patience: float | None = None

    def __post_init__(self) -> None:
        """Refuse a stage that no training can go through."""
        if self.patience is not None and not 0 < self.patience < float("inf"):
            raise UsageError(f"a stage's patience is positive and finite, got {self.patience}")
        if not 0 < self.share < float("inf"):
            raise UsageError(f"a stage's share is positive and finite, got {self.share}")
        if self.kept is not None and not (self.kept and set(self.kept) <= set(self.turns)):
            raise UsageError(
                f"a stage keeps some of the players that move in it, {self.turns}, or says "
                f"nothing; got {self.kept}"
            )
        if self.sweep is not None and (self.turns or self.sweep < 1):
            raise UsageError(
                "a sweep goes over at least one observation, and a stage of sweeps has no turns; "
                f"got {self.sweep} and turns {self.turns}"
            )

    @property
    def players(self) -> tuple[str, ...]:
        """Who moves, each once, in an order that does not depend on hashing."""
        return tuple(dict.fromkeys(self.turns))

    @property
    def averaged(self) -> tuple[str, ...]:
        """Of whose weights the average is taken."""
        return self.players if self.kept is None else self.kept

    @property
    def by_sweeps(self) -> bool:
        """Whether it goes by whole sweeps over the data, not by gradient steps."""
        return not self.turns

    def names(self) -> list[str]:
        """What each turn is called; of several by one player, each with its number."""
        counts = dict.fromkeys(self.turns, 0)
        names = []
        for turn in self.turns:
            counts[turn] += 1
            several = self.turns.count(turn) > 1
            names.append(f"{turn} {counts[turn]}" if several else turn)
        return names
