"""How one observation, encoded again and again, has other codes: the spread of q(z | x)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.model import Model
from simulacra.models.modes import evaluating, scoring
from simulacra.tasks.expected import expected
from simulacra.tasks.sample import device_of

DRAWS = 200
"""Codes of each observation."""


@dataclass(frozen=True, eq=False)
class Spread:
    """Codes of observations, each encoded many times.

    Args:
        codes: `(N, draws, …)` on the CPU.
        middle: What the posterior's mean decodes to, as numbers for people, `(N, …)`.
        decoded: What the first codes of each decode to, `(N, shown, …)`.
    """

    codes: Tensor
    middle: Tensor
    decoded: Tensor


def random_encoder(model: Model) -> Callable[[Tensor, Tensor | None], Any]:
    """q(z | x) of a model that draws when it encodes, with `mean` and `sample()`.

    Raises:
        MissingCapability: If an observation has one code.
    """
    found: Callable[[Tensor, Tensor | None], Any] | None = getattr(model, "posterior", None)
    if found is None:
        raise MissingCapability(
            f"{type(model).__name__} gives an observation one code, or none: what spreads is the "
            "posterior of a vae"
        )
    return found


@scoring()
def spread(
    model: Model,
    x: Tensor,
    context: Tensor | None = None,
    *,
    draws: int = DRAWS,
    shown: int = 6,
    seed: int = 0,
) -> Spread:
    """Encode observations many times, and decode some of their codes.

    Args:
        model: One with a posterior over codes that decodes; in eval mode meanwhile.
        x: Observations `(N, *event_shape)`, a few.
        context: One row for each.
        draws: Codes of each, at least 2.
        shown: So many of them are decoded.
        seed: Of the draws.

    Raises:
        MissingCapability: If an observation has one code, or none.
        UsageError: If there are fewer than two draws, or no observation.
    """
    posterior = random_encoder(model)
    if draws < max(2, shown) or not len(x):
        raise UsageError(f"a spread needs observations and draws, got {len(x)} and {draws}")
    device = device_of(model)
    told = None if context is None else context.to(device)
    with evaluating(model), seeded(seed):
        found = posterior(x.to(device), told)
        codes = torch.stack([found.sample() for _ in range(draws)], 1).cpu()
        middle = found.mean.cpu()
    many = None if context is None else context.repeat_interleave(shown, 0)
    decoded = expected(model, codes[:, :shown].flatten(0, 1), many, seed=seed)
    return Spread(
        codes, expected(model, middle, context, seed=seed), decoded.unflatten(0, (len(x), shown))
    )
