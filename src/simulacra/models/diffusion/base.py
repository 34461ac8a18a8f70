"""`Diffusion`: what all models that refine noise share: the network, its context, guidance."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.diffusion.networks import MLP, TOLD, denoiser
from simulacra.models.model import Completion, Likelihood
from simulacra.models.refining import Refining
from simulacra.models.standardised import Standardised
from simulacra.nn.context import ContextEmbedding, ContextKind
from simulacra.nn.precision import at_least_float32

_UNTOLD = 0.1
"""Share of training observations of which the network is not told the context (Ho and Salimans
2022, section 4.2), so that it can be asked without one."""

_SEVERAL = 8
"""Times at which an observation is looked at in one step, of vectors."""


class Diffusion(Refining, Likelihood, Completion, Standardised):
    """A network that tells an observation from what noise has left of it, at every time.

    Time goes from 0, where observations are, to 1, where nothing is left of them. Pictures and
    sounds have a U-Net, vectors an MLP. A context enters with the time; in training it is kept from
    the network of a tenth of the observations, so that its weight can be raised when samples are
    drawn (classifier-free guidance: J. Ho, T. Salimans, 2022, arXiv 2207.12598).

    Args:
        spec: The form of the data.
        inputs: Channels that the network sees at each place.
        outputs: Channels that it gives at each place.
        channels: Of the U-Net at its smallest size; half as many at the next, and a quarter at all
            larger ones.
        layers: Residual blocks of the U-Net at each size, on the way down and on the way up.
        hidden: Widths of the MLP, of vectors.
        dropout: Probability of dropping a feature while training.
        context: What the network is told beside the observation: none, label or vector.
        sampling_steps: Calls of the network that a sample takes, unless another number is asked
            for.

    Raises:
        UsageError: If a keyword is out of its range.
    """

    laws = ("simulacra.models.diffusion.laws",)

    def __init__(
        self,
        spec: DataSpec,
        inputs: int,
        outputs: int,
        *,
        channels: int = 64,
        layers: int = 1,
        hidden: tuple[int, ...] = (128, 128, 128, 128),
        dropout: float = 0.0,
        context: ContextKind = "none",
        sampling_steps: int = 50,
    ) -> None:
        super().__init__(spec)
        if min(channels, layers, sampling_steps, *hidden, len(hidden)) < 1 or not 0 <= dropout < 1:
            raise UsageError(
                "channels, layers, hidden and sampling_steps are positive, and dropout is from 0 "
                f"to 1, got {channels}, {layers}, {tuple(hidden)}, {sampling_steps} and {dropout}"
            )
        self.channels, self.layers, self.hidden = channels, layers, tuple(hidden)
        self.dropout, self.context, self.sampling_steps = dropout, context, sampling_steps
        self.context_features = ContextEmbedding(context, spec, TOLD)
        self.network = denoiser(
            spec, inputs, outputs, channels=channels, layers=layers,
            hidden=self.hidden, dropout=dropout, told=self.context_features.width,
        )  # fmt: skip

    def several(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Observations and their context for a loss: each several times where rows cost little.

        An MLP takes 512 rows in little more time than 64, and a mean over more times and noises is
        less a matter of chance.
        """
        if not isinstance(self.network, MLP):
            return x, context
        told = None if context is None else context.repeat_interleave(_SEVERAL, 0)
        return x.repeat_interleave(_SEVERAL, 0), told

    def told(self, context: Tensor | None, like: Tensor) -> Tensor:
        """Features of the context `(N, width)`; while training, 0 in some of the rows.

        Args:
            context: One row for each observation.
            like: A float tensor whose first size is N.
        """
        features = self.context_features(context, like)
        if self.training and features.shape[1]:
            features = features * (torch.rand(len(like), 1, device=like.device) >= _UNTOLD)
        return features

    def output(self, z: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """What the network gives, `(N, outputs, …)` in float32 at least.

        Args:
            z: `(N, inputs, …)`.
            time: `(N,)`, from 0 to 1.
            told: Features of the context `(N, width)`.
        """
        return at_least_float32(self.network(z, time, told))

    def guided(self, z: Tensor, time: Tensor, told: Tensor, guidance: float) -> Tensor:
        """What the network gives with the context's weight raised; see `Refining.sample_steps`."""
        if guidance == 1 or not told.shape[1]:
            return self.output(z, time, told)
        both = torch.cat([told, torch.zeros_like(told)])
        with_it, without = self.output(
            z.repeat(2, *[1] * (z.ndim - 1)), time.repeat(2), both
        ).chunk(2)
        return without + guidance * (with_it - without)

    def checked_steps(self, steps: int | None, guidance: float) -> int:
        """How many steps are asked for.

        Raises:
            UsageError: See `Refining.sample_steps`.
        """
        steps = self.sampling_steps if steps is None else steps
        if type(steps) is not int or steps < 1:
            raise UsageError(f"steps is a positive whole number, got {steps!r}")
        if guidance != 1 and not self.guides:
            raise UsageError(
                f"this {type(self).__name__} is told nothing that guidance could weigh: train one "
                "with --set context=label"
            )
        return steps if self.most_steps is None else min(steps, self.most_steps)


def stratified(n: int, like: Tensor) -> Tensor:
    """Numbers in (0, 1), one in each n-th of it, in random order: times of a batch `(n,)`.

    Each is uniform; together they are spread more evenly than independent ones (Kingma et al. 2021,
    arXiv 2107.00630, appendix I.1).

    Args:
        n: How many.
        like: Gives their type and device.
    """
    first = torch.rand(1, dtype=like.dtype, device=like.device)
    order = torch.randperm(n, device=like.device)
    return ((first + order) / n % 1).clamp(_EDGE, 1 - _EDGE)


_EDGE = 1e-6
"""What is kept clear of 0 and 1 by times that a batch is given."""


def wide(values: Tensor, like: Tensor) -> Tensor:
    """A number for each row, `(N,)` or one for all, to be multiplied with rows of `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def data_channels(spec: DataSpec) -> int:
    """Values of an observation at each of its places: pixels, times, or values of a vector."""
    return spec.event_shape[0] if spec.is_image else 1
