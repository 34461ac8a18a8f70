"""What somebody changes while a training goes on: its length, and the rates of its players.

Each change is an `Event`, which a training that goes on from an earlier state has to be told.
"""

from __future__ import annotations

from simulacra.ground.errors import UsageError, nearest
from simulacra.training import units
from simulacra.training.loop import Training
from simulacra.training.options import Budget
from simulacra.training.plan import Event


def make_longer(training: Training, budget: Budget) -> None:
    """Make a training longer than it was planned; its schedule then ends later too.

    Args:
        training: Between two steps, or at its end.
        budget: How much longer.

    Raises:
        UsageError: If it has converged, or is in another stage than the last.
    """
    if training.progress.converged:
        raise UsageError("this training has converged: longer, it would learn nothing more")
    if not training.in_last_stage:
        raise UsageError(
            f"this training is in its stage {training.stage.name!r}: it can be made longer in its "
            f"last one, {training.stages[-1].name!r}"
        )
    if budget.unit == "s":
        # not at the pace that it had, of which validations may have been most
        steps = max(1, round(budget.amount / training.pace(budget.amount).step))
    else:
        steps = units.steps_of(budget.amount, budget.unit, training.learner)
    # one that was to be made longer later on, and was put back to before that, is so now
    later = [event for event in _later(training) if event.plan is not None]
    plan = next((event.plan for event in reversed(later) if event.plan), training.plan)
    longer = training.of_first(plan.longer(steps))
    training.happens(Event(training.progress.step, plan=longer), later)


def spare(training: Training, cost: float, budget: Budget) -> None:
    """Let a training that was made longer by seconds validate less often where that is dear.

    Args:
        training: As it was made longer.
        cost: Seconds that a checkpoint takes.
        budget: How much longer it was made.
    """
    if budget.unit == "s":
        plan = training.of_first(training.plan.sparing(cost, budget.amount))
        training.happens(Event(training.progress.step, plan=plan))


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
        # what was to be later, in a training that was put back to before that, is not any more
        later = [event for event in _later(training) if event.player == name]
        training.happens(Event(training.progress.step, player=name, lr=lr), later)


def _later(training: Training) -> list[Event]:
    """What was changed at later steps than it is at now, to which it has not come again."""
    return [event for event in training.events if event.step > training.progress.step]
