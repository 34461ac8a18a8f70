"""SNGAN: a discriminator whose weights are divided by their largest singular values."""

from __future__ import annotations

from typing import Any, ClassVar

from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.networks import NetworkKind
from simulacra.models.adversarial.objectives import ObjectiveName
from simulacra.models.adversarial.regularisers import RegulariserName


class SNGAN(GAN):
    """A hinge game against a discriminator of spectrally normalised weights.

    Paper: T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018,
        arXiv 1802.05957, algorithm 1 and equations 16 and 17; classes by T. Miyato, M. Koyama,
        "cGANs with Projection Discriminator", 2018, arXiv 1802.05637.
    Departs from the paper: the last layer is not normalised, so that the bound of the slope is
        learned, as data whose modes are narrow need; the players of DCGAN on pictures and sounds,
        of any side, and MLPs on others; `network=residual` has its residual blocks, with leaky
        ReLUs; a generator is told the class beside its code, and not by normalisations of each.

    Args:
        spec: Ordered levels, or continuous vectors.
    """

    preset = {"lr": 4e-3, "betas": (0.0, 0.9), "schedule": "constant", "clip": 0.0}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "channels": 4, "hidden": (8,), "network": "convolutional"},
        {"latent": 2, "channels": 4, "hidden": (8,), "context": "label", "network": "residual"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        network: NetworkKind = "auto",
        dropout: float = 0.0,
        objective: ObjectiveName = "hinge",
        regulariser: RegulariserName = "spectral",
        **keywords: Any,  # noqa: ANN401 (any keywords)
    ) -> None:
        super().__init__(
            spec, network=network, dropout=dropout, objective=objective, regulariser=regulariser,
            **keywords,
        )  # fmt: skip
