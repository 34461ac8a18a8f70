"""Floating-point operations of a computation: those that matter, not those that masks undo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    counting = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
    with counting as counter, ExitStack() as watching:
        for layer in model.modules():
            if _is_masked(layer):
                watching.enter_context(_watched(layer, counter, wasted))
        watching.enter_context(_watched_streams(wasted))
        run()
    return int(counter.get_total_flops()) - sum(wasted)


def _attention(
    q: list[int], k: list[int], v: list[int], _: float = 0.0, is_causal: bool = False,
    *__: object, **___: object,
) -> int:  # fmt: skip
    """Of shapes `(n, heads, length, width)`: each query by the keys that it may see, and values."""
    n, heads, length, width = q
    seen = length * (length + 1) // 2 if is_causal else length * k[2]
    return 2 * n * heads * seen * (width + v[3])


def _attention_backward(
    _: object, q: list[int], k: list[int], v: list[int], _out: object, _lse: object,
    dropout: float = 0.0, is_causal: bool = False, *__: object, **___: object,
) -> int:  # fmt: skip
    return 2 * _attention(q, k, v, dropout, is_causal)


def _lstm(x: list[int], to_gates: list[int], of_state: list[int], *_: object, **__: object) -> int:
    """Of `(length, n, inputs)` and both matrices."""
    return 2 * x[0] * x[1] * (to_gates[0] * to_gates[1] + of_state[0] * of_state[1])


def _lstm_backward(
    x: list[int], to_gates: list[int], of_state: list[int], *_: object, **__: object
) -> int:
    return 2 * _lstm(x, to_gates, of_state)


def _product(_: object, a: list[int], b: list[int], *__: object, **___: object) -> int:
    """Of two matrices, added to a third in place."""
    return 2 * a[0] * a[1] * b[1]


_FORMULAS: dict[Any, Any] = {
    torch.ops.aten.addmm_: _product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten.mkldnn_rnn_layer: _lstm,
    torch.ops.aten.mkldnn_rnn_layer_backward: _lstm_backward,
}
"""Of operations that torch has no formulas for: in place, or a CPU's own."""


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
