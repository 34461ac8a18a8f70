"""Several scales of a picture: squeezing, couplings of channels, and factoring out.

Sides may be odd. Before a squeeze an odd side gets a row or column more, of values that are not
there: they are zero for the networks, no map changes them, and no volume or density is counted for
them, so that a code has exactly as many values as a picture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from simulacra.models.flow.elementwise import Elementwise
from simulacra.models.flow.maps import FlowMap, where_built


class Form:
    """Which values there are of the pictures at a place in a flow.

    Args:
        real: Booleans `(C, H, W)`, on the processor, where they are read.
    """

    def __init__(self, real: Tensor) -> None:
        self.real = real

    @classmethod
    def whole(cls, shape: tuple[int, ...]) -> Form:
        """Of pictures `(C, H, W)` that lack nothing."""
        return cls(torch.ones(shape, dtype=torch.bool, device="cpu"))

    @property
    def channels(self) -> int:
        """C."""
        return len(self.real)

    @property
    def pixels(self) -> int:
        """H · W."""
        return self.real[0].numel()

    @property
    def mask(self) -> Tensor | None:
        """Where there is a value; nothing if there is one everywhere."""
        return None if bool(self.real.all()) else self.real

    def reordered(self, order: Tensor) -> Form:
        """With the channels in another order."""
        return Form(self.real[order])

    def halves(self) -> tuple[Form, Form]:
        """The first half of the channels, and the second."""
        first, second = self.real.chunk(2)
        return Form(first), Form(second)


class Squeeze(nn.Module):
    """2×2 pixels become one of four times the channels (RealNVP, arXiv 1605.08803, section 3.6).

    The first half of these are the black fields of a checkerboard, the second half the white ones,
    so that couplings of halves are couplings of a checkerboard, at a quarter of the cost.

    Args:
        form: Of the pictures that come.
    """

    def __init__(self, form: Form) -> None:
        super().__init__()
        _, self.height, self.width = form.real.shape
        self.odd = self.height % 2, self.width % 2
        self.form = Form(self._gather(form.real[None])[0])

    def _gather(self, x: Tensor) -> Tensor:
        if any(self.odd):
            x = pad(x, (0, self.odd[1], 0, self.odd[0]))
        fields = [x[..., i::2, j::2] for i, j in _CHECKERBOARD]
        return torch.cat(fields, 1)

    def forward(self, y: Tensor) -> Tensor:
        """`(N, 4 C, ⌈H / 2⌉, ⌈W / 2⌉)` of `(N, C, H, W)`."""
        return self._gather(y)

    def inverse(self, z: Tensor) -> Tensor:
        """The pictures as they were."""
        n, channels, height, width = z.shape
        y = z.new_empty(n, channels // 4, 2 * height, 2 * width)
        for (i, j), field in zip(_CHECKERBOARD, z.chunk(4, 1), strict=True):
            y[..., i::2, j::2] = field
        return y[..., : self.height, : self.width]


_CHECKERBOARD = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Places in 2×2 pixels: first both black ones, then both white ones."""

Network = Callable[[int, int, int], nn.Module]
"""Makes the network of a coupling: of input channels, output channels, and a context's features."""


