"""Inversion: the codes whose observations come nearest to given ones, gone to along gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from simulacra.models.game import Game
from simulacra.models.standardised import Standardised

RESTARTS = 8
"""Codes that are gone from for each observation."""
STEPS = 100
"""That each of them goes. Twice as many found hardly less, see `nearing`."""
_RATE = 0.2
_MEMORY = (0.9, 0.99)


def unit_of(model: Game) -> Tensor | float:
    """What differences are divided by: half the range of levels; of vectors the data's spread."""
    if model.spec.levels is not None:
        return model.spec.levels / 2
    return model.scale if isinstance(model, Standardised) else 1.0


def nearing(
    model: Game,
    x: Tensor,
    starts: Tensor,
    context: Tensor | None = None,
    *,
    observed: Tensor | None = None,
    misfit: float,
    randomised: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Codes on their way to observations, and what they are taken to cost, step after step.

    A code costs |G(z) − x|² / 2s² + |z|² / 2 nats: −log p(z | x) but for a constant, if codes are
    standard normal and what a generator lacks of an observation is normal noise of deviation s, its
    `misfit`. Differences are in `unit_of`, of levels to the middle of a bin. Adam goes down it
    (D. Kingma, J. Ba 2014, arXiv 1412.6980) at a rate that falls to nothing as a cosine. Each code
    goes for itself, whatever goes beside it.

    Papers: J.-Y. Zhu, P. Krähenbühl, E. Shechtman, A. Efros, "Generative Visual Manipulation on the
        Natural Image Manifold", 2016, arXiv 1609.03552, section 3.1; Z. Lipton, S. Tripathi,
        "Precise Recovery of Latent Vectors from Generative Adversarial Networks", 2017, arXiv
        1702.04782; A. Bora, A. Jalal, E. Price, A. Dimakis, "Compressed Sensing using Generative
        Models", 2017, arXiv 1703.03208, equation 3, of which are the restarts and the pull to the
        prior.

    Args:
        model: Where nothing is random or learns: in eval mode.
        x: Observations `(N, *event_shape)`.
        starts: Codes that are gone from, `(N, restarts, …)`.
        context: One row for each observation.
        observed: Booleans `(N, *event_shape)`: the values that count, all without.
        misfit: The deviation s.
        randomised: Whether what is wanted has noise of that deviation, and a code is pulled to its
            own start and not to 0: of a linear generator its end is then a draw from p(z | x), and
            says nothing of what it costs (J. Bardsley et al. 2014, "Randomize-Then-Optimize").

    Yields:
        Codes of the form of `starts`, and the cost of each, `(N, restarts)`; first those of the
        starts themselves.
    """
    restarts = starts.shape[1]
    unit, middle = unit_of(model), 0.0 if model.spec.levels is None else 0.5
    wanted = (x.to(starts.dtype) + middle).repeat_interleave(restarts, 0)
    counted = None if observed is None else observed.repeat_interleave(restarts, 0)
    told = None if context is None else context.repeat_interleave(restarts, 0)
    z = starts.flatten(0, 1).detach().clone()
    centre = z.clone() if randomised else torch.zeros_like(z)
    if randomised:
        wanted = wanted + misfit * unit * torch.randn_like(wanted)
    mean, square = torch.zeros_like(z), torch.zeros_like(z)
    slow, slower = _MEMORY
    for step in range(STEPS + 1):
        with torch.enable_grad():
            at = z.clone().requires_grad_()
            gap = (model.generate(at, told) - wanted) / unit
            gap = gap if counted is None else torch.where(counted, gap, 0.0)
            apart = ((at - centre) ** 2).flatten(1).sum(1)
            costs = (gap**2).flatten(1).sum(1) / (2 * misfit**2) + apart / 2
            (slope,) = torch.autograd.grad(costs.sum(), at)
        yield z.unflatten(0, starts.shape[:2]), costs.detach().view(-1, restarts)
        mean = slow * mean + (1 - slow) * slope
        square = slower * square + (1 - slower) * slope**2
        rate = _RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
        size = (square / (1 - slower ** (step + 1))).sqrt() + 1e-8
        z = z - rate / (1 - slow ** (step + 1)) * mean / size


def chosen(codes: Tensor, places: Tensor) -> Tensor:
    """Of each row's codes `(N, restarts, …)` the one at its place `(N,)`."""
    return codes[torch.arange(len(codes), device=codes.device), places]
