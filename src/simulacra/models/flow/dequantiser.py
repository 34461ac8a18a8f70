"""`Dequantiser`: noise that makes levels continuous, drawn for the levels that it is added to."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid


class Dequantiser(nn.Module, ABC):
    """q(u | x), by an invertible map of uniform noise: log P(x) ≥ E_q log p(x + u) − log q(u | x).

    Paper: J. Ho, X. Chen, A. Srinivas, Y. Duan, P. Abbeel, "Flow++: Improving Flow-Based Generative
        Models with Variational Dequantization and Architecture Design", 2019, arXiv 1902.00275,
        section 3.1, equation 12.

    Noise that is left as it is is uniform; so it starts.
    """

    @abstractmethod
    def bend(self, v: Tensor, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """A map of all numbers, given the levels x; and its log-determinant `(N,)`."""

    def forward(self, x: Tensor, uniform: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """The noise u in [0, 1], and log q(u | x) in nats `(N,)`.

        Args:
            x: Levels `(N, *event_shape)`.
            uniform: Draws in [0, 1), shaped as x.
            told: Features of the context, `(N, width)`.
        """
        # a draw may be 0 or be rounded to 1, where the logit ends
        step = torch.finfo(uniform.dtype).eps / 4
        v = torch.logit(uniform.clamp(step, 1 - 2 * step))
        w, ladj = self.bend(v, x, told)
        # from uniform to v, to w, to σ(w)
        slopes = logsigmoid(w) + logsigmoid(-w) - logsigmoid(v) - logsigmoid(-v)
        return torch.sigmoid(w), -(ladj + slopes.flatten(1).sum(1))
