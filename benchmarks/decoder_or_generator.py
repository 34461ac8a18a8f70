"""`python -m benchmarks.decoder_or_generator`: one network as a VAE's decoder, and as a generator.

The same layers, from codes to pictures, learn once against a discriminator and once with an
encoder, of the discriminator's own layers, by the evidence lower bound of a normal decoder. What
differs is what they are told of their mistakes: what of it an opponent sees, or how far each pixel
is off. Of the VAE both its means, as such pictures are mostly shown, and true draws, with the noise
that it models, are measured. Each learns by its own preset; an encoder keeps what bounds the slope
of the discriminator.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.machine import describe
from benchmarks.table import table
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.drawing import files, grids
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.features.views import views
from simulacra.judging.figures.fidelity import fidelity
from simulacra.models.adversarial.gan import GAN
from simulacra.models.adversarial.players import Opponent
from simulacra.models.model import Model
from simulacra.models.registry import build, preset
from simulacra.nn.levels import to_levels
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options


class OfPlayers(Model):
    """A VAE of a game's players: the generator decodes, the opponent's layers encode.

    p(y | z) is normal around the generator's picture, with one deviation that is learned; levels
    are dequantised, as for the game. The loss is the negative bound in nats, so blur has its price.

    Args:
        spec: Pictures.
        game: Whose untrained players it takes.
    """

    def __init__(self, spec: DataSpec, game: GAN) -> None:
        super().__init__(spec)
        opponent = game.player(game.opponent)
        assert isinstance(opponent, Opponent)
        self.game, self.body = game, opponent.body
        self.code = nn.Linear(opponent.width, 2 * game.code_size)
        self.log_deviation = nn.Parameter(torch.tensor(-1.0))
        self.decoder = game.player("generator")

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The negative bound of one code."""
        y = self.game.scaled(x, torch.rand(x.shape, device=x.device))
        mean, log_spread = self.code(self.body(y)).chunk(2, 1)
        z = mean + log_spread.exp() * torch.randn_like(mean)
        kl = (mean.square() + (2 * log_spread).exp() - 1).sum(1) / 2 - log_spread.sum(1)
        off = ((y - self.decoder(z, None)) / self.log_deviation.exp()).flatten(1)
        nats = off.square().sum(1) / 2 + self.spec.dims * (
            self.log_deviation + math.log(2 * math.pi) / 2
        )
        return {"loss": (nats + kl).mean(), "kl": kl.mean()}

    @torch.no_grad()
    def draws(self, n: int, *, noise: bool) -> Tensor:
        """Levels of pictures of codes of the prior, means or true draws."""
        game = self.game
        y = self.decoder(game.prior(n), None)
        if noise:
            y = y + self.log_deviation.exp() * torch.randn_like(y)
        return to_levels(y * game.scale + game.shift, self.spec.levels)


def trained(model: Model, name: str, data: Dataset, seconds: float, seed: int) -> Model:
    """The model after so many seconds of one thread; its average."""
    options = Options(**{**preset(name), "device": "cpu", "seed": seed})
    training = Training(
        model, data.train, data.validation, options, threads=1, clock=time.process_time
    )
    training.set_plan(Budget(seconds, "s"))
    for _ in training:
        pass
    training.settle()
    return training.averaged.eval()


def measured(name: str, data: Dataset, seconds: float, seed: int) -> dict[str, Tensor]:
    """Samples of each: the game's, and the VAE's means and draws."""
    n = min(1000, len(data.test))
    with seeded(seed):
        games = [build(name, data.spec, {"augment": "never"}) for _ in range(2)]
    assert isinstance(games[0], GAN)
    assert isinstance(games[1], GAN)
    game = trained(games[0], name, data, seconds, seed)
    vae = trained(OfPlayers(data.spec, games[1]), "vae", data, seconds, seed)
    assert isinstance(game, GAN)
    assert isinstance(vae, OfPlayers)
    with seeded(seed, 1), torch.no_grad():
        return {
            "generator": game.sample(n),
            "decoder, means": vae.draws(n, noise=False),
            "decoder, draws": vae.draws(n, noise=True),
        }


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decoder_or_generator",
        description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--data", default="digits", help="pictures")
    parser.add_argument("--data-dir", help="where their files are")
    parser.add_argument("--model", default="sngan", help="whose players learn")
    parser.add_argument("--seconds", type=float, default=20, help="of the processor, for each")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the batches")
    parser.add_argument(
        "--picture", type=Path, help="a PNG of real ones and of each kind of sample"
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = load(given.data, data_dir=given.data_dir)
    found = measured(given.model, data, given.seconds, given.seed)
    n = len(found["generator"])
    view = views(data, n)[0]
    real = view.features(data.test.batch(torch.arange(n))[0])
    floor = view.features(data.train.batch(torch.arange(n))[0])
    rows = []
    for words, seen in {
        "training observations": floor, **{name: view.features(x) for name, x in found.items()}
    }.items():  # fmt: skip
        figures = fidelity(real, seen)
        names = ("frechet", "precision", "recall", "density", "coverage")
        rows.append([words, *(f"{figures[each].value:.3g}" for each in names)])
    print(table(("samples", "Fréchet", "precision", "recall", "density", "coverage"), rows))
    machine = describe(torch.device("cpu"), 1, given.seed)
    print(
        f"\n{data.name}, players of {given.model}, {given.seconds:g} s of one thread each, seed "
        f"{given.seed}; {n} samples against as many test observations, {view.extractor}; "
        f"{machine['cpu']}, torch {machine['torch']}."
    )
    if given.picture:
        shown = [data.test.batch(torch.arange(16))[0], *(x[:16] for x in found.values())]
        picture = grids.grid(data.spec.to_float(torch.cat(shown)), columns=16, scale=3, gap=2)
        files.save(picture, given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
