"""Labels and groups from file names, by a pattern such as `{label}_*` or `{digit}_{speaker}_*`."""

from __future__ import annotations

import re
from functools import lru_cache

from simulacra.ground.errors import DataError, UsageError


def parts_of(pattern: str, name: str, option: str = "labels") -> dict[str, str]:
    """What a file's name says, by the names of the parts.

    Args:
        pattern: `{label}` stands for the label, or several parts such as `{digit}` and `{speaker}`
            for one of several parts, each once; `*` stands for anything, nothing included; all
            else stands for itself. The character on either side of a part is not in it; where
            several places fit, the first does.
        name: The file's name without folders and suffix; of a pattern with `/`, its path without
            suffix. No part of such a one spans folders.
        option: What it is for, in messages.

    Raises:
        UsageError: If it is no such pattern.
        DataError: If the name does not fit it.
    """
    found = _compiled(pattern, option).fullmatch(name)
    if found is None:
        raise DataError(
            f"the name {name!r} does not fit the {option}' pattern {pattern!r}: rename the file or "
            f"pass another --{option}"
        )
    return found.groupdict()


@lru_cache(maxsize=8)
def _compiled(pattern: str, option: str) -> re.Pattern[str]:
    # every second piece is what stands in braces
    pieces = re.split(r"\{([^{}]*)\}", pattern)
    literals, names = pieces[::2], pieces[1::2]
    example = "{label}_*" if option == "labels" else "{person}_*"
    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"{option} need a part in braces, such as {example}, each part once, got {pattern!r}"
        )
    if any(set("{}") & set(literal) for literal in literals):
        raise UsageError(f"{option} have braces around the name of a part alone, got {pattern!r}")
    odd = next((name for name in names if not name.isidentifier()), None)
    if odd is not None:
        raise UsageError(f"{option} have parts named by a word, got {{{odd}}} in {pattern!r}")
    expression = _anything(literals[0])
    for name, before, after in zip(names, literals[:-1], literals[1:], strict=True):
        last = name == names[-1] and not after
        if before.endswith("*") or after.startswith("*") or not (after or last):
            raise UsageError(
                f"{option} need a character between {{{name}}} and what comes before and after, or "
                f"where it ends is open; got {pattern!r}"
            )
        bounds = re.escape(before[-1:] + after[:1] + "/" * ("/" in pattern))
        part = f"[^{bounds}]+" if bounds else ".+"
        expression += f"(?P<{name}>{part}){_anything(after)}"
    return re.compile(expression, re.DOTALL)


def _anything(literal: str) -> str:
    """A regular expression for what stands beside parts."""
    # runs of stars mean one, and cost more with each
    pieces = re.split(r"\*+", literal)
    return ".*?".join(re.escape(piece) for piece in pieces)
