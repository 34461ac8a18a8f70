"""`GaussianDiffusion`: normal noise that is mixed with data; paths from one to the other."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from simulacra.ground.spec import DataSpec
from simulacra.models.diffusion.base import Diffusion, data_channels, wide
from simulacra.models.model import Encoding, Latent
from simulacra.models.refining import Carrying, Denoising
from simulacra.models.takes import Takes
from simulacra.nn.levels import nearest_levels

Prediction = tuple[Tensor, Tensor]
"""What is told of z: the observation in it, and the noise in it, each shaped as z."""


class GaussianDiffusion(Diffusion, Carrying, Denoising, Encoding, Latent):
    """z_t = α_t x + σ_t ε: an observation with so much of normal noise, at each time t.

    Where z_t is known, an observation and a noise say the same, α_t x̂ + σ_t ε̂ = z_t, so every
    network that predicts one of them, or a mixture of both, predicts both. From z_t a step goes to
    z_s = α_s x̂ + σ_s ε̂, of a smaller s or a larger one: what is drawn and what is encoded go the
    same deterministic path (J. Song, C. Meng, S. Ermon, "Denoising Diffusion Implicit Models",
    2020, arXiv 2010.02502, equation 12), and a code is the noise that it ends in.

    A network predicts v = α ε − σ x (T. Salimans, J. Ho, 2022, arXiv 2202.00512), the noise ε, or a
    logit of each level, to which z adds what it says itself. x is levels on [−1, 1], or
    standardised vectors. While a sample is drawn x̂ is kept on [−1, 1].

    A subclass says what `signal` is left at each time.

    Args:
        spec: Ordered levels, or continuous vectors.
        prediction: What the network predicts.
        keywords: Of the network, see `Diffusion`.

    Raises:
        MissingCapability: If levels are to be predicted of vectors.
    """

    takes = Takes(unordered=False)

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """Vectors have no levels to be predicted."""
        levels = keywords.get("prediction") == "levels"
        return Takes(unordered=False, vectors=False) if levels else cls.takes

    def __init__(
        self,
        spec: DataSpec,
        prediction: Literal["v", "noise", "levels"],
        **keywords: Any,  # noqa: ANN401 (those of the base)
    ) -> None:
        name = f"{type(self).__name__} with prediction={prediction}"
        self.takes_with(prediction=prediction).check(spec, name)
        inputs = data_channels(spec)
        outputs = inputs * (spec.levels or 1) if prediction == "levels" else inputs
        super().__init__(spec, inputs, outputs, **keywords)
        self.predicts = prediction

    @abstractmethod
    def signal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ at times `(N,)`, each `(N,)`."""

    def split(self, z: Tensor, time: Tensor, output: Tensor) -> Prediction:
        """The observation and the noise in z, by what the network gave for it, shaped as z."""
        alpha, sigma = (wide(each, z) for each in self.signal(time))
        if self.predicts == "noise":
            return (z - sigma * output) / alpha, output
        return alpha * z - sigma * output, sigma * z + alpha * output

    # ---- between the units of data and of z ------------------------------------------------------

    def scaled(self, x: Tensor) -> Tensor:
        """Levels, or any numbers in their units, on [−1, 1]; or standardised vectors."""
        if self.spec.levels is None:
            return self.standardised(x)
        return x.to(self.shift.dtype) * self.unit - 1

    def unscaled(self, y: Tensor) -> Tensor:
        """The observations nearest to what `scaled` gives."""
        if self.spec.levels is None:
            return y * self.scale + self.shift
        return nearest_levels(y, self.spec)

    @property
    def unit(self) -> float:
        """What a level, or a deviation of vectors, is in units of z."""
        return 1.0 if self.spec.levels is None else 2 / (self.spec.levels - 1)

    # ---- what the network says -------------------------------------------------------------------

    def predict(self, z: Tensor, time: Tensor, told: Tensor, guidance: float = 1.0) -> Prediction:
        """The observation and the noise in z.

        Args:
            z: `(N, *event_shape)`.
            time: `(N,)`.
            told: Features of the context `(N, width)`.
            guidance: Weight of the context.
        """
        if self.predicts != "levels":
            output = self._output(z, time, told, guidance)
            return self.split(z, time, output if self.spec.is_image else output[:, 0])
        levels = torch.arange(self.spec.levels or 1, device=z.device)
        x = (self.log_levels(z, time, told, guidance).exp() * self.scaled(levels)).sum(-1)
        alpha, sigma = (wide(each, z) for each in self.signal(time))
        return x, (z - alpha * x) / sigma.clamp_min(_LEAST)

    def log_levels(self, z: Tensor, time: Tensor, told: Tensor, guidance: float = 1.0) -> Tensor:
        """Log-probabilities of the levels of each value, where logits of levels are predicted.

        What z_i itself says of x_i is known, q(z_i | k), and all that the network has to tell is
        what the rest of z says: softmax_k(logit_k + log q(z_i | k)). So x̂_i, their mean, is a level
        where little noise is left, which a network that predicts v has to learn.

        Returns:
            `(N, *event_shape, levels)`.
        """
        output = self._output(z, time, told, guidance)
        levels = torch.arange(self.spec.levels or 1, device=z.device)
        logits = output.unflatten(1, (-1, len(levels))).movedim(2, -1)
        alpha, sigma = (wide(each, z)[..., None] for each in self.signal(time))
        # a path ends without noise, where what is seen is what is there
        off = (z[..., None] - alpha * self.scaled(levels)) / sigma.clamp_min(_LEAST)
        return (logits.reshape(off.shape) - off.square() / 2).log_softmax(-1)

    def _output(self, z: Tensor, time: Tensor, told: Tensor, guidance: float) -> Tensor:
        return self.guided(z if self.spec.is_image else z[:, None], time, told, guidance)

    def _bounded(self, z: Tensor, time: Tensor, found: Prediction) -> Prediction:
        """What was predicted, with an observation that there can be."""
        if self.spec.levels is None:
            return found
        alpha, sigma = (wide(each, z) for each in self.signal(time))
        x = found[0].clamp(-1, 1)
        # where no noise is left, none can be told from what is seen
        return x, torch.where(sigma > _LEAST, (z - alpha * x) / sigma.clamp_min(_LEAST), found[1])

    # ---- paths -----------------------------------------------------------------------------------

    def times(self, steps: int) -> list[float]:
        """The `steps` + 1 times of a path from noise to data, from 1 to 0."""
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()

    def path(
        self, z: Tensor, times: Sequence[float], told: Tensor, guidance: float = 1.0
    ) -> Iterator[Tensor]:
        """z at each of the times after the first, where it begins; at 0 it is an observation."""
        for now, then in pairwise(times):
            time = _all_at(now, z)
            x, noise = self._bounded(z, time, self.predict(z, time, told, guidance))
            z = self._mixed(x, noise, then) if then else x
            yield z

    def _mixed(self, x: Tensor, noise: Tensor, time: float) -> Tensor:
        """α x + σ ε."""
        alpha, sigma = (wide(each, x) for each in self.signal(_all_at(time, x)))
        return alpha * x + sigma * noise

    @torch.no_grad()
    def carried(self, x: Tensor, now: float, then: float, context: Tensor | None = None) -> Tensor:
        """One step of the path; see `Carrying`."""
        z = self.scaled(x)
        (moved,) = self.path(z, (now, then), self.context_features(context, z))
        return self.unscaled(moved)

    @torch.no_grad()
    def refine(
        self,
        z: Tensor,
        context: Tensor | None = None,
        *,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Iterator[Tensor]:
        """The path of noise z to an observation; see `Refining.sample_steps`.

        Args:
            z: Codes `(N, *event_shape)`.
            context: One row for each.
            steps: Of the path.
            guidance: Weight of the context.
        """
        steps = self.checked_steps(steps, guidance)
        told = self.context_features(context, z)
        yield self.unscaled(z)
        for each in self.path(z, self.times(steps), told, guidance):
            yield self.unscaled(each)

    def sample_steps(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Iterator[Tensor]:
        """Noise that becomes observations; see `Refining.sample_steps` and `Latent.sample`."""
        z = self.prior(n, context, temperature=temperature)
        return self.refine(z, context, steps=steps, guidance=guidance)

    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        steps: int | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """The observations of noise that is drawn; see `Refining.sample` and `Latent.sample`."""
        z = self.prior(n, context, temperature=temperature)
        *_, last = self.refine(z, context, steps=steps, guidance=guidance)
        return last

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Standard normal noise, whatever the context, times the temperature."""
        like = self.shift
        noise = torch.randn(n, *self.spec.event_shape, dtype=like.dtype, device=like.device)
        return temperature * noise

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The observation that the path of a code ends in."""
        *_, last = self.refine(z, context)
        return last

    @torch.no_grad()
    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The noise that the path of an observation comes from, in `sampling_steps` steps."""
        self.spec.check(x)
        z = self.scaled(x)
        told = self.context_features(context, z)
        for now, then in pairwise(reversed(self.times(self.checked_steps(None, 1.0)))):
            found, noise = self.predict(z, _all_at(now, z), told)
            z = self._mixed(found, noise, then)
        return z

    # ---- what is hidden by noise, and what is hidden ---------------------------------------------

    @torch.no_grad()
    def denoise(self, x: Tensor, noise: float, context: Tensor | None = None) -> Tensor:
        """The observation that is expected where the noise is of that size; see `Denoising`."""
        y = self.scaled(x)
        time = self._time_of(noise * self.unit, y)
        alpha, _ = self.signal(time)
        found, _ = self.predict(wide(alpha, y) * y, time, self.context_features(context, y))
        return self.unscaled(found)

    def _time_of(self, noise: float, like: Tensor) -> Tensor:
        """Where σ / α is the size of a noise, in units of z; found by halving."""
        low, high = torch.zeros(1).to(like), torch.ones(1).to(like)
        for _ in range(40):
            middle = (low + high) / 2
            alpha, sigma = self.signal(middle)
            above = sigma > noise * alpha
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return low.expand(len(like))

    def completes_exactly(self, observed: Tensor) -> bool:
        """Never: what is observed is told at each step, and the path knows of no other."""
        return False

    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """The last of `complete_steps`; see `Completion.complete`."""
        *_, last = self.complete_steps(x, observed, context)
        return last

    @torch.no_grad()
    def complete_steps(
        self, x: Tensor, observed: Tensor, context: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Hidden values drawn along a random path on which the others are given their noise.

        At each step observed values are those of the observation with fresh noise, and hidden ones
        a draw from p(z_s | z_t, x̂); then noise is added back and the step made again, so that what
        is hidden comes to agree with what is seen (A. Lugmayr et al., "RePaint", 2022, arXiv
        2201.09865, algorithm 1).

        Args:
            x: `(N, *event_shape)`; hidden values may hold anything valid.
            observed: Booleans `(N, *event_shape)` or `(*event_shape)`, true where `x` is given.
            context: One row for each observation.

        Yields:
            `(N, *event_shape)`, of the form of the data, after each step.
        """
        self.spec.check(x)
        observed = observed.expand_as(x)
        given = torch.where(observed, self.scaled(x), 0)
        told = self.context_features(context, given)
        z = self.prior(len(x), context)
        for now, then in pairwise(self.times(self.checked_steps(None, 1.0))):
            # where no noise is left, none is added back
            for again in range(_ANEW if then else 0, -1, -1):
                z = self._redrawn(z, given, observed, now, then, told)
                if again:
                    z = self._noised(z, then, now)
            yield torch.where(observed, x, self.unscaled(z))

    def _redrawn(
        self, z: Tensor, given: Tensor, observed: Tensor, now: float, then: float, told: Tensor
    ) -> Tensor:
        """One step of hidden values by p(z_s | z_t, x̂), of observed ones from the observation."""
        time = _all_at(now, z)
        x, noise = self._bounded(z, time, self.predict(z, time, told))
        if not then:
            return x
        alpha_t, sigma_t = (wide(each, z) for each in self.signal(time))
        alpha_s, sigma_s = (wide(each, z) for each in self.signal(_all_at(then, z)))
        # the variance of z_s that z_t and x leave (Ho et al. 2020, equation 7), as noise made anew
        same = alpha_t * sigma_s / (alpha_s * sigma_t)
        fresh, kept = sigma_s * (1 - same**2).clamp_min(0).sqrt(), sigma_s * same
        hidden = alpha_s * x + kept * noise + fresh * torch.randn_like(z)
        return torch.where(observed, alpha_s * given + sigma_s * torch.randn_like(z), hidden)

    def _noised(self, z: Tensor, then: float, now: float) -> Tensor:
        """z at a later time, of the same observation with more noise."""
        alpha_s, sigma_s = (wide(each, z) for each in self.signal(_all_at(then, z)))
        alpha_t, sigma_t = (wide(each, z) for each in self.signal(_all_at(now, z)))
        left = alpha_t / alpha_s
        more = (sigma_t**2 - (left * sigma_s) ** 2).clamp_min(0).sqrt()
        return left * z + more * torch.randn_like(z)


def _all_at(time: float, like: Tensor) -> Tensor:
    """One time for all rows, `(N,)`."""
    return torch.full((len(like),), time, dtype=like.dtype, device=like.device)


_ANEW = 4
"""How often each step of a completion is made again."""
_LEAST = 1e-4
"""Noise that is too little to be told from what is seen."""
