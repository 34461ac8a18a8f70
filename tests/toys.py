"""Small models that learn otherwise than one player in one go; each keeps all laws."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.adversarial.base import Adversarial, still
from simulacra.models.latent.vae import VAE
from simulacra.models.mixture.gmm import GMM
from simulacra.models.model import Decoding, Encoding, Sampling
from simulacra.models.stages import Player, Stage
from simulacra.models.swept import Swept
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding, ContextKind


class Autoencoder(Encoding, Decoding):
    """A code in the middle of two networks, which together learn to give back what they are given.

    Paper: G. E. Hinton, R. R. Salakhutdinov, "Reducing the Dimensionality of Data with Neural
        Networks", 2006, Science 313.
    Departs from the paper: nothing is trained before; a normalisation over batches.

    Args:
        spec: Ordered levels.
        latent: Size of a code.
    """

    takes = Takes(vectors=False, unordered=False)

    def __init__(self, spec: DataSpec, *, latent: int = 2) -> None:
        super().__init__(spec)
        self.latent, self.told = latent, ContextEmbedding("none", spec)
        self.encoder = nn.Sequential(
            nn.Linear(spec.dims, 32, bias=False), nn.BatchNorm1d(32), nn.Tanh(),
            nn.Linear(32, latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(nn.Linear(latent, 32), nn.Tanh(), nn.Linear(32, spec.dims))

    def _unit(self, x: Tensor) -> Tensor:
        return self.spec.to_float(x).to(self.encoder[0].weight.dtype).flatten(1)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y = self._unit(x)
        self.told(context, y)
        return self.encoder(y)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        self.told(context, z)
        highest = (self.spec.levels or 2) - 1
        levels = (self.decoder(z) * highest).round().clamp(0, highest).long()
        return levels.view(-1, *self.spec.event_shape)

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The squared error of what comes back, `(N,)`."""
        return (self.decoder(self.encode(x, context)) - self._unit(x)).square().sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": self.validation_loss(x, context).mean()}


class Sweeps(GMM):
    """A mixture that learns by sweeps and by nothing else."""

    __doc__ = GMM.__doc__
    small = ({"components": 3, "context": "label"},)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return super().stages[:1]


