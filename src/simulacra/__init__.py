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
    from simulacra.export import export_onnx
    from simulacra.fitting import fit
    from simulacra.hub import from_pretrained, push_to_hub
    from simulacra.judge import Judge
    from simulacra.options import Budget, Options
    from simulacra.registry import build, find
    from simulacra.run import Run
    from simulacra.spec import DataSpec
    from simulacra.train import Training
    from simulacra.zoo import from_zoo

_PLACES = {
    "Budget": ("simulacra.options", "Budget"),
    "DataSpec": ("simulacra.spec", "DataSpec"),
    "Judge": ("simulacra.judge", "Judge"),
    "Options": ("simulacra.options", "Options"),
    "Run": ("simulacra.run", "Run"),
    "Training": ("simulacra.train", "Training"),
    "build": ("simulacra.registry", "build"),
    "fit": ("simulacra.fitting", "fit"),
    "export_onnx": ("simulacra.export", "export_onnx"),
    "find": ("simulacra.registry", "find"),
    "from_zoo": ("simulacra.zoo", "from_zoo"),
    "from_pretrained": ("simulacra.hub", "from_pretrained"),
    "likelihood": ("simulacra.evaluate.likelihood", "likelihood"),
    "load_data": ("simulacra.data.catalogue", "load"),
    "push_to_hub": ("simulacra.hub", "push_to_hub"),
}

__all__ = [
    "Budget", "DataSpec", "Judge", "Options", "Run", "Training",
    "build", "export_onnx", "find", "fit", "from_pretrained", "from_zoo", "likelihood", "load_data",
    "push_to_hub",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any public name)
    if name not in _PLACES:
        raise AttributeError(f"simulacra has no {name}")
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)
