"""Compiling, which leaves the rest of the process as it was."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch
from torch.distributions import Distribution

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def distributions_unchecked() -> Iterator[None]:
    """Distributions check no arguments inside the block, and outside of it as they did before.

    What torch's compiler traces it cannot check, so it turns the checks of `torch.distributions`
    off: for the whole process, and for good. What calls the compiler stands in such a block.
    """
    checked = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(checked)


def compiled(function: Callable[P, R], backend: str = "inductor") -> Callable[P, R]:
    """A function as torch compiles it, when it is called first.

    Args:
        function: What is compiled.
        backend: What compiles it; `eager` traces alone.
    """
    with distributions_unchecked():
        traced: Callable[P, R] = torch.compile(function, backend=backend)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with distributions_unchecked():
            return traced(*args, **kwargs)

    return call
