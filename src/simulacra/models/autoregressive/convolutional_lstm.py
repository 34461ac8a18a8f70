"""A convolutional LSTM that goes over a picture front by front: row by row, or by diagonals.

Equation 3 of van den Oord et al. 2016 (arXiv 1601.06759). Its input-to-state part is computed
before, for the entire map. What is left goes from front to front, and its backward pass is written
out: the weights' gradient is then one product over all fronts, and not a small one for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.nn.masked_convolution import MaskedConv2d

Front = tuple[int, int]
"""The first place along the front that a step computes, and one past the last."""


class ConvLSTM(nn.Module):
    """The state-to-state part of an LSTM whose states lie along a front (equation 3).

    Args:
        features: h, of each state.
        taps: Which states of the front before a state sees, as offsets of its place.
        directions: So many independent ones, computed together.
    """

    def __init__(self, features: int, taps: Sequence[int], directions: int = 1) -> None:
        super().__init__()
        self.taps = tuple(taps)
        inputs = len(self.taps) * features
        self.weight = nn.Parameter(torch.empty(directions, inputs, 4 * features))
        nn.init.uniform_(self.weight, -(inputs**-0.5), inputs**-0.5)

    # its backward pass is written out, and the compiler would take the loop apart
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, fronts: Sequence[Front], *given: Tensor) -> Tensor:
        """The states h at all places.

        Args:
            fronts: What each step computes.
            given: For each direction `(P, N, 4h)`, the input-to-state part of the gates o, f, i,
                g; the P places are those of all fronts, one front after another.

        Returns:
            `(directions, P, N, h)`.
        """
        weight = self.weight.to(given[0].dtype)
        states: Tensor = _Scan.apply(_steps(tuple(fronts), self.taps), weight, *given)  # type: ignore[no-untyped-call]
        return states


Overlap = tuple[slice, slice]
"""Places of a front, and those of the front before that they see."""


@lru_cache(maxsize=64)
def _steps(
    fronts: tuple[Front, ...], taps: tuple[int, ...]
) -> list[tuple[slice, Overlap, list[Overlap]]]:
    """For each front its places, and what it sees of the one before: its own cells, each tap's."""

    def overlap(offset: int) -> Overlap:
        low, high = max(first, old_first + -offset), min(stop, old_stop - offset)
        high = max(low, high)
        to_new, to_old = start - first, start - (old_stop - old_first) - old_first + offset
        return slice(low + to_new, high + to_new), slice(low + to_old, high + to_old)

    steps = []
    start = old_first = old_stop = 0
    for first, stop in fronts:
        steps.append(
            (slice(start, start + stop - first), overlap(0), [overlap(tap) for tap in taps])
        )
        start, old_first, old_stop = start + stop - first, first, stop
    return steps


