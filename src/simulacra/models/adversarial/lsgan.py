"""LSGAN: a discriminator of least squares, whose slope does not vanish where it is sure."""

from __future__ import annotations

from typing import Any, ClassVar

from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.networks import NetworkKind
from simulacra.models.adversarial.objectives import ObjectiveName


class LSGAN(GAN):
    """A discriminator of least squares: 1 for real observations, 0 for generated ones.

    Paper: X. Mao et al., "Least Squares Generative Adversarial Networks", 2016, arXiv 1611.04076,
        equation 9.
    Departs from the paper: the players of DCGAN on pictures and sounds, of any side, and MLPs on
        vectors and small pictures.

    Args:
        spec: Ordered levels, or continuous vectors.
    """

    preset = {"lr": 2e-3, "betas": (0.0, 0.99), "schedule": "constant", "clip": 0.0}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "channels": 4, "hidden": (8,), "network": "convolutional"},
        {"latent": 2, "channels": 4, "hidden": (8,), "context": "label"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        network: NetworkKind = "auto",
        dropout: float = 0.0,
        objective: ObjectiveName = "least-squares",
        **keywords: Any,  # noqa: ANN401 (any keywords)
    ) -> None:
        super().__init__(spec, network=network, dropout=dropout, objective=objective, **keywords)
