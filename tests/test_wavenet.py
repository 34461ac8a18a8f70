"""WaveNet: what it sees, sounds that end in silence, long windows, and what its sampler keeps."""

from __future__ import annotations

import pytest
import torch

import simulacra as sim
from simulacra.ground.randomness import seeded
from simulacra.models.autoregressive import wavenet as module
from simulacra.models.autoregressive.base import level_logits
from simulacra.models.autoregressive.wavenet import WaveNet
from simulacra.models.autoregressive.wavenet_buffers import Buffers
from simulacra.models.lawbook.trials import randomise


def _built(length: int, layers: int = 4, cycle: int = 4, **keywords: object) -> WaveNet:
    """A small one with random weights, in float64."""
    spec = sim.DataSpec((length,), levels=8, coding="mu-law", rate=8000)
    with seeded(0):
        model = WaveNet(spec, channels=4, skip=6, layers=layers, cycle=cycle, **keywords)  # type: ignore[arg-type]
        randomise(model)
    return model.double()


def _sounds(n: int, length: int, *, silent_from: int | None = None) -> torch.Tensor:
    x = torch.randint(0, 8, (n, length), generator=torch.Generator().manual_seed(1))
    if silent_from is not None:
        x[:, silent_from:] = 4
    return x


def _plain(model: WaveNet, x: torch.Tensor) -> torch.Tensor:
    """Log-likelihoods from all conditionals at once."""
    return model.conditionals(x).log_prob(x).sum(1)


