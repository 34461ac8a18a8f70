"""`Dequantiser`: noise that makes levels continuous, drawn for the levels that it is added to."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, relu

from simulacra.ground.spec import DataSpec
from simulacra.models.flow.elementwise import Elementwise
from simulacra.models.flow.networks import GlowNetwork
from simulacra.models.flow.scales import ChannelCoupling, Form, Squeeze
from simulacra.nn.levels import as_input


class Dequantiser(nn.Module, ABC):
    """q(u | x), by an invertible map of uniform noise: log P(x) ≥ E_q log p(x + u) − log q(u | x).

    Paper: J. Ho, X. Chen, A. Srinivas, Y. Duan, P. Abbeel, "Flow++: Improving Flow-Based Generative
        Models with Variational Dequantization and Architecture Design", 2019, arXiv 1902.00275,
        section 3.1, equation 12.

    Noise that is left as it is is uniform; so it starts, or nearly, as its maps start.
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


class PictureDequantiser(Dequantiser):
    """Noise of pictures, by couplings of a checkerboard that see the levels.

    Args:
        spec: The form of the pictures.
        couplings: Their number; black and white fields are changed by turns.
        map_: What is done to each value.
        hidden: Channels of the couplings' networks; half as many features are made of the levels.
        told: Width of a context's features.
    """

    def __init__(
        self, spec: DataSpec, couplings: int, map_: Elementwise, hidden: int, told: int
    ) -> None:
        super().__init__()
        self.spec = spec
        self.squeeze = Squeeze(Form.whole(spec.event_shape))
        form, features = self.squeeze.form, max(1, hidden // 2)
        self.features = nn.Conv2d(form.channels, features, 3, padding=1)

        def network(inputs: int, outputs: int, told: int) -> GlowNetwork:
            return GlowNetwork(inputs + features, hidden, outputs, told)

        self.couplings = nn.ModuleList(
            ChannelCoupling(form, map_, network, told, first=bool(i % 2)) for i in range(couplings)
        )

    def bend(self, v: Tensor, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """See `Dequantiser`."""
        levels = self.squeeze(as_input(x, self.spec, v.dtype))
        seen = relu(self.features(levels))
        halves, ladj = list(self.squeeze(v).chunk(2, 1)), v.new_zeros(len(v))
        for each in self.couplings:
            assert isinstance(each, ChannelCoupling)
            changed, other = (0, 1) if each.first else (1, 0)
            given = torch.cat([halves[other], seen], 1)
            halves[changed], more = each.given(halves[changed], given, told)
            ladj = ladj + more
        w: Tensor = self.squeeze.inverse(torch.cat(halves, 1))
        return w, ladj
