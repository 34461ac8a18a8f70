"""VDM: diffusion in continuous time, trained on its bound, on a schedule that is learnt."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from simulacra.ground.randomness import keyed_normal, keyed_uniform, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.diffusion.base import stratified, wide
from simulacra.models.diffusion.gaussian import GaussianDiffusion


class VDM(GaussianDiffusion):
    """Diffusion in continuous time that is trained on its own bound.

    σ_t² = sigmoid(γ), α_t² = sigmoid(−γ), of a γ that grows with time from γ_0 to γ_1. Then −log
    p(x) ≤ KL(q(z_1 | x) ‖ p(z_1)) − E log p(x | z_0) + ½ ∫ E ‖ε − ε̂(z; γ)‖² dγ (equations 11 and
    17). What a schedule does between its ends changes nothing of that, but how certain an estimate
    of the integral is: γ is drawn most often where the integrand is large.

    Paper: D. P. Kingma, T. Salimans, B. Poole, J. Ho, "Variational Diffusion Models", 2021, arXiv
        2107.00630.
    Departs from the paper: the ends of the schedule are learnt by gradients, and begin where levels
        are just told apart; between them it is found from running means of the squared integrand,
        which give at once what the paper descends to (appendix I.2); of up to 32 levels a logit of
        each is predicted, to which z adds what it says itself, of more v, in place of ε; a small
        U-Net, without features of the last bits of z; samples go DDIM's deterministic path, which
        ends in x̂, and not the random one that is bounded.

    Args:
        spec: Ordered levels, or continuous vectors.
        prediction: What the network predicts: v = α ε − σ x, or a logit of each of the levels.
            None: levels where there are at most 32.
        keywords: Of the network, see `Diffusion`.
    """

    preset: ClassVar = {"lr": 2e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"channels": 4, "hidden": (8,), "sampling_steps": 3},
        {"channels": 4, "hidden": (8, 8), "sampling_steps": 3, "context": "label"},
        {"channels": 4, "hidden": (8,), "sampling_steps": 3, "context": "vector"},
    )
    squares: Tensor
    counts: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        prediction: Literal["v", "levels"] | None = None,
        **keywords: Any,  # noqa: ANN401 (those of the base)
    ) -> None:
        few = spec.levels is not None and spec.levels <= _FEW
        super().__init__(spec, prediction or ("levels" if few else "v"), **keywords)
        self.prediction = prediction
        # half a bin in deviations: more cost v much, and levels nothing
        apart = 4 if self.predicts == "levels" else 2
        first = 2 * math.log(self.unit / 2 / apart) if spec.levels else _FIRST
        self.ends = nn.Parameter(torch.tensor([first, _LAST]))
        self.register_buffer("squares", torch.ones(_BINS))
        self.register_buffer("counts", torch.ones(_BINS))

    @property
    def exact(self) -> bool:
        """Never: the evidence lower bound."""
        return False

    @property
    def averaged(self) -> bool:
        """Draws over times are averaged."""
        return True

    # ---- the schedule ----------------------------------------------------------------------------

    def gamma(self, time: Tensor) -> Tensor:
        """γ of times in [0, 1]: in proportion."""
        low, high = self.ends.unbind()
        return low + (high - low) * time

    def signal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ."""
        gamma = self.gamma(time)
        return torch.sigmoid(-gamma).sqrt(), torch.sigmoid(gamma).sqrt()

    @property
    def chances(self) -> Tensor:
        """How often each bin of times is drawn, `(bins,)`: as the root of its mean square says."""
        root = (self.squares / self.counts).sqrt()
        return (1 - _EVEN) * root / root.sum() + _EVEN / _BINS

    def _drawn(self, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Times of uniform numbers, one over their density, and their bins; each `(N,)`."""
        chances = self.chances.to(share)
        ends = chances.cumsum(0)
        bins = torch.searchsorted(ends / ends[-1], share).clamp_max(_BINS - 1)
        within = (share * ends[-1] - (ends[bins] - chances[bins])) / chances[bins]
        return (bins + within.clamp(0, 1)) / _BINS, 1 / (chances[bins] * _BINS), bins

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """Follow the mean square of the integrand in each bin."""
        for name in ("squares", "counts"):
            own = self.get_buffer(name)
            own.mul_(_DECAY).add_(sums[name].to(own))

    # ---- the bound -------------------------------------------------------------------------------

    def _diffusion(self, y: Tensor, told: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """½ (γ_1 − γ_0) ‖ε − ε̂‖², whose integral over times is the diffusion loss; `(N,)`."""
        alpha, sigma = (wide(each, y) for each in self.signal(time))
        _, predicted = self.predict(alpha * y + sigma * noise, time, told)
        error = (predicted - noise).square().flatten(1).sum(1)
        return (self.ends[1] - self.ends[0]) / 2 * error

    def _latent(self, y: Tensor) -> Tensor:
        """KL(q(z_1 | x) ‖ N(0, 1)) in nats `(N,)`."""
        gamma = self.gamma(torch.ones_like(y.flatten(1)[:, 0]))
        noise, signal = wide(torch.sigmoid(gamma), y), wide(torch.sigmoid(-gamma), y)
        return (noise - 1 - noise.log() + signal * y.square()).flatten(1).sum(1) / 2

    def _reconstruction(self, x: Tensor, y: Tensor, noise: Tensor) -> Tensor:
        """−log p(x | z_0) in nats `(N,)`: of each level k in proportion to q(z_0 | k)."""
        alpha, sigma = (wide(each, y) for each in self.signal(torch.zeros_like(y.flatten(1)[:, 0])))
        # as the observation is seen in z_0, with what is left of noise
        seen, spread = y + sigma / alpha * noise, sigma / alpha
        if self.spec.levels is None:
            log_p = Normal(seen, spread, validate_args=False).log_prob(y)
            return -log_p.flatten(1).sum(1)
        values = self.scaled(torch.arange(self.spec.levels, device=y.device))
        logits = -((seen[..., None] - values) / spread[..., None]).square() / 2
        log_p = logits.log_softmax(-1).gather(-1, x.long()[..., None])
        return -log_p.flatten(1).sum(1)

    def _some_reconstruction(self, x: Tensor, y: Tensor) -> Tensor:
        """The same by some of the values, of many levels: nothing is learnt by it but γ_0."""
        x, y, dims = x.flatten(1), y.flatten(1), self.spec.dims
        if self.predicts != "levels" and dims > _SOME:
            some = torch.randperm(dims, device=x.device)[:_SOME]
            x, y = x[:, some], y[:, some]
        return self._reconstruction(x, y, torch.randn_like(y)) * (dims / y.shape[1])

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The negative bound in nats and its three parts; and what `moved` learns times by."""
        x, context = self.several(x, context)
        y = self.scaled(x)
        told = self.told(context, y)
        time, weight, bins = self._drawn(stratified(len(y), y))
        each = self._diffusion(y, told, time, torch.randn_like(y))
        diffusion = (weight * each).mean()
        latent = self._latent(y).mean()
        reconstruction = self._some_reconstruction(x, y).mean()
        zeros = torch.zeros(_BINS, device=y.device)
        squares = zeros.index_add(0, bins, (each.detach() / self.spec.dims).float().square())
        return {
            "loss": diffusion + latent + reconstruction,
            "diffusion": diffusion, "latent": latent, "reconstruction": reconstruction,
            "squares": squares, "counts": zeros.index_add(0, bins, torch.ones_like(each).float()),
        }  # fmt: skip

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """The bound, its integral by `draws` times and noises; nats, `(N,)`."""
        self.spec.check(x)
        y, keys = self.scaled(x), keys_of(x, seed)
        told = self.context_features(context, y)
        at, total = keyed_uniform(keys - 1, ()), self._latent(y)
        for draw in range(draws):
            noise = keyed_normal(keys + draw, (2, *self.spec.event_shape)).to(y)
            time, weight, _ = self._drawn((at + draw) / draws)
            time, weight = time.to(y), weight.to(y)
            each = weight * self._diffusion(y, told, time, noise[:, 0])
            total = total + (each + self._reconstruction(x, y, noise[:, 1])) / draws
        return -total - self.scale.log().sum()


_FIRST, _LAST = -8.0, 5.0
"""γ where a schedule begins, of vectors, and where it ends."""
_FEW = 32
"""Levels, of each of which the network gives a logit."""
_BINS = 32
"""Of times, in each of which the chance of a time is one number."""
_DECAY = 0.99
"""Of what is remembered of the integrand, for each step."""
_SOME = 256
"""Values of an observation by which its reconstruction is estimated in training."""
_EVEN = 0.1
"""Share of times that are drawn evenly."""
