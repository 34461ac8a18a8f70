"""What docstrings say of arguments, for helps, pages and records."""

from __future__ import annotations

import inspect

import docstring_parser


def parsed(thing: object) -> docstring_parser.Docstring:
    """The docstring of a class or a function, taken apart."""
    text = inspect.getdoc(thing) or ""
    return docstring_parser.parse(text, docstring_parser.DocstringStyle.GOOGLE)


def meanings(thing: object) -> dict[str, str]:
    """What each argument is, on one line."""
    return {each.arg_name: in_a_line(each.description) for each in parsed(thing).params}


def in_a_line(text: str | None) -> str:
    """Words without the breaks of their lines."""
    return " ".join((text or "").split())
