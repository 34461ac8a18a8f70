"""What a run begins with that takes its first weights from another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulacra.ground.errors import UsageError
from simulacra.models import registry, saved
from simulacra.models.model import Model

START = "start"
"""A run's folder of the weights that it began with, where these were another run's."""


_FORM = ("event_shape", "levels", "ordered", "coding", "palette", "columns")
"""What values mean: weights for other ones may fit, and mean nothing."""


def inherited(record: dict[str, Any], model: str, place: Path) -> dict[str, Any]:
    """The keywords of a run, for a model that begins with its weights.

    Args:
        record: The run's.
        model: What the new model is called.
        place: The run's folder, for messages.

    Raises:
        UsageError: If the run's is another model.
    """
    kind, own = registry.find(model), str(record["model"])
    # a model of the user's own is loaded as the one that the user names now
    same = (
        registry.find(own) is kind
        if own in registry.MODELS
        else own.rpartition(":")[2] == kind.__name__
    )
    if not same:
        raise UsageError(f"{place} holds a model {own}, whose weights are not for {model}")
    known = kind.signature()
    return {key: value for key, value in record["keywords"].items() if key in known}


def fill_from(model: Model, other: Model, place: Path) -> None:
    """Give a new model the weights of a trained one.

    Args:
        model: The new one.
        other: The trained one.
        place: Of its run, for messages.

    Raises:
        UsageError: If these are not weights of such a model.
    """
    differ = [name for name in _FORM if getattr(other.spec, name) != getattr(model.spec, name)]
    if differ:
        there, here = (getattr(of.spec, differ[0]) for of in (other, model))
        raise UsageError(
            f"the weights of {place} are of data of another form: {differ[0]} is {there} there, "
            f"here {here}"
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
