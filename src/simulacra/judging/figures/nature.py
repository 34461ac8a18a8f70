"""What kind of thing a model is: derived from its class, and measured where a class can promise."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch

from simulacra.data.dataset import Dataset
from simulacra.data.splits import permutation
from simulacra.ground.randomness import seeded
from simulacra.judging.figures.cost import rows_for, unless_broken
from simulacra.judging.figures.records import Nature
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import (
    Completion,
    Decoding,
    Encoding,
    Invertible,
    Latent,
    Likelihood,
    Model,
    Sampling,
)
from simulacra.models.modes import scoring

_MOST = 256
"""Validation observations that are encoded and decoded, at most."""
_AT_ONCE = 64
"""Of these together, where they are small."""
_MEASURED = ("reconstruction_error", "reconstruction_worst", "recovered")


def nature(model: Model, data: Dataset, *, calls: int | None) -> Nature:
    """What a model is; the same questions to every family, and to a user's own.

    Args:
        model: In eval mode.
        data: Of which up to 256 validation observations are encoded and decoded.
        calls: Network calls that a sample takes, one after another: `sequential_calls` of `cost`.

    Returns:
        Its nature:

        - `likelihood`: `exact`, `bound`, `estimate` (of a density, on either side) or `none`.
        - `invertible`: whether decoding undoes encoding by construction, as in a flow.
        - `reconstruction_error`: root of the mean square of what encoding and decoding an
          observation changes, in the units of `DataSpec.to_float`: 0 … 1 for pictures, −1 … 1 for
          sounds; of vectors as they are held, for the square of a column's own unit may be beyond
          any float. A decoder that draws is drawn from, and its noise is in it. `None` for models
          that do not do both, or where the result is not finite.
        - `reconstruction_worst`: the largest change of a single value.
        - `recovered`: of an invertible model on levels, the share of values that come back exactly.
        - `sampling`: `parallel` in one call, else `sequential`; `None` where `calls` is.
        - `latent`: how many values a code has; `None` without codes.
        - `completes`: with the lower half of a picture hidden, or the later half of anything
          else: `exactly`, `~` or `no`.
    """
    return Nature(
        likelihood=_likelihood(model),
        invertible=isinstance(model, Invertible),
        **(unless_broken(partial(_reconstruction, model, data)) or {}),
        sampling=_sampling(model, calls),
        latent=unless_broken(partial(_latent, model, data)),
        completes=_completes(model),
    )


def _likelihood(model: Model) -> Literal["exact", "bound", "estimate", "none"]:
    if not isinstance(model, Likelihood):
        return "none"
    solves = type(model).solver_error is not Likelihood.solver_error
    if model.averaged and solves and model.spec.levels is None:
        return "estimate"
    return "exact" if model.exact else "bound"


def _sampling(model: Model, calls: int | None) -> Literal["parallel", "sequential"] | None:
    if not isinstance(model, Sampling) or calls is None:
        return None
    return "parallel" if calls == 1 else "sequential"


@torch.no_grad()
def _latent(model: Model, data: Dataset) -> int | None:
    x, told = rows_for(model, data.validation, 1)
    with seeded(0):
        if isinstance(model, Latent):
            return model.prior(1, told)[0].numel()
        if isinstance(model, Encoding):
            return model.encode(x, told)[0].numel()
    return None


def _completes(model: Model) -> Literal["exactly", "~", "no"]:
    if not isinstance(model, Completion):
        return "no"
    observed = torch.ones(model.spec.event_shape, dtype=torch.bool)
    axis = 1 if model.spec.is_image else 0
    half = observed.shape[axis] // 2
    observed.narrow(axis, half, observed.shape[axis] - half).fill_(False)
    return "exactly" if model.completes_exactly(observed) else "~"


@scoring()
def _reconstruction(model: Model, data: Dataset) -> dict[str, float | None]:
    """How far observations are from what their codes decode to."""
    found: dict[str, float | None] = dict.fromkeys(_MEASURED)
    exactly = isinstance(model, Invertible) and model.spec.levels is not None
    if not (isinstance(model, Encoding) and isinstance(model, Decoding)):
        return found
    # their order may be by class
    chosen = data.validation.take(permutation(len(data.validation))[:_MOST])
    x, again = [], []
    few, told = rows_for(model, chosen, 2)

    def there_and_back(n: int) -> None:
        own = None if told is None else told[:n]
        model.decode(model.encode(few[:n], own), own)

    size = rows_at_once(there_and_back, _AT_ONCE)
    with seeded(0):
        for rows in torch.arange(len(chosen)).split(size):
            part, context = rows_for(model, chosen.take(rows), len(rows))
            x.append(part.cpu())
            again.append(model.decode(model.encode(part, context), context).cpu())
    before, after = torch.cat(x), torch.cat(again)
    show = (lambda each: each) if model.spec.levels is None else model.spec.to_float
    change = show(after).double() - show(before).double()
    if not bool(change.isfinite().all()):
        return found
    found["reconstruction_error"] = float(change.square().mean().sqrt())
    found["reconstruction_worst"] = float(change.abs().max())
    if exactly:
        found["recovered"] = float((after == before).double().mean())
    return found
