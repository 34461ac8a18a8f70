"""WaveNet: dilated causal convolutions over the samples of a sound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.outputs import Output, OutputKind, takes_output
from simulacra.models.autoregressive.wavenet_buffers import Buffers
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind

SEGMENT = 8192
"""Samples of a window that gradients are had of at once, and that are scored at once."""
TOGETHER = 16
"""Sounds that are scored at once, those that end in much silence together."""


class GatedLayer(nn.Module):
    """A dilated convolution of two taps, its gate, and what goes on from there (equation 2).

    Features are `(T, N, channels)`: time comes first, so that a shift is a view.

    Args:
        channels: Of the features that come in and go out, and of the gate.
        skip: Channels of what goes past all later layers.
        dilation: Samples between the taps.
        told: Width of the context's features.
        last: Whether no layer comes after it: then only what goes past all layers goes on.
    """

    def __init__(self, channels: int, skip: int, dilation: int, told: int, *, last: bool) -> None:
        super().__init__()
        self.dilation = dilation
        self.now = nn.Linear(channels, 2 * channels)
        self.before = nn.Linear(channels, 2 * channels, bias=False)
        self.told = nn.Linear(told, 2 * channels, bias=False) if told else None
        self.residual = None if last else nn.Linear(channels, channels)
        self.skip = nn.Linear(channels, skip, bias=False)

    def context(self, features: Tensor) -> Tensor:
        """What features `(N, told)` add to the gates at every time, `(N, 2 · channels)`."""
        if self.told is None:
            return features.new_zeros(len(features), self.now.out_features)
        added: Tensor = self.told(features)
        return added

    def forward(self, h: Tensor, tail: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some times of a sound, after others.

        Args:
            h: Features `(T, N, channels)`.
            tail: The features of the `dilation` times before them.
            told: Of the context, `(N, told)`.

        Returns:
            The features after the layer; the gated ones, both `(T, N, channels)`; the new tail.
        """
        past = torch.cat([tail, h])
        gates = self.now(h) + self.before(past[: len(h)])
        if self.told is not None:
            gates = gates + self.context(told)
        a, b = gates.chunk(2, -1)
        z = a.tanh() * b.sigmoid()
        return h if self.residual is None else h + self.residual(z), z, past[len(h) :]