class SampledAutoencoder(Autoencoder, Swept, Sampling):
    """An autoencoder first, then a mixture of Gaussians on its codes, from which it samples.

    Paper: P. Ghosh et al., "From Variational to Deterministic Autoencoders", 2020, arXiv
        1903.12436, section 4.
    Departs from the paper: the autoencoder is not regularised.

    Args:
        spec: Ordered levels.
        latent: Size of a code.
        components: Gaussians of the mixture.
    """

    def __init__(self, spec: DataSpec, *, latent: int = 2, components: int = 3) -> None:
        super().__init__(spec, latent=latent)
        self.components = components
        codes = DataSpec((latent,), levels=None)
        mixture = registry.build("gmm", codes, {"components": components})
        assert isinstance(mixture, GMM)
        self.mixture = mixture

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The autoencoder takes most of the budget; the mixture converges in a few sweeps."""
        return (
            Stage("codes", ("autoencoder",), share=0.8),
            Stage("mixture", (), 0.2, None, self._begin_mixture, self._surprise),
        )

    def player(self, turn: str) -> nn.Module:
        return nn.ModuleList([self.encoder, self.decoder])

    def _begin_mixture(self, x: Tensor, context: Tensor | None) -> None:
        with torch.no_grad():
            self.mixture.prepare(self.encode(x, context))

    def _surprise(self, x: Tensor, context: Tensor | None) -> Tensor:
        return -self.mixture.log_likelihood(self.encode(x, context))

    @property
    def learnt(self) -> int:
        return self.mixture.learnt

    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        return self.mixture.statistics(self.encode(x, context))

    def maximise(self, *sums: Tensor) -> dict[str, float]:
        return self.mixture.maximise(*sums)

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        return self.decode(self.mixture.sample(n), context)


class ClippedWGAN(Adversarial):
    """A generator against a critic of bounded slope, which moves more often and faster.

    Paper: M. Arjovsky, S. Chintala, L. Bottou, "Wasserstein GAN", 2017, arXiv 1701.07875,
        algorithm 1.
    Departs from the paper: AdamW instead of RMSProp.

    Args:
        spec: Ordered levels, or vectors.
        latent: Size of a code.
        critic_steps: Turns of the critic for each of the generator.
        bound: Largest weight of the critic.
    """

    takes = Takes(unordered=False)
    opponent, undecided, estimates_distance = "critic", None, True
    kept = ("generator",)
    players = MappingProxyType(
        {"critic": Player(lr=2.0, betas=(0.0, 0.9)), "generator": Player(betas=(0.0, 0.9))}
    )

    def __init__(
        self, spec: DataSpec, *, latent: int = 2, critic_steps: int = 3, bound: float = 0.2
    ) -> None:
        self.turns = ("critic",) * critic_steps + ("generator",)
        super().__init__(spec, latent, "none")
        self.latent, self.critic_steps, self.bound = latent, critic_steps, bound
        self.told = ContextEmbedding("none", spec)
        self.generator = nn.Sequential(nn.Linear(latent, 16), nn.Tanh(), nn.Linear(16, spec.dims))
        # a constant would cancel in the difference that the critic learns from
        self.critic = nn.Sequential(
            nn.Linear(spec.dims, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1, bias=False)
        )

    def _generate(self, z: Tensor, context: Tensor | None) -> Tensor:
        self.told(context, z)
        raw: Tensor = self.generator(z).view(-1, *self.spec.event_shape)
        return raw if self.spec.levels is None else raw.tanh()

    def _judge(self, y: Tensor) -> Tensor:
        return self.critic(y.flatten(1))

    def scores(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.told(context, self.shift)
        return self._judge(self.scaled(x)).squeeze(1)

    def features(self, x: Tensor) -> Tensor:
        return self.critic[:-1](self.scaled(x).flatten(1))

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "critic"
    ) -> dict[str, Tensor]:
        z = self.prior(len(x))
        if turn == "critic":
            with torch.no_grad():
                fake = self._generate(z, context)
            noise = torch.rand(x.shape, dtype=z.dtype, device=x.device)
            distance = self._judge(self.scaled(x, noise)).mean() - self._judge(fake).mean()
            return {"loss": -distance, "distance": distance.detach()}
        with still(self.critic):
            return {"loss": -self._judge(self._generate(z, context)).mean()}

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        """The critic's weights are clipped after each of its moves."""
        if turn == "critic":
            for parameter in self.critic.parameters():
                parameter.clamp_(-self.bound, self.bound)


class Triplet(Encoding):
    """Codes of one class that lie nearer to one another than to those of other classes.

    Paper: A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person
        Re-Identification", 2017, arXiv 1703.07737, equation 5 with a soft margin.
    Departs from the paper: one hidden layer.

    Args:
        spec: Any ordered levels with a label each.
        latent: Size of a code.
        classes: In a batch.
        each: Observations of each class in it.
    """

    takes = Takes(vectors=False, unordered=False)

    def __init__(self, spec: DataSpec, *, latent: int = 4, classes: int = 3, each: int = 4) -> None:
        super().__init__(spec)
        self.latent, self.classes, self.each = latent, classes, each
        self.classes_in_batch = (classes, each)
        self.told = ContextEmbedding("none", spec)
        # what all codes have in common does not change the distances between them
        self.network = nn.Sequential(
            nn.Linear(spec.dims, 16), nn.Tanh(), nn.Linear(16, latent, bias=False)
        )

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        y = self.spec.to_float(x).to(self.network[0].weight.dtype).flatten(1)
        self.told(context, y)
        return self.network(y)

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """How much farther each anchor's farthest of its class is than its nearest other."""
        assert context is not None
        codes = self.encode(x)
        gap = (codes[:, None] - codes).square().sum(2)
        same = context[:, None] == context
        farthest = gap.masked_fill(~same, 0.0).amax(1)
        nearest = gap.masked_fill(same, torch.inf).amin(1)
        return softplus(farthest - nearest)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        return {"loss": self.validation_loss(x, context).mean()}


