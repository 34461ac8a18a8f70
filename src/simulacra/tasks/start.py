"""What samples begin from: pixels or samples of a sound that are given, or drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Model

Start = tuple[Tensor, Tensor]
"""Raw levels `(*event_shape)`, or `(n, *event_shape)` with a row for each sample; and booleans
`(*event_shape)`, true where they are kept."""

STREAM = -5
"""Key of the random stream of random beginnings."""


def checked(model: Model, start: Start, n: int) -> Start:
    """A beginning with a row for each of n samples.

    Raises:
        MissingCapability: If the model does not draw one value after another.
        UsageError: If the beginning is of another form than the data, or has not a row for each.
    """
    given, observed = start
    spec = drawn_in_turn(model).spec
    if given.shape == spec.event_shape:
        given = given.expand(n, *given.shape)
    spec.check(given)
    if len(given) != n:
        raise UsageError(f"{n} samples need as many beginnings, got {len(given)}")
    if observed.shape != spec.event_shape or observed.dtype != torch.bool:
        raise UsageError(
            f"start has booleans {spec.event_shape}, true where levels are kept, got "
            f"{observed.dtype} {tuple(observed.shape)}"
        )
    return given, observed


def drawn_in_turn(model: Model) -> Autoregressive:
    """The model, if it begins anywhere.

    Raises:
        MissingCapability: If it does not draw one value after another.
    """
    if not isinstance(model, Autoregressive):
        raise MissingCapability(
            f"{type(model).__name__} does not draw one value after another, as a start needs: use "
            "pixelcnn, or simulacra complete with --image and --mask"
        )
    return model


def places(model: Autoregressive) -> int:
    """How many pixels, or samples of a sound, there are."""
    spec = model.spec
    return spec.dims // spec.event_shape[0] if spec.is_image else spec.dims


def first(model: Autoregressive, count: int) -> Tensor:
    """Where the first pixels are, or samples of a sound, in the order that the model draws them.

    Args:
        model: That draws one value after another.
        count: How many, all colours of each; at least one, and not all.

    Returns:
        Booleans `(*event_shape)`.

    Raises:
        UsageError: If there are none, or nothing is left to draw.
    """
    if not 1 <= count < places(model):
        raise UsageError(
            f"a start of K pixels or samples goes from 1 to {places(model) - 1}, got {count}"
        )
    observed = torch.zeros(model.spec.dims, dtype=torch.bool)
    observed[model.order[: count * model.spec.dims // places(model)].cpu()] = True
    return observed.view(model.spec.event_shape)


def random_start(model: Model, n: int, count: int, *, seed: int = 0) -> Start:
    """The first pixels, or samples of a sound, at random: every level is as likely as any other.

    Args:
        model: That draws one value after another.
        n: Samples, each with a beginning of its own.
        count: How many pixels, all colours of each.
        seed: Of the beginnings.

    Raises:
        MissingCapability: If it does not, or its values are no levels.
        UsageError: See `first`.
    """
    spec, observed = model.spec, first(drawn_in_turn(model), count)
    if spec.levels is None:
        raise MissingCapability(
            f"a random start is of levels, these are vectors {spec.event_shape}"
        )
    with seeded(seed, STREAM):
        return torch.randint(spec.levels, (n, *spec.event_shape)), observed
