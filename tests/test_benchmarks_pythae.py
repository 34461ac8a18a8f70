"""The benchmark beside pythae: networks of the same layers, and what is told of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.beside_pythae import (
    LATENT,
    SPEC,
    Case,
    compare,
    layers,
    markdown,
    negative_bound,
)
from benchmarks.peers import Peer, Wrapped

from simulacra.models.model import Model
from simulacra.nn.convolutions import Convolution


def test_the_layers_are_those_of_pythae() -> None:
    models = pytest.importorskip("pythae.models")
    mnist = pytest.importorskip("pythae.models.nn.benchmarks.mnist")
    config = models.VAEConfig(input_dim=SPEC.event_shape, latent_dim=LATENT)
    encoder, decoder = layers()
    theirs = mnist.Encoder_Conv_VAE_MNIST(config), mnist.Decoder_Conv_AE_MNIST(config)
    # in training, where normalisations see the batch
    copy_weights(theirs[0].layers, encoder)
    copy_weights(theirs[1].layers, decoder)
    x, z = torch.rand(2, *SPEC.event_shape), torch.randn(2, LATENT)
    with torch.no_grad():
        encoder[-1].weight.copy_(torch.cat([theirs[0].embedding.weight, theirs[0].log_var.weight]))
        encoder[-1].bias.copy_(torch.cat([theirs[0].embedding.bias, theirs[0].log_var.bias]))
    found = theirs[0](x)
    numbers = torch.cat([found.embedding, found.log_covariance], 1)
    torch.testing.assert_close(encoder(x), numbers, rtol=1e-3, atol=1e-3)
    drawn = theirs[1](z).reconstruction
    torch.testing.assert_close(decoder(z).sigmoid(), drawn, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def copy_weights(theirs: nn.Module, ours: nn.Module) -> None:
    """Those of layers in their order."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    mine = [m for m in ours.modules() if isinstance(m, (Convolution, nn.Linear))]
    peers = [m for m in theirs.modules() if isinstance(m, kinds)]
    # the encoder's last layer is two of theirs
    for layer, peer in zip(mine[: len(peers)], peers, strict=True):
        weight = peer.weight
        if isinstance(peer, nn.Conv2d):
            weight = weight.permute(2, 3, 1, 0)
        elif isinstance(peer, nn.ConvTranspose2d):
            weight = weight.permute(2, 3, 0, 1)
        layer.weight.copy_(weight)
        assert layer.bias is not None
        layer.bias.copy_(peer.bias)


def test_the_bound_of_codes_that_say_nothing() -> None:
    class Zeros(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.flatten(1)) * 0

    found = negative_bound(nn.ModuleList([Zeros(9, 4), Zeros(2, 9)]), torch.ones(3, 9))
    assert float(found.detach()) == pytest.approx(9 * 0.6931, rel=1e-3)


def test_both_are_measured_and_told() -> None:
    def ours() -> Model:
        network = nn.Linear(784, 1)
        return Wrapped(SPEC, network, lambda x: network(x.float().flatten(1)).square().mean())

    def absent(model: object) -> Model:
        raise ModuleNotFoundError(name="theirs")

    rows = [
        compare(Case("both", ours, Peer("ours", "vae", 2, lambda _: ours())), 2, 1, 0),
        compare(Case("one", ours, Peer("theirs", "vae", 2, absent)), 2, 1, 0),
    ]
    assert rows[0]["parameters"] == rows[0]["theirs"] == 785
    assert rows[0]["times"] > 0
    told = markdown({"cases": rows})
    assert "| both | 785 |" in told
    assert "| one | 785 | not installed |" in told
