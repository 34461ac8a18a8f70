"""What somebody changes while a training goes on: its length, and the rates of its players.

Each change is an `Event`, which a training that goes on from an earlier state has to be told.
"""

from __future__ import annotations

import math
from dataclasses import replace

from simulacra.ground.errors import UsageError, nearest
from simulacra.training import units
from simulacra.training.loop import Training
from simulacra.training.options import Budget
from simulacra.training.plan import VALIDATIONS, Event, Plan


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
    # one that was to be made longer later on, and was put back to before that, is so now
    later = [event for event in _later(training) if event.plan is not None]
    asked = [event.plan for event in later if event.made == "between"]
    plan = next((plan for plan in reversed(asked) if plan), training.plan)
    if budget.unit == "s":
        longer = _by_seconds(training, plan, budget.amount)
    else:
        steps = units.steps_of(budget.amount, budget.unit, training.learner)
        longer = plan.longer(training.progress.step, steps)
    longer = training.of_first(longer)
    training.happens(Event(training.progress.tick, plan=longer), later)


def _by_seconds(training: Training, plan: Plan, more: float) -> Plan:
    """The plan so many seconds longer, its steps by the pace so far until there is another."""
    progress = training.progress
    elapsed, done = progress.seconds - plan.begun, progress.step - plan.start
    # not of validations, which may have been most
    pace = progress.spent.get("steps", elapsed) / max(1, done)
    seconds = max(plan.seconds or 0.0, elapsed) + more
    origin = plan.origin if plan.seconds else max(0.0, elapsed - pace * done)
    steps = max(1, round((seconds - elapsed) / max(pace, 1e-9)))
    every = math.ceil(steps / VALIDATIONS)
    timed = replace(plan, seconds=seconds, validations=progress.looks + VALIDATIONS)
    place = (elapsed - origin) / (seconds - origin)
    return timed.again(progress.step, origin, place, progress.step + steps, every)


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
        training.happens(Event(training.progress.tick, player=name, lr=lr), later)


def _later(training: Training) -> list[Event]:
    """What was changed at later steps than it is at now, to which it has not come again."""
    return [event for event in training.events if event.step > training.progress.tick]
