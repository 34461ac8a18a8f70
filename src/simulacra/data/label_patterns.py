"""Labels from file names, by a pattern such as `{label}_*`."""

from __future__ import annotations

import re
from functools import lru_cache

from simulacra.ground.errors import DataError, UsageError

_LABEL = "{label}"


def label_of(pattern: str, name: str) -> str:
    """The label that a file's name carries.

    Args:
        pattern: `{label}` stands for the label, once; `*` stands for anything, nothing included;
            all else stands for itself. The character on either side of `{label}` is not part of
            a label; where several places fit, the first does.
        name: The file's name, without folders and suffix.

    Raises:
        UsageError: If it is no such pattern.
        DataError: If the name does not fit it.
    """
    found = _compiled(pattern).fullmatch(name)
    if found is None:
        raise DataError(
            f"the name {name!r} does not fit the labels' pattern {pattern!r}: rename the file or "
            "pass another --labels"
        )
    return found["label"]


@lru_cache(maxsize=8)
def _compiled(pattern: str) -> re.Pattern[str]:
    before, label, after = pattern.partition(_LABEL)
    if not label or _LABEL in after:
        raise UsageError(f"labels need {_LABEL} once, such as {_LABEL}_*, got {pattern!r}")
    if set("{}") & set(before + after):
        raise UsageError(
            f"labels know {_LABEL} and * alone, which stands for anything, got {pattern!r}"
        )
    if before.endswith("*") or after.startswith("*"):
        raise UsageError(
            f"labels need a character between {_LABEL} and *, or where a label ends is open; "
            f"got {pattern!r}"
        )
    bounds = re.escape(before[-1:] + after[:1])
    label = f"[^{bounds}]+" if bounds else ".+"
    return re.compile(f"{_anything(before)}(?P<label>{label}){_anything(after)}", re.DOTALL)


def _anything(part: str) -> str:
    """A regular expression for what stands beside the label."""
    # runs of stars mean one, and cost more with each
    pieces = re.split(r"\*+", part)
    return ".*?".join(re.escape(piece) for piece in pieces)
