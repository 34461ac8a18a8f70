"""`Buffers`: what losses change besides gradients, such as statistics of a normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from simulacra.training.engine import sum_over_processes

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Buffers:
    """The buffers of a model that a turn changes, taken back or exchanged when it is done.

    Most buffers are masks and tables, which nothing changes. Those of normalisations over batches
    do; which others do is seen by torch's count of a tensor's changes, which normalisations leave
    as it was.

    Args:
        model: Whose they are.
        fabric: The engine.
    """

    def __init__(self, model: nn.Module, fabric: Fabric) -> None:
        self.model, self.fabric = model, fabric
        # by turn; until the first one has shown which, all of them may
        self._changing: dict[str, set[str]] = {}
        self._before: dict[str, Tensor] = {}
        self._stood: dict[str, tuple[Tensor, int]] = {}

    def begin(self, turn: str) -> None:
        """Keep what there is before a turn."""
        now = dict(self.model.named_buffers())
        # with the count of its changes; another tensor may take its place, too
        self._stood = {name: (buffer, buffer._version) for name, buffer in now.items()}
        changing = self._changing.get(turn, set(now)) & set(now)
        self._before = {name: now[name].detach().clone() for name in changing}

    @torch.no_grad()
    def take_back(self) -> None:
        """Undo what a turn did that is skipped: its statistics may be no numbers."""
        now = dict(self.model.named_buffers())
        for name, before in self._before.items():
            now[name].copy_(before)

    @torch.no_grad()
    def exchange(self, turn: str) -> None:
        """Give every process the mean of what the processes have, after a turn.

        Integers count what all count alike.
        """
        now = dict(self.model.named_buffers())
        normalising = {
            id(buffer)
            for part in self.model.modules()
            if isinstance(part, _NormBase) and part.training
            for buffer in part.buffers()
        }
        changed = {
            name for name, buffer in now.items()
            if id(buffer) in normalising or self._changed(name, buffer)
        }  # fmt: skip
        self._changing[turn] = self._changing.get(turn, set()) | changed
        if self.fabric.world_size == 1 or not now:
            return
        # one may have met a branch that another did not
        flags = torch.tensor([float(name in changed) for name in now])
        some = sum_over_processes(self.fabric, flags).tolist()
        for buffer, flag in zip(now.values(), some, strict=True):
            if flag and buffer.is_floating_point():
                total = sum_over_processes(self.fabric, buffer)
                buffer.copy_(total / self.fabric.world_size)

    def _changed(self, name: str, buffer: Tensor) -> bool:
        stood = self._stood.get(name)
        return stood is None or stood[0] is not buffer or stood[1] != buffer._version
