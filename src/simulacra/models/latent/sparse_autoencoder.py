"""Sparse autoencoder: more hidden units than values, of which few are active at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Decoding, Encoding
from simulacra.models.standardised import Standardised
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding
from simulacra.nn.levels import as_input, nearest_levels
from simulacra.nn.precision import at_least_float32

Penalty = Literal["kl", "l1"]


class SparseAutoencoder(Encoding, Decoding, Standardised):
    """One layer of sigmoid units, more than there are values, each of which is seldom active.

    Without a penalty so many units could copy every value. The loss is the squared error of ordered
    levels, from −1 to 1, or of standardised vectors, and a penalty: Σ_j KL(ρ ‖ ρ̂_j) between coins
    that fall heads as often as unit j should be active, and as it is in the mean of a batch; or
    the sum of all activations. A unit's code is how active it is, from 0 to 1.

    Paper: A. Ng, "Sparse autoencoder", 2011, CS294A lecture notes, Stanford University; H. Lee,
        C. Ekanadham, A. Ng, "Sparse deep belief net model for visual area V2", 2008, NIPS 20, for
        the target of each unit.
    Departs from the paper: the mean activation is that of a batch, not of all data; the decoder
        is linear; a whole observation instead of patches; no weight decay but the training's.

    Args:
        spec: Ordered levels, or continuous vectors.
        times: Hidden units for each value of an observation.
        penalty: `kl` towards the target, or `l1`, Σ_j of the activation.
        target: Mean activation ρ of each unit, of `kl`.
        weight: Of the penalty.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    takes = Takes(unordered=False)
    preset = {"lr": 3e-3, "batch": 256}
    smaller = ({"times": 1},)
    small = ({"times": 2}, {"times": 1, "penalty": "l1"})
    activation: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        times: int = 2,
        penalty: Penalty = "kl",
        target: float = 0.05,
        weight: float = 3.0,
    ) -> None:
        if penalty not in get_args(Penalty):
            raise UsageError(f"penalty is kl or l1, got {penalty!r}")
        if times < 1 or not 0 < target < 1 or weight < 0:
            raise UsageError(
                "times is positive, target between 0 and 1 and weight not negative, got "
                f"{times}, {target} and {weight}"
            )
        super().__init__(spec)
        self.times, self.penalty, self.target, self.weight = times, penalty, target, weight
        self.told = ContextEmbedding("none", spec)
        units = times * spec.dims
        self.encoding, self.decoding = nn.Linear(spec.dims, units), nn.Linear(units, spec.dims)
        # units begin as active as they shall be
        nn.init.constant_(self.encoding.bias, math.log(target / (1 - target)))
        self.register_buffer("activation", torch.full((units,), target))

    def _values(self, x: Tensor) -> Tensor:
        """Observations in units of their own, `(N, D)`."""
        y = x if self.spec.levels is not None else self.standardised(x)
        return as_input(y, self.spec, self.shift.dtype).flatten(1)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """How active each unit is, `(N, times · D)`, from 0 to 1."""
        self.spec.check(x)
        y = self._values(x)
        self.told(context, y)
        return self.encoding(y).sigmoid()

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The decoder's value in each place, of levels the nearest one."""
        self.told(context, z)
        y = self.decoding(z).view(-1, *self.spec.event_shape)
        return nearest_levels(y * self.scale + self.shift, self.spec)

    def _error(self, y: Tensor, codes: Tensor) -> Tensor:
        """The squared error of what codes decode to, summed over values, `(N,)`."""
        return (at_least_float32(self.decoding(codes)) - y).square().sum(1)

    def _penalty(self, mean: Tensor) -> Tensor:
        """Of the mean activation of each unit, `(units,)`."""
        if self.penalty == "l1":
            return mean.sum()
        # a sigmoid that rounds to 0 or 1 has no logarithm of one of them
        least = torch.finfo(mean.dtype).eps
        mean, target = mean.clamp(least, 1 - least), torch.tensor(self.target).to(mean)
        on = target * (target / mean).log()
        return (on + (1 - target) * ((1 - target) / (1 - mean)).log()).sum()

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The squared error, and the penalty of what training batches last activated, `(N,)`."""
        codes = at_least_float32(self.encode(x, context))
        return self._error(self._values(x), codes) + self.weight * self._penalty(self.activation)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The squared error and the penalty of the batch; and how active units are.

        Returns:
            `loss`; `reconstruction`, the error; `activation`, the mean of all units; and the share
            of units that are `near` the target, within a tenth of it.
        """
        codes = at_least_float32(self.encode(x, context))
        mean = codes.mean(0)
        error = self._error(self._values(x), codes).mean()
        off = (self.activation - self.target).abs()
        return {
            "loss": error + self.weight * self._penalty(mean),
            "reconstruction": error,
            "activation": mean.mean(),
            "near": (off < _NEAR * self.target).float().mean(),
            "activations": torch.cat([codes.detach().sum(0), codes.new_ones(1) * len(x)]),
        }

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """Remember how active each unit is, over the last hundred batches or so."""
        *total, count = sums["activations"].split([len(self.activation), 1])
        self.activation.lerp_((total[0] / count).to(self.activation), _FORGETS)


_NEAR = 0.1
"""Of the target: what counts as reached."""
_FORGETS = 0.01