class WarmVAE(VAE):
    """A variational autoencoder whose divergence weighs little at first.

    Paper: C. K. Sønderby et al., "Ladder Variational Autoencoders", 2016, arXiv 1602.02282,
        section 2.3, "warm-up".
    Departs from the paper: one layer of codes.

    Args:
        spec: Any observations.
        latent: Size of a code.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
        context: What both networks are told.
    """

    small = ({"latent": 2, "hidden": (8,)},)

    def __init__(
        self,
        spec: DataSpec,
        *,
        latent: int = 2,
        hidden: tuple[int, ...] = (8,),
        context: ContextKind = "none",
    ) -> None:
        super().__init__(spec, latent=latent, hidden=hidden, context=context)

    def loss(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        turn: str = "model",
        place: Tensor | float = 1.0,
    ) -> dict[str, Tensor]:
        terms, _ = self.parts(x, context, self.noise(len(x)))
        reconstruction, kl = terms.distortion.mean(), terms.kl.mean()
        weight = (torch.as_tensor(place, device=x.device) / 0.5).clamp(max=1.0)
        return {"loss": reconstruction + weight * kl, "kl": kl, "weight": weight}


class Codebook(Encoding, Decoding):
    """An autoencoder whose code is the nearest entry of a codebook, moved to what is near it.

    Paper: A. van den Oord, O. Vinyals, K. Kavukcuoglu, "Neural Discrete Representation Learning",
        2017, arXiv 1711.00937, equations 2 and 3, and appendix A.1.
    Departs from the paper: one code for a whole observation; linear networks.

    Args:
        spec: Ordered levels.
        entries: Of the codebook.
        latent: Size of an entry.
    """

    takes = Takes(vectors=False, unordered=False)
    entry: Tensor
    uses: Tensor
    totals: Tensor

    def __init__(self, spec: DataSpec, *, entries: int = 4, latent: int = 2) -> None:
        super().__init__(spec)
        self.entries, self.latent = entries, latent
        self.told = ContextEmbedding("none", spec)
        self.encoder, self.decoder = nn.Linear(spec.dims, latent), nn.Linear(latent, spec.dims)
        self.register_buffer("entry", torch.randn(entries, latent))
        self.register_buffer("uses", torch.ones(entries))
        self.register_buffer("totals", self.entry.clone())

    def _unit(self, x: Tensor) -> Tensor:
        return self.spec.to_float(x).to(self.encoder.weight.dtype).flatten(1)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The number of the nearest entry, `(N,)`."""
        y = self._unit(x)
        self.told(context, y)
        return torch.cdist(self.encoder(y), self.entry).argmin(1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        highest = (self.spec.levels or 2) - 1
        levels = (self.decoder(self.entry[z]) * highest).round().clamp(0, highest).long()
        return levels.view(-1, *self.spec.event_shape)

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        chosen = self.entry[self.encode(x, context)]
        return (self.decoder(chosen) - self._unit(x)).square().sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        y, number = self._unit(x), self.encode(x, context)
        code, chosen = self.encoder(y), self.entry[number]
        # the gradient of what is decoded goes past the choice
        through = code + (chosen - code).detach()
        error = (self.decoder(through) - y).square().sum(1).mean()
        commitment = (code - chosen).square().sum(1).mean()
        hits = one_hot(number, self.entries).to(code)
        return {
            "loss": error + 0.25 * commitment,
            "uses": hits.sum(0),
            "totals": hits.T @ code.detach(),
        }

    def moved(self, turn: str, sums: Mapping[str, Tensor]) -> None:
        self.uses.lerp_(sums["uses"], 0.05)
        self.totals.lerp_(sums["totals"], 0.05)
        self.entry.copy_(self.totals / self.uses[:, None].clamp_min(1e-5))


TOYS = {
    "autoencoder": Autoencoder,
    "sampled-autoencoder": SampledAutoencoder,
    "clipped-wgan": ClippedWGAN,
    "triplet": Triplet,
    "warm-vae": WarmVAE,
    "codebook": Codebook,
}


def place(name: str) -> str:
    """What a model is called where a name is asked for: a toy by its file."""
    if name == "two-scales":
        return f"{Path(__file__).with_name('toy_nested.py')}:TwoScales"
    if name == "sweeps":
        return f"{__file__}:Sweeps"
    return f"{__file__}:{TOYS[name].__name__}" if name in TOYS else name
