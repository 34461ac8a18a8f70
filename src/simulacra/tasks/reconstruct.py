"""Encoding observations and decoding their codes, and how much of them comes back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Decoding, Encoding, Invertible, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.tasks.sample import device_of

_AT_ONCE = 64
"""Observations together, where they are small."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What codes decode to, on the CPU, and how far that is from what was encoded.

    Args:
        x: Of the form of the data, `(N, *event_shape)`.
        exact: Of levels, the share of each observation's values that come back exactly, `(N,)`;
            `None` for vectors, as of all that follows what they have no number of.
        error: Of levels, the mean absolute error of an observation, in levels, `(N,)`.
        worst: Of vectors, the largest absolute error of an observation's values, in the units of
            the data, `(N,)` float64.
        inverse_error: Of an invertible model, that of its map before levels are rounded, `(N,)`:
            see `Invertible.inverse_error`.
    """

    x: Tensor
    exact: Tensor | None
    error: Tensor | None
    worst: Tensor | None
    inverse_error: Tensor | None


@scoring()
def reconstruct(
    model: Model, x: Tensor, context: Tensor | None = None, *, seed: int = 0
) -> Reconstruction:
    """Encode observations, decode their codes, and measure what changed.

    A decoder that draws is drawn from, and its noise is in the error.

    Args:
        model: One that encodes and decodes; in eval mode meanwhile.
        x: Observations `(N, *event_shape)`, at least one.
        context: One row for each.
        seed: Of a decoder that draws.

    Raises:
        MissingCapability: If the model does not do both.
        UsageError: If `x` is not of the form of the data.

    Example:
        >>> import simulacra as sim, torch
        >>> model = sim.build("nice", sim.DataSpec((1, 4, 4), levels=5), {"hidden": (8,)})
        >>> again = sim.reconstruct(model, torch.randint(5, (3, 1, 4, 4)))
        >>> again.x.shape, again.exact.tolist(), bool((again.inverse_error < 1e-5).all())
        (torch.Size([3, 1, 4, 4]), [1.0, 1.0, 1.0], True)
    """
    invertible = model if isinstance(model, Invertible) else None
    if not (isinstance(model, Encoding) and isinstance(model, Decoding)):
        lacks = "decode codes" if isinstance(model, Encoding) else "encode observations"
        raise MissingCapability(f"{type(model).__name__} does not {lacks}: use vae or nice")
    if not len(x):
        raise UsageError("reconstruct needs at least one observation")
    model.spec.check(x)
    device = device_of(model)

    def there_and_back(rows: slice) -> Tensor:
        own = None if context is None else context[rows].to(device)
        return model.decode(model.encode(x[rows].to(device), own), own).cpu()

    again, errors = list[Tensor](), list[Tensor]()
    with evaluating(model), seeded(seed):
        size = rows_at_once(lambda n: there_and_back(slice(n)), min(len(x), _AT_ONCE))
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            again.append(there_and_back(rows))
            if invertible is not None:
                own = None if context is None else context[rows].to(device)
                errors.append(invertible.inverse_error(x[rows].to(device), own).cpu())
    before, after = x.cpu(), torch.cat(again)
    inverse_error = torch.cat(errors) if errors else None
    if model.spec.levels is None:
        # of the largest of a table's numbers float32 would lose the digits that differ
        change = model.spec.to_float(after).double() - model.spec.to_float(before).double()
        return Reconstruction(after, None, None, change.abs().amax(1), inverse_error)
    change = (after - before).flatten(1).abs().float()
    return Reconstruction(after, (change == 0).float().mean(1), change.mean(1), None, inverse_error)
