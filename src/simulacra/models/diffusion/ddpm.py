"""DDPM: diffusion in many small steps, learnt by predicting what was mixed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Normal

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_normal, keyed_uniform, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.diffusion.base import stratified, wide
from simulacra.models.diffusion.gaussian import GaussianDiffusion, Prediction
from simulacra.models.stages import Stage
from simulacra.nn.distributions import DiscretisedNormal
from simulacra.nn.precision import double


class DDPM(GaussianDiffusion):
    """Noise in T small steps on a fixed schedule, and a network that predicts what was mixed.

    q(z_t | x) = N(√ᾱ_t x, 1 − ᾱ_t), with ᾱ on a cosine schedule. Trained on the squared error of
    what the network predicts (equation 14; where it predicts levels, of v), which is no likelihood.
    The likelihood is bounded by the paper's own terms (equation 5), L_T + Σ L_{t−1} + L_0, of which
    the sum over times is estimated: a draw is a time, chosen as often as its weight says, with a
    noise of its own, and draws are averaged.

    Paper: J. Ho, A. Jain, P. Abbeel, "Denoising Diffusion Probabilistic Models", 2020, arXiv
        2006.11239; cosine schedule after A. Nichol, P. Dhariwal, 2021, arXiv 2102.09672, equation
        17; v-prediction after T. Salimans, J. Ho, 2022, arXiv 2202.00512; drawn by DDIM, arXiv
        2010.02502.
    Departs from the paper: a small U-Net; the schedule begins with the noise at which levels are
        just told apart, however many there are, where Nichol and Dhariwal's offset is for 256, and
        ends with a hundred times as much of it as of the observation; samples are deterministic
        given their noise, in 50 steps unless told otherwise; of the bound, p(z_{t−1} | z_t) has the
        variance of q(z_{t−1} | z_t, x), and the network's x̂ is not kept on [−1, 1].

    Args:
        spec: Ordered levels, or continuous vectors.
        steps: T, of the bound and of what is learnt; samples take fewer.
        prediction: What the network predicts: v = α ε − σ x, the noise ε, or a logit of each of the
            levels.
        keywords: Of the network, see `Diffusion`.
    """

    preset: ClassVar = {"lr": 2e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"channels": 4, "hidden": (8,), "steps": 100, "sampling_steps": 3},
        {
            "channels": 4, "hidden": (8, 8), "steps": 100, "sampling_steps": 3,
            "prediction": "noise", "context": "label",
        },
        {"channels": 4, "hidden": (8,), "steps": 100, "sampling_steps": 3, "context": "vector"},
        {
            "channels": 4, "hidden": (8,), "steps": 100, "sampling_steps": 3,
            "prediction": "levels",
        },
    )  # fmt: skip
    gamma: Tensor
    """−log of the ratio of signal to noise after each step, `(T + 1,)`; −∞ before the first."""

    def __init__(
        self,
        spec: DataSpec,
        *,
        steps: int = 1000,
        prediction: Literal["v", "noise", "levels"] = "v",
        **keywords: Any,  # noqa: ANN401 (those of the base)
    ) -> None:
        super().__init__(spec, prediction, **keywords)
        if steps < 2:
            raise UsageError(f"steps is at least 2, got {steps}")
        self.steps, self.prediction = steps, prediction
        # the cosine schedule in its angle: tan is the ratio of noise to signal
        bin_ = _FIRST_OF_LEVELS if prediction == "levels" else _FIRST
        first = math.atan(self.unit * bin_ if spec.levels else _FIRST_OF_VECTORS)
        angle = torch.linspace(first, math.atan(_LAST), steps, dtype=torch.float64)
        gamma = torch.cat([torch.tensor([-math.inf]), 2 * angle.tan().log()])
        self.register_buffer("gamma", gamma.to(torch.get_default_dtype()), persistent=False)

    @property
    def alpha_bar(self) -> Tensor:
        """ᾱ after each step, `(T + 1,)`: what is left of the variance of an observation."""
        return torch.sigmoid(-self.gamma)

    @property
    def exact(self) -> bool:
        """Never: the evidence lower bound."""
        return False

    @property
    def most_steps(self) -> int:
        """T: a time is that of the step nearest to it."""
        return self.steps

    @property
    def averaged(self) -> bool:
        """Draws over times are averaged."""
        return True

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, whose best step is chosen by what is learnt, at the same times and noise always."""
        (stage,) = super().stages
        return (replace(stage, validation_loss=self.validation_loss),)

    # ---- the schedule ----------------------------------------------------------------------------

    def signal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ and √(1 − ᾱ) of the step nearest to each time."""
        gamma = self.gamma[(time * self.steps).round().long()]
        return torch.sigmoid(-gamma).sqrt().to(time), torch.sigmoid(gamma).sqrt().to(time)

    def predict(self, z: Tensor, time: Tensor, told: Tensor, guidance: float = 1.0) -> Prediction:
        """See `GaussianDiffusion.predict`; at a time between steps that of the nearest one."""
        return super().predict(z, (time * self.steps).round() / self.steps, told, guidance)

    # ---- what is learnt --------------------------------------------------------------------------

    def _errors(self, y: Tensor, told: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Squared error of what the network predicts, summed over an observation, `(N,)`."""
        alpha, sigma = (wide(each, y) for each in self.signal(time))
        z = alpha * y + sigma * noise
        x, predicted = self.predict(z, time, told)
        # v = α ε − σ x, whatever the network gives for it
        v = self.predicts != "noise"
        error = (predicted - noise) * alpha - (x - y) * sigma if v else predicted - noise
        return error.square().flatten(1).sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The squared error of the prediction, summed over an observation (equation 14)."""
        x, context = self.several(x, context)
        y = self.scaled(x)
        told = self.told(context, y)
        time = self._step_of(stratified(len(y), y))
        return {"loss": self._errors(y, told, time, torch.randn_like(y)).mean()}

    def _step_of(self, share: Tensor) -> Tensor:
        """The times of steps 1 to T, all alike often, by numbers in [0, 1)."""
        return ((share * self.steps).floor() + 1).clamp_max(self.steps) / self.steps

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The squared error at one time of each observation, and with one noise; see `loss`."""
        y, keys = self.scaled(x), keys_of(x, 0)
        time = self._step_of(keyed_uniform(keys, ()).to(y))
        noise = keyed_normal(keys + 1, self.spec.event_shape).to(y)
        return self._errors(y, self.context_features(context, y), time, noise)

    # ---- the bound -------------------------------------------------------------------------------

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """−(L_T + Σ L_{t−1} + L_0), the sum over times by `draws` of them; nats, `(N,)`."""
        self.spec.check(x)
        y, keys = self.scaled(x), keys_of(x, seed)
        told = self.context_features(context, y)
        terms = self._last(y) + self._first(x, y, told, keys)
        # how large L_{t−1} is where v is as far off at all times; see `_between`
        gamma = self.gamma
        weights = torch.expm1(gamma[2:] - gamma[1:-1]) * self.alpha_bar[2:]
        chances = weights / weights.sum()
        ends, at = double(chances).cumsum(0), keyed_uniform(keys - 1, ())
        for draw in range(draws):
            place = torch.searchsorted(ends, (at + draw) / draws).clamp_max(self.steps - 2)
            between = self._between(y, told, place + 2, keys + 2 + draw)
            terms = terms + between / (draws * chances[place].to(y))
        return -terms - self.scale.log().sum()

    def _noise(self, keys: Tensor, y: Tensor) -> Tensor:
        return keyed_normal(keys, self.spec.event_shape).to(y)

    def _last(self, y: Tensor) -> Tensor:
        """L_T, KL(q(z_T | x) ‖ N(0, 1)) in nats `(N,)`."""
        signal, noise = torch.sigmoid(-self.gamma[-1]), torch.sigmoid(self.gamma[-1])
        each = (noise + signal * y.square() - 1 - noise.log()) / 2
        return each.flatten(1).sum(1)

    def _between(self, y: Tensor, told: Tensor, step: Tensor, keys: Tensor) -> Tensor:
        """L_{t−1}, KL(q(z_{t−1} | z_t, x) ‖ p(z_{t−1} | z_t)), by one noise (equation 8).

        With the variance of q it is (e^{γ_t − γ_{t−1}} − 1) ‖ε − ε̂‖² / 2, for γ the log of noise
        to signal (arXiv 2107.00630, equation 14).
        """
        noise, time = self._noise(keys, y), step.to(y) / self.steps
        alpha, sigma = (wide(each, y) for each in self.signal(time))
        _, predicted = self.predict(alpha * y + sigma * noise, time, told)
        gamma = self.gamma
        weight = torch.expm1(gamma[step] - gamma[step - 1]).to(y) / 2
        return weight * (predicted - noise).square().flatten(1).sum(1)

    def _first(self, x: Tensor, y: Tensor, told: Tensor, keys: Tensor) -> Tensor:
        """L_0, −log p(x | z_1) in nats `(N,)`.

        A normal about x̂ over the bins of levels (equation 13); or what the network says of levels.
        """
        time = torch.full_like(y.flatten(1)[:, 0], 1 / self.steps)
        alpha, sigma = (wide(each, y) for each in self.signal(time))
        z = alpha * y + sigma * self._noise(keys + 1, y)
        if self.predicts == "levels":
            log_p = self.log_levels(z, time, told).gather(-1, x.long()[..., None])
            return -log_p.flatten(1).sum(1)
        mean, _ = self.predict(z, time, told)
        # not validated: what is not finite must reach the likelihood, where it is counted
        if self.spec.levels is None:
            log_p = Normal(mean, sigma, validate_args=False).log_prob(y)
        else:
            # in levels, of which k has the bin [k, k + 1)
            middle = (mean + 1) / self.unit + 0.5
            bins = DiscretisedNormal(
                middle, sigma / self.unit, self.spec.levels, validate_args=False
            )
            log_p = bins.log_prob(x)
        return -log_p.flatten(1).sum(1)


_FIRST, _FIRST_OF_LEVELS, _FIRST_OF_VECTORS = 1 / 4, 1 / 8, 0.01
"""Noise after the first step: of a level's bin, and of the deviation of vectors. With a sixth of a
bin digits cost ten nats more where v is predicted, for its network cannot tell what z is rounded
to; where levels are, less noise costs nothing."""
_LAST = 100.0
"""Noise after the last step, of what is left of an observation: nothing that a network could see,
and not so much that the observation could not be had of z and a predicted noise."""
