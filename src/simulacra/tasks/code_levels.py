"""What each level of a hierarchical code holds: levels drawn anew one at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.bounded import Bounded
from simulacra.models.model import Model
from simulacra.models.modes import evaluating, scoring
from simulacra.tasks.expected import expected
from simulacra.tasks.sample import device_of


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Observations as they are once a level of their code is another.

    Args:
        names: Of the levels, the highest first.
        middle: What each code decodes to, as numbers for people, `(N, …)`.
        levels: The same with one level drawn anew, `(N, levels, draws, …)`.
        moves: By how much a level changes a value, in numbers for people: the root of the mean
            square over values, observations and draws, `(levels,)`.
    """

    names: tuple[str, ...]
    middle: Tensor
    levels: Tensor
    moves: Tensor


def hierarchical(model: Model) -> Bounded:
    """The model, if its code has several levels.

    Raises:
        MissingCapability: If it has not.
    """
    if not isinstance(model, Bounded) or not model.hierarchy:
        raise MissingCapability(
            f"{type(model).__name__} has no code of several levels: train an hvae"
        )
    return model


@scoring()
def redrawn(
    model: Model, x: Tensor, context: Tensor | None = None, *, draws: int = 3, seed: int = 0
) -> Redrawn:
    """Encode observations, and draw one level of each code anew, from the prior given those above.

    The levels below keep their units, which are told in deviations of the prior: they stay as
    surprising as they were, in a picture that is another.

    Args:
        model: One with a code of several levels.
        x: Observations `(N, *event_shape)`, a few.
        context: One row for each.
        draws: Of each level.
        seed: Of the draws.

    Raises:
        MissingCapability: If its code has one level, or there is none.
        UsageError: If there is no draw or no observation.
    """
    bounded = hierarchical(model)
    if draws < 1 or not len(x):
        raise UsageError(f"levels need observations and draws, got {len(x)} and {draws}")
    device = device_of(model)
    told = None if context is None else context.to(device)
    with evaluating(model), seeded(seed):
        codes = bounded.encode(x.to(device), told)
        many = None if told is None else told.repeat_interleave(draws, 0)
        others = bounded.prior(len(x) * draws, many).unflatten(0, (len(x), draws))
    kept = codes[:, None].expand_as(others)
    middle = expected(model, codes, context, seed=seed)
    names, sizes = zip(*bounded.hierarchy, strict=True)
    many = None if context is None else context.repeat_interleave(draws, 0)
    levels, at = [], 0
    for size in sizes:
        changed = kept.clone()
        changed[..., at : at + size] = others[..., at : at + size]
        decoded = expected(model, changed.flatten(0, 1), many, seed=seed)
        levels.append(decoded.unflatten(0, (len(x), draws)))
        at += size
    each = torch.stack(levels, 1)
    apart = (each - middle[:, None, None]).double().square()
    moves = apart.movedim(1, 0).flatten(1).mean(1).sqrt()
    return Redrawn(names, middle, each, moves)
