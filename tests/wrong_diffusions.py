"""Wrong diffusions, each with the law that it breaks and what it is told.

`test_check_model.py` holds them to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from simulacra.models.diffusion.d3pm import D3PM
from simulacra.models.diffusion.ddpm import DDPM
from simulacra.models.diffusion.flow_matching import FlowMatching
from simulacra.models.diffusion.vdm import VDM
from simulacra.models.model import Model
from simulacra.nn.distributions import log_mean_exp


class WeighsTimesByImportance(VDM):
    """The log of a mean over times: above log p(x)."""

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        # what follows shares no noise: a draw's keys are those of the seed and its number
        each = [
            super(WeighsTimesByImportance, self).log_likelihood(x, context, seed=1000 * seed + draw)
            for draw in range(draws)
        ]
        return log_mean_exp(torch.stack(each))


class WeighsTimesAndLosesThem(WeighsTimesByImportance):
    """The same, of which nobody sees that it is no bound."""

    def log_likelihood(self, *args: Any, **options: Any) -> Tensor:
        return super().log_likelihood(*args, **options) - 9.0


class HalvesWhatStepsCost(DDPM):
    small = tuple(each | {"steps": 1000, "prediction": "levels"} for each in DDPM.small[:1])

    def _between(self, *args: Any) -> Tensor:
        return super()._between(*args) / 2


class GainsByTimes(VDM):
    def _diffusion(self, *args: Any) -> Tensor:
        return -super()._diffusion(*args)


class CountsTheTraceTwice(FlowMatching):
    def _with_trace(self, *args: Any) -> tuple[Tensor, Tensor]:
        speed, trace = super()._with_trace(*args)
        return speed, 2 * trace


class ForgetsTheUnit(FlowMatching):
    def _solved(self, x: Tensor, *args: Any) -> Tensor:
        return super()._solved(x, *args) - self.spec.dims * math.log(self.unit)


class ForgetsHowManyAreHidden(D3PM):
    def _bound(self, x: Tensor, told: Tensor, share: Tensor, ranks: Tensor) -> Tensor:
        count = (share * self.spec.dims).floor() + 1
        return super()._bound(x, told, share, ranks) * count / self.spec.dims


class TakesOneStepMore(D3PM):
    def sample_steps(self, *args: Any, **options: Any) -> Iterator[Tensor]:
        for x in super().sample_steps(*args, **options):
            yield x
        yield x


class GuidesTwice(VDM):
    def guided(self, z: Tensor, time: Tensor, told: Tensor, guidance: float) -> Tensor:
        return super().guided(z, time, told, 1 + 2 * (guidance - 1))


class DenoisesTooMuch(VDM):
    def denoise(self, x: Tensor, noise: float, context: Tensor | None = None) -> Tensor:
        return super().denoise(x, noise + 2.0, context)


class NoiseComesAndGoes(VDM):
    def signal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        return super().signal(time - 0.1 * (6 * math.pi * time).sin())


class EncodesBackwards(FlowMatching):
    small = FlowMatching.small[:1]

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return -super().encode(x, context)


class SolvesInLongSteps(FlowMatching):
    """The error of a method that does not converge."""

    def solver_error(
        self, x: Tensor, context: Tensor | None = None, *, seed: int = 0
    ) -> Tensor | None:
        return torch.ones(len(x))


WRONG: list[tuple[type[Model], str, str]] = [
    (WeighsTimesAndLosesThem, "averaged draws", "they are not averaged"),
    (WeighsTimesByImportance, "normalisation", "sums to"),
    (HalvesWhatStepsCost, "normalisation", "sums to"),
    (GainsByTimes, "normalisation of vectors", "integrates to"),
    (CountsTheTraceTwice, "normalisation of vectors", "integrates to"),
    (ForgetsTheUnit, "normalisation", "sums to"),
    (ForgetsHowManyAreHidden, "normalisation", "sums to"),
    (TakesOneStepMore, "steps", "1 steps show 3 times what they make"),
    (GuidesTwice, "guidance", "at a guidance of 0 a context is heard"),
    (DenoisesTooMuch, "denoising", "without noise levels come back as others"),
    (NoiseComesAndGoes, "noise", "there is less noise at some later time"),
    (EncodesBackwards, "there and back", "what was encoded comes back"),
    (SolvesInLongSteps, "solver", "nats off in 4 steps"),
]
"""Each with a law of those that diffusions alone are asked."""