class ChannelCoupling(FlowMap):
    """Maps one half of the channels value by value, as a network says that sees the other half.

    Args:
        form: Of the pictures.
        map_: What is done to each value.
        network: Makes the network.
        told: Width of a context's features.
        first: Whether the first half is changed; the second, if not.
    """

    real: Tensor | None

    def __init__(
        self, form: Form, map_: Elementwise, network: Network, told: int, *, first: bool = False
    ) -> None:
        super().__init__()
        self.map, self.first = map_, first
        seen, changed = form.halves()[:: -1 if first else 1]
        mask = None if changed.mask is None else where_built(changed.mask)
        self.register_buffer("real", mask, persistent=False)
        self.network = network(seen.channels, changed.channels * map_.parameters, told)

    def given(self, y: Tensor, seen: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """The half y, mapped, and the log-determinant."""
        z, log_slope = self.map.forward(y, self._raw(seen, told))
        if self.real is not None:
            z, log_slope = torch.where(self.real, z, y), torch.where(self.real, log_slope, 0)
        return z, log_slope.flatten(1).sum(1)

    def back_given(self, z: Tensor, seen: Tensor, told: Tensor) -> Tensor:
        """The half whose image is z."""
        y = self.map.inverse(z, self._raw(seen, told))
        return y if self.real is None else torch.where(self.real, y, z)

    def _raw(self, seen: Tensor, told: Tensor) -> Tensor:
        raw: Tensor = self.network(seen, told)
        return raw.unflatten(1, (self.map.parameters, -1))

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """See `FlowMap`."""
        halves = list(y.chunk(2, 1))
        halves[not self.first], ladj = self.given(halves[not self.first], halves[self.first], told)
        return torch.cat(halves, 1), ladj

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """See `FlowMap`."""
        halves = list(z.chunk(2, 1))
        halves[not self.first] = self.back_given(halves[not self.first], halves[self.first], told)
        return torch.cat(halves, 1)


Steps = Callable[[Form], list[FlowMap]]
"""Makes the maps of a scale, given the form of its squeezed pictures."""
Prior = Callable[[Form], ChannelCoupling]
"""Makes the coupling of what is factored out, given the form of what is split."""


class Scale(nn.Module):
    """Squeezes, maps, and factors out half of the channels, whose density the other half tells.

    Args:
        form: Of the pictures that come.
        steps: Makes its maps.
        prior: Makes the coupling that maps what is factored out, given what stays, if any.
        last: Whether it is the last scale, which factors out nothing.
    """

    def __init__(self, form: Form, steps: Steps, prior: Prior | None, *, last: bool) -> None:
        super().__init__()
        self.squeeze, self.last = Squeeze(form), last
        self.steps = nn.ModuleList(steps(self.squeeze.form))
        self.prior = None if prior is None or last else prior(self.squeeze.form)

    @property
    def form(self) -> Form:
        """Of the pictures within."""
        return self.squeeze.form


class MultiScale(FlowMap):
    """Pictures to codes, in several scales (RealNVP, section 3.6, figure 4b).

    Args:
        shape: `(C, H, W)` of the pictures.
        scales: How many there are at most: pictures of one pixel are not squeezed.
        steps: Makes the maps of a scale.
        prior: Makes the coupling of what is factored out (Glow's split prior); without, it is a
            code as it is.
    """

    def __init__(
        self, shape: tuple[int, ...], scales: int, steps: Steps, prior: Prior | None = None
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList()
        form, places = Form.whole(shape), []
        for number in range(scales):
            last = number == scales - 1 or Squeeze(form).form.pixels == 1
            scale = Scale(form, steps, prior, last=last)
            self.scales.append(scale)
            form = scale.form
            if last:
                break
            form, out = form.halves()
            places.append(out.real)
        # of all values that are factored out, those that there are, in a code's order
        kept = torch.cat([each.flatten() for each in (*places, form.real)])
        self.kept: Tensor
        self.register_buffer("kept", where_built(kept.nonzero()[:, 0]), persistent=False)
        self.sizes = [tuple(each.shape) for each in (*places, form.real)]

    @property
    def _scales(self) -> list[Scale]:
        return [each for each in self.scales if isinstance(each, Scale)]

    def _walk(self, y: Tensor, told: Tensor, *, start: bool = False) -> tuple[Tensor, Tensor]:
        ladj, parts, h = y.new_zeros(len(y)), [], y
        for scale in self._scales:
            h = scale.squeeze(h)
            for step in scale.steps:
                if start:
                    step.start(h, told)  # type: ignore[operator]
                h, more = step(h, told)
                ladj = ladj + more
            if not scale.last:
                h, out = h.chunk(2, 1)
                if scale.prior is not None:
                    out, more = scale.prior.given(out, h, told)
                    ladj = ladj + more
                parts.append(out)
        z = torch.cat([each.flatten(1) for each in (*parts, h)], 1)
        return z.index_select(1, self.kept).view_as(y), ladj

    def forward(self, y: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Codes, shaped as the pictures: what is factored out first comes first."""
        return self._walk(y, told)

    @torch.no_grad()
    def start(self, y: Tensor, told: Tensor) -> None:
        """Let the maps start one after another."""
        self._walk(y, told, start=True)

    def inverse(self, z: Tensor, told: Tensor) -> Tensor:
        """The pictures of codes."""
        counts = [c * h * w for c, h, w in self.sizes]
        flat = z.new_zeros(len(z), sum(counts)).index_copy(1, self.kept, z.flatten(1))
        *parts, h = (
            each.unflatten(1, size)
            for each, size in zip(flat.split(counts, 1), self.sizes, strict=True)
        )
        for scale in reversed(self._scales):
            if not scale.last:
                out = parts.pop()
                if scale.prior is not None:
                    out = scale.prior.back_given(out, h, told)
                h = torch.cat([h, out], 1)
            for step in reversed(scale.steps):
                h = step.inverse(h, told)  # type: ignore[operator]
            h = scale.squeeze.inverse(h)
        return h
