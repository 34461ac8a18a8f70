"""The field of a prediction: which values influence it, measured by changing them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.autoregressive.base import Autoregressive, level_logits
from simulacra.models.model import Model
from simulacra.models.modes import scoring

_AT_ONCE = 4_000_000
"""Probabilities that are computed together, one for each level of each value."""

_GAINS = (1.0, 2.0, 0.5, 4.0)
"""How far weights are shaken, in units of what keeps the size of features."""


@dataclass(frozen=True)
class Field:
    """What influences the prediction of a pixel, and what the model says of it.

    Rows are flat event indices *i*, columns the colours *c* of the pixel.

    Args:
        at: Row and column of the pixel.
        strength: Mean absolute change of the log-probabilities when value *i* changes, in nats,
            `(dims, C)` float64; 0 where nothing at all changes.
        reached: Whether value *i* changes anything, with these weights or others, `(dims, C)`.
        earlier: Whether value *i* comes before colour *c* in the order, `(dims, C)`.
        declared: Whether the model says that value *i* comes before and cannot influence it,
            `(dims, C)`.
    """

    at: tuple[int, int]
    strength: Tensor
    reached: Tensor
    earlier: Tensor
    declared: Tensor

    @property
    def leaks(self) -> Tensor:
        """Values that influence a prediction which they do not come before, `(dims, C)`."""
        return self.reached & ~self.earlier

    @property
    def undeclared(self) -> Tensor:
        """Earlier values without influence that the model does not declare, `(dims, C)`."""
        return self.earlier & ~self.reached & ~self.declared

    @property
    def denied(self) -> Tensor:
        """Values with influence that the model declares to have none, `(dims, C)`."""
        return self.reached & self.declared


def field(model: Model, at: tuple[int, int] | None = None, *, pictures: int = 3) -> Field:
    """What influences the prediction of one pixel.

    Each value of some random pictures is changed, and the predictions are compared bit by bit in
    float64. Weights may hide an influence that the architecture has, by ReLUs that are off or by
    fading below the last bit on a long way; so where earlier values seem to have none that the
    model does not declare, other weights are tried.

    Args:
        model: An autoregressive one for pictures; it stays as it is.
        at: Row and column of the pixel; the middle by default.
        pictures: How many.

    Raises:
        MissingCapability: If the model does not predict pixels from those before them.
        UsageError: If the pixel is not in the picture.
    """
    model = _checked(model)
    colours, height, width = model.spec.event_shape
    row, column = at = (height // 2, width // 2) if at is None else at
    if not (0 <= row < height and 0 <= column < width):
        raise UsageError(
            f"the pixel is in rows 0 … {height - 1} and columns 0 … {width - 1}, "
            f"got {row}, {column}"
        )
    own = torch.arange(colours) * height * width + row * width + column
    rank = torch.empty(model.spec.dims, dtype=torch.long)
    rank[model.order.cpu()] = torch.arange(model.spec.dims)
    earlier = rank[:, None] < rank[own]
    declared = model.blind_spot().cpu()[:, own]
    strength = measured(model, at, pictures=pictures)
    reached = strength > 0
    for attempt, gain in enumerate(_GAINS):
        if not bool((earlier & ~reached & ~declared).any()):
            break
        reached |= measured(_shaken(model, gain, attempt), at, pictures=pictures) > 0
    return Field(at, strength, reached, earlier, declared)


@scoring()
def measured(model: Model, at: tuple[int, int], *, pictures: int = 3, seed: int = 0) -> Tensor:
    """How strongly each value influences the prediction of a pixel, by changing the value.

    Args:
        model: An autoregressive one for pictures; it stays as it is.
        at: Row and column of the pixel.
        pictures: Random ones, of which the mean is taken.
        seed: Of the pictures.

    Returns:
        Mean absolute change of the log-probabilities of the levels in nats, `(dims, C)` float64 by
        flat event index and colour of the pixel; 0 where not one bit of them changes.

    Raises:
        MissingCapability: If the model does not predict pixels from those before them.
    """
    model = copy.deepcopy(_checked(model)).cpu().double().eval()
    spec, levels = model.spec, model.spec.levels or 0
    total = torch.zeros(spec.dims, spec.event_shape[0], dtype=torch.float64)
    # a batch of one size always, in which each row has its place: rounding then cannot differ
    size = min(spec.dims, max(1, _AT_ONCE // (spec.dims * levels)))

    def logits(x: Tensor, context: Tensor | None) -> Tensor:
        found = level_logits(model.conditionals(x, context), x, levels)
        return found[:, :, at[0], at[1]]

    with seeded(seed):
        for _ in range(pictures):
            x = torch.randint(levels, (1, *spec.event_shape))
            other = (x + torch.randint(1, levels, x.shape)) % levels
            told = _context(model, size)
            before = logits(x.expand(size, *spec.event_shape), told)
            for start in range(0, spec.dims, size):
                values = torch.arange(start, start + size).clamp_max(spec.dims - 1)
                many = x.flatten(1).repeat(size, 1)
                many[torch.arange(size), values] = other.flatten()[values]
                after = logits(many.view(size, *spec.event_shape), told)
                # equal infinities have no difference
                moved = torch.where(after == before, 0, (after - before).abs()).mean(-1)
                count = min(size, spec.dims - start)
                total[start : start + count] += moved[:count] / pictures
    return total


def _checked(model: Model) -> Autoregressive:
    name = type(model).__name__
    if not isinstance(model, Autoregressive):
        raise MissingCapability(
            f"{name} does not predict one value after another, and has no field: use pixelcnn"
        )
    if not model.spec.is_image or model.spec.levels is None:
        raise MissingCapability(
            f"a field is drawn of pictures (C, H, W) of levels, not of {model.spec.event_shape}"
        )
    return model


def _context(model: Autoregressive, n: int) -> Tensor | None:
    """One context for all rows, which stays as it is while values change."""
    if model.context == "none":
        return None
    if model.context == "label":
        return model.spec.labels(torch.zeros(n, dtype=torch.long))
    return torch.randn(1, model.spec.context_width, dtype=torch.float64).expand(n, -1)


@torch.no_grad()
def _shaken(model: Autoregressive, gain: float, seed: int) -> Autoregressive:
    """The model with noise on its weights, so large that features keep their size at gain 1."""
    model = copy.deepcopy(model).cpu()
    with seeded(seed):
        for parameter in model.parameters():
            inputs = parameter[0].numel() if parameter.ndim > 1 else 10
            parameter.add_(gain * inputs**-0.5 * torch.randn(parameter.shape))
    return model
