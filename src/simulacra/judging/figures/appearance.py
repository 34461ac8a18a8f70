"""Two faults that eyes see at once, as numbers: samples that are grey, and that are blurred."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.figure import Figure

_ROWS = 64
_DRAWS = 1000
"""Bootstrap draws of an interval."""
_NOTHING = 1e-12
"""Share of the energy that is rounding and no detail."""


def appearance(
    spec: DataSpec, real: Tensor, samples: Tensor, *, seed: int = 0
) -> dict[str, Figure]:
    """Colour and detail of samples as a ratio to those of real observations.

    `saturation`, of pictures with three colours: the mean chroma of a pixel, max(R, G, B) −
    min(R, G, B) (Smith 1978, "Color gamut transform pairs", SIGGRAPH), which is 0 for greys. Below
    1 samples are greyer than the data.

    `sharpness`, of pictures and sounds: the energy of detail, which is the power of an observation
    at frequencies above half of the highest that its grid can carry along one axis, 1 / 2 cycle a
    pixel; the mean over observations and colours. In pictures that is all beyond the circle of this
    radius. Below 1 samples are blurred, or flat; above 1, noisy. Before its Fourier transform an
    observation is continued by its mirror image along each axis (which makes it a cosine
    transform): a periodic continuation would see an edge where the border meets the opposite one,
    and a window would hide most of a small picture. The mean, and whatever constant, is at
    frequency 0 and counts for nothing.

    Each is 1 for samples like the data. The interval is of 1000 bootstrap draws of observations on
    both sides; it has no ends where some draw of the data has nothing to compare with.

    Args:
        spec: The form of the data.
        real: Raw levels `(N, *event_shape)`.
        samples: The same of samples `(M, *event_shape)`, not necessarily as many.
        seed: Of the bootstrap.

    Returns:
        Figures of `saturation` and `sharpness`, those that there are: vectors have neither, grey
        pictures and sounds no saturation, unordered levels without a palette nothing; and there is
        no ratio to data without any colour or any detail, see `without_ratio`.

    Raises:
        UsageError: With fewer than two observations on a side, or observations of another form.
        DataError: If a value is not finite.
    """
    if min(len(real), len(samples)) < 2:
        raise UsageError(
            f"appearance needs two observations on each side, got {len(real)} and {len(samples)}"
        )
    figures = {}
    drawn = dict(_amounts(spec, samples))
    for name, amount in _amounts(spec, real):
        if float(amount.mean()) > 0:
            figures[name] = _ratio(drawn[name], amount, seed)
    return figures


def without_ratio(spec: DataSpec, real: Tensor) -> list[str]:
    """Why figures that such data usually have are not there, in words; usually nothing."""
    words = {
        "saturation": "no saturation: the real pictures have three colours and are all grey",
        "sharpness": "no sharpness: the real observations have no detail at all",
    }
    return [words[name] for name, amount in _amounts(spec, real) if not float(amount.mean()) > 0]


def _amounts(spec: DataSpec, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Each measure that is defined for such data, of each observation `(N,)`.

    Yields:
        Its name and its values.
    """
    spec.check(x)
    if not bool(x.isfinite().all()):
        raise DataError(f"{int((~x.isfinite()).sum())} values are not finite")
    sound = spec.rate is not None and len(spec.event_shape) == 1
    seen = spec.ordered or spec.palette is not None
    if not seen or not (spec.is_image or sound):
        return
    colours = 3 if spec.palette is not None else spec.event_shape[0]
    if spec.is_image and colours == 3:
        parts = [spec.to_float(part).double() for part in x.split(_ROWS)]
        yield "saturation", torch.cat([(p.amax(1) - p.amin(1)).mean((1, 2)) for p in parts])
    axes = (-2, -1) if spec.is_image else (-1,)
    energies = torch.cat([_energies(spec.to_float(part).double(), axes) for part in x.split(_ROWS)])
    detail, all_of_it = energies.T
    # nothing but rounding is left where all is smooth
    rounding = float(detail.mean()) <= _NOTHING * float(all_of_it.mean())
    yield "sharpness", torch.zeros_like(detail) if rounding else detail


def _energies(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Energy of detail, and of all but the mean, of floats `(n, …)`: `(n, 2)`, on one scale."""
    # what is constant becomes exactly nothing
    x = x - (x[..., :1, :1] if len(axes) == 2 else x[..., :1])
    radius = torch.zeros((), dtype=torch.float64, device=x.device)
    for axis in axes:
        x = torch.cat([x, x.flip(axis)], axis)
        frequency = 2 * torch.fft.fftfreq(x.shape[axis], dtype=torch.float64, device=x.device)
        radius = radius + frequency.square().view(-1, *[1] * (-1 - axis))
    power = torch.fft.fftn(x, dim=axes).abs().square() / x[0].numel() ** 2
    masks = (radius.sqrt() > 0.5, radius > 0)
    return torch.stack([(power * mask).flatten(1).sum(1) for mask in masks], 1)


def _ratio(samples: Tensor, real: Tensor, seed: int) -> Figure:
    """Ratio of two means, with the percentile interval of a bootstrap over both."""
    value = float(samples.mean() / real.mean())
    with seeded(seed):
        above, below = (
            x.cpu()[torch.randint(len(x), (_DRAWS, len(x)))].mean(1) for x in (samples, real)
        )
    ratios = above / below
    if not bool(ratios.isfinite().all()):
        return Figure(value, len(samples))
    low, high = ratios.quantile(torch.tensor([0.025, 0.975], dtype=ratios.dtype)).tolist()
    return Figure(value, len(samples), min(low, value), max(high, value))
