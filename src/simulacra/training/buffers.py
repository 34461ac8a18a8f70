"""`Buffers`: what losses change besides gradients, such as statistics of a normalisation."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from simulacra.training.engine import sum_over_processes


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
        self.model, self.fabric, self.all = model, fabric, list(model.buffers())
        # by turn; until the first one has shown which, all of them may
        self._changing: dict[str, set[int]] = {}
        self._before: dict[int, Tensor] = {}
        self._versions: list[int] = []

    def begin(self, turn: str) -> None:
        """Keep what there is before a turn."""
        self._versions = [buffer._version for buffer in self.all]
        changing = self._changing.get(turn, range(len(self.all)))
        self._before = {number: self.all[number].detach().clone() for number in changing}

    @torch.no_grad()
    def take_back(self) -> None:
        """Undo what a turn did that is skipped: its statistics may be no numbers."""
        for number, before in self._before.items():
            self.all[number].copy_(before)

    @torch.no_grad()
    def exchange(self, turn: str) -> None:
        """Give every process the mean of what the processes have, after a turn.

        Integers count what all count alike.
        """
        normalising = {
            id(buffer)
            for part in self.model.modules()
            if isinstance(part, _NormBase) and part.training
            for buffer in part.buffers()
        }
        pairs = zip(self.all, self._versions, strict=True)
        changed = [
            number
            for number, (buffer, old) in enumerate(pairs)
            if buffer._version != old or id(buffer) in normalising
        ]
        self._changing[turn] = self._changing.get(turn, set()) | set(changed)
        if self.fabric.world_size == 1 or not self.all:
            return
        # one may have met a branch that another did not
        flags = torch.zeros(len(self.all))
        flags[changed] = 1.0
        for number in sum_over_processes(self.fabric, flags).nonzero().flatten().tolist():
            buffer = self.all[number]
            if buffer.is_floating_point():
                total = sum_over_processes(self.fabric, buffer)
                buffer.copy_(total / self.fabric.world_size)
