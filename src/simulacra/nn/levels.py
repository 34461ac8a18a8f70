"""How raw levels enter a network, and how its outputs become distributions over them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical

from simulacra.ground.spec import DataSpec
from simulacra.nn.precision import at_least_float32


def input_channels(spec: DataSpec) -> int:
    """Size of the first dimension of `as_input`, per observation."""
    one_hot = spec.levels is not None and not spec.ordered
    return spec.event_shape[0] * (spec.levels if one_hot and spec.levels else 1)


def as_input(x: Tensor, spec: DataSpec, dtype: torch.dtype | None = None) -> Tensor:
    """Observations as a network's input.

    Ordered levels are scaled to [−1, 1], so that no level looks like the zeros of padding.
    Unordered levels become one-hot channels, those of one data channel side by side. Continuous
    values stay as they are.

    Args:
        x: `(N, C, …)`.
        spec: The form of the data.
        dtype: Float type of the result; torch's default otherwise.

    Returns:
        `(N, input_channels(spec), …)`.
    """
    dtype = dtype or torch.get_default_dtype()
    if spec.levels is None:
        return x.to(dtype)
    if spec.ordered:
        return x.to(dtype) * (2 / (spec.levels - 1)) - 1
    one_hot = torch.nn.functional.one_hot(x.long(), spec.levels).to(dtype)
    return one_hot.movedim(-1, 2).flatten(1, 2)


def to_levels(y: Tensor, levels: int | None) -> Tensor:
    """The level in whose bin each value lies, the outer bins open; continuous values as they are.

    Args:
        y: Any values; the bin of level k is [k, k + 1).
        levels: How many there are; `None` for continuous values.
    """
    return y if levels is None else y.floor().clamp(0, levels - 1).long()


def nearest_levels(y: Tensor, spec: DataSpec) -> Tensor:
    """The ordered level nearest to each value in the units of `as_input`; vectors as they are.

    Args:
        y: `(N, …)`.
        spec: The form of the data.
    """
    if spec.levels is None:
        return y
    return ((y + 1) * ((spec.levels - 1) / 2)).round().clamp(0, spec.levels - 1).long()


def categorical(logits: Tensor) -> Categorical:
    """The distributions over levels of logits `(…, levels)`, in float32 at least.

    They are not validated: what is not finite must reach the likelihood, where it is counted.
    """
    return Categorical(logits=at_least_float32(logits), validate_args=False)


def seen(spec: DataSpec, x: Tensor) -> Tensor:
    """Observations as a network sees them, `(N, *seen_shape)` float32.

    As people do, `spec.to_float`; but vectors as they are held, for in the units of their columns
    float32 may lose them.
    """
    values = x.float() if spec.levels is None else spec.to_float(x)
    return values.reshape(len(x), *seen_shape(spec))


def seen_shape(spec: DataSpec) -> tuple[int, ...]:
    """Shape of an observation as a network sees it: channels, and sides if it has places."""
    if spec.is_image:
        return (3, *spec.event_shape[1:]) if spec.palette is not None else spec.event_shape
    return (1, *spec.event_shape) if is_sound(spec) else (spec.dims,)


def is_sound(spec: DataSpec) -> bool:
    """Whether neighbouring values follow one another in time."""
    return len(spec.event_shape) == 1 and (spec.rate is not None or spec.coding == "mu-law")
