"""Imported before anything that trains: a quicker start of every process of the tests.

Lightning looks at the version of torchmetrics, which is here to hold figures against, by importing
all of it. For that moment something stands in its place that knows its version and nothing else.
It also looks through all that is installed for callbacks, at each of its beginnings: that is asked
once.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

_NAME = "torchmetrics"


def _start() -> None:
    stand_in = ModuleType(_NAME)
    try:
        stand_in.__version__ = version(_NAME)  # type: ignore[attr-defined]
    except PackageNotFoundError:
        return
    sys.modules[_NAME] = stand_in
    try:
        importlib.import_module("lightning_fabric")
    finally:
        del sys.modules[_NAME]


if _NAME not in sys.modules and "lightning_fabric" not in sys.modules:
    _start()

_registry = importlib.import_module("lightning_fabric.utilities.registry")
_registry.entry_points = cache(_registry.entry_points)  # type: ignore[attr-defined]