class WaveNet(Autoregressive):
    """Convolutions of two taps, ever further apart, predict each sample from those before it.

    The likelihood is exact. Dilations double from layer to layer, 1, 2, 4 … 2^(cycle − 1), and
    begin again, so that the reach grows with the number of layers as 2^cycle does: a sample is
    predicted from the `reach` samples before it. Where a window ends in samples that are all the
    same, as one that is filled up with silence, all predictions there but the first are one and the
    same, and are computed once.

    Paper: A. van den Oord, S. Dieleman, H. Zen, K. Simonyan, O. Vinyals, A. Graves,
        N. Kalchbrenner, A. Senior, K. Kavukcuoglu, "WaveNet: A Generative Model for Raw Audio",
        2016, arXiv 1609.03499; its sampler after "Fast Wavenet Generation Algorithm", 2016,
        arXiv 1611.09482.
    Departs from the paper: features of neighbouring levels begin alike; they enter the layers
        without a convolution before; of long windows a random segment of 8,192 samples is learned
        from at each step.

    Args:
        spec: Sounds, or other sequences of integer levels.
        channels: Of the residual path, and of each gate.
        skip: Channels that all layers add to, from which the output is made.
        layers: Number of dilated convolutions.
        cycle: Layers after which dilations begin again from 1.
        output: What is said of a sample: categorical, a probability of each level, or logistics, a
            mixture of ten (arXiv 1701.05517), or gaussian.
        context: What the model is told beside the sound: none, label or vector; it enters every
            gate.
    """

    takes = Takes(pictures=False, vectors=False)
    # a second of sound has as many values as ten digits; more steps are worth more than larger ones
    preset = {"batch": 1, "lr": 4e-3}
    small = (
        {"channels": 6, "skip": 8, "layers": 4, "cycle": 2},
        {"channels": 4, "skip": 4, "layers": 2, "cycle": 2, "context": "label"},
        # it does not see all that comes before
        {
            "channels": 4, "skip": 4, "layers": 2, "cycle": 1, "output": "logistics",
            "context": "vector",
        },
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        channels: int = 32,
        skip: int = 64,
        layers: int = 16,
        cycle: int = 8,
        output: OutputKind = "categorical",
        context: ContextKind = "none",
    ) -> None:
        if min(channels, skip, layers, cycle) < 1 or cycle > 16:
            raise UsageError(
                "channels, skip, layers and cycle are positive, and cycle is at most 16; got "
                f"channels={channels}, skip={skip}, layers={layers}, cycle={cycle}"
            )
        super().__init__(spec)
        takes_output(self.takes, output).check(spec, f"WaveNet with output={output}")
        self.channels, self.skip, self.cycle, self.context = channels, skip, cycle, context
        self.context_features = ContextEmbedding(context, spec, channels)
        # features of each level, and of what comes in before the first sample
        self.first = nn.Embedding(self._levels, channels)
        self.start = nn.Parameter(torch.zeros(channels))
        if spec.ordered:
            self._begin_smooth()
        told = self.context_features.width
        # registered under a name of their own: `layers` is the keyword
        self.gated = nn.ModuleList(
            GatedLayer(channels, skip, 2 ** (i % cycle), told, last=i == layers - 1)
            for i in range(layers)
        )
        self.layers = layers
        # named so that the keyword keeps its name
        self.last: Output = Output(output, self._levels)
        self.output = output
        self.skip_bias = nn.Parameter(torch.zeros(skip))
        self.hidden = nn.Linear(skip, skip)
        self.numbers = nn.Linear(skip, self.last.numbers)

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """Densities over levels need their order."""
        return takes_output(cls.takes, keywords.get("output", "categorical"))

    @torch.no_grad()
    def _begin_smooth(self) -> None:
        """Let neighbouring levels begin alike: as waves of random lengths over all levels."""
        place = torch.linspace(-1, 1, self._levels)[:, None]
        phase = 2 * math.pi * torch.rand(self.channels)
        self.first.weight.copy_(0.6 * (9 * place * torch.randn(self.channels) + phase).cos())

    @property
    def stack(self) -> list[GatedLayer]:
        """The layers, in order."""
        layers: list[GatedLayer] = list(self.gated)  # type: ignore[arg-type]
        return layers

    @property
    def reach(self) -> int:
        """How many samples before it a sample is predicted from."""
        return 1 + sum(layer.dilation for layer in self.stack)

    def head(self, skips: Tensor) -> Tensor:
        """Numbers of the output, of what all layers added up, `(…, skip)`."""
        numbers: Tensor = self.numbers(F.relu(self.hidden(F.relu(skips + self.skip_bias))))
        return numbers

    def tails(self, n: int) -> list[Tensor]:
        """What every layer sees before the first sample."""
        return [self.start.new_zeros(layer.dilation, n, self.channels) for layer in self.stack]

    def _raw(self, h: Tensor, tails: list[Tensor], told: Tensor) -> Tensor:
        """Numbers of the output at some times, from features of what comes just before them.

        Args:
            h: `(T, N, channels)`; see `_before`.
            tails: Of every layer; those of the next times take their place.
            told: `(N, told)`.
        """
        gated = []
        for i, layer in enumerate(self.stack):
            h, z, tails[i] = layer(h, tails[i], told)
            gated.append(z)
        # one product of all layers is quicker than one of each
        weights = torch.cat([layer.skip.weight for layer in self.stack], 1)
        return self.head(F.linear(torch.cat(gated, -1), weights))

    def _before(self, x: Tensor) -> Tensor:
        """Features of the value that comes before each sample, `(T, N, channels)`."""
        return torch.cat([self.start.expand(1, len(x), -1), self.first(x.T[:-1].long())])

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """p(x_t | x_<t, context), all at once; batch `(N, T)`."""
        told = self.context_features(context, self.start.new_empty(len(x), 1))
        raw = self._raw(self._before(x), self.tails(len(x)), told)
        return self.last(raw.transpose(0, 1))

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Exact log p(x) in nats, `(N,)`, in bounded memory; `draws` and `seed` change nothing."""
        self.spec.check(x)
        told = self.context_features(context, self.start.new_empty(len(x), 1))
        times = self._told_apart(x)
        order = times.argsort()
        lots = order.split(TOGETHER) if len(x) else ()
        found = [self._scored(x[rows], told[rows], int(times[rows[-1]])) for rows in lots]
        return torch.cat(found)[order.argsort()] if found else told.new_zeros(0)

    def _scored(self, x: Tensor, told: Tensor, times: int) -> Tensor:
        """Log p(x) of sounds whose predictions and samples are all the same after some times."""
        before, tails, found = self._before(x[:, :times]), self.tails(len(x)), []
        for some, inputs in zip(x.T[:times].split(SEGMENT), before.split(SEGMENT), strict=True):
            found.append(self.last(self._raw(inputs, tails, told)).log_prob(some))
        each = torch.cat(found)
        return each.sum(0) + (x.shape[1] - times) * each[-1]

    def _told_apart(self, x: Tensor) -> Tensor:
        """Times after which predictions and samples are those of the last of them, `(N,)`."""
        n, length = x.shape
        # of a step that is compiled all shapes are the same
        if torch.compiler.is_compiling() or length < 2:
            return torch.full((n,), length)
        places = torch.arange(1, length, device=x.device)
        last = torch.where(x[:, 1:] != x[:, :-1], places, 0).amax(1)
        return (last + self.reach + 1).clamp_max(length).cpu()

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative log-likelihood in nats per observation.

        Of windows longer than a segment, an estimate without bias: a segment of each batch, chosen
        at random, stands for all of the window, and is predicted from the samples before it.
        """
        if not self.training or x.shape[1] <= SEGMENT:
            return {"loss": -self.log_likelihood(x, context).mean()}
        self.spec.check(x)
        told = self.context_features(context, self.start.new_empty(len(x), 1))
        pieces = -(-x.shape[1] // SEGMENT)
        chosen = int(torch.randint(pieces, ()))
        start, end = chosen * SEGMENT, min((chosen + 1) * SEGMENT, x.shape[1])
        from_ = max(0, start - self.reach)
        before = self._before(x[:, :end])[from_:]
        raw = self._raw(before, self.tails(len(x)), told)[start - from_ :]
        each = self.last(raw).log_prob(x.T[start:end])
        return {"loss": -pieces * each.sum(0).mean()}

    def blind_spot(self) -> Tensor:
        """Samples that are further back than the reach; see `Autoregressive`."""
        length = self.spec.dims
        earlier = torch.ones(length, length, dtype=torch.bool)
        return earlier.triu(self.reach + 1)

    @torch.inference_mode()
    def in_turn(self, canvas: Tensor, context: Tensor | None = None) -> Iterator[Tensor]:
        """The predictions, each feature computed once; see `Autoregressive.in_turn`."""
        n, length = canvas.shape
        told = self.context_features(context, self.start.new_empty(n, 1))
        buffers = Buffers(self.stack, told)
        h = self.start.expand(n, -1)
        for t in range(length):
            yield self.last.logits(self.head(buffers.step(h)))
            h = self.first.weight[canvas[:, t]]
