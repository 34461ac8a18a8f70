"""Codes of observations, and the plane that they are looked at in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.splits import permutation
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.at_once import rows_at_once
from simulacra.models.game import Game
from simulacra.models.model import Encoding, Latent, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.tasks.changing import changing
from simulacra.tasks.sample import device_of, frequent_context

_AT_ONCE = 256
"""Observations that are encoded together, where they are small."""
_DRAWS = 100_000
"""Numbers drawn of the prior, each unit's share of which says where its quantiles are."""
_MOST = 10_000
"""Validation observations that are looked at."""


@scoring()
def encode(model: Model, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Codes of observations, without noise: of a variational model the posterior's mean.

    Of a game, which has no encoder, they are the features of its opponent: what tells observations
    apart, and nothing that decodes to them. However many there are, no more are encoded at once
    than memory is meant for.

    Args:
        model: One that encodes, or a game; in eval mode meanwhile.
        x: Observations `(N, *event_shape)`, at least one.
        context: One row for each.

    Returns:
        `(N, …)` on the CPU.

    Raises:
        MissingCapability: If the model does neither.
        UsageError: If there is no observation, or they are not of the form of the data.

    Example:
        >>> import simulacra as sim, torch
        >>> model = sim.build("vae", sim.DataSpec((1, 8, 8), levels=16), {"latent": 2})
        >>> sim.encode(model, torch.zeros(3, 1, 8, 8).long()).shape
        torch.Size([3, 2])
    """
    if not len(x):
        raise UsageError("there is nothing to encode: encode needs at least one observation")
    model.spec.check(x[:1])
    return encode_split(model, Observations(x, context))


@scoring()
def encode_split(model: Model, split: Observations, most: int | None = None) -> Tensor:
    """Codes of a split in its order, however it is stored; see `encode`.

    Args:
        model: See `encode`.
        split: With the context that the model takes, if any.
        most: So many, the first of a fixed random order, if there are more.

    Returns:
        `(N, …)` on the CPU.
    """
    encode, device = encoder_of(model), device_of(model)

    def codes(rows: Tensor) -> Tensor:
        x, context = split.batch(rows)
        told = None if model.context == "none" or context is None else context.to(device)
        return encode(x.to(device), told).cpu()

    rows = looked_at(split, most)
    with evaluating(model):
        size = rows_at_once(lambda n: codes(rows[:n]), min(len(rows), _AT_ONCE))
        return torch.cat([codes(some) for some in rows.split(size)])


def looked_at(split: Observations, most: int | None = None) -> Tensor:
    """Which rows of a split are: all in order, or the first of a fixed random order."""
    if most is None or len(split) <= most:
        return torch.arange(len(split))
    return permutation(len(split))[:most]


def encodes(model: Model) -> Encoding:
    """The model, if observations have codes in it.

    Raises:
        MissingCapability: If it does not encode.
    """
    if isinstance(model, Encoding):
        return model
    raise MissingCapability(f"{type(model).__name__} does not encode observations: use vae or nice")


def has_features(model: Model) -> Game | None:
    """The model, if it does not encode, but has an opponent whose features tell observations apart.

    Whoever sees them is told no context, and nothing decodes them.
    """
    return model if isinstance(model, Game) and not isinstance(model, Encoding) else None


def encoder_of(model: Model) -> Callable[[Tensor, Tensor | None], Tensor]:
    """What maps observations and their context to codes, or of a game to features.

    Raises:
        MissingCapability: If the model has neither.
    """
    game = has_features(model)
    return encodes(model).encode if game is None else lambda x, _: game.features(x)


@dataclass(frozen=True, eq=False)
class View:
    """The plane, or line, among codes that is looked at: two of their directions, or all there are.

    Args:
        centre: `(units,)` float64.
        axes: Of length 1, `(1 or 2, units)` float64.
        share: Of the variance of the validation codes that lies along each axis, or of what changes
            by it; nothing where the axes are the units themselves.
        ends: What a grid goes from and to along each axis, `(1 or 2, S)` float64: equal shares of
            the prior, or of the validation codes, lie between its steps.
        by: What these are quantiles of, in words.
        example: A code, whose form and kind of number others have.
    """

    centre: Tensor
    axes: Tensor
    share: tuple[float, ...]
    ends: Tensor
    by: str
    example: Tensor

    def seen(self, codes: Tensor) -> Tensor:
        """Where codes `(N, …)` are seen, `(N, 1 or 2)` float64."""
        return (codes.flatten(1).double().cpu() - self.centre) @ self.axes.T

    def codes(self, places: Tensor) -> Tensor:
        """Codes `(N, …)` at places `(N, 1 or 2)` of the view."""
        flat = self.centre + places.double() @ self.axes
        return flat.to(self.example.dtype).view(-1, *self.example.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """Of its axes."""
        if not self.share:
            return tuple(f"z{i + 1}" for i in range(len(self.axes)))
        return tuple(
            f"principal component {i + 1} of codes ({share:.0%})"
            for i, share in enumerate(self.share)
        )

    @property
    def outermost(self) -> tuple[float, float, float, float]:
        """Left, right, lower and upper end of the grid of a plane."""
        (left, right), (lower, upper) = self.ends[:, [0, -1]].tolist()
        return left, right, lower, upper

    def grid(self) -> Tensor:
        """Places of a grid, `(S², 2)`: the highest row first, from the left; `(S, 1)` of a line."""
        if len(self.ends) == 1:
            return self.ends.T
        up, across = torch.meshgrid(self.ends[1].flip(0), self.ends[0], indexing="ij")
        return torch.stack([across.flatten(), up.flatten()], 1)


def view_of(model: Model, data: Dataset, codes: Tensor | None, side: int, *, seed: int = 0) -> View:
    """How a model's codes are looked at: those of one or two units as they are, others in a plane.

    Of more units it is the plane of the first two principal components of the validation codes; of
    a game, which does not encode, a plane through a code of the prior, along the two directions
    that change what is generated the most.

    Args:
        model: One that encodes, a game, or one that has a prior of at most two units.
        data: That it learned from.
        codes: Of validation observations `(N, …)`; nothing of a model that does not encode.
        side: Steps of a grid along each axis.
        seed: Of the draws that the prior's quantiles are of.

    Raises:
        MissingCapability: If the model has no codes, or a prior of more than two units alone.
    """
    drawn = None
    if isinstance(model, Latent):
        units = model.prior(1, _told(model, data, 1, seed)).flatten(1).shape[1]
        if units <= 2 or codes is None:
            drawn = _drawn(model, data, _DRAWS if units <= 2 else 1, seed)
    known = drawn if codes is None else codes
    if known is None:
        raise MissingCapability(f"{type(model).__name__} has no codes to map: use vae, gan or nice")
    flat, example = known.flatten(1).double().cpu(), known[0].cpu()
    units = flat.shape[1]
    if units > 2 and codes is None and isinstance(model, Game):
        return _plane_of(model, data, side, seed)
    if units > 2 and codes is None:
        raise MissingCapability(
            f"{type(model).__name__} does not encode, and its codes of {units} values have no "
            "plane: train one with --set latent=2"
        )
    flat = flat[flat.isfinite().all(1)]
    if len(flat) < 2:
        raise UsageError(f"a map needs at least two codes that are finite, got {len(flat)}")
    shares = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    if units <= 2:
        of = flat if drawn is None else drawn.flatten(1).double()
        by = "the validation codes" if drawn is None else "the prior"
        axes = torch.eye(units, dtype=torch.float64)
        return View(axes.new_zeros(units), axes, (), of.quantile(shares, 0).T, by, example)
    from sklearn.decomposition import PCA

    found = PCA(2, random_state=0).fit(flat.numpy())
    axes = torch.from_numpy(found.components_).double()
    centre = torch.from_numpy(found.mean_).double()
    share = tuple(float(part) for part in found.explained_variance_ratio_)
    ends = ((flat - centre) @ axes.T).quantile(shares, 0).T
    return View(centre, axes, share, ends, "the validation codes", example)


def _plane_of(model: Game, data: Dataset, side: int, seed: int) -> View:
    """Through a code of the prior, so that all of the plane is as far out as codes are."""
    drawn = _drawn(model, data, _MOST, seed)
    flat = drawn.flatten(1).double()
    directions, shares = changing(model, _told(model, data, 1, seed), seed=seed)
    axes = directions[:2]
    along = flat @ axes.T
    steps = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    # without what it has along the axes, from which the grid goes
    centre = flat[0] - along[0] @ axes
    two = tuple(shares[:2].tolist())
    return View(centre, axes, two, along.quantile(steps, 0).T, "the prior", drawn[0])


def _told(model: Model, data: Dataset, n: int, seed: int) -> Tensor | None:
    told = frequent_context(model, data, n, seed=seed)
    return None if told is None else told.to(device_of(model))


def _drawn(model: Latent, data: Dataset, n: int, seed: int) -> Tensor:
    """Codes of the prior `(n, …)`, on the CPU."""
    with torch.no_grad(), evaluating(model), seeded(seed):
        return model.prior(n, _told(model, data, n, seed)).cpu()


def validation_codes(model: Model, data: Dataset) -> Tensor:
    """Codes of validation observations, of a random part of them where they are many."""
    return encode_split(model, data.validation, _MOST)


def validation_rows(data: Dataset) -> Tensor:
    """Which observations `validation_codes` are of."""
    return looked_at(data.validation, _MOST)
