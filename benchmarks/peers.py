"""Models of other packages that are like ours, where those are installed.

Each peer becomes a `Model`, so that its training step is the very one that ours is measured by.
A flow has as many additive couplings as `nice`, with the same hidden layers between halves of the
same sizes; it lacks the scaling at the end, and its codes are normal instead of logistic.
Autoencoders stand beside pythae's, layer for layer, in `benchmarks.beside_pythae`.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from benchmarks.work import LEVELS
from simulacra.ground.spec import DataSpec
from simulacra.models.model import Model
from simulacra.nn.mlp import mlp


class Wrapped(Model):
    """Another package's network as a model.

    Args:
        spec: Grey pictures.
        network: What has the parameters.
        score: A scalar to be minimised, from levels `(N, *event_shape)`.
    """

    def __init__(
        self, spec: DataSpec, network: nn.Module, score: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(spec)
        self.network, self.score = network, score

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The package's own loss."""
        return {"loss": self.score(x)}


class _Alone(nn.Module):
    """A network for couplings that hand a context to it, which here is none."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y: Tensor = self.network(x)
        return y


def _dequantised(x: Tensor, levels: int) -> Tensor:
    """Vectors in [−1, 1), as `Flow` makes them of levels."""
    y = x.float() + torch.rand(x.shape)
    return (y * (2 / levels) - 1).flatten(1)


def _flow(ours: Any, network: nn.Module, log_prob: Callable[[Tensor], Tensor]) -> Wrapped:  # noqa: ANN401
    levels = ours.spec.levels
    return Wrapped(ours.spec, network, lambda x: -log_prob(_dequantised(x, levels)).mean())


def _zuko(ours: Any) -> Model:  # noqa: ANN401 (ours is a NICE; imported only when chosen)
    flows, transforms = map(importlib.import_module, ("zuko.flows", "zuko.transforms"))
    network = flows.NICE(
        ours.spec.dims, transforms=ours.couplings, hidden_features=ours.hidden,
        univariate=transforms.AdditiveTransform, shapes=[()],
    )  # fmt: skip
    return _flow(ours, network, lambda y: network().log_prob(y))


def _nflows(ours: Any) -> Model:  # noqa: ANN401
    flows, transforms, distributions = map(
        importlib.import_module, ("nflows.flows", "nflows.transforms", "nflows.distributions")
    )
    odd = torch.arange(ours.spec.dims) % 2
    couplings = [
        transforms.AdditiveCouplingTransform(
            # the ones are changed: first the odd values, as ours
            odd if i % 2 == 0 else 1 - odd,
            lambda inputs, outputs: _Alone(mlp(inputs, ours.hidden, outputs, zero=True)),
        )
        for i in range(ours.couplings)
    ]
    base = distributions.StandardNormal([ours.spec.dims])
    network = flows.Flow(transforms.CompositeTransform(couplings), base)
    return _flow(ours, network, network.log_prob)


def _normflows(ours: Any) -> Model:  # noqa: ANN401
    package = importlib.import_module("normflows")
    dims = ours.spec.dims
    # it swaps the halves in between, so the first one is always the larger
    widths = [(dims + 1) // 2, *ours.hidden, dims // 2]
    parts = []
    for _ in range(ours.couplings):
        inner = package.nets.MLP(widths, init_zeros=True)
        parts.append(package.flows.AffineCouplingBlock(inner, scale=False))
        parts.append(package.flows.Permute(dims, mode="swap"))
    base = package.distributions.DiagGaussian(dims, trainable=False)
    network = package.NormalizingFlow(base, parts[:-1])
    return _flow(ours, network, lambda y: -network.forward_kld(y)[None])


def pythae(ours: Any) -> Model:  # noqa: ANN401 (ours is a VAE)
    """A `vae` of fully connected layers of pythae's, with a Bernoulli decoder."""
    models, parts, base = map(
        importlib.import_module,
        ("pythae.models", "pythae.models.nn", "pythae.models.base.base_utils"),
    )
    dims, latent, hidden = ours.spec.dims, ours.latent, ours.hidden

    class Encoder(parts.BaseEncoder):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = mlp(dims, hidden, 2 * latent)

        def forward(self, x: Tensor) -> Any:  # noqa: ANN401 (its own kind of dictionary)
            mean, log_variance = self.network(x.flatten(1)).chunk(2, 1)
            return base.ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(parts.BaseDecoder):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = mlp(latent, hidden[::-1], dims)

        def forward(self, z: Tensor) -> Any:  # noqa: ANN401
            return base.ModelOutput(reconstruction=self.network(z).sigmoid())

    config = models.VAEConfig(
        input_dim=ours.spec.event_shape, latent_dim=latent, reconstruction_loss="bce"
    )
    network = models.VAE(config, encoder=Encoder(), decoder=Decoder())
    return Wrapped(ours.spec, network, lambda x: network({"data": x.float()}).loss)


@dataclass(frozen=True)
class Peer:
    """A model of another package.

    Args:
        package: Its name, of the import and of the distribution.
        ours: The model in our registry that it is like.
        levels: Of the pictures that both learn; `None` of vectors.
        like: Makes it, of the same sizes as ours.
    """

    package: str
    ours: str
    levels: int | None
    like: Callable[[Any], Model]

    def make(self, ours: Model) -> Model | str:
        """The model, or why there is none."""
        # its logging and its warnings are no concern of who compares
        logging.getLogger(self.package).setLevel(logging.ERROR)
        # some switch torch's checks off for the whole process
        checked = Distribution._validate_args
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.like(ours)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and error.name == self.package:
                return "not installed"
            return f"not importable: {' '.join(str(error).split())}"
        except Exception as error:
            # of another version, which is no reason to lose what was measured of ours
            return f"not usable: {type(error).__name__}: {' '.join(str(error).split())}"
        finally:
            Distribution.set_default_validate_args(checked)

    @property
    def version(self) -> str:
        """Of the package; empty where it is not known."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""


PEERS = (
    Peer("zuko", "nice", LEVELS, _zuko),
    Peer("nflows", "nice", LEVELS, _nflows),
    Peer("normflows", "nice", LEVELS, _normflows),
)
