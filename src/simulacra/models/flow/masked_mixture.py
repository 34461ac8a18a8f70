"""`MaskedMixture`: codes of which each has a mixture of Gaussians, given those before it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, Normal, constraints

from simulacra.models.flow.autoregressive_maps import MaskedNetwork
from simulacra.nn.precision import at_least_float32


class MaskedMixture(Distribution):
    """Codes of which each has a mixture of Gaussians, given those before it (MADE MoG).

    Paper: G. Papamakarios, T. Pavlakou, I. Murray, "Masked Autoregressive Flow for Density
        Estimation", 2017, arXiv 1705.07057, section 4.

    Args:
        network: Gives 3 K numbers for each code: log-weights, locations, log-scales.
        event: The shape of a row's codes.
        told: Features of a context, `(N, width)` of N rows, or `(1, 0)` where there is none.
    """

    arg_constraints: ClassVar = {}
    support = constraints.real
    bound = 3.0
    """Of the log-scales, smoothly: exp(−3) to exp(3)."""

    def __init__(self, network: MaskedNetwork, event: torch.Size, told: Tensor) -> None:
        self.network, self.told = network, told
        batch = torch.Size(told.shape[:1] if told.shape[1] else ())
        super().__init__(batch, event, validate_args=False)

    def _mixture(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, locations and scales, with the components last, of raw numbers `(N, 3 K, …)`."""
        logits, loc, log_s = at_least_float32(raw).movedim(1, -1).chunk(3, -1)
        # those that start alike would stay alike
        loc = loc + torch.linspace(-1, 1, loc.shape[-1], dtype=loc.dtype, device=loc.device)
        return logits, loc, (self.bound * torch.tanh(log_s / self.bound)).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density in nats `(N,)` of codes `(N, *event_shape)`."""
        told = self.told.expand(len(value), -1)
        codes = value.flatten(1)
        logits, loc, scale = self._mixture(self.network(codes, told))
        # not validated: what is not finite must reach the likelihood, where it is counted
        each = MixtureSameFamily(
            Categorical(logits=logits, validate_args=False),
            Normal(loc, scale, validate_args=False),
            validate_args=False,
        )
        return each.log_prob(codes).sum(1)

    @torch.no_grad()
    def sample(
        self,
        sample_shape: torch.Size | list[int] | tuple[int, ...] = (),
        temperature: float = 1.0,
    ) -> Tensor:
        """One code after another; its distance from its mean, given those before it, narrowed.

        Args:
            sample_shape: As in torch.
            temperature: Times which each distance is taken.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        n = shape[: len(shape) - len(self.event_shape)].numel()
        noise = torch.randn(self.network.dims, n).to(self.told)
        uniform = torch.rand(self.network.dims, n).to(self.told)

        def value(place: int, raw: Tensor) -> Tensor:
            logits, loc, scale = self._mixture(raw)
            p = logits.softmax(-1)
            cdf = p.cumsum(-1)
            chosen = (uniform[place, :, None] * cdf[:, -1:] >= cdf[:, :-1]).sum(-1, keepdim=True)
            code = loc.gather(1, chosen)[:, 0] + scale.gather(1, chosen)[:, 0] * noise[place]
            mean = (p * loc).sum(-1)
            return code if temperature == 1 else mean + temperature * (code - mean)

        told = self.told.expand(n, -1)
        return self.network.in_turn(told, value).view(shape)
