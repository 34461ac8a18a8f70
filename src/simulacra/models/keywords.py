"""A model's keywords: their types in words, and their values from a text, JSON or Python."""

from __future__ import annotations

import json
import math
import types
from typing import Any, Literal, TypedDict, Union, get_args, get_origin

from simulacra.ground.errors import UsageError


class Nested(TypedDict):
    """A model that another one is made of: its name, and its keywords.

    A constructor's keyword of this type, or `Nested | None`, is given as a name, with the nested
    model's own keywords after a dot: `--set decoder=made --set decoder.hidden=64`. The constructor
    finds all of them filled in, and makes the model by `registry.build`, for data of its own form.
    """

    name: str
    keywords: dict[str, Any]


_WORDS: dict[Any, Any] = {bool: {"true": True, "false": False}, type(None): {"none": None}}
"""Kinds of values that are written in a word."""

_WRITTEN: dict[Any, str] = {
    bool: "true or false",
    type(None): "None",
    Nested: "a model's name, its keywords after a dot",
    tuple[int, ...]: "whole numbers with commas, as 512,256",
    tuple[int, ...] | None: "whole numbers with commas, as 512,256, or none",
    tuple[float, ...]: "numbers with commas, as 0.5,0.25",
    tuple[float, ...] | None: "numbers with commas, as 0.5,0.25, or none",
}
"""How values are written whose type does not say so."""


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """The keywords in `--set key=value` options, still as text."""
    keywords: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise UsageError(f"--set takes key=value, got {assignment!r}")
        if key in keywords:
            raise UsageError(f"--set {key} is given twice")
        keywords[key] = value.strip()
    return keywords


def type_name(annotation: Any) -> str:  # noqa: ANN401 (any annotation)
    """A type in the words that people see."""
    if annotation in _WRITTEN:
        return _WRITTEN[annotation]
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(map(type_name, get_args(annotation)))
    plain = isinstance(annotation, type) and not get_args(annotation)
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")


def written(value: Any) -> str:  # noqa: ANN401 (any keyword's value)
    """A keyword's value as people see it; a nested model as `made(hidden=(64,))`."""
    if isinstance(value, dict):
        told = ", ".join(f"{key}={written(each)}" for key, each in value["keywords"].items())
        return f"{value['name']}({told})" if told else value["name"]
    return str(value)


def convert(value: Any, annotation: Any, what: str) -> Any:  # noqa: ANN401 (any keyword's value)
    """A keyword's value of its type, from a value, JSON, or text.

    Args:
        value: As given.
        annotation: The keyword's type.
        what: The model and its keyword, for a refusal.

    Raises:
        UsageError: If the value is of another type.
    """
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else None
    for kind in options or (annotation,):
        try:
            return _as_kind(value, kind)
        except (TypeError, ValueError, LookupError, OverflowError, RecursionError):
            continue
    if get_origin(annotation) is Literal:
        choices = ", ".join(map(str, get_args(annotation)))
        raise UsageError(f"{what} is one of {choices}, got {value!r}")
    of_type = "" if annotation in _WRITTEN else "of type "
    raise UsageError(f"{what} is {of_type}{type_name(annotation)}, got {value!r}")


def _as_kind(value: Any, kind: Any) -> Any:  # noqa: ANN401 (one return a type)
    text = isinstance(value, str)
    if kind in _WORDS:
        return _WORDS[kind][str(value).lower()]
    if get_origin(kind) is Literal:
        return {str(choice): choice for choice in get_args(kind)}[str(value)]
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if text:
            value = value.strip()
            bare = value[1:-1] if value[:1] + value[-1:] in ("()", "[]") else value
            value = json.loads(f"[{bare.strip().removesuffix(',')}]")
        elif isinstance(value, (int, float)):
            value = [value]
        return tuple(_as_kind(part, item) for part in value)
    if kind in (int, float):
        if isinstance(value, bool) or (isinstance(value, float) and value != kind(value)):
            raise ValueError
        number = kind(value)
        # beyond, torch has no integers, and JSON no floats
        if not (abs(number) < 2**63 if kind is int else math.isfinite(number)):
            raise ValueError
        return number
    if kind is str and text:
        return value
    raise TypeError
