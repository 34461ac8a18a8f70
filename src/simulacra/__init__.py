"""Which generative model should I use for my data, and how good is it really?

The public names are imported when they are first used, so that `simulacra --help` does not wait
for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulacra.data.catalogue import load as load_data
    from simulacra.evaluate.likelihood import likelihood
    from simulacra.fitting import fit
    from simulacra.options import Budget, Options
    from simulacra.registry import build, find
    from simulacra.run import Run
    from simulacra.spec import DataSpec
    from simulacra.train import Training

_PLACES = {
    "Budget": ("simulacra.options", "Budget"),
    "DataSpec": ("simulacra.spec", "DataSpec"),
    "Options": ("simulacra.options", "Options"),
    "Run": ("simulacra.run", "Run"),
    "Training": ("simulacra.train", "Training"),
    "build": ("simulacra.registry", "build"),
    "fit": ("simulacra.fitting", "fit"),
    "find": ("simulacra.registry", "find"),
    "likelihood": ("simulacra.evaluate.likelihood", "likelihood"),
    "load_data": ("simulacra.data.catalogue", "load"),
}

__all__ = [
    "Budget", "DataSpec", "Options", "Run", "Training",
    "build", "find", "fit", "likelihood", "load_data",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any public name)
    if name not in _PLACES:
        raise AttributeError(f"simulacra has no {name}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)
