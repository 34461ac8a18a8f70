"""Data sets from sound files."""

from __future__ import annotations

from pathlib import Path

from simulacra.data.dataset import Dataset
from simulacra.data.form import Form


def holds_sounds(path: Path) -> bool:
    """Whether a folder or .zip is one of sounds."""
    return False


def load_sounds(path: Path, form: Form) -> Dataset:
    """Placeholder."""
    raise NotImplementedError
