"""Laws of the family."""

from __future__ import annotations

from simulacra.models.lawbook.law import Law

LAWS: tuple[Law, ...] = ()
