"""Modules of the user's own: imported, and told apart."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

from simulacra.ground.errors import UsageError, one_line


def imported(where: str) -> types.ModuleType:
    """A module of the user's, whose faults are not ours: `file.py`, or `package.module`.

    Raises:
        UsageError: If it cannot be imported.
    """
    try:
        load = _import_file if where.endswith(".py") else importlib.import_module
        return load(where)
    except Exception as error:
        raise UsageError(
            f"{where} cannot be imported: {type(error).__name__}: {one_line(error)}"
        ) from error


def _import_file(where: str) -> types.ModuleType:
    path = Path(where)
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    # run once, so that its class is the same whenever it is asked for
    name = f"simulacra_user:{path.resolve()}:{path.stat().st_mtime_ns}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # noqa: PT018 (for mypy alone)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def of_one_file(place: str, code: str | None) -> bool:
    """Whether two places, as `file.py:Class`, are in the same file."""
    files = [each.rpartition(":")[0] for each in (place, code or "")]
    if all(each.endswith(".py") for each in files):
        files = [str(Path(each).resolve()) for each in files]
    return bool(files[0]) and files[0] == files[1]
