"""How much memory a model's weights take, found before there is a model, and what would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from simulacra.ground import live, memory
from simulacra.ground.errors import ResourceError, SimulacraError
from simulacra.models.keywords import written

if TYPE_CHECKING:
    from simulacra.ground.spec import DataSpec
    from simulacra.models.model import Model

TRAINED = 13
"""Copies of its weights that a training has at its peak: the weights, their gradients, the two
moments of AdamW and the average; the last good state, which is four of these; and the same four
again, while a newer one is made or written."""

_ORDINARY = 1 << 28
"""Bytes of weights that are made without having been counted before."""
_SHOWN = 2
"""Suggestions of keywords, at most."""
_LEAST = 8
"""Units of a layer below which none is suggested."""

_inside: ContextVar[bool] = ContextVar("inside", default=False)
"""Whether a model is being built, of which others may be parts: the whole is what counts."""


def built(
    kind: type[Model], spec: DataSpec, keywords: Mapping[str, Any], *, name: str, copies: int
) -> Model:
    """A new model, if memory has room for so many copies of its weights.

    A large one is built on torch's `meta` device first, where weights have sizes alone; so are
    those that would fit instead. An ordinary one is not: what that device imports takes a second.

    Args:
        kind: Its class.
        spec: The form of the data.
        keywords: All of its keywords.
        name: That it goes by.
        copies: See `TRAINED`; 1 of a model that does not learn.

    Raises:
        ResourceError: If there is no room: how much it needs, how much is free, and which keywords,
            levels or sides would fit.
    """
    free = None if _inside.get() else memory.free()
    if free is None:
        return kind.class_for(**keywords)(spec, **keywords)
    with suppress(live.TooLargeError), _building(), live.at_most(min(free / copies, _ORDINARY)):
        return kind.class_for(**keywords)(spec, **keywords)
    size = size_of(kind, spec, keywords)
    if size is None or size * copies <= free:
        with suppress(live.TooLargeError), _building(), live.at_most(free / copies):
            return kind.class_for(**keywords)(spec, **keywords)
    raise ResourceError(_refusal(kind, spec, keywords, name, copies, free))


def size_of(kind: type[Model], spec: DataSpec, keywords: Mapping[str, Any]) -> int | None:
    """Bytes of a model's weights, which are not made; `None` where it cannot be built so."""
    try:
        with _building(), torch.device("meta"):
            return held(kind.class_for(**keywords)(spec, **keywords))
    except (SimulacraError, RuntimeError, ValueError, TypeError, ArithmeticError):
        # keywords that it refuses, or a constructor that reads numbers, of which there are none
        return None


def held(model: Model) -> int:
    """Bytes of what a model has: its parameters and buffers."""
    return sum(each.numel() * each.element_size() for each in _tensors(model))


def _tensors(model: Model) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


@contextmanager
def _building() -> Iterator[None]:
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def _refusal(
    kind: type[Model],
    spec: DataSpec,
    keywords: Mapping[str, Any],
    name: str,
    copies: int,
    free: int,
) -> str:
    size = size_of(kind, spec, keywords)
    needed = f"more than {memory.amount(free)}" if size is None else memory.amount(size * copies)
    what = f"{name} of this form of data" if copies == 1 else f"training {name} on such data"

    def fits(changed: DataSpec, given: Mapping[str, Any]) -> bool:
        found = size_of(kind, changed, given)
        return found is not None and found * copies <= free

    advice: list[str] = []
    for each in _smaller(kind, keywords, lambda given: fits(spec, given)):
        # one that says no more than another does is none
        if len(advice) < _SHOWN and not any(other in each for other in advice):
            advice.append(each)
    advice += _of_data(spec, lambda changed: fits(changed, keywords))
    told = f"what would fit: {', or '.join(advice)}" if advice else "nothing that was tried fits"
    return f"{what} needs {needed} of memory, {memory.amount(free)} are free; {told}"


def _smaller(
    kind: type[Model], keywords: Mapping[str, Any], fits: Callable[[Mapping[str, Any]], bool]
) -> Iterator[str]:
    """Options of smaller models that fit: what the class names, and layers of half the units."""
    for change in ({}, *kind.smaller):
        base = {**keywords, **change}
        if base != keywords and fits(base):
            yield _options(change)
            continue
        widths = [key for key, value in base.items() if _is_widths(value)]
        while widths and all(max(base[key]) > _LEAST for key in widths):
            halves = {key: tuple(max(1, each // 2) for each in base[key]) for key in widths}
            base |= halves
            if fits(base):
                yield _options({**change, **halves})
                break


def _is_widths(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and all(type(each) is int for each in value)


def _options(change: Mapping[str, Any]) -> str:
    texts = {
        key: ",".join(map(str, value)) if isinstance(value, tuple) else written(value).lower()
        for key, value in change.items()
    }
    return " ".join(f"--set {key}={text}" for key, text in texts.items())


def _of_data(spec: DataSpec, fits: Callable[[DataSpec], bool]) -> Iterator[str]:
    """Options of data that fit, the largest of each: fewer levels, a smaller side."""
    if spec.levels is not None and spec.palette is None:
        fewer = (1 << power for power in range((spec.levels - 1).bit_length() - 1, 0, -1))
        found = next((n for n in fewer if fits(replace(spec, levels=n))), None)
        if found is not None:
            yield f"--levels {found}"
    if spec.is_image:
        colours, side = spec.event_shape[0], min(spec.event_shape[1:])
        smaller = (side >> power for power in range(1, side.bit_length() - 2))
        sides = (n for n in smaller if fits(replace(spec, event_shape=(colours, n, n))))
        if (found := next(sides, None)) is not None:
            yield f"--side {found}"
