"""Which generative model should I use for my data, and how good is it really?

The public names are imported when they are first used, so that `simulacra --help` does not wait
for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulacra.data.catalogue import load as load_data
    from simulacra.ground.spec import DataSpec
    from simulacra.judging.figures.likelihood import likelihood
    from simulacra.judging.judge import Judge
    from simulacra.models.registry import build, find
    from simulacra.runs.hub import from_pretrained, push_to_hub
    from simulacra.runs.run import Run
    from simulacra.runs.zoo import from_zoo
    from simulacra.tasks.onnx import export_onnx
    from simulacra.training.fit import fit
    from simulacra.training.loop import Training
    from simulacra.training.options import Budget, Options

_PLACES = {
    "Budget": ("simulacra.training.options", "Budget"),
    "DataSpec": ("simulacra.ground.spec", "DataSpec"),
    "Judge": ("simulacra.judging.judge", "Judge"),
    "Options": ("simulacra.training.options", "Options"),
    "Run": ("simulacra.runs.run", "Run"),
    "Training": ("simulacra.training.loop", "Training"),
    "build": ("simulacra.models.registry", "build"),
    "fit": ("simulacra.training.fit", "fit"),
    "export_onnx": ("simulacra.tasks.onnx", "export_onnx"),
    "find": ("simulacra.models.registry", "find"),
    "from_zoo": ("simulacra.runs.zoo", "from_zoo"),
    "from_pretrained": ("simulacra.runs.hub", "from_pretrained"),
    "likelihood": ("simulacra.judging.figures.likelihood", "likelihood"),
    "load_data": ("simulacra.data.catalogue", "load"),
    "push_to_hub": ("simulacra.runs.hub", "push_to_hub"),
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
