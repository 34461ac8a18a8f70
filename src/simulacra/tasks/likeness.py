"""Whether what is drawn for a person is like that person, in the eyes of an encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError


@dataclass(frozen=True)
class Likeness:
    """How near observations are to their own group, and to others, among vectors.

    Args:
        group: Which group each observation is of or was drawn for, `(N,)` int64.
        than_another: The share of other groups that each is further from than from its own,
            `(N,)` float64; ties count half. Chance has ½.
        nearest: Whether its own group is the nearest of all, `(N,)` float64; ties share it. Chance
            has 1 / groups.
        groups: How many there are.
    """

    group: Tensor
    than_another: Tensor
    nearest: Tensor
    groups: int

    @property
    def chance(self) -> tuple[float, float]:
        """What `than_another` and `nearest` are where nothing tells the groups apart."""
        return 0.5, 1 / self.groups


def likeness(vectors: Tensor, source: Tensor, real: Tensor, groups: Tensor) -> Likeness:
    """Compare distances to the mean vector of one's own group with those to the means of others.

    The mean of one's own group leaves out the observation that one was drawn from, so that what
    is drawn from a picture is held against other pictures of the person; the means of others leave
    out one too, or they would be the less noisy ones, and nearer by chance. A real observation is
    its own source: what real ones get is what can be got at all.

    Args:
        vectors: Of what is looked at, `(N, D)`.
        source: The row of `real` that each was drawn from, `(N,)` int64.
        real: Vectors of real observations, `(M, D)`.
        groups: Of `real`, `(M,)` int64.

    Raises:
        UsageError: If there is one group alone, or a group of one.

    Example:
        >>> import torch
        >>> from simulacra.tasks.likeness import likeness
        >>> real = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
        >>> found = likeness(real, torch.arange(4), real, torch.tensor([0, 0, 1, 1]))
        >>> found.nearest.tolist(), found.chance
        ([1.0, 1.0, 1.0, 1.0], (0.5, 0.5))
    """
    present, own, sizes = groups.unique(return_inverse=True, return_counts=True)
    if len(present) < 2 or int(sizes.min()) < 2:
        raise UsageError(
            "likeness needs at least two groups, and two observations in each: got "
            f"{len(present)} groups, the smallest of {int(sizes.min())}"
        )
    real, vectors = real.double(), vectors.double()
    place = torch.zeros_like(own)
    for number in range(len(present)):
        rows = own == number
        place[rows] = torch.arange(int(rows.sum()))
    columns = []
    for number, size in enumerate(sizes.tolist()):
        members = real[own == number]
        rest = (members.sum(0) - members) / (size - 1)
        columns.append((vectors - rest[place[source] % size]).norm(dim=1))
    distances = torch.stack(columns, 1)
    at, each = own[source], torch.arange(len(vectors))
    mine = distances[each, at]
    others = torch.ones_like(distances, dtype=torch.bool)
    others[each, at] = False
    nearer = (distances > mine[:, None]).double() + (distances == mine[:, None]).double() / 2
    least = distances == distances.min(1, keepdim=True).values
    return Likeness(
        group=groups[source],
        than_another=nearer[others].view(len(vectors), -1).mean(1),
        nearest=least[each, at].double() / least.sum(1),
        groups=len(present),
    )
