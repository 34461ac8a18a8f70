"""Variational autoencoder: a decoder of Gaussian codes, and an encoder that approximates them."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.distributions import Distribution, Independent

from simulacra.ground.spec import DataSpec
from simulacra.models.latent import observations
from simulacra.models.latent.amortised import Amortised
from simulacra.models.latent.completion import CodeCompletion
from simulacra.models.latent.observations import Observation
from simulacra.models.takes import Takes


class VAE(CodeCompletion, Amortised):
    """A decoder of Gaussian codes, trained with an encoder on the evidence lower bound.

    The decoder is a distribution over levels, so the bound is one on a discrete likelihood; of
    continuous vectors, which are standardised first, and counted, it is one on their density.
    With k importance draws it is that of Burda, Grosse and Salakhutdinov 2015 (arXiv 1509.00519).

    Paper: D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", 2013, arXiv 1312.6114,
        section 3 and appendices B and C.
    Departs from the paper: ReLU instead of tanh; discrete levels have a categorical or
        discretised logistic decoder instead of a Gaussian one, whose standard deviation is at
        least a thousandth of the data's; a context, when given, enters both networks; posteriors
        of other families (a flow as in arXiv 1606.04934), a weight of the divergence (see
        `beta-vae`), its warm-up (arXiv 1602.02282, section 2.3) and free bits (arXiv 1606.04934,
        appendix C.8), of which the warm-up alone, over a tenth of the training, is the usual.

    Args:
        spec: Any observations.
        observation: Distribution of a value given its code. `auto`: Bernoulli for 2 levels,
            categorical for up to 8 or unordered ones, discretised logistic for more, Gaussian
            for continuous vectors. `logistic-mixture`: five logistics for each value.

    Raises:
        MissingCapability: If the data are not those that the decoder or the networks are for.
        UsageError: If a keyword is out of its range.
    """

    takes = Takes()
    preset = {"lr": 3e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"latent": 2, "hidden": (8,)},
        {"latent": 2, "hidden": (8,), "observation": "categorical", "posterior_family": "full"},
        {"latent": 2, "hidden": (8,), "observation": "discretised-logistic", "encoder": "rnn"},
        {"latent": 2, "hidden": (8,), "context": "label", "encoder": "resnet", "channels": 2},
        {
            "latent": 2, "hidden": (8,), "posterior_family": "flow", "context": "vector",
            "free_bits": 0.1,
        },
        {
            "latent": 2, "hidden": (8,), "observation": "logistic-mixture", "encoder": "conv",
            "channels": 2, "dropout": 0.2, "warmup": 0.5,
        },
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        observation: Observation = "auto",
        **keywords: Any,  # noqa: ANN401 (those of `Amortised`)
    ) -> None:
        self.kind = observations.chosen(observation, spec)
        super().__init__(spec, **keywords)
        self.observation = observation
        self.build(self.approximation.numbers, observations.parameters(self.kind, spec))

    @classmethod
    def takes_with(cls, **keywords: Any) -> Takes:  # noqa: ANN401 (any keywords)
        """What the networks and the decoder's distribution are for."""
        return observations.within(super().takes_with(**keywords), **keywords)

    def likelihood(self, z: Tensor, context: Tensor | None = None) -> Independent[Distribution]:
        """p(x | z) over levels or standardised vectors; batch `(N,)`, event `(*event_shape)`."""
        values = observations.distribution(self.kind, self.decoded(z, context), self.spec)
        return Independent(values, len(self.spec.event_shape), validate_args=False)
