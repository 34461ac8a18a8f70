"""Mixtures of discretised distributions over integer levels."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from simulacra.nn.distributions import DiscretisedLogistic, log1m_exp


class DiscretisedLogisticMixture(Distribution):
    """A mixture of logistic densities over bins (arXiv 1701.05517, equation 2).

    Args:
        logits: Of the components `(…, K)`, need not be normalised.
        loc: Locations `(…, K)` in units of levels: k + 0.5 is the middle of level k.
        scale: Scales `(…, K)` in units of levels, positive.
        levels: Number of levels.
        validate_args: As in torch.
    """

    arg_constraints: ClassVar = {
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 1),
        "scale": constraints.independent(constraints.positive, 1),
    }

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int,
        *, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self.logits, self.loc, self.scale = torch.broadcast_tensors(logits, loc, scale)
        self.levels = levels
        super().__init__(self.logits.shape[:-1], validate_args=validate_args)
        self.components = DiscretisedLogistic(
            self.loc, self.scale, levels, validate_args=validate_args
        )

    @property
    def support(self) -> Any:  # noqa: ANN401 (torch's constraints have no public type)
        """The integers 0 … levels − 1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """The expected level."""
        return (self.logits.softmax(-1) * self.components.mean).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log-probability of integer levels, in nats; computed so that no tail underflows."""
        if self._validate_args:
            self._validate_sample(value)
        each = self.components.log_prob(value.unsqueeze(-1))
        return (self.logits.log_softmax(-1) + each).logsumexp(-1)

    def level_log_probs(self) -> Tensor:
        """log-probability of every level, `(…, levels)`: quicker than `log_prob` for each."""
        inverse = 1 / self.scale.unsqueeze(-1)
        edges = torch.arange(1, self.levels, dtype=self.loc.dtype, device=self.loc.device)
        z = (edges - self.loc.unsqueeze(-1)) * inverse
        # log(σ(b) − σ(a)) = log σ(b) + log σ(−a) + log(1 − exp(a − b)), and the outer bins are open
        below = logsigmoid(z)
        above = below - z
        between = below[..., 1:] + above[..., :-1] + log1m_exp(inverse)
        each = torch.cat([below[..., :1], between, above[..., -1:]], -1)
        return (self.logits.log_softmax(-1).unsqueeze(-1) + each).logsumexp(-2)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Levels as int64: a component, then a level of it."""
        sample_shape = torch.Size(sample_shape)
        flat = self.logits.softmax(-1).reshape(-1, self.logits.shape[-1])
        chosen = torch.multinomial(flat, sample_shape.numel(), replacement=True)
        chosen = chosen.T.reshape(*sample_shape, *self.batch_shape, 1)
        return self.components.sample(sample_shape).gather(-1, chosen).squeeze(-1)
