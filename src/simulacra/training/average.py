"""`Average`: the moving average of a model's weights, itself a model that is validated and kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from simulacra.models.model import Model


class Average:
    """An exponential moving average of the weights of some players.

    All else is shared with the model that learns, and takes no memory of its own.

    Args:
        model: That learns.
        players: Parts of it, or all of it.
        decay: Of the average, at most.
    """

    def __init__(self, model: Model, players: Iterable[nn.Module], decay: float) -> None:
        self.source, self.decay = model, decay
        averaged = list(players)
        own = {id(value) for part in averaged for value in _tensors(part)}
        shared = {id(value): value for value in _tensors(model) if id(value) not in own}
        self.model: Model = copy.deepcopy(model, shared)
        self.model.eval()
        self.names = {name for name, value in _named(model) if id(value) in own}
        """What the average holds of its own."""
        names = [name for name, _ in model.named_parameters() if name in self.names]
        self._weights: list[Tensor] = [model.get_parameter(name) for name in names]
        self._averages: list[Tensor] = [self.model.get_parameter(name) for name in names]
        names = [name for name, _ in model.named_buffers() if name in self.names]
        self._buffers = [(self.model.get_buffer(name), model.get_buffer(name)) for name in names]

    @torch.no_grad()
    def update(self, count: int) -> None:
        """Move towards the weights as they are now.

        Args:
            count: Moves so far.
        """
        # early averages look back over a tenth of the steps so far, not at the initialisation
        decay = min(self.decay, (1 + count) / (10 + count)) if count else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay)

    def settle(self, passes: Iterable[Callable[[], object]]) -> None:
        """Bring what is not averaged to where the weights are.

        Buffers become those of the model that learns. Of a normalisation over batches these are
        the statistics of other weights: they are estimated anew, as means over what passes.

        Args:
            passes: Each calls a loss of this average on one batch.
        """
        with torch.no_grad():
            for mine, source in self._buffers:
                mine.copy_(source)
        parts = [part for part in self.model.modules() if isinstance(part, _NormBase)]
        normalisations = [part for part in parts if self._estimates(part)]
        if not normalisations:
            return
        momenta = [part.momentum for part in normalisations]
        for part in normalisations:
            part.reset_running_stats()
            # the mean of all batches alike
            part.momentum = None
            part.train()
        for run in passes:
            run()
        for part, momentum in zip(normalisations, momenta, strict=True):
            part.momentum = momentum
            part.eval()

    def _estimates(self, part: _NormBase) -> bool:
        """Whether a normalisation has statistics, which are the average's own."""
        return part.track_running_stats and any(part.running_mean is b for b, _ in self._buffers)

    def state_dict(self) -> dict[str, Tensor]:
        """What it holds of its own, by the names of the model."""
        state = self.model.state_dict()
        return {name: value for name, value in state.items() if name in self.names}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go back to a state, which may be of all weights where some are shared.

        Raises:
            KeyError: If it lacks a value.
        """
        # as torch's own average called them, which stood here once
        state = {name.removeprefix("module."): value for name, value in state.items()}
        with torch.no_grad():
            for name, value in self.state_dict().items():
                value.copy_(state[name])


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    return chain(module.parameters(), module.buffers())


def _named(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Every name of a tensor, of one with several names all of them."""
    return chain(
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    )
