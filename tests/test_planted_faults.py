"""Each law catches the fault that it is there for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

import laws
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.models.flow.nice import NICE
from simulacra.models.latent.vae import VAE
from simulacra.models.lawbook import trials
from simulacra.models.mixture.gmm import GMM
from simulacra.models.model import Completion, Model
from simulacra.nn.masked_convolution import MaskedConv2d

GREY = DataSpec((1, 2, 2), 3, classes=3)
WIDE = DataSpec((2,), 16, classes=3)
PICTURE = DataSpec((1, 6, 6), 4, classes=3)
COLOUR_PICTURE = DataSpec((3, 3, 3), 4)


def ready(model: Any) -> Any:
    x = laws.observations(model, 60)
    with seeded(1):
        model.prepare(x, laws.contexts(model, 60))
    return laws.randomise(model)


def small_pixelcnn(kind: type[PixelCNN] = PixelCNN, spec: DataSpec = PICTURE) -> PixelCNN:
    with seeded(0):
        return ready(kind(spec, channels=6, layers=2, first_kernel_size=3))


class ForgetsJacobian(NICE):
    def log_density(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        # as if levels had not been divided by their number
        return super().log_density(y, context) + self.spec.dims * math.log(self.spec.levels or 1)


class WrongSign(NICE):
    def transform(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, ladj = super().transform(y, context)
        return z, -ladj


class ForgetsPosterior(VAE):
    """The ELBO without its entropy: no bound."""

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        posterior = self.posterior(x, context)
        return super().log_likelihood(x, context, draws=draws, seed=seed) + posterior.entropy()


class Unnormalised(GMM):
    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        return super().log_likelihood(x, context) + 1e-4


def test_sums_catch_a_missing_jacobian() -> None:
    model = ready(ForgetsJacobian(WIDE, hidden=(8,)))
    with torch.no_grad():
        # ten times as far as other weights, it would put nearly all between two levels
        model.maps[-1].s.mul_(0.1)
    with pytest.raises(AssertionError, match="sums to"):
        laws.sums_to_one(model)


def test_sums_catch_a_bound_that_is_none() -> None:
    with pytest.raises(AssertionError, match="sums to"):
        laws.sums_to_one(ready(ForgetsPosterior(GREY, latent=2, hidden=(8,))))


def test_sums_catch_a_small_excess() -> None:
    with pytest.raises(AssertionError, match="sums to"):
        laws.sums_to_one(ready(Unnormalised(GREY, components=2)))


def test_inverse_catches_a_wrong_sign() -> None:
    with pytest.raises(AssertionError, match="log-determinant"):
        laws.inverts(ready(WrongSign(GREY, hidden=(8,))))


def test_inverse_catches_couplings_in_the_wrong_order() -> None:
    class WrongOrder(NICE):
        def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
            self.maps = nn.ModuleList(reversed(self.maps))
            try:
                return super().invert(z, context)
            finally:
                self.maps = nn.ModuleList(reversed(self.maps))

    with pytest.raises(AssertionError, match="inverse error"):
        laws.inverts(ready(WrongOrder(GREY, hidden=(8,), couplings=3)))


def test_inverse_catches_what_rounding_to_levels_hides() -> None:
    class Loose(NICE):
        def invert(self, z: Tensor, context: Tensor | None = None) -> Tensor:
            return super().invert(z, context) + 1e-2

    loose = ready(Loose(GREY, hidden=(8,)))
    x = laws.observations(loose, 16)
    assert torch.equal(loose.decode(loose.encode(x)), x)
    with pytest.raises(AssertionError, match="the inverse error is 1"):
        laws.comes_back(loose)


def test_what_is_not_finite_is_an_infinite_inverse_error() -> None:
    broken = ready(NICE(GREY, hidden=(8,)))
    with torch.no_grad():
        broken.maps[-1].s[0, 0, 1] = math.nan
    assert broken.inverse_error(laws.observations(broken, 3)).tolist() == [math.inf] * 3


def test_causality_catches_a_model_that_sees_its_target() -> None:
    model = small_pixelcnn()
    model.first.mask[:, :, -1, model.first.reach] = True
    with pytest.raises(AssertionError, match="too early"):
        laws.is_causal(model)


def test_causality_catches_colours_in_the_wrong_order() -> None:
    model = small_pixelcnn(spec=COLOUR_PICTURE)
    for layer in model.modules():
        if isinstance(layer, MaskedConv2d):
            layer.mask[:, :, -1, layer.reach] = True
    with pytest.raises(AssertionError, match="too early"):
        laws.is_causal(model)


def test_causality_catches_an_undeclared_blind_spot() -> None:
    class SaysItSeesAll(PixelCNN):
        def blind_spot(self) -> Tensor:
            return torch.zeros(self.spec.dims, self.spec.dims, dtype=torch.bool)

    with pytest.raises(AssertionError, match="does not reach"):
        laws.is_causal(small_pixelcnn(SaysItSeesAll))


def test_causality_catches_a_layer_that_sees_less_than_it_says() -> None:
    model = small_pixelcnn()
    model.first.mask[..., 0, 0] = False
    model.blocks[0].masked.mask[..., 0, 0] = False
    model.blocks[1].masked.mask[..., 0, 0] = False
    with pytest.raises(AssertionError, match="does not reach"):
        laws.is_causal(model)


def test_incremental_sampling_catches_a_stale_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    from simulacra.nn.masked_convolution import MaskedConvStream

    model = small_pixelcnn()
    laws.samples_incrementally(model)
    start_row = MaskedConvStream.start_row

    def forgets_the_row_above(self: MaskedConvStream) -> None:
        self.row.zero_()
        start_row(self)

    monkeypatch.setattr(MaskedConvStream, "start_row", forgets_the_row_above)
    with pytest.raises(AssertionError, match="samplers differ"):
        laws.samples_incrementally(model)


def test_samples_catch_a_wrong_temperature() -> None:
    class Hot(PixelCNN):
        def sample_steps(self, *args: Any, **options: Any) -> Iterator[Tensor]:
            return super().sample_steps(*args, **{**options, "temperature": 0.9})

    with seeded(0):
        model = ready(Hot(GREY, channels=6, layers=1, first_kernel_size=3))
    with pytest.raises(AssertionError, match="disagree"):
        laws.samples_as_it_says(model)


def test_samples_catch_rounding_to_the_nearest_level() -> None:
    class Rounds(GMM):
        def _to_levels(self, y: Tensor) -> Tensor:
            return y.round().clamp(0, 2).long()

    with pytest.raises(AssertionError, match="disagree"):
        laws.samples_as_it_says(ready(Rounds(GREY, components=2)))


def test_turns_catch_a_generator_that_moves_the_discriminator() -> None:
    class MovesBoth(GAN):
        def loss(
            self, x: Tensor, context: Tensor | None = None, *, turn: str = "discriminator"
        ) -> dict[str, Tensor]:
            if turn == "generator":
                logit = self._score(self._generate(self.prior(len(x)), context), context)
                return {"loss": -nn.functional.logsigmoid(logit).mean()}
            return super().loss(x, context, turn=turn)

    with pytest.raises(AssertionError, match="in the turn of the generator"):
        laws.moves_one_player(ready(MovesBoth(GREY, latent=2, hidden=(8,))))


def test_completion_catches_a_changed_value_and_a_peek() -> None:
    class Overwrites(GMM):
        def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
            return self.sample(len(x))

    class Peeks(GMM):
        def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
            drawn = super().complete(x, observed, context)
            return torch.where(observed.expand_as(x), x, (drawn + x) % 3)

    with pytest.raises(AssertionError, match="observed value changed"):
        laws.completes(ready(Overwrites(GREY, components=2)))
    with pytest.raises(AssertionError, match="hidden values are seen"):
        laws.completes(ready(Peeks(GREY, components=2)))


def test_exact_completion_catches_draws_that_ignore_what_is_given() -> None:
    class Ignores(GMM):
        def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
            return torch.where(observed.expand_as(x), x, self.sample(len(x)))

    with seeded(0):
        model = GMM(GREY, components=2)
    with torch.no_grad():
        # in units of [−1, 1): the middles of the first and the last bin of three
        model.means.copy_(torch.tensor([[-2 / 3] * 4, [2 / 3] * 4]))
        model.log_scales.fill_(math.log(0.7 / 1.5))
    laws.completes_by_its_conditional(model.eval())
    ignores = Ignores(GREY, components=2)
    ignores.load_state_dict(model.state_dict())
    with pytest.raises(AssertionError, match="disagree with the conditional"):
        laws.completes_by_its_conditional(ignores.eval())


class NoisyScore(VAE):
    """Draws its noise from the global generator, as most libraries do."""

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        z = self.posterior(x, context).sample()
        return self.likelihood(z, context).log_prob(x.float())


def test_scores_catch_noise_that_belongs_to_the_batch() -> None:
    with pytest.raises(AssertionError, match="a dimension"):
        laws.scores_alone(ready(NoisyScore(GREY, latent=2, hidden=(8,))))


def test_contexts_catch_a_batch_normalised_embedding() -> None:
    class Mixes(VAE):
        def likelihood(self, z: Tensor, context: Tensor | None = None) -> Any:
            mixed = self.context_features(context, z).mean(0)
            return super().likelihood(z + mixed[: self.latent], context)

    with seeded(0):
        model = ready(Mixes(GREY, latent=2, hidden=(8,), context="label"))
    with pytest.raises(AssertionError, match="another row's context"):
        laws.keeps_contexts_apart(model)


class Table(Autoregressive, Completion):
    """A user's own model: nothing but `conditionals`."""

    def __init__(self, spec: DataSpec, *, smoothing: float = 1.0) -> None:
        super().__init__(spec)
        self.smoothing = smoothing
        self.table = nn.Parameter(torch.randn(spec.dims, spec.levels, spec.levels))

    def conditionals(self, x: Tensor, context: Tensor | None = None) -> Categorical:
        flat = x.flatten(1)
        before = torch.cat([torch.zeros_like(flat[:, :1]), flat[:, :-1]], 1)
        logits = self.table[torch.arange(self.spec.dims), before] / self.smoothing
        return Categorical(logits=logits.view(*x.shape, self.spec.levels))

    def blind_spot(self) -> Tensor:
        return torch.ones(self.spec.dims, self.spec.dims, dtype=torch.bool).triu(2)


