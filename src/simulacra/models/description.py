"""What a model says of itself: its class, its docstring and its signature, in words."""

from __future__ import annotations

import inspect
from collections import ChainMap
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from simulacra.ground.docstrings import in_a_line, meanings, parsed
from simulacra.models.keywords import type_name
from simulacra.models.model import Model, capabilities
from simulacra.models.registry import find


@dataclass(frozen=True)
class Description:
    """What a model's class and docstring say of it.

    Args:
        name: As asked for.
        class_name: Its class.
        family: Folder of the family it is in; `yours` for a model of the user's own.
        summary: First line of the docstring.
        paper: The paper it cites.
        departs: What it does otherwise than the paper.
        capabilities: What it can do.
        keywords: Each keyword's type, default and meaning.
    """

    name: str
    class_name: str
    family: str
    summary: str
    paper: str
    departs: str
    capabilities: tuple[str, ...]
    keywords: dict[str, tuple[str, Any, str]]


def describe(name: str) -> Description:
    """What a model says of itself, from its class and docstring; see `find` for its name."""
    return describe_class(find(name), name)


def describe_class(found: type[Model], name: str) -> Description:
    """What a class says of itself, under the name that it goes by."""
    found = found.class_for()
    doc = inspect.getdoc(found) or ""
    # a keyword that a base has is told of there, unless its own docstring says more
    told = dict(ChainMap(*(meanings(base) for base in found.__mro__ if issubclass(base, Model))))
    keywords = {
        key: (type_name(p.annotation), p.default, told.get(key, ""))
        for key, p in found.signature().items()
    }
    _, ours, place = found.__module__.partition("simulacra.models.")
    return Description(
        name=name,
        class_name=found.__name__,
        family=place.partition(".")[0] if ours else "yours",
        summary=parsed(found).short_description or "",
        paper=_section(doc, "Paper"),
        departs=_section(doc, "Departs from the paper"),
        capabilities=tuple(capabilities(found)),
        keywords=keywords,
    )


def _section(doc: str, title: str) -> str:
    """The text of a docstring's `title:`, up to the next line that is not indented, in one line.

    The parser knows only sections whose title stands alone on its line.
    """
    _, _, rest = f"\n{doc}".partition(f"\n{title}:")
    first, *more = rest.split("\n")
    return in_a_line("\n".join([first, *takewhile(lambda line: line[:1] in ("", " "), more)]))
