"""What the two players make of the scores: every objective of the family, side by side.

A score is what the opponent says of an observation, the higher the more real: a logit, or any
number of which only differences mean something. Each player minimises its side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor
from torch.nn.functional import relu, softplus

from simulacra.ground.errors import UsageError

ObjectiveName = Literal[
    "minimax", "non-saturating", "least-squares", "wasserstein", "hinge", "relativistic"
]


@dataclass(frozen=True)
class Objective:
    """What each player minimises.

    Args:
        opponent: From scores of real and of generated observations, `(N,)` each.
        generator: From the same; those of real ones are looked at where `paired`.
        undecided: See `Game.undecided`.
        paired: Whether a generated observation is judged beside a real one.
        estimates_distance: See `Game.estimates_distance`.
    """

    opponent: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    undecided: float | None = 0.0
    paired: bool = False
    estimates_distance: bool = False


def _told_apart(real: Tensor, fake: Tensor) -> Tensor:
    """−E log D(x) − E log (1 − D(G(z))), D = σ(score): equation 1 of arXiv 1406.2661."""
    return softplus(-real).mean() + softplus(fake).mean()


OBJECTIVES: dict[ObjectiveName, Objective] = {
    # E log (1 − D(G(z))), and −E log D(G(z)), which is steep where D is sure
    "minimax": Objective(_told_apart, lambda _, fake: -softplus(fake).mean()),
    "non-saturating": Objective(_told_apart, lambda _, fake: softplus(-fake).mean()),
    # ½ E (s(x) − 1)² + ½ E s(G(z))², and ½ E (s(G(z)) − 1)²: arXiv 1611.04076, equation 9
    "least-squares": Objective(
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda _, fake: (fake - 1).square().mean() / 2,
        undecided=0.5,
    ),
    # E s(G(z)) − E s(x), and −E s(G(z)): arXiv 1701.07875, of a critic that is 1-Lipschitz
    "wasserstein": Objective(
        lambda real, fake: fake.mean() - real.mean(),
        lambda _, fake: -fake.mean(),
        undecided=None,
        estimates_distance=True,
    ),
    # E max(0, 1 − s(x)) + E max(0, 1 + s(G(z))), and −E s(G(z)): arXiv 1802.05957, equations 16, 17
    "hinge": Objective(
        lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(),
        lambda _, fake: -fake.mean(),
    ),
    # E softplus(s(G(z)) − s(x)), and the other way round: arXiv 2501.05441, equation 2
    "relativistic": Objective(
        lambda real, fake: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
        undecided=None,
        paired=True,
    ),
}


def objective_of(name: str) -> Objective:
    """The objective of a name.

    Raises:
        UsageError: If none has it.
    """
    if name not in OBJECTIVES:
        names = ", ".join(get_args(ObjectiveName))
        raise UsageError(f"objective is one of {names}; got {name!r}")
    found: Objective = OBJECTIVES[name]
    return found


def told_rightly(real: Tensor, fake: Tensor, undecided: float | None) -> Tensor:
    """The share that the opponent tells rightly: of both kinds, or of pairs where only these are.

    Args:
        real: Scores of real observations, `(N,)`.
        fake: Of generated ones, `(N,)`.
        undecided: See `Game.undecided`.
    """
    if undecided is None:
        return (real > fake).float().mean()
    right = (real > undecided).float().mean() + (fake <= undecided).float().mean()
    return right / 2
