"""What only models that refine noise are asked for: how many steps, and how much of a context."""

from __future__ import annotations

import math

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.models.model import Model
from simulacra.models.refining import Refining


def steps_taken(model: Refining, steps: int | None = None) -> int:
    """In how many steps a sample is drawn that is asked for in so many."""
    taken = model.sampling_steps if steps is None else steps
    return taken if model.most_steps is None else min(taken, model.most_steps)


def check_refined(model: Model, steps: int | None, guidance: float) -> None:
    """Refuse what is out of its range, or not to be had of a model.

    Args:
        model: That samples are asked of.
        steps: See `sample.sample`.
        guidance: See `sample.sample`.

    Raises:
        MissingCapability: If it refines no noise, or is told no context that could be weighed.
        UsageError: If a number is out of its range.
    """
    if steps is not None and (type(steps) is not int or steps < 1):
        raise UsageError(f"steps is a positive whole number, got {steps!r}")
    if not 0 <= guidance < math.inf:
        raise UsageError(f"guidance is a number of at least 0, got {guidance!r}")
    name = type(model).__name__
    if not isinstance(model, Refining):
        for option, asked in (("steps", steps is not None), ("guidance", guidance != 1)):
            if asked:
                raise MissingCapability(f"{name} refines no noise, as {option} needs: use ddpm")
    elif guidance != 1 and not model.guides:
        raise MissingCapability(
            f"this {name} is told nothing that guidance could weigh: train one with --set "
            "context=label"
        )
