"""DCGAN: convolutional players that learn together without further ado."""

from __future__ import annotations

from typing import Any, ClassVar

from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.networks import TAKES, NetworkKind


class DCGAN(GAN):
    """A convolutional generator and discriminator, normalised over batches.

    Paper: A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep
        Convolutional Generative Adversarial Networks", 2015, arXiv 1511.06434, section 3.
    Departs from the paper: as many halvings as the data have room for, of any side; fewer channels,
        kernels of 4×4 and initial weights as torch has them; sounds by halvings of four at once, as
        WaveGAN (arXiv 1802.04208), of kernels of 8.

    Args:
        spec: Pictures or sounds of ordered levels.
    """

    takes = TAKES
    preset = {"lr": 2e-3, "betas": (0.5, 0.999), "schedule": "constant", "clip": 0.0}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "channels": 4},
        {"latent": 2, "channels": 4, "context": "label", "augment": "never"},
    )

    def __init__(
        self,
        spec: DataSpec,
        *,
        network: NetworkKind = "convolutional",
        **keywords: Any,  # noqa: ANN401 (any keywords)
    ) -> None:
        super().__init__(spec, network=network, **keywords)
