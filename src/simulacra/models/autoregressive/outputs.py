"""`Output`: what a network says of a value, as a distribution over its levels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from simulacra.ground.errors import UsageError
from simulacra.models.takes import Takes
from simulacra.nn.levels import categorical
from simulacra.nn.logistic_mixture import DiscretisedLogisticMixture
from simulacra.nn.precision import at_least_float32

OutputKind = Literal["categorical", "gaussian", "logistics"]

COMPONENTS = 10
"""Of a mixture of logistics."""

_NARROWEST = -7.0
"""The least log-scale, in the units of inputs: below, only a float would tell."""


def takes_output(takes: Takes, output: str) -> Takes:
    """What a model takes with this output: what is no probability of each level needs an order.

    Args:
        takes: What it takes otherwise.
        output: See `Output`.
    """
    return takes if output == "categorical" else replace(takes, unordered=False)


class Output(nn.Module):
    """Numbers of a network `(…, numbers)` as a distribution `(…)` over levels.

    - `categorical`: a logit of each level, which knows nothing of their order (arXiv 1601.06759,
      section 3.3).
    - `gaussian`: one number regressed, the middle of a normal density over the levels there are,
      whose spread is one learnt number for all values. Its likelihood is highest where its mean is
      that of the data, as the squared error is least there; away from the ends the middle is the
      mean.
    - `logistics`: a mixture of logistic densities over the bins (arXiv 1701.05517, equation 2).

    Args:
        kind: One of these.
        levels: How many there are.

    Raises:
        UsageError: If there is no such kind.
    """

    def __init__(self, kind: OutputKind, levels: int) -> None:
        super().__init__()
        if kind not in get_args(OutputKind):
            raise UsageError(f"output is categorical, gaussian or logistics, got {kind!r}")
        self.kind, self.levels = kind, levels
        self.numbers = {"categorical": levels, "gaussian": 1, "logistics": 3 * COMPONENTS}[kind]
        if kind == "gaussian":
            # of a tenth of the range to begin with
            self.log_spread = nn.Parameter(torch.tensor(math.log(0.2)))
        elif kind == "logistics":
            # spread over the range, or all components would learn the same
            self.middles: Tensor
            self.register_buffer("middles", torch.linspace(-1, 1, COMPONENTS), persistent=False)

    def forward(self, raw: Tensor) -> Distribution:
        """The distribution of each value, in float32 at least; not validated.

        Args:
            raw: `(…, numbers)`; locations are in the units of inputs, −1 … 1.
        """
        if self.kind == "categorical":
            return categorical(raw)
        raw = at_least_float32(raw)
        half = self.levels / 2
        if self.kind == "gaussian":
            return categorical(self.logits(raw))
        logits, loc, log_scale = raw.chunk(3, -1)
        # a fifth of the range to begin with
        scale = (log_scale - 2).clamp_min(_NARROWEST).exp()
        return DiscretisedLogisticMixture(
            logits, (loc + self.middles.to(raw.dtype) + 1) * half, scale * half, self.levels,
            validate_args=False,
        )  # fmt: skip

    def logits(self, raw: Tensor) -> Tensor:
        """The log-probability of every level, `(…, levels)`, up to what all of them share.

        Args:
            raw: `(…, numbers)`.
        """
        if self.kind == "categorical":
            return raw
        if self.kind == "logistics":
            found = self(raw)
            assert isinstance(found, DiscretisedLogisticMixture)
            return found.level_log_probs()
        raw = at_least_float32(raw)
        # no level has the tails, or the ends would be likelier than what is regressed near them
        middles = torch.arange(self.levels, dtype=raw.dtype, device=raw.device) + 0.5
        spread = self.log_spread.to(raw.dtype).clamp_min(_NARROWEST).exp()
        return -0.5 * ((middles * (2 / self.levels) - 1 - raw) / spread).square()
