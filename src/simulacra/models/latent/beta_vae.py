"""β-VAE: a VAE that pays more for its codes than they cost."""

from __future__ import annotations

from typing import Any

from simulacra.ground.spec import DataSpec
from simulacra.models.latent.vae import VAE


class BetaVAE(VAE):
    """A `vae` whose divergence weighs β times: above 1 fewer units of the code are used, alone.

    What it learns is a trade of rate for distortion (Alemi et al. 2018, arXiv 1711.00464). Its
    likelihood is bounded as that of any VAE, with a divergence of weight 1.

    Paper: I. Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained
        Variational Framework", International Conference on Learning Representations, 2017,
        equation 4.
    Departs from the paper: as `vae`; the bound is in nats of a whole observation, so β is the
        paper's own, not its β normalised by sizes.

    Args:
        spec: Any observations.
        beta: Weight of the divergence in the loss.
    """

    small = (
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "beta": 0.5, "context": "label"},
        {"latent": 2, "hidden": (8,), "beta": 0.0, "context": "vector"},
    )

    def __init__(self, spec: DataSpec, *, beta: float = 4.0, **keywords: Any) -> None:  # noqa: ANN401
        super().__init__(spec, beta=beta, **keywords)
