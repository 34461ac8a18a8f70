"""Floating-point operations of a computation: those that matter, not those that masks undo."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from simulacra.nn.masked_convolution import MaskedConv2d, MaskedConvStream, colour_slice


def count(model: nn.Module, run: Callable[[], object]) -> int:
    """FLOPs of matrix products and convolutions; a multiplication and an addition are two.

    torch counts what is computed. A masked layer computes more than it uses: products with
    weights that its mask sets to zero, and rows of outputs that it cuts off. Of such a layer
    only weights whose mask is one, at outputs that are kept, are counted: 2 × ones × kept
    positions forwards, as much again backwards for the weights' gradient, and as much again for
    the input's, where it has one. What is computed with gradients is taken to be gone back
    through. Layers without a mask are counted in full, and so is padding.

    Work element by element (activations, densities, optimisers) is not counted.

    Args:
        model: Whose layers are used.
        run: Uses them.

    Returns:
        FLOPs, of whatever precision.
    """
    wasted: list[int] = []
    with _Counter() as counter, ExitStack() as watching:
        for layer in model.modules():
            if _is_masked(layer):
                watching.enter_context(_watched(layer, counter, wasted))
        watching.enter_context(_watched_streams(wasted))
        run()
    return int(counter.get_total_flops()) - sum(wasted)


class _Counter(FlopCounterMode):
    """torch's own, of the computation as a whole.

    It would also follow which layer it is in, by hooks that refuse gradients of gradients.
    """

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=_FORMULAS)
        self.mod_tracker: Any = _Whole()


class _Whole(AbstractContextManager[None]):
    parents = ("Global",)

    def __exit__(self, *_: object) -> None:
        """There is nothing to leave."""


def _by_name(operation: Any, formula: Callable[[dict[str, Any]], int]) -> Callable[..., int]:  # noqa: ANN401
    """A formula of shapes by the names of an operation's arguments, whose places differ."""
    names = [argument.name for argument in operation.default._schema.arguments]

    def counted(*args: object, **told: object) -> int:
        return formula({**dict(zip(names, args, strict=False)), **told})

    return counted


def _attention(told: dict[str, Any]) -> int:
    """Of shapes `(n, heads, length, width)`: each query by the keys that it may see, and values."""
    (n, heads, length, width), key, value = told["query"], told["key"], told["value"]
    seen = length * (length + 1) // 2 if told.get("is_causal", False) else length * key[2]
    return 2 * n * heads * seen * (width + value[3])


def _recurrent(told: dict[str, Any]) -> int:
    """Every matrix of every layer and direction, at each step of each sequence."""
    # the CPU's are of one layer, both its matrices before its biases
    weights = told.get("weight") or [told[name] for name in told if name.startswith("weight")][:2]
    # sequences of several lengths have their steps in one axis
    steps = math.prod(told["input"][:-1])
    return 2 * steps * sum(math.prod(shape) for shape in weights if len(shape) == 2)


def _twice(formula: Callable[[dict[str, Any]], int]) -> Callable[[dict[str, Any]], int]:
    """Backwards: as much for the gradient of each of the two that were multiplied."""
    return lambda told: 2 * formula(told)


def _product(_: object, a: list[int], b: list[int], *__: object, **___: object) -> int:
    """Of two matrices, added to a third in place."""
    return 2 * a[0] * a[1] * b[1]


_aten = torch.ops.aten
_FORMULAS: dict[Any, Any] = {_aten.addmm_: _product} | {
    operation: _by_name(operation, formula)
    for formula, operations in {
        _attention: (
            _aten._scaled_dot_product_flash_attention_for_cpu,
            _aten._scaled_dot_product_flash_attention,
            _aten._scaled_dot_product_efficient_attention,
            _aten._scaled_dot_product_cudnn_attention,
        ),
        _twice(_attention): (
            _aten._scaled_dot_product_flash_attention_for_cpu_backward,
            _aten._scaled_dot_product_flash_attention_backward,
            _aten._scaled_dot_product_efficient_attention_backward,
            _aten._scaled_dot_product_cudnn_attention_backward,
        ),
        # products of a cell that a GPU fuses were counted before, as those of layers
        _recurrent: (_aten.mkldnn_rnn_layer, _aten._cudnn_rnn),
        _twice(_recurrent): (_aten.mkldnn_rnn_layer_backward, _aten._cudnn_rnn_backward),
    }.items()
    for operation in operations
}
"""Of operations that torch has no formulas for, in place or of one kind of machine.

And of attention on GPUs, for which torch's count what no query sees, and what is computed again:
the same work is the same figure on every machine.
"""


def _is_masked(layer: nn.Module) -> bool:
    mask, weight = getattr(layer, "mask", None), getattr(layer, "weight", None)
    return isinstance(mask, Tensor) and isinstance(weight, Tensor) and mask.shape == weight.shape


@contextmanager
def _watched(layer: Any, counter: FlopCounterMode, wasted: list[int]) -> Iterator[None]:  # noqa: ANN401
    """Note what a layer with a `mask` of its `weight`'s shape computes in vain."""
    before = 0

    def begin(*_: object) -> None:
        nonlocal before
        before = counter.get_total_flops()

    def end(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        computed = counter.get_total_flops() - before
        useful = 2 * int(layer.mask.sum()) * (output.numel() // layer.weight.shape[0])
        passes = 1
        if torch.is_grad_enabled():
            passes += layer.weight.requires_grad + inputs[0].requires_grad
        wasted.append((computed - useful) * passes)

    handles = [layer.register_forward_pre_hook(begin), layer.register_forward_hook(end)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _watched_streams(wasted: list[int]) -> Iterator[None]:
    """Note what cached masked convolutions, which are no layers of a model, compute in vain.

    They see the rows above in full; their taps in the row itself hold zeros for what is hidden.
    """
    read = MaskedConvStream.read

    @cache
    def hidden(conv: MaskedConv2d, colour: int) -> int:
        """How many of a colour's taps in the row the mask hides."""
        outputs = colour_slice(conv.out_channels, conv.colours, colour)
        return int((~conv.mask[outputs, :, -1, : conv.reach + 1]).sum())

    def noted(stream: MaskedConvStream, pixel: int, colour: int) -> Tensor:
        output = read(stream, pixel, colour)
        wasted.append(2 * hidden(stream.conv, colour) * output.shape[0])
        return output

    MaskedConvStream.read = noted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        MaskedConvStream.read = read  # type: ignore[method-assign]
