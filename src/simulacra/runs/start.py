"""What a run begins with that takes its first weights from another one."""

from __future__ import annotations

from pathlib import Path

from simulacra.ground.errors import UsageError
from simulacra.models import saved
from simulacra.models.model import Model

START = "start"
"""A run's folder of the weights that it began with, where these were another run's."""


def fill_from(model: Model, other: Model, place: Path) -> None:
    """Give a new model the weights of a trained one.

    Args:
        model: The new one.
        other: The trained one.
        place: Of its run, for messages.

    Raises:
        UsageError: If these are not weights of such a model.
    """
    if type(other) is not type(model):
        raise UsageError(
            f"{place} holds a {type(other).__name__}, whose weights are not for a "
            f"{type(model).__name__}"
        )
    weights, own = dict(other.state_dict()), model.state_dict()
    for name in (*own, *weights):
        shapes = [tuple(of[name].shape) if name in of else "nothing" for of in (own, weights)]
        if shapes[0] != shapes[1]:
            raise UsageError(
                f"the weights of {place} do not fit: {name} should be {shapes[0]}, there it is "
                f"{shapes[1]}; give the same keywords, and data of the same form"
            )
    saved.fill(model, weights)
