"""What a step is in observations and in FLOPs, and how many steps an amount of these is."""

from __future__ import annotations

import contextlib
import copy
import inspect
from typing import Any

import torch

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.models import flops
from simulacra.models.model import Model
from simulacra.models.swept import Swept
from simulacra.training.average import graphless
from simulacra.training.batches import SWEEP_BATCH
from simulacra.training.learner import Learner
from simulacra.training.options import Budget
from simulacra.training.plan import Plan
from simulacra.training.progress import Progress


def steps_of(amount: float, unit: str, learner: Learner) -> int:
    """How many steps, or sweeps, of a stage an amount is: one at least.

    Args:
        amount: Of observations or FLOPs, which that many steps reach and fewer do not; of steps or
            epochs, to which that many come nearest.
        unit: As in `Budget`, but for seconds.
        learner: In the stage.

    Raises:
        UsageError: If the stage's FLOPs cannot be counted.
    """
    if unit in ("steps", "epochs"):
        return max(1, round(amount * (learner.steps_per_epoch if unit == "epochs" else 1)))
    a_step = observations_a_step(learner) if unit == "obs" else flops_a_step(learner)
    # whole numbers, of which a quotient of floats may be off by one; a share of one may be none
    return max(1, -(-round(amount) // a_step))


def spent(unit: str, progress: Progress, start: int) -> float:
    """What the stages before took of a budget.

    Args:
        unit: As in `Budget`, but for seconds.
        progress: As a stage begins.
        start: Steps of the stages before.
    """
    observations = progress.observations or 0
    return {"steps": start, "epochs": progress.epochs, "obs": observations}.get(
        unit, progress.flops
    )


def observations_a_step(learner: Learner) -> int:
    """Observations that one step sees, in all processes: each turn, or sweep, its own."""
    batches, stage = learner.batches, learner.stage
    if stage.by_sweeps:
        return learner.observations_a_sweep
    return len(stage.turns) * learner.options.accumulate * batches.size


def observations_until(progress: Progress, plan: Plan, learner: Learner) -> int:
    """Observations seen so far, of a training whose checkpoint is from before they were counted."""
    before = round(progress.epochs * len(learner.batches) * learner.batches.size)
    return before + (progress.step - plan.start) * observations_a_step(learner)


def flops_of(budget: Budget | None, learner: Learner, steps: int) -> int:
    """FLOPs of so many steps, where the budget is in these; else nobody counts them."""
    counted = budget is not None and budget.unit == "flops"
    return steps * flops_a_step(learner) if counted else 0


def flops_a_step(learner: Learner) -> int:
    """FLOPs of one step, or sweep, in all processes: see `flops.count` for what is counted.

    Losses and gradients of a step's batches, or a whole sweep, are computed on a copy, in float32
    and not compiled: the model, its buffers and all random streams stay as they are. So it is the
    same number on every machine.

    Raises:
        UsageError: If they cannot be counted, or there are none to be counted.
    """
    # what a forward pass left in attributes has a graph, and is not copied with it
    model: Model = copy.deepcopy(learner.model, graphless(learner.model))
    run = _sweep if learner.stage.by_sweeps else _step
    name = type(model).__name__
    try:
        with seeded(learner.options.seed, _COUNTED):
            total = run(model, learner)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        why = model.not_compiled or str(error).partition("\n")[0]
        raise UsageError(
            f"{name}'s FLOPs cannot be counted ({why}): give it a budget in obs, steps or seconds"
        ) from error
    if not total:
        raise UsageError(
            f"{name} works value by value, of which no FLOPs are counted: give it a budget in obs, "
            "steps or seconds"
        )
    return total


def _step(model: Model, learner: Learner) -> int:
    """Of one batch of each turn, of which there are `accumulate` of one size."""
    x, context = learner.batches.at(0)
    loss = type(model).loss
    told: dict[str, Any] = {}
    if "place" in inspect.signature(loss).parameters:
        told["place"] = torch.zeros((), device=x.device)

    def run() -> None:
        for turn in learner.stage.turns:
            # not that of the instance, which may be compiled
            loss(model, x, context, turn=turn, **told)["loss"].backward()

    with torch.enable_grad():
        return learner.options.accumulate * flops.count(model, run)


def _sweep(model: Model, learner: Learner) -> int:
    """Of all that a sweep goes over, what other processes do among it."""
    assert isinstance(model, Swept)
    batches = learner.batches

    def run() -> None:
        rows = torch.arange(learner.observations_a_sweep).split(SWEEP_BATCH)
        sums = model.sums(batches.rows(each) for each in rows)
        # a sweep that fails in its end is skipped, and the next one may not
        with contextlib.suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
            model.maximise(*sums)

    with torch.no_grad():
        return flops.count(model, run)


_COUNTED = -6  # key of a random stream that belongs to no step
