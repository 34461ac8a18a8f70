"""Pictures of levels drawn from known distributions: the truth that discrete models are held to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.form import Form
from simulacra.data.sets.named import NamedSet
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_uniform, keys_from
from simulacra.ground.spec import DataSpec

_COUNTS = (10_000, 1_000, 2_000)
_SEED = 0
_SIDE = 8
_PORTION = 1 << 12
"""Pictures whose log-probability is computed at once."""


class KnownPictures(Distribution):
    """A distribution over pictures `(1, H, W)` of levels, every log-probability of which is exact.

    A draw is a function of uniform numbers, so that a data set of them is the same in every
    version of torch.

    Args:
        size: `(H, W)`.
        levels: How many levels a pixel has.
        uniforms: How many uniform numbers a draw takes.
        temperature: 1 for the truth; lower is more certain, higher more random. Each kind says
            what it divides by it; at every temperature probabilities sum to 1.

    Raises:
        UsageError: If the temperature is not positive.
    """

    arg_constraints = {}  # noqa: RUF012 (torch's own declaration)
    support = constraints.independent(constraints.nonnegative_integer, 3)

    def __init__(
        self, size: tuple[int, int], levels: int, uniforms: int, temperature: float
    ) -> None:
        if not 0 < temperature < float("inf"):
            raise UsageError(f"a temperature is a positive number, got {temperature}")
        self.levels, self.uniforms, self.temperature = levels, uniforms, temperature
        super().__init__(event_shape=torch.Size([1, *size]), validate_args=False)

    @abstractmethod
    def log_probs(self, x: Tensor) -> Tensor:
        """Log-probability in nats, float64 `(n,)` of int64 levels `(n, H, W)` that are in range."""

    @abstractmethod
    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor | None]:
        """Pictures and, of a mixture, the components that they came from.

        Args:
            uniform: Numbers in (0, 1), `(n, uniforms)` float64.

        Returns:
            Levels `(n, 1, H, W)` int64, and `(n,)` int64 or nothing.
        """

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats, float64 `(…)` of integer levels `(…, 1, H, W)`.

        Raises:
            UsageError: If the shape, the kind of number or the range differs.
        """
        x = value.reshape(-1, *value.shape[-3:])
        DataSpec(tuple(self.event_shape), self.levels).check(x)
        parts = [self.log_probs(some) for some in x[:, 0].long().split(_PORTION)]
        return torch.cat(parts).reshape(value.shape[:-3])

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draws `(*sample_shape, 1, H, W)` int64 from torch's generator."""
        shape = torch.Size(sample_shape)
        uniform = torch.rand(shape.numel(), self.uniforms, dtype=torch.float64)
        return self.draw(uniform)[0].reshape(shape + self.event_shape)


class PixelMixture(KnownPictures):
    """A mixture of pictures whose pixels are independent, given the component.

    Its temperature divides the logits of the components and those of every pixel, and each is
    normalised anew: a family of mixtures, which is not the joint probability raised to 1 / T.

    Args:
        weights: Probabilities of the components `(K,)`, which sum to 1.
        logits: Of the levels of each pixel, `(K, H, W, L)`, not necessarily normalised.
        temperature: As in `KnownPictures`.
    """

    def __init__(self, weights: Tensor, logits: Tensor, temperature: float = 1.0) -> None:
        _, height, width, levels = logits.shape
        super().__init__((height, width), levels, 1 + height * width, temperature)
        self.log_weights = (weights.double().log() / temperature).log_softmax(0)
        self.log_levels = (logits.double() / temperature).log_softmax(-1).flatten(1, 2)

    def log_probs(self, x: Tensor) -> Tensor:
        """log Σₖ wₖ Πᵢ p(xᵢ | k)."""
        # 1-of-L pixels make the sum over them one product of matrices
        chosen = torch.nn.functional.one_hot(x.flatten(1), self.levels).double()
        given = chosen.flatten(1) @ self.log_levels.flatten(1).T
        return (self.log_weights + given).logsumexp(1)

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """A component by the first number, a level for each pixel by another."""
        edges = self.log_weights.exp().cumsum(0)[:-1]
        component = torch.searchsorted(edges, uniform[:, 0].contiguous(), right=True)
        parts = []
        for chosen, u in zip(
            component.split(_PORTION), uniform[:, 1:].split(_PORTION), strict=True
        ):
            below = self.log_levels.exp().cumsum(-1)[chosen, :, :-1]
            parts.append((u[..., None] >= below).sum(-1))
        return torch.cat(parts).reshape(-1, *self.event_shape), component


