"""`Classifier`: a small network that tells labels apart, for the features that it does so by."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.judging.features.bands import Bands
from simulacra.models.model import Encoding
from simulacra.nn.context import ContextKind
from simulacra.nn.levels import is_sound, seen, seen_shape
from simulacra.nn.precision import moments


class Classifier(Encoding):
    """p(label | x) by convolutions over pictures or sounds, or a perceptron over vectors.

    Labels of several parts are told apart part by part, and each part given the observation is
    taken to be independent of the others: of 1,000 combinations few have observations enough to be
    learned each by itself. Where each channel has a label of its own (`DataSpec.labels_channels`),
    one network of grey pictures sees one channel after another, and tells its label from it alone.

    It sees what people see, `seen`, standardised by training moments: those of each
    channel, or of each value of a vector. A sound is seen as a picture, as people hear it: the
    powers of its bands over time, see `Bands`, each band with moments of its own. A first
    convolution brings a picture to at most 16 × 16 places, two more to a quarter of that a side.

    Args:
        spec: Of labelled data.
        width: Features of the last layer but one, which are its codes; of each channel that has a
            label of its own.

    Raises:
        UsageError: If there are fewer than two classes.
    """

    context: ContextKind = "label"

    def __init__(self, spec: DataSpec, *, width: int = 64) -> None:
        super().__init__(spec)
        self.width = width
        if spec.classes < 2:
            raise UsageError(f"a classifier needs at least 2 classes, got {spec.classes}")
        channels, *sides = seen_shape(spec)
        self.bands = Bands(sides[0], spec.rate) if is_sound(spec) else None
        if self.bands is not None:
            sides = [self.bands.count, self.bands.frames]
        outputs = sum(self._sizes)
        if spec.labels_channels:
            channels, outputs = 1, self._sizes[0]
        # of one channel all places are observations, and so are the times of one band
        moments_of = (channels, sides[0], 1) if self.bands else (channels, *[1] * len(sides))
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(moments_of))
        self.register_buffer("scale", torch.ones(moments_of))
        self.body = _convolutions(channels, sides, width) if sides else _perceptron(channels, width)
        # as light as it is, it brings the probabilities nearer to how often they are right
        self.head = nn.Sequential(nn.Dropout(0.25), nn.Linear(width, outputs))

    @property
    def _sizes(self) -> list[int]:
        """How many classes each part of a label has."""
        return [size for _, size in self.spec.parts] or [self.spec.classes]

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Take the moments of the training data."""
        seen = torch.cat([self._seen(some) for some in x.split(_ROWS)])
        if self.bands is not None:
            seen = seen[:, 0].movedim(1, -1)
        elif seen.dim() > 2:
            seen = seen.movedim(1, -1)
        shift, scale = moments(seen.flatten(0, -2))
        self.shift.copy_(shift.reshape(self.shift.shape))
        self.scale.copy_(scale.reshape(self.scale.shape))

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Cross-entropy of the labels, nats per observation.

        Raises:
            UsageError: If there are no labels.
        """
        if context is None:
            raise UsageError("a classifier learns from labels: give them as context")
        parts = context.view(len(x), -1).long()
        logits = self._logits(x)
        each = (F.cross_entropy(own, part) for own, part in zip(logits, parts.T, strict=True))
        return {"loss": torch.stack(list(each)).sum()}

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The features `(N, width)` that labels are told apart by; or those of all channels."""
        # what lies a thousand deviations off is wrong in any case, and its features stay numbers
        standard = (self._seen(x) - self.shift) / self.scale
        return self.body(standard.clamp(-1e3, 1e3)).view(len(x), -1)

    def log_probabilities(self, x: Tensor) -> Tensor:
        """Log p(label | x), `(N, classes)`; of labels of several parts, of each combination."""
        first, *others = self._logits(x)
        joint = first.log_softmax(1)
        for part in others:
            joint = (joint[:, :, None] + part.log_softmax(1)[:, None]).flatten(1)
        return joint

    def _logits(self, x: Tensor) -> tuple[Tensor, ...]:
        """Of the classes of each part, `(N, size)`."""
        features = self.encode(x).view(-1, self.width)
        return self.head(features).view(len(x), -1).split(self._sizes, 1)

    def _seen(self, x: Tensor) -> Tensor:
        values = seen(self.spec, x)
        if self.bands is not None:
            return self.bands(values[:, 0])[:, None]
        return values.flatten(0, 1)[:, None] if self.spec.labels_channels else values


_ROWS = 256
"""Observations whose moments are taken at once: of the frames of many sounds there are too many."""


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(),
        nn.Linear(128, width), nn.SiLU(),
    )  # fmt: skip


def _convolutions(channels: int, sides: list[int], width: int) -> nn.Sequential:
    convolution: Any = nn.Conv2d if len(sides) == 2 else nn.Conv1d
    pool = nn.MaxPool2d if len(sides) == 2 else nn.MaxPool1d
    most, by = (16, 2) if len(sides) == 2 else (256, 4)
    strides = [math.ceil(side / most) for side in sides]
    sizes = [2 * stride + 1 for stride in strides]
    layers: list[nn.Module] = [
        convolution(channels, 32, tuple(sizes), tuple(strides), tuple(strides)), nn.SiLU(),
        convolution(32, 64, by + 1, by, by // 2), nn.SiLU(),
        convolution(64, 64, 3, padding=1), nn.SiLU(), pool(by, ceil_mode=True),
        nn.Flatten(),
    ]  # fmt: skip
    with torch.no_grad():
        inputs = nn.Sequential(*layers)(torch.zeros(1, channels, *sides)).shape[1]
    return nn.Sequential(*layers, nn.Linear(inputs, width), nn.SiLU())
