"""Masked convolution, against loops over every output and input."""

from __future__ import annotations

import itertools
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.nn.masked_convolution import ConvAbove, MaskedConv2d, MaskedConvStream, colour_slice

Mask = Literal["A", "B"]

SHAPES = [
    # inputs, outputs, kernel, colours, height, width
    (1, 1, 3, 1, 3, 3),
    (2, 3, 5, 1, 4, 3),
    (3, 3, 1, 3, 2, 2),
    (3, 6, 3, 3, 3, 3),
    (4, 5, 3, 3, 3, 4),
    (7, 4, 5, 3, 3, 2),
    (5, 8, 7, 3, 4, 3),
    (2, 2, 3, 2, 1, 1),
]


def layer(inputs: int, outputs: int, kernel: int, colours: int, mask: Mask) -> MaskedConv2d:
    with seeded(0):
        conv = MaskedConv2d(inputs, outputs, kernel, mask=mask, colours=colours).double()
        with torch.no_grad():
            # masked weights of any size must not matter
            conv.weight.copy_(torch.randn_like(conv.weight) + 3)
    return conv


def is_seen(
    conv: MaskedConv2d, mask: Mask, o: int, i: int, j: int, c: int, k: int, l: int  # noqa: E741
) -> bool:  # fmt: skip
    """Whether output channel o at (i, j) may see input channel c at (k, l), by figure 2."""
    reach = conv.kernel_size[1] // 2
    if k < i - reach or abs(l - j) > reach or k > i:
        return False
    if (k, l) != (i, j):
        return k < i or l < j
    out_colour = o * conv.colours // conv.out_channels
    in_colour = c * conv.colours // conv.in_channels
    return in_colour < out_colour or (mask == "B" and in_colour == out_colour)


def by_loops(conv: MaskedConv2d, mask: Mask, x: Tensor) -> Tensor:
    """The masked convolution, one product at a time."""
    n, inputs, height, width = x.shape
    assert conv.bias is not None
    y = conv.bias.detach()[None, :, None, None].repeat(n, 1, height, width)
    reach = conv.kernel_size[1] // 2
    for o, i, j in itertools.product(range(conv.out_channels), range(height), range(width)):
        for c, k, l in itertools.product(range(inputs), range(height), range(width)):  # noqa: E741
            if is_seen(conv, mask, o, i, j, c, k, l):
                y[:, o, i, j] += (
                    conv.weight.detach()[o, c, k - i + reach, l - j + reach] * x[:, c, k, l]
                )
    return y


