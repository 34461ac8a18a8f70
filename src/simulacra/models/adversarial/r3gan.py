"""R3GAN: real and generated observations in pairs, and a discriminator flat at both."""

from __future__ import annotations

from typing import Any, ClassVar

from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.networks import NetworkKind
from simulacra.models.adversarial.objectives import ObjectiveName
from simulacra.models.adversarial.regularisers import RegulariserName


class R3GAN(GAN):
    """A relativistic game with zero-centred penalties at real and at generated observations.

    The discriminator says how much more real an observation is than one of the generator's, which
    so cannot win by making everything look alike; penalties keep the game near its fixed point.

    Paper: Y. Huang, A. Gokaslan, V. Kuleshov, J. Tompkin, "The GAN is dead; long live the GAN! A
        Modern Baseline GAN", 2024, arXiv 2501.05441, equations 2 to 4.
    Departs from the paper: its loss alone, with the players of DCGAN on pictures and sounds, of
        any side, and MLPs on others; a penalty of one weight throughout, of a quarter of each
        batch.

    Args:
        spec: Ordered levels, or continuous vectors.
    """

    preset = {"lr": 4e-3, "betas": (0.0, 0.99), "schedule": "constant", "clip": 0.0}
    not_compiled = "for its penalty needs second derivatives"
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "channels": 4, "hidden": (8,)},
        {"latent": 2, "channels": 4, "hidden": (8,), "context": "label"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        network: NetworkKind = "auto",
        dropout: float = 0.0,
        objective: ObjectiveName = "relativistic",
        regulariser: RegulariserName = "r1-r2",
        **keywords: Any,  # noqa: ANN401 (any keywords)
    ) -> None:
        super().__init__(
            spec, network=network, dropout=dropout, objective=objective, regulariser=regulariser,
            **keywords,
        )  # fmt: skip
