"""`Law`: what a model has to keep, and on which data it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulacra.ground.errors import BrokenLaw
from simulacra.models.model import Model


@dataclass(frozen=True)
class Law:
    """One promise of every model that has a capability.

    Args:
        name: As people see it.
        of: The capability that it is about.
        check: Takes a model in eval mode, which it may change, and raises `BrokenLaw`.
        forms: The forms of tiny data that it is asked on, see `trials.FORMS`; the usual one first.
        concerns: Whether it has something to ask of this very model; of every one, if left out.
        keywords: What the model is built with beside its small keywords.
        told: Whether it is about models that are told a context.
        states: Whether it looks at every observation that there can be; at all of the plane, of
            vectors.
        value_by_value: Whether it changes or draws one value after another, each at the cost of
            all.
        scale: Of the noise that is added to the weights, see `trials.randomise`.
    """

    name: str
    of: type[Model]
    check: Callable[[Any], None]
    forms: tuple[str, ...]
    concerns: Callable[[Any], bool] | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)
    told: bool = False
    states: bool = False
    value_by_value: bool = False
    scale: float = 0.3


def hold(true: bool, otherwise: str) -> None:
    """Go on only if something is true.

    Args:
        true: What a law demands.
        otherwise: What is wrong, where it is not.

    Raises:
        BrokenLaw: If it is not.
    """
    if not true:
        raise BrokenLaw(otherwise)
