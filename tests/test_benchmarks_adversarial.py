"""Benchmarks of games: one network twice, and few pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.adversarial.gan import GAN

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import decoder_or_generator, few_pictures  # noqa: E402


def test_a_decoder_is_the_generator_and_its_bound_a_bound() -> None:
    """Of y that is the generator's own picture with noise of its deviation, known by hand."""
    with seeded(0):
        game = GAN(DataSpec((1, 2, 2), 4), latent=2, hidden=(4,))
        model = decoder_or_generator.OfPlayers(game.spec, game).eval()
    assert model.decoder is game.generator
    x = torch.randint(4, (400, 1, 2, 2))
    with torch.no_grad():
        model.code.weight.zero_()
        model.code.bias.zero_()
        model.log_deviation.fill_(20.0)
        # what a wide normal density says of anything, and a posterior that is the prior
        found = model.loss(x)
    assert found["kl"].item() == pytest.approx(0, abs=1e-6)
    assert found["loss"].item() == pytest.approx(4 * (20 + 0.9189385), rel=1e-5)
    with seeded(1):
        means = model.draws(3, noise=False)
    with seeded(1):
        assert torch.equal(means, game.sample(3))
    assert means.shape == (3, 1, 2, 2)


def test_each_prints_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, pictures = tmp_path / "seen.png", tmp_path / "pictures.npy"
    np.save(pictures, np.random.default_rng(0).integers(0, 255, (300, 6, 6), dtype=np.uint8))
    words = ["--model", "gan", "--seconds", "0.05", "--data", str(pictures)]
    assert decoder_or_generator.main([*words, "--picture", str(picture)]) == 0
    out = capsys.readouterr().out
    for name in ("training observations", "generator", "decoder, means", "decoder, draws"):
        assert f"| {name} " in out
    with Image.open(picture) as shown:
        assert shown.size == (16 * 20 - 2, 4 * 20 - 2)
    assert few_pictures.main([*words, "--counts", "30"]) == 0
    out = capsys.readouterr().out
    assert "| 30 " in out
    assert out.count("| always") == out.count("| never") == 1
