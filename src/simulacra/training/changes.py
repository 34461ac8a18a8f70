"""What somebody changes while a training goes on: its length, and the rates of its players.

Each change is an `Event`, which a training that goes on from an earlier state has to be told.
"""

from __future__ import annotations

from simulacra.ground.errors import UsageError, nearest
from simulacra.training.loop import Training
from simulacra.training.options import Budget
from simulacra.training.plan import Event


def make_longer(training: Training, budget: Budget) -> None:
    """Make a training longer than it was planned; its schedule then ends later too.

    Args:
        training: Between two steps, or at its end.
        budget: How much longer.

    Raises:
        UsageError: If it has converged, is in another stage than the last, or is to be longer by
            seconds and no step has shown what it takes.
    """
    progress = training.progress
    if progress.converged:
        raise UsageError("this training has converged: longer, it would learn nothing more")
    if not training.in_last_stage:
        raise UsageError(
            f"this training is in its stage {training.stage.name!r}: it can be made longer in its "
            f"last one, {training.stages[-1].name!r}"
        )
    longer = training.plan.longer(budget, progress, training.learner.steps_per_epoch)
    training.happens(Event(progress.step, plan=training.of_first(longer)))


def set_rate(training: Training, lr: float, player: str | None = None) -> None:
    """Give a player another learning rate from the next step on; schedules go by the new one.

    Args:
        training: Between two steps.
        lr: The rate after the warm-up.
        player: Who moves, in any stage; everyone, unless named.

    Raises:
        UsageError: If there is no such player, or the rate is none.
    """
    known = list(dict.fromkeys(name for stage in training.stages for name in stage.players))
    if not known:
        raise UsageError("a training by sweeps has no learning rate")
    if player is not None and player not in known:
        raise UsageError(f"no player is called {player!r}: {nearest(player, known)}")
    for name in known if player is None else [player]:
        training.happens(Event(training.progress.step, player=name, lr=lr))
