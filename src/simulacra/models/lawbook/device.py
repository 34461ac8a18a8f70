"""The law of the device: whatever a model makes by the way, it makes where its weights are.

No other device is needed to see it. Some tensors are taken to lie elsewhere: a mode of torch sees
every call, follows which memory that is, and refuses what a GPU would.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts, learnt_with, observations
from simulacra.models.model import (
    Completion,
    Decoding,
    Encoding,
    Invertible,
    Latent,
    Likelihood,
    Model,
    Sampling,
    Stepwise,
)
from simulacra.models.swept import Swept

T = TypeVar("T")

ELSEWHERE = torch.device("cpu", 1)
"""What stands for the other device: torch itself takes it for the CPU, and computes there."""


class Elsewhere(TorchFunctionMode):
    """Tells tensors of the CPU from those that are taken to lie elsewhere, inside its block.

    A result lies where its operands do, and what is made anew where `device=` says: on the CPU, if
    that says nothing. As on a GPU, a single number of the CPU, of no axes, may be combined with
    anything; it may be an index, or be copied, whatever its size; all else meets tensors of its own
    place alone.

    Inside of `torch.func` a tensor has no memory of its own: from there on nothing is refused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.who = "it"
        self._blind = False

    def bring(self, x: T) -> T:
        """All tensors in something lie elsewhere from now on; it is given back."""
        for tensor in _tensors(x):
            tensor.untyped_storage().place = self  # type: ignore[attr-defined]
        return x

    def has(self, tensor: Tensor) -> bool:
        """Whether a tensor lies elsewhere."""
        return getattr(tensor.untyped_storage(), "place", None) is self

    def answer(self, who: str, given: object) -> None:
        """Hold what `who` gave to lie elsewhere, but for single numbers."""
        here = [x for x in _tensors(given) if x.ndim and not self._blind and not self.has(x)]
        hold(not here, f"{who} gives a tensor of the CPU")

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 (anything of torch)
        types: Any,  # noqa: ANN401
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """See `TorchFunctionMode`."""
        told = kwargs or {}
        operands = list(_tensors((args, told)))
        try:
            known = {x.untyped_storage()._cdata for x in operands}
        except NotImplementedError:
            self._blind = True
        if self._blind:
            return func(*args, **told)
        if func == _DEVICE:
            return ELSEWHERE if self.has(args[0]) else func(*args)
        if func in _REPLACING or (func in _INDEXING and self.has(args[0])):
            operands = [args[0]]
        elif func in _INDEXING:
            operands = [args[0], *(x for x in _tensors(args[1]) if x.ndim)]
        self._refuse(func, operands)
        result, there = func(*args, **told), self._lands(func, args, told, operands)
        if func in _MOVING | _FROM_DATA and result is args[0] and there != self.has(result):
            # torch, to which both are the CPU, gives it back as it is
            result = result.clone()
        if there:
            # what was there before stays where it is, whoever looks at it
            self.bring([x for x in _tensors(result) if x.untyped_storage()._cdata not in known])
        return result

    def _refuse(self, func: Any, operands: list[Tensor]) -> None:  # noqa: ANN401
        """Refuse operands of both places, and numpy, which knows one only."""
        if func in _MOVING or not any(map(self.has, operands)):
            return
        name = getattr(func, "__name__", str(func))
        hold(func not in _LEAVING, f"{self.who} calls `{name}` of a tensor that is not on the CPU")
        here = [x for x in operands if not self.has(x) and (x.ndim or func in _JOINING)]
        made = " and ".join(str(tuple(x.shape)) for x in here)
        hold(not here, f"{self.who} calls `{name}` with {made} of the CPU and others that are not")

    def _lands(
        self,
        func: Any,  # noqa: ANN401
        args: Sequence[Any],
        told: dict[str, Any],
        operands: list[Tensor],
    ) -> bool:
        """Whether a result lies elsewhere."""
        if func == Tensor.cpu or (func in _OF_NUMBERS and told.get("device") is None):
            return False
        if func in _MOVING and len(operands) > 1:
            return self.has(operands[1])
        named = args[1:] if func == Tensor.to else ()
        device = next((x for x in named if isinstance(x, str | torch.device)), told.get("device"))
        if device is not None:
            return torch.device(device) == ELSEWHERE
        if func in _FROM_DATA and not isinstance(args[0], Tensor):
            return False
        return any(map(self.has, operands))


