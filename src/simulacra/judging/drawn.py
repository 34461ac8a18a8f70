"""What a model draws to be judged: one draw, the same whoever asks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.models.model import Model
from simulacra.tasks import sample as tasks
from simulacra.tasks.sample import Samples, frequent_context

_AT_ONCE, _LOT = 250, 1000
# keys of random streams: of the samples judged, of their labels, and of those counted by class
_DRAWN, _TOLD, _COUNTED = 1, 2, 3


def draw(model: Model, data: Dataset, n: int, *, steps: int | None = None) -> Samples:
    """Samples to be judged: a fixed draw, with contexts as frequent as they are in the data.

    Args:
        model: One that samples.
        data: See `frequent_context`.
        n: How many.
        steps: In which noise is refined, of a `Refining` model; the usual number by default.
    """
    context = frequent_context(model, data, n, seed=_TOLD)
    return tasks.draw(model, n, context, steps=steps, seed=(_DRAWN,), at_once=_AT_ONCE)


def drawn_classes(
    model: Model, data: Dataset, n: int, taken: Callable[[Tensor], Tensor | None]
) -> Tensor | None:
    """The classes of many samples, of which no more than a thousand are held at a time.

    Args:
        model: One that samples.
        data: See `frequent_context`.
        n: How many samples.
        taken: The classes that samples are taken for; see `CountedClasses.taken`.

    Returns:
        `(n,)` int64; `None` without a classifier.
    """
    context, parts = frequent_context(model, data, n, seed=_TOLD), list[Tensor]()
    for number, rows in enumerate(torch.arange(n).split(_LOT)):
        told = None if context is None else context[rows]
        some = tasks.draw(model, len(rows), told, seed=(_COUNTED, number), at_once=_AT_ONCE)
        lot = taken(some.x)
        if lot is None:
            return None
        parts.append(lot)
    return torch.cat(parts)