def _watched(model: WaveNet) -> list[int]:
    """How many times the network sees at once, call by call."""
    seen: list[int] = []
    layer = model.stack[0]
    layer.register_forward_hook(lambda _module, inputs, _out: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize(("layers", "cycle", "reach"), [(4, 4, 16), (4, 2, 7), (1, 1, 2)])
def test_a_sample_is_predicted_from_the_reach_and_no_more(
    layers: int, cycle: int, reach: int
) -> None:
    """Dilations double and begin again; the furthest sample within the reach is seen."""
    model, x = _built(40, layers, cycle), _sounds(1, 40)
    assert model.reach == reach
    before = level_logits(model.conditionals(x), x, 8)
    x[0, 5] = (x[0, 5] + 1) % 8
    moved = (level_logits(model.conditionals(x), x, 8) != before).any(-1)[0].nonzero()[:, 0]
    assert moved.tolist() == list(range(6, 6 + reach))
    assert bool(model.blind_spot()[5, 6 + reach])
    assert not bool(model.blind_spot()[5, 5 + reach])


@torch.no_grad()
@pytest.mark.parametrize("silent_from", [0, 1, 10, 11, 12, 59, 60])
def test_silence_at_the_end_is_computed_once_and_counted_as_often_as_it_is_there(
    silent_from: int,
) -> None:
    """Whatever comes before it; the network sees no more than what can differ."""
    model, x = _built(60, 4, 2), _sounds(3, 60, silent_from=silent_from)
    expected, seen = _plain(model, x), _watched(model)
    assert torch.allclose(model.log_likelihood(x), expected, atol=1e-10)
    # the sample before a silence may be silent by chance
    assert seen[0] <= min(60, silent_from + model.reach + 1)
    assert seen[0] >= min(60, model.reach + 1)


@torch.no_grad()
def test_sounds_that_end_together_are_scored_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets its own figure, told its own context, whatever the order; none there may be too."""
    monkeypatch.setattr(module, "TOGETHER", 2)
    spec = sim.DataSpec((60,), levels=8, coding="mu-law", rate=8000, classes=5)
    with seeded(0):
        model = WaveNet(spec, channels=4, skip=6, layers=4, cycle=2, context="label")
        randomise(model)
    model.double()
    x, told = _sounds(5, 60, silent_from=5), torch.arange(5)
    x[1, 50], x[3, 30] = 0, 0
    expected = model.conditionals(x, told).log_prob(x).sum(1)
    seen = _watched(model)
    assert torch.allclose(model.log_likelihood(x, told), expected, atol=1e-10)
    # silent again one sample after the last one that is not
    assert seen == [13, 39, 59]
    assert model.log_likelihood(x[:0], told[:0]).shape == (0,)


def test_long_windows_are_scored_and_learned_from_piece_by_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more at once than a segment and its reach; pieces stand for the whole without bias."""
    model, x = _built(50), _sounds(2, 50)
    expected = _plain(model, x).detach()
    monkeypatch.setattr(module, "SEGMENT", 12)
    seen = _watched(model)
    assert torch.allclose(model.log_likelihood(x), expected, atol=1e-10)
    assert max(seen) == 12
    # each of the five pieces in turn, the last one shorter than the others
    losses = []
    for piece in range(5):
        monkeypatch.setattr(torch, "randint", lambda *_, piece=piece: torch.tensor(piece))
        losses.append(model.loss(x)["loss"])
    assert max(seen) <= 12 + model.reach
    mean = torch.stack(losses).mean()
    assert float(mean.detach()) == pytest.approx(-float(expected.mean()), abs=1e-9)
    assert model.eval().loss(x)["loss"].item() == pytest.approx(-float(expected.mean()), abs=1e-9)


@torch.no_grad()
@pytest.mark.parametrize(("layers", "cycle"), [(4, 4), (6, 3)])
def test_rings_go_round_many_times(layers: int, cycle: int) -> None:
    """Predictions in turn are the parallel ones, far beyond the reach."""
    model, x = _built(80, layers, cycle), _sounds(3, 80)
    expected = level_logits(model.conditionals(x), x, 8).softmax(-1)
    for t, logits in enumerate(model.in_turn(x)):
        assert torch.allclose(logits.softmax(-1), expected[:, t], atol=1e-12)


@torch.no_grad()
def test_a_sampler_keeps_what_will_be_seen_again_and_nothing_else() -> None:
    """As many features as all dilations together, however long it has gone on."""
    model = _built(100, 6, 3)
    buffers = Buffers(model.stack, torch.zeros(2, 0, dtype=torch.float64))
    h = torch.randn(2, 4, dtype=torch.float64)
    kept = {name: value.shape for name, value in vars(buffers).items() if torch.is_tensor(value)}
    for _ in range(20):
        buffers.step(h)
    assert buffers.rings.shape == (14, 2, 4)
    now = {name: value.shape for name, value in vars(buffers).items() if torch.is_tensor(value)}
    assert now == kept


def test_it_learns_what_only_a_long_reach_can_tell() -> None:
    """A click every sixteen samples: without memory it may come at any time."""
    spec = sim.DataSpec((64,), levels=4, coding="mu-law", rate=8000)
    starts = torch.arange(16).repeat(2)
    x = (torch.arange(64)[None] % 16 == starts[:, None]).long() * 3
    with seeded(1):
        model = WaveNet(spec, channels=8, skip=16, layers=4, cycle=4)
    optimiser = torch.optim.Adam(model.parameters(), 0.02, betas=(0.9, 0.99))
    for _ in range(240):
        optimiser.zero_grad()
        model.loss(x)["loss"].backward()
        optimiser.step()
    blind = 64 * float(torch.distributions.Bernoulli(1 / 16).entropy())
    assert float(model.loss(x)["loss"].detach()) < 0.6 * blind


def test_an_order_is_needed_for_densities_over_levels() -> None:
    """Levels without an order are predicted by categories alone."""
    spec = sim.DataSpec((10,), levels=5, ordered=False)
    sim.build("wavenet", spec, {"layers": 2})
    with pytest.raises(sim.MissingCapability, match="ordered levels"):
        sim.build("wavenet", spec, {"output": "logistics"})
    with pytest.raises(sim.UsageError, match="cycle is at most 16"):
        sim.build("wavenet", spec, {"cycle": 17})