_DEVICE = Tensor.device.__get__
_REPLACING: set[Any] = {
    Tensor.copy_,
    Tensor.data.__set__,  # type: ignore[attr-defined]
    torch._has_compatible_shallow_copy_type,
}
_MOVING = {Tensor.to, Tensor.cpu, Tensor.type_as}
_LEAVING: set[Any] = {Tensor.numpy, Tensor.__array__}
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
_JOINING = {torch.cat, torch.concat, torch.stack, torch.hstack, torch.vstack}
_FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray}
_OF_NUMBERS = {torch.arange, torch.full, torch.linspace, torch.logspace}


def _tensors(x: object) -> Iterator[Tensor]:
    """All tensors in something nested."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, dict):
        yield from _tensors(list(x.values()))
    elif isinstance(x, list | tuple):
        for each in x:
            yield from _tensors(each)


def stays_on_its_device(model: Model) -> None:
    """Nothing that it does mixes tensors of the CPU with those of the device that it is on."""
    x, told, learnt = observations(model, 8), contexts(model, 8), learnt_with(model, 8)
    many = observations(model, 60), learnt_with(model, 60)
    observed = torch.arange(model.spec.dims).view(model.spec.event_shape) % 2 == 0
    with Elsewhere() as there:
        there.bring([*model.parameters(), *model.buffers(), x, told, learnt, many, observed])

        def ask(what: str, *args: Any, of: Any = model, **options: Any) -> Any:  # noqa: ANN401
            there.who = f"`{what}`"
            answer = getattr(of, what)(*args, **options)
            answer = list(answer) if isinstance(answer, Iterator) else answer
            there.answer(there.who, answer)
            return answer

        ask("prepare", *many)
        model.train()
        for stage in model.stages:
            if stage.prepare is not None:
                ask("prepare", *many, of=stage)
            for turn in stage.players:
                place = {"place": there.bring(torch.tensor(0.5))} if _is_told_place(model) else {}
                scalars = ask("loss", x, learnt, turn=turn, **place)
                scalars["loss"].backward()
                sums = {name: value.detach() for name, value in scalars.items() if value.ndim}
                with torch.no_grad():
                    ask("moved", turn, sums)
            if stage.by_sweeps and isinstance(model, Swept):
                ask("update", [(x, learnt), (x, learnt)])
        model.eval()
        with torch.no_grad():
            for stage in model.stages:
                if stage.validation_loss is not None:
                    ask("validation_loss", x, learnt, of=stage)
            ask("validation_loss", x, learnt)
            if isinstance(model, Likelihood):
                ask("log_likelihood", x, told, draws=2)
            if isinstance(model, Stepwise):
                ask("sample_steps", 8, told)
            if isinstance(model, Sampling):
                ask("sample", 8, told)
            if isinstance(model, Completion):
                ask("completes_exactly", observed)
                ask("complete", x, observed, told)
            codes = ask("encode", x, told) if isinstance(model, Encoding) else None
            if isinstance(model, Latent):
                codes = ask("prior", 8, told, **({"temperature": 0.7} if model.narrows else {}))
            if isinstance(model, Decoding) and codes is not None:
                ask("decode", codes, told)
            if isinstance(model, Invertible):
                ask("inverse_error", x, told)


def has_weights(model: Model) -> bool:
    """Whether there is anything of it that could lie elsewhere."""
    return bool(model.state_dict())


def _is_told_place(model: Model) -> bool:
    return "place" in inspect.signature(model.loss).parameters


LAWS = (
    Law(
        "device", Model, stays_on_its_device,
        ("grey", "rgb", "vectors", "sequence", "palette", "colour-picture", "mixed"),
        has_weights,
    ),
)  # fmt: skip
