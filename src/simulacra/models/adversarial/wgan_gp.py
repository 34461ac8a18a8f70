"""WGAN-GP: a critic whose slope is held at 1, and whose scores estimate a distance."""

from __future__ import annotations

from typing import Any, ClassVar

from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.networks import NetworkKind
from simulacra.models.adversarial.objectives import ObjectiveName
from simulacra.models.adversarial.regularisers import RegulariserName


class WGANGP(GAN):
    """A generator that lowers an estimate of the Wasserstein distance from the data.

    The critic has no probability to tell: its scores of data, less those of samples, estimate the
    distance, as far as its slope is 1 between them.

    Paper: I. Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, arXiv 1704.00028,
        equation 3 and algorithm 1.
    Departs from the paper: three turns of the critic for each of the generator, not five; the
        penalty of a quarter of each batch; the players of DCGAN on pictures and sounds, of any
        side, and MLPs on vectors and small pictures.

    Args:
        spec: Ordered levels, or continuous vectors.
    """

    preset = {"lr": 4e-3, "betas": (0.0, 0.9), "schedule": "constant", "clip": 0.0}
    not_compiled = "for its penalty needs second derivatives"
    opponent = "critic"
    turns = ("critic",) * 3 + ("generator",)
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "channels": 4, "hidden": (8,), "moves": (2, 1)},
        {"latent": 2, "channels": 4, "hidden": (8,), "moves": (1, 1), "context": "label"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        network: NetworkKind = "auto",
        dropout: float = 0.0,
        objective: ObjectiveName = "wasserstein",
        regulariser: RegulariserName = "gradient-penalty",
        moves: tuple[int, ...] = (3, 1),
        **keywords: Any,  # noqa: ANN401 (any keywords)
    ) -> None:
        super().__init__(
            spec, network=network, dropout=dropout, objective=objective, regulariser=regulariser,
            moves=moves, **keywords,
        )  # fmt: skip
