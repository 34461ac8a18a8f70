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
        self.now, self.peak, self.limit = 0, 0, limit
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
            self.now -= size
            del self._seen[key]

        self._check(size)
        self._seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def _announced(func: Any, args: tuple[Any, ...]) -> int:  # noqa: ANN401
    """Bytes that an operation says it will make, of those that say so: 0 of others."""
    first = args[0] if args else None
    if isinstance(first, list) and all(isinstance(size, int) for size in first):
        # `empty`, `zeros`, `full` and their like; of four bytes each, as weights are
        return 4 * math.prod(first)
    if isinstance(first, Tensor) and func.overloadpacket is torch.ops.aten.clone:
        return first.numel() * first.element_size()
    return 0


def peak(run: Callable[[], object]) -> int:
    """The most bytes of tensors that a call makes and has alive at one time."""
    with Live() as live:
        run()
    return live.peak


@contextmanager
def at_most(limit: float) -> Iterator[Live]:
    """Within it no more bytes may be alive than those; those that are there are not counted.

    Raises:
        TooLargeError: If more would be.
    """
    with Live(limit) as live:
        yield live