class PixelTable(KnownPictures):
    """Black-and-white pictures, each pixel drawn given four neighbours before it, row by row.

    The neighbours are left, above left, above and above right; beyond the border they are 0. Its
    temperature divides the logit of every conditional probability.

    Args:
        table: P(pixel = 1) for each state of the neighbours, `(16,)`, all in (0, 1). State
            left + 2 · above left + 4 · above + 8 · above right.
        size: `(H, W)`.
        temperature: As in `KnownPictures`.
    """

    def __init__(self, table: Tensor, size: tuple[int, int], temperature: float = 1.0) -> None:
        super().__init__(size, 2, size[0] * size[1], temperature)
        self.logits = table.double().logit() / temperature

    def log_probs(self, x: Tensor) -> Tensor:
        """Σᵢ log p(xᵢ | its four neighbours)."""
        log_one = torch.nn.functional.logsigmoid(self.logits)
        log_zero = torch.nn.functional.logsigmoid(-self.logits)
        height, width = x.shape[1:]
        around = torch.nn.functional.pad(x, (1, 1, 1, 0))
        left, above_left = around[:, 1:, :width], around[:, :height, :width]
        above, above_right = around[:, :height, 1:-1], around[:, :height, 2:]
        state = left + 2 * above_left + 4 * above + 8 * above_right
        return torch.where(x == 1, log_one[state], log_zero[state]).sum((1, 2))

    def draw(self, uniform: Tensor) -> tuple[Tensor, None]:
        """In raster order, one number for each pixel."""
        _, height, width = self.event_shape
        one = self.logits.sigmoid()
        around = torch.zeros(len(uniform), height + 1, width + 2, dtype=torch.int64)
        for i, u in enumerate(uniform.T):
            row, column = i // width, i % width
            above_left, above, above_right = around[:, row, column : column + 3].T
            left = around[:, row + 1, column]
            state = left + 2 * above_left + 4 * above + 8 * above_right
            around[:, row + 1, column + 1] = u < one[state]
        return around[:, None, 1:, 1:-1].contiguous(), None


# ---- the data sets -----------------------------------------------------------------------------

# twice the distance from the centre, so that all is in whole numbers
_Y = (2 * torch.arange(_SIDE) - _SIDE + 1)[:, None].expand(_SIDE, _SIDE)
_X = _Y.T
_LOW, _HIGH, _SQUARE = _X.abs().minimum(_Y.abs()), _X.abs().maximum(_Y.abs()), _X**2 + _Y**2

SHAPES = {
    "disc": 3 * (_SQUARE < 36),
    "ring": 3 * ((_SQUARE >= 16) & (_SQUARE < 52)),
    "plus": 3 * (_LOW <= 1),
    "cross": 3 * ((_X.abs() - _Y.abs()).abs() == 0),
    "frame": 3 * (_HIGH == 7),
    "rows": 3 * ((_Y + 7) // 4 % 2),
    "columns": 3 * ((_X + 7) // 4 % 2),
    "wedge": 2 * (_Y >= _X),
    "ramp": (_X + 7) // 4,
    "pyramid": (7 - _HIGH) // 2,
}
"""The components of `mixture-8x8`, the most frequent first: the likeliest level of each pixel."""

_FADING = 1.25
"""Nats that a level loses for each step away from the likeliest."""

_STROKES = (
    0.08, 0.60, 0.90, 0.40, 0.15, 0.25, 0.70, 0.20,
    0.05, 0.35, 0.20, 0.15, 0.10, 0.25, 0.25, 0.08,
)  # fmt: skip
"""The conditional probabilities of `table-8x8`: lines that run on to the right and downwards."""


def mixture(temperature: float = 1.0) -> PixelMixture:
    """The distribution of `mixture-8x8`, at another temperature if one is given."""
    weights = torch.arange(len(SHAPES), 0, -1).double()
    shapes = torch.stack(list(SHAPES.values()))
    logits = -_FADING * (torch.arange(4) - shapes[..., None]).abs()
    return PixelMixture(weights / weights.sum(), logits, temperature)


def table(temperature: float = 1.0) -> PixelTable:
    """The distribution of `table-8x8`, at another temperature if one is given."""
    return PixelTable(torch.tensor(_STROKES, dtype=torch.float64), (_SIDE, _SIDE), temperature)


def _named(
    name: str, words: str, make: Callable[[], KnownPictures], levels: int, classes: tuple[str, ...]
) -> NamedSet:
    def read(this: NamedSet, _paths: list[Path], _form: Form) -> Dataset:
        density = make()
        keys = keys_from(_SEED, torch.arange(sum(_COUNTS)))
        x, component = density.draw(keyed_uniform(keys, (density.uniforms,)))
        labels = [None] * 3 if component is None else component.split(_COUNTS)
        train, validation, test = (
            Observations(*both)
            for both in zip(x.to(torch.uint8).split(_COUNTS), labels, strict=True)
        )
        return Dataset(
            name=name,
            spec=DataSpec((1, _SIDE, _SIDE), levels, classes=len(classes)),
            train=train,
            validation=validation,
            test=test,
            class_names=classes,
            description=this.description,
            density=density,
        )

    return NamedSet(
        name=name,
        description=f"{words}; the probability of each is known.",
        event_shape=(1, _SIDE, _SIDE),
        levels=levels,
        classes=len(classes),
        counts=_COUNTS,
        read=read,
        fixed=True,
    )


KNOWN = (
    _named("mixture-8x8", "Ten shapes with noise, 8×8 in 4 grey levels", mixture, 4, tuple(SHAPES)),
    _named("table-8x8", "Strokes of black and white, 8×8, drawn pixel by pixel", table, 2, ()),
)
"""Each as a named set: 10000 training, 1000 validation and 2000 test pictures."""