def test_a_models_conditionals_are_enough() -> None:
    """Sampling, likelihood and completion follow, and keep the laws."""
    with seeded(0):
        model: Model = Table(GREY).eval()
    laws.is_causal(model)
    laws.sums_to_one(model)
    laws.samples_as_it_says(model)
    laws.completes(model)
    laws.completes_by_its_conditional(model)
    assert math.isfinite(model.loss(laws.observations(model, 5))["loss"].item())


@pytest.mark.parametrize(
    ("rare", "fits"), [(0, True), (1, True), (2, True), (5, False), (50, False)]
)
def test_draws_of_rare_cells_count_as_what_they_are(rare: int, fits: bool) -> None:
    """One draw where a hundredth is expected shows nothing, and is no χ² of 80; five do."""
    p = torch.tensor([0.5, 0.5 - 1e-6, 6e-7, 4e-7])
    counts = torch.tensor([5000.0, 5000.0 - rare, 0.0, rare])
    if fits:
        trials.fits(counts, p, "off")
    else:
        with pytest.raises(AssertionError, match="off"):
            trials.fits(counts, p, "off")
    with pytest.raises(AssertionError, match="off"):
        trials.fits(torch.tensor([5000.0, 5000.0, 1.0]), torch.tensor([0.5, 0.5, 0.0]), "off")