@pytest.mark.parametrize("mask", ["A", "B"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_layer_is_the_masked_sum(shape: tuple[int, ...], mask: Mask) -> None:
    inputs, outputs, kernel, colours, height, width = shape
    conv = layer(inputs, outputs, kernel, colours, mask)
    with seeded(1):
        x = torch.randn(2, inputs, height, width, dtype=torch.float64)
    y = conv(x)
    assert y.shape == (2, outputs, height, width)
    torch.testing.assert_close(y.detach(), by_loops(conv, mask, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mask", ["A", "B"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_reach_what_is_seen_and_nothing_else(shape: tuple[int, ...], mask: Mask) -> None:
    inputs, outputs, kernel, colours, height, width = shape
    conv = layer(inputs, outputs, kernel, colours, mask)
    x = torch.zeros(1, inputs, height, width, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(conv, x)[0, :, :, :, 0] != 0
    for place in itertools.product(*map(range, jacobian.shape)):
        assert bool(jacobian[place]) == is_seen(conv, mask, *place), f"{place}"
    # forbidden weights are not learnt either
    conv(torch.randn(2, inputs, height, width, dtype=torch.float64)).sum().backward()
    assert conv.weight.grad is not None
    assert not bool(conv.weight.grad[~conv.mask].any())


def test_the_mask_is_not_saved_but_moves_with_the_layer() -> None:
    conv = MaskedConv2d(2, 2, 3, mask="A")
    assert conv.state_dict().keys() == {"weight", "bias"}
    assert conv.to("meta").mask.device.type == "meta"


@pytest.mark.parametrize(
    ("conv", "lit"),
    [
        (MaskedConv2d(2, 2, 3, mask="A"), [[0, 0, 0], [0, 0, 1], [1, 1, 1]]),
        (MaskedConv2d(2, 2, 3, mask="B"), [[0, 0, 0], [0, 1, 1], [1, 1, 1]]),
        (MaskedConv2d(2, 2, 3, mask="B", rows=0), [[0, 0, 0], [0, 1, 1], [0, 0, 0]]),
        (ConvAbove(2, 2, 3, own=True), [[0, 0, 0], [1, 1, 1], [1, 1, 1]]),
        (ConvAbove(2, 2, 3, own=False), [[0, 0, 0], [0, 0, 0], [1, 1, 1]]),
    ],
)
def test_light_spreads_by_the_sizes_alone(
    conv: MaskedConv2d | ConvAbove, lit: list[list[int]]
) -> None:
    light = torch.zeros(1, 1, 3, 3)
    light[0, 0, 1, 1] = 1
    # weights on another device, with no values
    assert conv.to("meta").spread(light)[0, 0].tolist() == lit


@pytest.mark.parametrize("kernel", [0, -1, 2, 4])
def test_even_kernels_are_refused(kernel: int) -> None:
    with pytest.raises(UsageError, match=f"kernel_size is odd and positive, got {kernel}"):
        MaskedConv2d(1, 1, kernel, mask="A")


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 3), (3, 2)])
def test_too_few_channels_for_the_colours_are_refused(inputs: int, outputs: int) -> None:
    with pytest.raises(UsageError, match="3 colours need at least as many channels"):
        MaskedConv2d(inputs, outputs, 3, mask="A", colours=3)


@settings(deadline=None, database=None)
@given(st.integers(1, 40), st.data())
def test_colours_share_the_channels(features: int, data: st.DataObject) -> None:
    colours = data.draw(st.integers(1, features))
    parts = [colour_slice(features, colours, c) for c in range(colours)]
    channels = [list(range(features))[part] for part in parts]
    assert [c for part in channels for c in part] == list(range(features))
    sizes = [len(part) for part in channels]
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


# ---- the cached form ----------------------------------------------------------------------------


def streamed(conv: MaskedConv2d, mask: Mask, x: Tensor) -> Tensor:
    """Every pixel and colour from the cached form, told each input only when it may be known."""
    n, inputs, height, width = x.shape
    stream = MaskedConvStream(conv, n, width)
    y = x.new_full((n, conv.out_channels, height, width), torch.nan)
    for i in range(height):
        stream.start_row()
        for j, c in itertools.product(range(width), range(conv.colours)):
            part = colour_slice(inputs, conv.colours, c)
            if mask == "B":
                stream.write(x[:, part, i, j], j, c)
            y[:, colour_slice(conv.out_channels, conv.colours, c), i, j] = stream.read(j, c)
            stream.write(x[:, part, i, j], j, c)
    return y


@torch.no_grad()
@settings(max_examples=60, deadline=None, database=None)
@given(
    st.sampled_from([1, 3, 5, 7]), st.integers(1, 3), st.integers(0, 5), st.integers(0, 5),
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.sampled_from(["A", "B"]),
)  # fmt: skip
def test_the_cached_form_is_the_parallel_one(
    kernel: int, colours: int, more_in: int, more_out: int, height: int, width: int, n: int,
    mask: Mask,
) -> None:  # fmt: skip
    conv = layer(colours + more_in, colours + more_out, kernel, colours, mask)
    with seeded(2):
        x = torch.randn(n, colours + more_in, height, width, dtype=torch.float64)
    torch.testing.assert_close(streamed(conv, mask, x), conv(x), rtol=1e-12, atol=1e-11)


@torch.no_grad()
def test_a_value_written_twice_is_the_last_one() -> None:
    """Sampling a colour writes it, and completing may write it again."""
    conv = layer(3, 3, 3, 3, "B")
    with seeded(3):
        x = torch.randn(1, 3, 1, 3, dtype=torch.float64)
    stream = MaskedConvStream(conv, 1, 3)
    stream.start_row()
    for j, c in itertools.product(range(3), range(3)):
        stream.write(torch.full((1, 1), 99.0, dtype=torch.float64), j, c)
        stream.write(x[:, c : c + 1, 0, j], j, c)
        torch.testing.assert_close(stream.read(j, c)[0, 0], conv(x)[0, c, 0, j])
