"""What a grid of vectors is replaced by: entries of a codebook, or of a fixed grid of levels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.nn.precision import at_least_float32, full_precision

QuantiserKind = Literal["codebook", "fsq"]

_DECAY = 0.99
"""Of the moving averages that an entry is the mean of (appendix A.1)."""
_DEAD = 0.05
"""An entry is dead that is used this much less than if all were used alike."""
_REBORN = 0.2
"""What a new entry counts as having been used, in the same unit."""
_CHOOSING = 80.0
"""The largest exponent of a weight: e⁸⁰ times a vector is still a float32."""


class Quantiser(nn.Module, ABC):
    """Replaces each vector of a grid by one of `size` entries.

    Args:
        size: Entries.
        width: Numbers of a vector.
    """

    learnt = True
    """Whether entries move, and vectors are held to them."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size, self.width = size, width

    @abstractmethod
    def indices(self, z: Tensor) -> Tensor:
        """Which entry is nearest to each vector `(N, width, …)`: int64 `(N, …)`."""

    @abstractmethod
    def vectors(self, indices: Tensor) -> Tensor:
        """The entries of indices `(N, …)`: `(N, width, …)`."""

    @abstractmethod
    def bounded(self, raw: Tensor) -> Tensor:
        """An encoder's numbers `(N, width, …)` where entries are."""

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Entries in place of an encoder's numbers; gradients pass straight through.

        Args:
            raw: `(N, width, …)`.

        Returns:
            The entries, the vectors that they stand for, both `(N, width, …)`, and their indices.
        """
        z = self.bounded(raw)
        indices = self.indices(z.detach())
        entries = self.vectors(indices).to(z.dtype)
        return z + (entries - z).detach(), z, indices

    def prepare(self, raw: Tensor) -> None:
        """Take first entries from an encoder's numbers, where entries are learnt."""

    def sums(self, z: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """What `moved` is told, summed over batches; nothing where entries are not learnt."""
        return {}

    def moved(self, sums: Mapping[str, Tensor]) -> None:
        """Move entries to what was quantised by them."""


class Codebook(Quantiser):
    """Learnt entries: each is the moving average of the vectors that it stood for.

    An entry that has long stood for next to none is placed anew, at a vector of the encoder. Which
    one is drawn while the loss is computed, and what is drawn is a sum too: vectors of several
    batches come with weights so unlike that one of them is mostly nearly all of their mean. So
    entries do not depend on how many processes share a step.

    Paper: A. van den Oord, O. Vinyals, K. Kavukcuoglu, "Neural Discrete Representation Learning",
        2017, arXiv 1711.00937, section 3.2 and appendix A.1; entries are placed anew as in P.
        Dhariwal et al., "Jukebox", 2020, arXiv 2005.00341, section 3.1.
    """

    entries: Tensor
    counts: Tensor
    totals: Tensor
    moves: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__(size, width)
        entries = torch.randn(size, width)
        self.register_buffer("entries", entries)
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("totals", entries.clone())
        self.register_buffer("moves", torch.zeros(()))

    def bounded(self, raw: Tensor) -> Tensor:
        """As they are."""
        return raw

    def indices(self, z: Tensor) -> Tensor:
        """See `Quantiser.indices`, in float32 at least."""
        rows = at_least_float32(z).movedim(1, -1)
        entries = self.entries.to(rows.dtype)
        with full_precision(rows):
            # of the squared distance what differs between entries
            return (0.5 * entries.square().sum(1) - rows @ entries.T).argmin(-1)

    def vectors(self, indices: Tensor) -> Tensor:
        """See `Quantiser.vectors`."""
        return self.entries[indices].movedim(-1, 1)

    @torch.no_grad()
    def prepare(self, raw: Tensor) -> None:
        """Begin with vectors of the encoder, each as often used as the others."""
        rows = raw.movedim(1, -1).reshape(-1, self.width)
        chosen = rows[torch.randint(len(rows), (self.size,), device=rows.device)]
        self.entries.copy_(chosen)
        self.counts.fill_(1.0)
        self.totals.copy_(chosen)

    def sums(self, z: Tensor, indices: Tensor) -> dict[str, Tensor]:
        """How often each entry was used, by what, and what may take its place."""
        rows = at_least_float32(z.detach()).movedim(1, -1).reshape(-1, self.width)
        flat = indices.flatten()
        totals = rows.new_zeros(self.size, self.width).index_add(0, flat, rows)
        counts = used(indices, self.size).to(rows)
        weights = (_CHOOSING * torch.rand(self.size, 1, device=rows.device)).exp().to(rows.dtype)
        drawn = rows[torch.randint(len(rows), (self.size,), device=rows.device)]
        return {"counts": counts, "totals": totals, "weights": weights, "drawn": weights * drawn}

    def moved(self, sums: Mapping[str, Tensor]) -> None:
        """Move entries towards the means of what they stood for, and place dead ones anew."""
        # early averages look back over a tenth of the moves so far, not at how they began
        rate = 1 - ((1 + self.moves) / (10 + self.moves)).clamp_max(_DECAY)
        self.moves.add_(1)
        self.counts.lerp_(sums["counts"].to(self.counts), rate)
        self.totals.lerp_(sums["totals"].to(self.totals), rate)
        alike = self.counts.mean()
        dead = (self.counts < _DEAD * alike)[:, None]
        fresh = (sums["drawn"] / sums["weights"]).to(self.totals)
        self.counts.copy_(torch.where(dead[:, 0], _REBORN * alike, self.counts))
        self.totals.copy_(torch.where(dead, _REBORN * alike * fresh, self.totals))
        self.entries.copy_(self.totals / self.counts[:, None])


class FiniteScalars(Quantiser):
    """Each number of a vector is rounded to one of a few levels: entries are a grid, not learnt.

    Paper: F. Mentzer, D. Minnen, E. Agustsson, M. Tschannen, "Finite Scalar Quantization: VQ-VAE
        Made Simple", 2023, arXiv 2309.15505, section 3 and appendix A.1.

    Args:
        levels: Of each number.
    """

    learnt = False
    middle: Tensor
    offset: Tensor
    basis: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__(math.prod(levels), len(levels))
        self.levels = levels
        each = torch.tensor(levels)
        self.register_buffer("middle", torch.div(each, 2, rounding_mode="floor"), persistent=False)
        # an even number of levels has one more below the middle than above
        self.register_buffer("offset", 0.5 * (1 - each % 2), persistent=False)
        basis = torch.tensor([math.prod(levels[:at]) for at in range(len(levels))])
        self.register_buffer("basis", basis, persistent=False)

    def _units(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Half the levels, half the range and its offset, beside `(N, width, …)`."""
        shape = (-1, *[1] * (like.ndim - 2))
        half, offset = (each.to(like.dtype).view(shape) for each in (self.middle, self.offset))
        # a little wider, so that the outer levels are reached
        return half, (half - offset) * (1 + _WIDER), offset

    def bounded(self, raw: Tensor) -> Tensor:
        """Numbers from −1 to 1, the levels of each as far apart as half of them are many."""
        half, reach, offset = self._units(raw)
        return ((raw + (offset / reach).atanh()).tanh() * reach - offset) / half

    def _places(self, z: Tensor) -> Tensor:
        """The nearest level of each number, from 0, `(N, width, …)`."""
        half, _, offset = self._units(z)
        top = 2 * (half - offset)
        return torch.minimum((z * half + half).round().clamp_min(0), top)

    def indices(self, z: Tensor) -> Tensor:
        """See `Quantiser.indices`."""
        places = self._places(at_least_float32(z)).long()
        return (places * self.basis.view(-1, *[1] * (z.ndim - 2))).sum(1)

    def vectors(self, indices: Tensor) -> Tensor:
        """See `Quantiser.vectors`."""
        levels = torch.tensor(self.levels, device=indices.device)
        places = indices[..., None].div(self.basis, rounding_mode="floor") % levels
        return ((places - self.middle).to(self.offset) / self.middle).movedim(-1, 1)


_WIDER = 1e-3


def used(indices: Tensor, size: int) -> Tensor:
    """How often each of so many entries stands in places, `(size,)` float32."""
    flat = indices.flatten()
    ones = torch.ones(len(flat), device=flat.device)
    return torch.zeros(size, device=flat.device).index_add(0, flat, ones)


def levels_of(codes: int, width: int | None) -> tuple[int, ...]:
    """Levels of so many numbers, as alike as can be, with at most `codes` entries in all.

    Args:
        codes: Entries, at most.
        width: Numbers of a vector; as many as have five levels each, by default, which is what the
            paper advises.

    Raises:
        UsageError: If there are too few entries for so many numbers.
    """
    width = width or max(1, int(math.log(codes) / math.log(5) + 1e-9))
    # between two levels there is one threshold, which the bounding tanh puts out of reach
    if codes < 3**width:
        raise UsageError(
            f"finite scalars of code_width={width} have at least 3 levels each: give {3**width} "
            f"codes or more, got {codes}"
        )
    levels = [int(codes ** (1 / width) + 1e-9)] * width
    for at in range(width):
        rest = math.prod(levels) // levels[at]
        if rest * (levels[at] + 1) <= codes:
            levels[at] += 1
    return tuple(levels)
