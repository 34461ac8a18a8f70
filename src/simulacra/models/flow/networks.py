"""Networks of couplings: from the channels that are seen to the parameters of those changed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu


class GlowNetwork(nn.Module):
    """A 3×3, a 1×1 and a 3×3 convolution, whose output starts at zero (Glow, section 4).

    Args:
        inputs: Channels.
        hidden: Channels between.
        outputs: Channels.
        told: Width of a context's features, which are added to both hidden layers.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, told: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, hidden, 1)
        self.last = nn.Conv2d(hidden, outputs, 3, padding=1)
        # many weights act on an output together, and each moves by a learning rate a step
        self.part = hidden**-0.5
        self.context = nn.Linear(told, 2 * hidden, bias=False) if told else None
        _start_at_zero(self.last)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Raw parameters `(N, outputs, H, W)` of `(N, inputs, H, W)`."""
        one, two = self.first(_neighbours(x)), None
        if self.context is not None:
            more, two = self.context(told)[:, :, None, None].chunk(2, 1)
            one = one + more
        h = self.second(relu(one))
        h = relu(h if two is None else h + two)
        y: Tensor = self.part * self.last(h)
        return y.contiguous()


class ResidualNetwork(nn.Module):
    """Residual blocks, whose output starts at zero (RealNVP, section 3.3).

    A block is relu, 3×3 convolution, relu, 1×1 convolution.

    Args:
        inputs: Channels.
        hidden: Channels between.
        outputs: Channels.
        told: Width of a context's features, which are added in every block.
        blocks: Their number.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, told: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.wide = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(blocks))
        self.narrow = nn.ModuleList(nn.Conv2d(hidden, hidden, 1) for _ in range(blocks))
        self.last = nn.Conv2d(hidden, outputs, 1)
        self.part = hidden**-0.5
        self.context = nn.Linear(told, blocks * hidden, bias=False) if told else None
        _start_at_zero(self.last)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Raw parameters `(N, outputs, H, W)` of `(N, inputs, H, W)`."""
        h = self.first(_neighbours(x))
        more = None
        if self.context is not None:
            more = self.context(told)[:, :, None, None].chunk(len(self.wide), 1)
        for i, (wide, narrow) in enumerate(zip(self.wide, self.narrow, strict=True)):
            inner = wide(relu(h))
            h = h + narrow(relu(inner if more is None else inner + more[i]))
        y: Tensor = self.part * self.last(relu(h))
        return y.contiguous()


def _neighbours(x: Tensor) -> Tensor:
    """The channels of a pixel lie side by side, where a processor convolves sooner."""
    return x.contiguous(memory_format=torch.channels_last)


def _start_at_zero(last: nn.Conv2d) -> None:
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