class _Scan(torch.autograd.Function):
    """`ConvLSTM`, from front to front and back."""

    @staticmethod
    def forward(ctx: Any, steps: Any, weight: Tensor, *given: Tensor) -> Tensor:  # noqa: ANN401
        gates = torch.stack(given)
        h = gates.shape[-1] // 4
        # a cell adds up what it is told over many steps, for which bfloat16 is too coarse
        wide = torch.promote_types(gates.dtype, torch.float32)
        cells = gates.new_empty(*gates.shape[:-1], h, dtype=wide)
        squashed, states = (gates.new_empty(cells.shape) for _ in range(2))
        seen = gates.new_zeros(*gates.shape[:-1], weight.shape[1])
        for now, (own, kept), taps in steps:
            gate = gates[:, now]
            if now.start:
                for k, (target, source) in enumerate(taps):
                    seen[:, target, :, k * h : (k + 1) * h] = states[:, source]
                product = gate.flatten(1, 2)
                torch.baddbmm(product, seen[:, now].flatten(1, 2), weight, out=product)
            gate[..., : 3 * h].sigmoid_()
            o, _, i, g = gate.split(h, -1)
            torch.mul(i, g.tanh_(), out=cells[:, now])
            if now.start:
                cells[:, own].addcmul_(gates[:, own, :, h : 2 * h], cells[:, kept])
            torch.tanh(cells[:, now], out=squashed[:, now])
            torch.mul(o, squashed[:, now], out=states[:, now])
        ctx.save_for_backward(weight, gates, cells, squashed, seen)
        ctx.steps = steps
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        weight, gates, cells, squashed, seen = ctx.saved_tensors
        h = cells.shape[-1]
        d_states = grads[0].clone(memory_format=torch.contiguous_format)
        d_gates, d_cells = torch.zeros_like(gates), torch.zeros_like(cells)
        for now, (own, kept), taps in reversed(ctx.steps):
            gate, d_gate, d_cell = gates[:, now], d_gates[:, now], d_cells[:, now]
            o, _, i, g = gate.split(h, -1)
            d_o, _, d_i, d_g = d_gate.split(h, -1)
            tanh, d_state = squashed[:, now], d_states[:, now]
            torch.mul(d_state, tanh, out=d_o)
            d_cell += torch.ops.aten.tanh_backward(d_state * o, tanh)
            if now.start:
                d_f = d_gates[:, own, :, h : 2 * h]
                torch.mul(d_cells[:, own], cells[:, kept], out=d_f)
                torch.mul(d_cells[:, own], gates[:, own, :, h : 2 * h], out=d_cells[:, kept])
            torch.mul(d_cell, g, out=d_i)
            torch.mul(d_cell, i, out=d_g)
            sigmoids, d_sigmoids = gate[..., : 3 * h], d_gate[..., : 3 * h]
            torch.ops.aten.sigmoid_backward(d_sigmoids, sigmoids, grad_input=d_sigmoids)
            torch.ops.aten.tanh_backward(d_g, g, grad_input=d_g)
            if now.start:
                d_seen = torch.bmm(d_gate.flatten(1, 2), weight.mT).view(*d_gate.shape[:3], -1)
                for k, (target, source) in enumerate(taps):
                    inside = slice(target.start - now.start, target.stop - now.start)
                    d_states[:, source] += d_seen[:, inside, :, k * h : (k + 1) * h]
        d_weight = torch.bmm(seen.flatten(1, 2).mT, d_gates.flatten(1, 2))
        return None, d_weight, *d_gates.unbind()


def start_remembering(input_to_state: MaskedConv2d) -> None:
    """Let the forget gates start near 1, so that the cells keep what they hold."""
    bias = input_to_state.bias
    if bias is not None:
        with torch.no_grad():
            bias.view(4, -1)[1] += 1


class Gates:
    """The gates o, f, i, g of one step of sampling, computed in place.

    Args:
        values: `(…, 4h)`, to be overwritten by every step.
    """

    def __init__(self, values: Tensor) -> None:
        h = values.shape[-1] // 4
        self.values, self.sigmoids = values, values[..., : 3 * h]
        self.o, self.f, self.i, self.g = values.split(h, -1)

    def advance(self, cell: Tensor, state: Tensor) -> None:
        """Equation 3, from `values` before their nonlinearities.

        Args:
            cell: `(…, h)`, the cell before, and then after.
            state: `(…, h)`, where the state is written.
        """
        self.sigmoids.sigmoid_()
        cell.mul_(self.f).addcmul_(self.i, self.g.tanh_())
        torch.mul(self.o, torch.tanh(cell, out=self.g), out=state)


def row_matrix(conv: MaskedConv2d) -> Tensor:
    """The weights of a convolution along the row, `(taps × inputs, outputs)`."""
    return (conv.weight * conv.mask).detach()[:, :, 0].permute(2, 1, 0).flatten(0, 1)


@dataclass(frozen=True)
class Step:
    """What one layer does for one colour of one pixel: views of buffers, and weights.

    Args:
        given: What does not depend on the own row, `(N, 4p)`; p of the h states are the colour's.
        seen: What is seen of the own row, `(N, inputs)`.
        weight: `(inputs, 4p)`.
        gates: Where the gates are computed.
        cell: The cells before, and then after, `(N, p)`.
        state: Where the states are written, `(N, p)`.
        other: States that are added, and where to write the sum; or none.
        states: The states, or sums, of this colour and those before, `(N, q)`.
        widen: `(q, 2p)`.
        x: The features before the layer, `(N, 2p)`.
        after: Where those after it are written.
    """

    given: Tensor
    seen: Tensor
    weight: Tensor
    gates: Gates
    cell: Tensor
    state: Tensor
    other: tuple[Tensor, Tensor] | None
    states: Tensor
    widen: Tensor
    x: Tensor
    after: Tensor

    def take(self) -> None:
        """From what is given and seen to the features after the layer."""
        torch.addmm(self.given, self.seen, self.weight, out=self.gates.values)
        self.gates.advance(self.cell, self.state)
        if self.other is not None:
            torch.add(self.state, self.other[0], out=self.other[1])
        torch.addmm(self.x, self.states, self.widen, out=self.after)
