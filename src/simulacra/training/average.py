"""`Average`: the moving average of a model's weights, itself a model that is validated and kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator
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
        self.model: Model = copy.deepcopy(model, shared | graphless(model))
        self.model.eval()
        self.names = {name for name, value in _named(model) if id(value) in own}
        """What the average holds of its own."""
        names = [name for name, _ in model.named_parameters() if name in self.names]
        self._weights: list[Tensor] = [model.get_parameter(name) for name in names]
        self._averages: list[Tensor] = [self.model.get_parameter(name) for name in names]

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
        self._follow()
        pairs = [pair for pair in self._pairs() if self._estimates(*pair)]
        if not pairs:
            return
        for part, _, _ in pairs:
            part.reset_running_stats()
            # the mean of all batches alike
            part.momentum = None
            part.train()
        for run in passes:
            run()
        estimated = set()
        for part, source, name in pairs:
            part.momentum = source.momentum
            part.eval()
            if part.num_batches_tracked:
                # else no loss of this stage comes by it
                estimated.add(name)
        # what else these passes changed is none of theirs
        self._follow(but=estimated)

    @property
    def estimates(self) -> bool:
        """Whether there is any normalisation whose statistics are to be estimated."""
        return any(self._estimates(*pair) for pair in self._pairs())

    def _pairs(self) -> Iterator[tuple[_NormBase, _NormBase, str]]:
        """Normalisations over batches, each with that of the model that learns, and its name."""
        there = dict(self.source.named_modules())
        for name, part in self.model.named_modules():
            source = there[name]
            if isinstance(part, _NormBase) and isinstance(source, _NormBase):
                yield part, source, name

    def _estimates(self, part: _NormBase, source: _NormBase, name: str) -> bool:
        """Whether a normalisation learns statistics, which are the average's own."""
        own = f"{name}.running_mean".removeprefix(".") in self.names
        return part.track_running_stats and source.training and own

    @torch.no_grad()
    def _follow(self, but: Collection[str] = ()) -> None:
        """Take the buffers of the model that learns, which may have others than it had.

        Args:
            but: Names of parts that keep their own.
        """
        there = dict(self.source.named_modules())
        for name, module in self.model.named_modules():
            for key, value in there[name].named_buffers(recurse=False) if name not in but else ():
                mine = module._buffers[key]
                if ".".join(filter(None, (name, key))) not in self.names:
                    # shared
                    module._buffers[key] = value
                elif mine is not None and mine.shape == value.shape:
                    mine.copy_(value)
                else:
                    module._buffers[key] = value.detach().clone()

    def state_dict(self) -> dict[str, Tensor]:
        """What it holds of its own, by the names of the model."""
        state = self.model.state_dict()
        return {name: value for name, value in state.items() if name in self.names}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go back to a state, which may be of all weights where some are shared.

        Raises:
            KeyError: If it lacks a value.
        """
        if "n_averaged" in state:
            # as torch's own average called them, which stood here once
            state = {name.removeprefix("module."): value for name, value in state.items()}
        with torch.no_grad():
            for name, value in self.state_dict().items():
                value.copy_(state[name])


def graphless(model: nn.Module) -> dict[int, Tensor]:
    """What a forward pass left in attributes, which cannot be copied with its graph."""
    left = [value for part in model.modules() for value in vars(part).values()]
    made = [value for value in left if isinstance(value, Tensor) and value.grad_fn is not None]
    return {id(value): value.detach().clone() for value in made}


def _tensors(module: nn.Module) -> Iterable[Tensor]:
    return chain(module.parameters(), module.buffers())


def _named(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Every name of a tensor, of one with several names all of them."""
    return chain(
        module.named_parameters(remove_duplicate=False),
        module.named_buffers(remove_duplicate=False),
    )
