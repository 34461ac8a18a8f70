"""Convolutions along axes by fewer products, and by none with padding: what trains on a processor.

Along an axis, a convolution is bilinear in its input x and its kernel w: y = A ((G w) ∘ (B x)),
where ∘ multiplies element by element. The plain form has a product for each tap of each output. A
stride splits it into short correlations, one for each place of a tap within the stride; of these,
tiles with n = r + k − 1 products give r outputs by k taps (Toom-Cook; S. Winograd, "Arithmetic
Complexity of Computations", 1980, chapter III; in networks: A. Lavin, S. Gray, "Fast Algorithms
for Convolutional Neural Networks", 2015, arXiv 1509.09308). Products with padding alone are left
out. Of both axes together, the channels are one matrix product for each pair of kernel points. A
transposed convolution is the same with A and B in each other's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

POINTS = (0.0, 1.0, -1.0, 2.0)
"""Where polynomials are taken, beside at infinity: with more of them rounding grows."""


@dataclass(frozen=True)
class Products:
    """Products along an axis, as many for each kernel point of these.

    Args:
        outputs: A, `(outputs, points · tiles)`.
        inputs: B, `(points · tiles, inputs)`.
        kernel: G, `(points, taps)`.
    """

    outputs: Tensor
    inputs: Tensor
    kernel: Tensor

    @property
    def points(self) -> int:
        """Of the kernel, each with a matrix of its own."""
        return len(self.kernel)

    @property
    def tiles(self) -> int:
        """Products of each kernel point."""
        return len(self.inputs) // len(self.kernel)

    def to(self, x: Tensor) -> Products:
        """In the dtype of x."""
        return Products(*(part.to(x) for part in (self.outputs, self.inputs, self.kernel)))

    def transposed(self) -> Products:
        """Those of the transposed convolution."""
        return Products(self.inputs.T, self.outputs.T, self.kernel)


Entry = tuple[Tensor, Tensor, int]
"""A column of A, a row of B, and the point of the kernel."""


@lru_cache(maxsize=256)
def plan(size: int, kernel: int, stride: int, padding: int) -> tuple[Products, ...]:
    """The fewest products of a convolution along one axis, in float64, in groups of equal count.

    Args:
        size: Of the input.
        kernel: Taps.
        stride: Between outputs.
        padding: Zeros at each end.
    """
    points: list[Tensor] = []
    entries: list[Entry] = []
    for first in range(min(stride, kernel)):
        taps = list(range(first, kernel, stride))
        outputs = (size + 2 * padding - kernel) // stride + 1
        places = [stride * i + first - padding for i in range(outputs + len(taps) - 1)]
        found, kernel_points = _phase(size, places, len(taps))
        entries += [(a, b, point + len(points)) for a, b, point in found]
        spread = torch.zeros(len(kernel_points), kernel, dtype=torch.float64)
        spread[:, taps] = kernel_points
        points += list(spread)
    counts = [sum(point == i for _, _, point in entries) for i in range(len(points))]
    groups = []
    for count in sorted({count for count in counts if count}):
        members = [i for i, found in enumerate(counts) if found == count]
        mine = [entry for i in members for entry in entries if entry[2] == i]
        groups.append(
            Products(
                torch.stack([a for a, _, _ in mine], 1),
                torch.stack([b for _, b, _ in mine]),
                torch.stack([points[i] for i in members]),
            )
        )
    return tuple(groups)


def _phase(size: int, places: list[int], taps: int) -> tuple[list[Entry], Tensor]:
    """The fewest products of a correlation: of the plain form, or of tiles of outputs or inputs.

    Args:
        size: Of the input.
        places: Of the values in it that the correlation goes over, or beyond its ends.
        taps: Of the correlation.
    """
    outputs = len(places) - taps + 1
    take = torch.zeros(len(places), size, dtype=torch.float64)
    for i, place in enumerate(places):
        if 0 <= place < size:
            take[i, place] = 1
    choices = [_plain(outputs, take, taps)]
    if taps > 1 and choices[0][0]:
        for tile in range(2, len(POINTS) + 3 - taps):
            choices.append(_tiles_of_outputs(outputs, take, taps, tile))
            choices.append(_tiles_of_inputs(outputs, take, taps, tile))
    return min(choices, key=lambda choice: len(choice[0]))


def _plain(outputs: int, take: Tensor, taps: int) -> tuple[list[Entry], Tensor]:
    eye, one = torch.eye(outputs, dtype=torch.float64), torch.eye(taps, dtype=torch.float64)
    return _useful([(eye[o], take[o + t], t) for t in range(taps) for o in range(outputs)]), one


def _tiles_of_outputs(
    outputs: int, take: Tensor, taps: int, tile: int
) -> tuple[list[Entry], Tensor]:
    """Each tile gives outputs that no other one does."""
    points = tile + taps - 1
    over, inverse = _powers(points, tile), torch.linalg.inv(_powers(points, points))
    # outputs and inputs beyond the last ones, which weigh nothing
    wide = torch.cat([take, take.new_zeros(points, take.shape[1])])
    eye = torch.eye(outputs + tile, outputs, dtype=torch.float64)
    entries = [
        (over[i] @ eye[o : o + tile], inverse[:, i] @ wide[o : o + points], i)
        for o in range(0, outputs, tile)
        for i in range(points)
    ]
    return _useful(entries), _powers(points, taps)


def _tiles_of_inputs(
    outputs: int, take: Tensor, taps: int, tile: int
) -> tuple[list[Entry], Tensor]:
    """Each tile takes inputs that no other one does, and gives parts of its outputs."""
    points = tile + taps - 1
    over, inverse = _powers(points, tile), torch.linalg.inv(_powers(points, points))
    real = take.any(1).nonzero().flatten()
    wide = torch.cat([take, take.new_zeros(tile, take.shape[1])])
    # outputs before the first one and beyond the last, which are not asked for
    shift = taps - 1
    eye = torch.eye(outputs + 2 * points, dtype=torch.float64)[:, points : points + outputs]
    entries = [
        (inverse[:, i] @ eye[o + points - shift :][:points], over[i] @ wide[o : o + tile], i)
        for o in range(int(real[0]), int(real[-1]) + 1, tile)
        for i in range(points)
    ]
    return _useful(entries), _powers(points, taps).flip(1)


def _powers(points: int, degree: int) -> Tensor:
    """Values of 1, x, x² … at points, the last of which is infinity: `(points, degree)`."""
    finite = torch.tensor(POINTS[: points - 1], dtype=torch.float64)[:, None]
    last = torch.zeros(1, degree, dtype=torch.float64)
    last[0, -1] = 1
    return torch.cat([finite ** torch.arange(degree), last])


def _useful(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if bool(entry[0].any()) and bool(entry[1].any())]


Axes = tuple[tuple[Products, ...], tuple[Products, ...]]
"""Of rows and of columns."""


def _spread(x: Tensor, group: Products) -> Tensor:
    """Columns of x `(rows, columns, N, C)` at each point: `(points, rows, tiles · N · C)`."""
    made = torch.matmul(group.inputs, x.reshape(*x.shape[:2], -1))
    return made.view(len(x), group.points, -1).transpose(0, 1)


def _gathered(y: Tensor | None, parts: Tensor, group: Products) -> Tensor:
    """The columns that parts `(points, rows, tiles · N · C)` give, added to y."""
    points, rows, width = parts.shape
    size = width // group.tiles
    flat = parts.view(points, rows, group.tiles, size).transpose(0, 1).reshape(rows, -1, size)
    return _added(y, group.outputs, flat)


def _added(y: Tensor | None, matrix: Tensor, x: Tensor) -> Tensor:
    """The matrix times each of x, added to y where that is there."""
    if y is None:
        return torch.matmul(matrix, x)
    return y.baddbmm_(matrix.expand(len(x), *matrix.shape), x)


class Bilinear(torch.autograd.Function):
    """y of x `(rows, columns, N, C)` and w `(k, k, C, O)`: `(rows, columns, N, O)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, axes: Axes) -> Tensor:  # noqa: ANN401 (torch's own)
        """Of x, w and the products of both axes."""
        (*_, n, channels), (k, _, _, outputs) = x.shape, w.shape
        saved, y = [], None
        for column in axes[1]:
            spread = _spread(x, column)
            kernel = torch.matmul(column.kernel, w.reshape(k, k, -1)).transpose(0, 1)
            parts = None
            for row in axes[0]:
                pairs = column.points * row.points
                v = torch.matmul(row.inputs, spread).view(pairs, -1, channels)
                u = torch.matmul(row.kernel, kernel).view(pairs, channels, outputs)
                product = torch.bmm(v, u).view(column.points, len(row.inputs), -1)
                parts = _added(parts, row.outputs, product)
                saved += [v, u]
            assert parts is not None
            y = _gathered(y, parts, column)
        assert y is not None
        ctx.axes, ctx.shapes = axes, (x.shape, w.shape)
        ctx.save_for_backward(*saved)
        return y.view(*y.shape[:2], n, outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None]:  # noqa: ANN401
        """By x, where that is asked for, and by w."""
        shape, (k, _, channels, outputs) = ctx.shapes
        saved, by_x, by_w = iter(ctx.saved_tensors), None, None
        back = [[group.transposed() for group in axis] for axis in ctx.axes]
        for column in back[1]:
            spread = _spread(gradients[0], column)
            parts = by_kernel = None
            for row in back[0]:
                v, u = next(saved), next(saved)
                product = torch.matmul(row.inputs, spread).view(len(v), -1, outputs)
                if ctx.needs_input_grad[0]:
                    by_v = torch.bmm(product, u.transpose(1, 2))
                    by_v = by_v.view(column.points, len(row.inputs), -1)
                    parts = _added(parts, row.outputs, by_v)
                by_u = torch.bmm(v.transpose(1, 2), product).view(column.points, row.points, -1)
                by_kernel = _added(by_kernel, row.kernel.T, by_u)
            if parts is not None:
                by_x = _gathered(by_x, parts, column)
            assert by_kernel is not None
            by_w = _added(by_w, column.kernel.T, by_kernel.transpose(0, 1))
        assert by_w is not None
        by_x = None if by_x is None else by_x.view(shape)
        return by_x, by_w.view(k, k, channels, outputs), None
