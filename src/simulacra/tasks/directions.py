"""Directions of attributes among codes: the way from what lacks one to what has it."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.models.model import Encoding, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.tasks.codes import encode
from simulacra.tasks.interpolate import decoded, encoder
from simulacra.tasks.sample import device_of


@scoring()
def direction(model: Model, has: Tensor, lacks: Tensor) -> Tensor:
    """The mean code of observations that have an attribute, less that of those that lack it.

    Added to the code of another observation, it gives that the attribute: A. Larsen, S. Sønderby,
    H. Larochelle, O. Winther, "Autoencoding beyond pixels using a learned similarity metric", 2016,
    arXiv 1512.09300, section 4.2; with a flow D. Kingma, P. Dhariwal, "Glow", 2018, arXiv
    1807.03039, section 5.2.

    Args:
        model: One that encodes and decodes, and takes no context; in eval mode meanwhile.
        has: Observations `(N, *event_shape)`.
        lacks: Observations `(M, *event_shape)`.

    Returns:
        Of the shape of one code, where the model is.

    Raises:
        MissingCapability: If the model does not do both, or takes a context.
        UsageError: If there is none of either.

    Example:
        >>> import simulacra as sim, torch
        >>> model = sim.build("nice", sim.DataSpec((1, 4, 4), levels=2), {"hidden": (8,)})
        >>> bright, dark = torch.ones(3, 1, 4, 4).long(), torch.zeros(3, 1, 4, 4).long()
        >>> towards = sim.direction(model, bright, dark)
        >>> bool((model.decode(model.encode(dark) + towards) == bright).all())
        True
    """
    directed(model)
    if not len(has) or not len(lacks):
        raise UsageError(
            "a direction needs observations that have an attribute and others that lack it, got "
            f"{len(has)} and {len(lacks)}"
        )
    return (encode(model, has).mean(0) - encode(model, lacks).mean(0)).to(device_of(model))


def directed(model: Model) -> Encoding:
    """The model, if its codes have directions.

    Raises:
        MissingCapability: If it does not encode and decode, or is told a context.
    """
    encoding = encoder(model)
    if model.context != "none":
        raise MissingCapability(
            f"this {type(model).__name__} is told a {model.context}, and its codes need not say "
            "what it was told: train one without --set context"
        )
    return encoding


@torch.no_grad()
def moved(model: Model, x: Tensor, towards: Tensor, amounts: Tensor, *, seed: int = 0) -> Tensor:
    """Observations whose codes are moved along a direction.

    Args:
        model: One that `direction` takes.
        x: `(N, *event_shape)`.
        towards: A direction, of the shape of one code.
        amounts: How often it is added, `(steps,)`: 0 gives the reconstruction, and what is below
            0 takes it away.
        seed: Of a decoder that draws; all frames of a row share its noise.

    Returns:
        `(N, steps, *event_shape)`, where the model is.

    Raises:
        MissingCapability: If the model is not one that `direction` takes.
    """
    encoding = directed(model)
    with evaluating(model):
        codes = encoding.encode(x.to(device_of(model)))
        steps = amounts.to(codes).view(1, -1, *[1] * (codes.ndim - 1))
        return decoded(model, codes[:, None] + steps * towards, seed=seed)
