"""Completing hidden parts of observations."""

from __future__ import annotations

import math
from itertools import islice
from typing import Literal, get_args

import torch
from torch import Tensor

from simulacra.drawing.style import HIDDEN
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.threads import settled
from simulacra.models.at_once import rows_at_once
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Completion, Model, Stepwise
from simulacra.models.modes import evaluating
from simulacra.models.refining import Refining
from simulacra.tasks.sample import device_of

Hidden = Literal["bottom", "top", "left", "right", "centre", "random"]


def mask(event_shape: tuple[int, ...], hide: str, *, seed: int = 0) -> Tensor:
    """Which values of a picture or sound are observed when a part of it is hidden.

    Args:
        event_shape: `(C, H, W)`; or `(T,)`, which has no top or bottom.
        hide: One of `Hidden`: the hidden half; or the hidden middle (half of each side); or
            `random` for half of the pixels, all colours of each, scattered. `random:0.9` scatters
            that share of them, rounded down; of the same seed a larger share hides what a smaller
            one does, and more.
        seed: Of what is scattered.

    Returns:
        Booleans `event_shape`, true where observed.

    Raises:
        UsageError: If there is no such part.
    """
    part, share = _part(hide)
    if len(event_shape) == 1 and part in ("bottom", "top"):
        raise UsageError(f"a sound has no {part}: --hide left, right, centre or random")
    if len(event_shape) not in (1, 3):
        raise UsageError(
            f"only pictures (C, H, W) and sounds (T,) have a {part}, got {event_shape}"
        )
    # a sound is a picture of one row, all of which is hidden or none
    *above, width = event_shape
    height = above[1] if above else 1
    observed = torch.ones(height, width, dtype=torch.bool)
    rows, columns = slice(None), slice(None)
    if part == "random":
        # what a float makes of 0.29 · 100 is below 29
        many = math.floor(share * (height * width) + 1e-9)
        if not many:
            raise UsageError(f"{hide} hides none of {height * width} places: --hide a larger share")
        with seeded(seed):
            observed.view(-1)[torch.randperm(height * width)[:many]] = False
        return observed.expand(event_shape) if above else observed[0]
    if part == "centre":
        rows = slice(height // 4, height - height // 4)
        columns = slice(width // 4, width - width // 4)
    elif part in ("bottom", "top"):
        rows = slice(height // 2, None) if part == "bottom" else slice(0, height // 2)
    else:
        columns = slice(width // 2, None) if part == "right" else slice(0, width // 2)
    observed[rows, columns] = False
    return observed.expand(event_shape) if above else observed[0]


def _part(hide: str) -> tuple[str, float]:
    """The part that is hidden, and of what is scattered the share.

    Raises:
        UsageError: If it is none.
    """
    part, colon, number = hide.partition(":")
    try:
        share = float(number) if colon else 0.5
    except ValueError:
        share = math.nan
    if part not in get_args(Hidden) or (colon and part != "random") or not 0 < share < 1:
        raise UsageError(
            f"hide is one of {', '.join(get_args(Hidden))}, or random:SHARE with a share between "
            f"0 and 1, got {hide!r}"
        )
    return part, share


def complete(
    model: Model,
    x: Tensor,
    observed: Tensor,
    *,
    times: int = 1,
    candidates: int = 1,
    context: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Several completions of each observation, the observed values kept.

    Args:
        model: One with the capability; in eval mode meanwhile.
        x: `(N, *event_shape)`; hidden values may hold anything valid.
        observed: Booleans `(*event_shape)`, true where `x` is given.
        times: Completions of each.
        candidates: Each completion is chosen from so many: see `Autoregressive.resample`.
        context: One row for each observation.
        seed: The same seed gives the same completions.

    Returns:
        `(N, times, *event_shape)`, drawn where the model is, and given back where `x` is.

    Raises:
        MissingCapability: If the model does not complete, or has no candidates to weigh.
        UsageError: If a number is not positive.

    Example:
        >>> import simulacra as sim, torch
        >>> data = sim.load_data("digits")
        >>> model = sim.fit(sim.build("gmm", data.spec, {"components": 3}), data, "2steps")
        >>> x, _ = data.test.batch(torch.arange(2))
        >>> upper = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> upper[:, :4] = True
        >>> completed = sim.complete(model, x, upper, times=3)
        >>> completed.shape
        torch.Size([2, 3, 1, 8, 8])
        >>> bool((completed[:, :, :, :4] == x[:, None, :, :4]).all())
        True
    """
    return resample(
        model, x, observed, times=times, candidates=candidates, context=context, seed=seed
    )[0]


def resample(
    model: Model,
    x: Tensor,
    observed: Tensor,
    *,
    times: int = 1,
    candidates: int = 1,
    context: Tensor | None = None,
    seed: int = 0,
) -> tuple[Tensor, float | None]:
    """What `complete` gives, and how far candidates were of use; the arguments are its own.

    Returns:
        `(N, times, *event_shape)`, and the mean effective number of candidates; `None` where
        nothing had to be weighed, since the mask is completed exactly or there is one candidate.
    """
    name = type(model).__name__
    if not isinstance(model, Completion):
        raise MissingCapability(f"{name} does not complete hidden parts: use pixelcnn, gmm or nice")
    if times < 1 or candidates < 1:
        raise UsageError(
            f"times and candidates are at least 1, got times={times}, candidates={candidates}"
        )
    device = device_of(model)
    many = torch.repeat_interleave(x, times, dim=0).to(device)
    told = None if context is None else torch.repeat_interleave(context, times, dim=0).to(device)
    observed = observed.to(device)
    # as in `tasks.sample`
    in_turn = isinstance(model, Stepwise) and not isinstance(model, Refining)
    with seeded(seed), torch.no_grad(), evaluating(model), settled(1 if in_turn else None):
        if candidates == 1 or model.completes_exactly(observed):
            size = _completed_at_once(model, many, observed, told)
            lots = [slice(start, start + size) for start in range(0, len(many), size)]
            parts = [
                model.complete(many[lot], observed, None if told is None else told[lot])
                for lot in lots
            ]
            drawn = torch.cat(parts).to(x.device)
            return drawn.unflatten(0, (len(x), times)), None
        if not isinstance(model, Autoregressive):
            raise MissingCapability(
                f"{name} predicts no value from those before it, which is what candidates are "
                "weighed by: leave them at 1"
            )
        drawn, effective = model.resample(many, observed, told, candidates=candidates)
    return drawn.to(x.device).unflatten(0, (len(x), times)), float(effective.mean())


def _completed_at_once(
    model: Completion, x: Tensor, observed: Tensor, context: Tensor | None
) -> int:
    """How many observations to complete together: all, unless they are large."""

    def run(n: int) -> None:
        own = None if context is None else context[:n]
        if isinstance(model, Autoregressive):
            steps = model.sample_steps(n, own, given=x[:n], observed=observed.expand_as(x[:n]))
        elif chain := getattr(model, "complete_steps", None):
            steps = chain(x[:n], observed, own)
        else:
            model.complete(x[:n], observed, own)
            return
        # whatever is kept from step to step is there after a few
        for _ in islice(steps, _STEPS):
            pass

    return rows_at_once(run, len(x))


_STEPS = 8


def strips(x: Tensor, observed: Tensor, completions: Tensor) -> Tensor:
    """Pictures in rows *given | completions … | truth*.

    Args:
        x: The truth as floats `(N, C, H, W)` in [0, 1].
        observed: Booleans `(C, H, W)`.
        completions: Floats `(N, times, C, H, W)`.

    Returns:
        `(N · (times + 2), 3, H, W)`; hidden pixels of *given* are light blue.
    """
    given = torch.where(observed, x, torch.tensor(HIDDEN)[:, None, None])
    size = (-1, -1, 3, -1, -1)
    others = (completions.expand(size), x[:, None].expand(size))
    return torch.cat([given[:, None], *others], 1).flatten(0, 1)
