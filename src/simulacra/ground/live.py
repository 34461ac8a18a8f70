"""How many bytes of tensors are alive at once while something runs: counted, not estimated."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TooLargeError(Exception):
    """More bytes would be alive than were allowed."""


class Live(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside of it, for as long as they live.

    What a kernel takes for itself while it runs is not seen.

    Args:
        limit: Of the bytes alive; what would exceed it is not made.
    """

    def __init__(self, limit: float = math.inf) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.limit = 0, limit
        self.history = [0]
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 (torch's own signature)
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operation, and note what it has made.

        Raises:
            TooLargeError: If that is beyond the limit; before it is filled, where it says its size.
        """
        if self.limit < math.inf:
            self._check(_announced(func, args))
        made = func(*args, **(kwargs or {}))
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and each.layout is torch.strided:
                self._note(each.untyped_storage())
        return made

    def _check(self, more: int) -> None:
        if self.now + more > self.limit:
            raise TooLargeError

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def gone(_: object) -> None:
            self._change(-size)
            del self._seen[key]

        self._check(size)
        self._seen[key] = weakref.ref(storage, gone)
        self._change(size)

    def _change(self, size: int) -> None:
        self.now += size
        self.history.append(self.now)


def _announced(func: Any, args: tuple[Any, ...]) -> int:  # noqa: ANN401
    """Bytes that an operation says it will make, of those that say so: 0 of others."""
    first = args[0] if args else None
    if isinstance(first, list) and all(isinstance(size, int) for size in first):
        # `empty`, `zeros`, `full` and their like; of four bytes each, as weights are
        return 4 * math.prod(first)
    if isinstance(first, Tensor) and func.overloadpacket is torch.ops.aten.clone:
        return first.numel() * first.element_size()
    return 0


def history(run: Callable[[], object]) -> list[int]:
    """How many bytes of tensors that a call makes are alive, after each that comes or goes."""
    with Live() as live:
        run()
    return live.history


def peak(run: Callable[[], object]) -> int:
    """The most bytes of tensors that a call makes and has alive at one time."""
    return max(history(run))


def of_rows(one: list[int], two: list[int]) -> list[tuple[int, int]]:
    """What is alive with one row, and what each further row adds, at each moment.

    The moments count, for the highest one may be another with many rows: with few it is when
    weights are multiplied, with many when probabilities are.

    Args:
        one: The `history` of a call with one row.
        two: That of the same call with two. Where it is another course of things, and not the same
            with larger tensors, the highest moments are held against each other.
    """
    if len(one) != len(two):
        return [(max(one), max(0, max(two) - max(one)))]
    return [(a, max(0, b - a)) for a, b in zip(one, two, strict=True)]


@contextmanager
def at_most(limit: float) -> Iterator[Live]:
    """Within it no more bytes may be alive than those; those that are there are not counted.

    Raises:
        TooLargeError: If more would be.
    """
    with Live(limit) as live:
        yield live
