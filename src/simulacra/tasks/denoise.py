"""Taking noise from observations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Model
from simulacra.models.modes import evaluating, scoring
from simulacra.models.refining import Denoising
from simulacra.tasks.sample import device_of

_AT_ONCE = 64
"""Observations together, where they are small."""

_MAD = 0.6745
"""Median of the absolute value of a standard normal."""


@dataclass(frozen=True, eq=False)
class Denoised:
    """What is left of noisy observations, on the CPU.

    Args:
        x: Of the form of the data, `(N, *event_shape)`: int64 levels, or floats.
        noise: Standard deviation of the noise that was taken from each, `(N,)` float64, in the
            units of `denoise`.
    """

    x: Tensor
    noise: Tensor


def denoiser(model: Model) -> Denoising:
    """The model, if it takes noise from observations of its data.

    Raises:
        MissingCapability: If it does not.
    """
    name, spec = type(model).__name__, model.spec
    if not isinstance(model, Denoising):
        raise MissingCapability(
            f"{name} takes no noise from observations: use ddpm, vdm or flow-matching"
        )
    if spec.levels is not None and not spec.is_image:
        raise MissingCapability(
            f"noise is taken from pictures and vectors, not from sounds {spec.event_shape}: their "
            "levels are finer where it is quiet, so noise has no one size in them"
        )
    return model


@scoring()
def denoise(
    model: Model, x: Tensor, noise: float | None = None, *, context: Tensor | None = None
) -> Denoised:
    """The observations that a model expects behind noisy ones, in one call of its network.

    The noise is taken to be normal, of one size everywhere and independent in each value. What is
    expected is a mean: the more noise there was, the fewer details it has.

    Args:
        model: One that denoises, such as ddpm, vdm or flow-matching; in eval mode meanwhile.
        x: `(N, *event_shape)`: of pictures levels, or float intensities from 0 to 1, as
            `DataSpec.to_float` has them, which noise may have moved beyond; or vectors.
        noise: Its standard deviation: of pictures in intensities, of vectors in deviations of the
            training data. Of pictures that of each is estimated without, see `noise_of`.
        context: One row for each.

    Raises:
        MissingCapability: If the model does not denoise, or not such data.
        UsageError: If `x` is not of the form of the data, or the noise is no number of at least 0,
            or it is missing for vectors.

    Example:
        >>> import simulacra as sim, torch
        >>> model = sim.build("ddpm", sim.DataSpec((1, 8, 8), levels=17), {"channels": 8})
        >>> noisy = 0.5 + 0.2 * torch.randn(3, 1, 8, 8)
        >>> found = sim.denoise(model, noisy, 0.2)
        >>> found.x.shape, found.x.dtype, found.noise.tolist()
        (torch.Size([3, 1, 8, 8]), torch.int64, [0.2, 0.2, 0.2])
    """
    able, spec = denoiser(model), model.spec
    values = _values(model, x)
    if noise is None:
        if not spec.is_image:
            raise UsageError(
                f"the noise of vectors {spec.event_shape} cannot be seen in one of them: tell its "
                "size, in deviations of the training data"
            )
        sizes = noise_of(values)
    elif 0 <= noise < math.inf:
        sizes = torch.full((len(x),), float(noise), dtype=torch.float64)
    else:
        raise UsageError(f"noise is a standard deviation of at least 0, got {noise!r}")
    # of levels both are told in levels
    unit = 1 if spec.levels is None else spec.levels - 1
    device, clean = device_of(model), torch.empty(values.shape)
    clean = clean if spec.levels is None else clean.long()

    def without(rows: Tensor, size: float) -> Tensor:
        own = None if context is None else context[rows.to(context.device)].to(device)
        return able.denoise((values[rows] * unit).to(device), size * unit, own).cpu()

    def first(rows: Tensor, size: float, n: int) -> Tensor:
        return without(rows[:n], size)

    with evaluating(model), torch.no_grad():
        for size in sizes.unique().tolist():
            (rows,) = torch.where(sizes == size)
            at_once = rows_at_once(partial(first, rows, size), min(len(rows), _AT_ONCE))
            for lot in rows.split(at_once):
                clean[lot] = without(lot, size)
    return Denoised(clean, sizes)


def _values(model: Model, x: Tensor) -> Tensor:
    """Observations as floats on the CPU: intensities, or vectors as they are held.

    Raises:
        UsageError: If they are of another form, or there are none.
    """
    spec = model.spec
    if spec.levels is None or not x.is_floating_point():
        spec.check(x)
        values = x.float() if spec.levels is None else spec.to_float(x)
    elif x.shape[1:] != spec.event_shape:
        raise UsageError(f"expected (N, *{spec.event_shape}), got {tuple(x.shape)}")
    else:
        values = x.float()
    if not len(x) or not bool(values.isfinite().all()):
        raise UsageError("denoise needs at least one observation, and finite numbers")
    return values.cpu()


def noise_of(pictures: Tensor) -> Tensor:
    """Standard deviation of the noise in each picture, estimated from its finest differences.

    The median of the absolute diagonal differences of neighbours, of which most hold noise alone
    where a picture is smooth, over that of a standard normal (D. L. Donoho, I. M. Johnstone, "Ideal
    spatial adaptation by wavelet shrinkage", 1994, section 4.2.1; of Haar's wavelets, at every
    place). Fine texture adds to it, and black and white, beyond which noise is cut off, take from
    it.

    Args:
        pictures: Floats `(N, C, H, W)`, at least 2 × 2.

    Returns:
        `(N,)` float64, in the units of the pictures.

    Example:
        >>> import torch
        >>> from simulacra.tasks.denoise import noise_of
        >>> _ = torch.manual_seed(0)
        >>> round(float(noise_of(0.5 + 0.1 * torch.randn(1, 1, 64, 64))), 2)
        0.1
    """
    if min(pictures.shape[2:]) < 2:
        raise UsageError(
            f"noise is estimated from neighbours, and pictures {tuple(pictures.shape[1:])} are "
            "lines: tell its size"
        )
    x = pictures.double()
    diagonal = (
        x[..., :-1, :-1] - x[..., :-1, 1:] - x[..., 1:, :-1] + x[..., 1:, 1:]
    ) / 2  # fmt: skip
    return diagonal.abs().flatten(1).median(1).values / _MAD
