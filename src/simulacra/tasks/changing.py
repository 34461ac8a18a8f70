"""Which directions among a generator's codes change what it generates the most."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.randomness import seeded
from simulacra.models.game import Game
from simulacra.models.inversion import unit_of
from simulacra.models.modes import evaluating, scoring

_CODES = 32
"""Of the prior, at which it is measured."""
_STEP = 0.1
"""Along a unit to either side: wide enough for more than the nearest kink of a network."""


@scoring()
def changing(model: Game, context: Tensor | None = None, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Directions among codes, in the order of how much they change what is generated.

    They are the eigenvectors of the mean of JᵀJ over the prior, where J is how values change with
    units of a code; the eigenvalues add up to all that changes.

    Paper: P. Constantine, E. Dow, Q. Wang, "Active subspace methods in theory and practice", 2013,
        arXiv 1304.2070, equation 1.2, for one output.

    Args:
        model: In eval mode meanwhile.
        context: What all codes are told, `(1, …)`.
        seed: Of the codes.

    Returns:
        `(units, units)` float64 on the CPU, a direction in each row; and the share of each,
        `(units,)`.
    """
    told = None if context is None else context.expand(_CODES, *context.shape[1:])
    with evaluating(model):
        with seeded(seed):
            z = model.prior(_CODES, told)
        flat = z.flatten(1)
        slopes = []
        for unit in torch.eye(flat.shape[1], dtype=z.dtype, device=z.device):
            there, back = (
                model.generate((flat + step * unit).view_as(z), told) for step in (_STEP, -_STEP)
            )
            slopes.append(((there - back) / (2 * _STEP) / unit_of(model)).flatten().cpu().double())
    all_slopes = torch.stack(slopes)
    values, vectors = torch.linalg.eigh(all_slopes @ all_slopes.T)
    axes, values = vectors.T.flip(0), values.flip(0).clamp_min(0)
    # the same direction whichever way it is found
    sign = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return axes * sign, values / values.sum().clamp_min(1e-300)
