"""Text for streams that cannot have all characters: `±` becomes `+-`, before lines are laid out."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

PLAIN = "simulacra.plain"
"""The name, among Python's handlers of errors of encodings, of what puts plain characters."""

_WRITTEN = {
    "±": "+-", "≤": "<=", "≥": ">=", "≠": "!=", "→": "->", "↑": "^", "↓": "v", "…": "...",
    "×": "x", "−": "-", "–": "-", "—": "-", "·": "*", "√": "sqrt ", "∞": "inf", "Σ": "sum ",
    "Π": "prod ", "∫": "int ", "∈": "in", "‖": "||", "′": "'", "’": "'", "“": '"', "”": '"',
    "⁻": "^-", "ø": "o", "¹": "^1", "²": "^2", "³": "^3", "½": "1/2", "¼": "1/4", "¾": "3/4",
    "μ": "mu", "µ": "mu", "σ": "sigma", "χ": "chi", "ε": "eps", "λ": "lambda", "π": "pi",
    "α": "alpha", "ᾱ": "alpha_bar", "β": "beta", "ρ": "rho", "\u0302": "^",
    "ν": "nu", "φ": "phi", "Φ": "Phi", "Δ": "Delta",
    "Ł": "L", "≈": "~=", "θ": "theta", "Λ": "Lambda", "Ψ": "Psi",
}  # fmt: skip


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    """Plain characters for those that an encoding lacks; a number for whatever has none."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(map(_written, lacking)), error.end


def _written(character: str) -> str:
    if character in _WRITTEN:
        return _WRITTEN[character]
    # é is e with an accent, ₂ is 2
    base = unicodedata.normalize("NFKD", character)[:1]
    return base if base.isascii() else character.encode("unicode_escape").decode("ascii")


codecs.register_error(PLAIN, _in_plain)


def plain(text: str, encoding: str) -> str:
    """A text as an encoding can have it, to be laid out so.

    Args:
        text: Any.
        encoding: Of the stream that it is for.
    """
    return text.encode(encoding, PLAIN).decode(encoding)


def never_fail() -> None:
    """Let standard output and standard error put plain characters for what they cannot have.

    What is laid out in lines was made plain before; this is for whatever else is written.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)
