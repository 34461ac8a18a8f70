"""How many rows are taken at once: as many as memory is meant for, whatever is done with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import simulacra as sim
from simulacra.data.dataset import Observations
from simulacra.ground import live
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import at_once
from simulacra.models.at_once import rows_at_once
from simulacra.tasks.bayes import scored_at_once
from simulacra.tasks.sample import draw
from simulacra.tasks.surprise import surprise
from simulacra.training.options import Options
from simulacra.training.plan import FEW

SPEC = DataSpec((1, 4, 4), levels=4, classes=3)
KB = 1 << 10


# ---- counting -----------------------------------------------------------------------------------


def test_the_peak_is_what_lives_at_one_time() -> None:
    def run() -> None:
        a = torch.zeros(256)
        b = a + 1
        del a
        b.view(2, 128).mul_(2)
        (b[:64], b + 1)

    assert live.peak(run) == 2 * KB


def test_a_graph_keeps_what_goes_back_through_it() -> None:
    weight = torch.ones(256, requires_grad=True)

    def run(layers: int) -> None:
        y = weight
        for _ in range(layers):
            y = y.exp()

    assert live.peak(lambda: run(8)) == 8 * KB
    with torch.no_grad():
        assert live.peak(lambda: run(8)) == 2 * KB


@pytest.mark.parametrize(
    "make",
    [lambda: torch.zeros(1 << 40), lambda: torch.ones(1).expand(1 << 40).clone(),
     lambda: [torch.zeros(200) for _ in range(9)], lambda: torch.zeros(300) + torch.zeros(300)],
)  # fmt: skip
def test_what_is_beyond_the_limit_is_not_made(make: Callable[[], object]) -> None:
    kept = []
    with pytest.raises(live.TooLargeError), live.at_most(2000):
        kept.append(make())
    with live.at_most(2000):
        for _ in range(9):
            torch.zeros(250)


def test_what_a_row_adds_is_seen_at_each_moment() -> None:
    """With one row, and with two, most is alive before anything is made of rows."""

    def run(rows: int) -> None:
        kept = torch.zeros(16 * KB)
        del kept
        torch.zeros(KB)
        torch.zeros(rows, 2 * KB) + torch.zeros(rows, KB)[:, :1]

    one, two = (live.history(lambda n=n: run(n)) for n in (1, 2))
    assert max(two) == max(one) == 64 * KB
    assert max(more for _, more in live.of_rows(one, two)) == (8 + 4 + 8) * KB
    # another course of things
    assert live.of_rows([0, 5, 9, 3], [0, 12, 1]) == [(9, 3)]
    assert live.of_rows([0, 12, 1], [0, 5, 9, 3]) == [(12, 0)]


# ---- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "fixed", "most", "rows"),
    [(1, 0, 250, 250), (4, 0, 256, 256), (4.1, 0, 256, 128), (11, 0, 100, 64), (4, 900, 256, 256),
     (2000, 0, 8, 1), (1, 5000, 9, 9), (700, 0, 1, 1), (700, 0, 0, 1)],
)  # fmt: skip
def test_as_many_rows_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, row: float, fixed: int, most: int, rows: int
) -> None:
    """What is there whatever the rows are takes no rows away."""
    monkeypatch.setattr(at_once, "ROOM", 1024 * KB)

    def run(n: int) -> None:
        kept = torch.zeros(fixed * KB // 4)
        torch.zeros(int(n * row * KB) // 4)
        assert len(kept) >= 0

    assert rows_at_once(run, most) == rows


def test_counting_takes_none_of_the_random_numbers() -> None:
    with seeded(3):
        expected = torch.rand(3)
    with seeded(3):
        rows_at_once(lambda n: torch.rand(n, 9), 5)
        assert torch.equal(torch.rand(3), expected)


# ---- what is done in lots is what is done together ----------------------------------------------


def test_rows_follow_from_levels_and_size_and_model() -> None:
    def rows(name: str, side: int, levels: int, **keywords: Any) -> int:
        model = sim.build(name, DataSpec((1, side, side), levels), keywords).eval()
        return scored_at_once(model, torch.zeros(2, 1, side, side, dtype=torch.long))

    small = {"channels": 8, "layers": 1}
    assert rows("pixelcnn", 8, 2, **small) == 128
    at_once.ROOM, before = 1 << 22, at_once.ROOM
    try:
        assert rows("pixelcnn", 8, 2, **small) == 128
        assert 1 < rows("pixelcnn", 8, 256, **small) <= 32
        assert rows("pixelcnn", 32, 256, **small) == 1
        assert rows("gmm", 8, 256, components=2) > rows("gmm", 8, 256, components=60)
    finally:
        at_once.ROOM = before


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Leaves so many bytes for what is taken at once."""
    return lambda room: monkeypatch.setattr(at_once, "ROOM", room)


def lots(model: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what a method is given from now on, but for what is counted."""
    sizes: list[int] = []
    true = getattr(model, name)

    def noting(x: Any, *others: Any, **named: Any) -> Any:
        if not isinstance(torch.utils._python_dispatch._get_current_dispatch_mode(), live.Live):
            sizes.append(len(x) if isinstance(x, Tensor) else x)
        return true(x, *others, **named)

    monkeypatch.setattr(model, name, noting)
    return sizes


NAMES = ("gmm", "vae", "made", "nice")


@pytest.mark.parametrize("name", NAMES)
def test_scores_do_not_depend_on_lots(
    name: str, little: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Observations(torch.randint(4, (21, 1, 4, 4), dtype=torch.uint8))
    model = sim.build(name, SPEC, dict(sim.find(name).small[0])).eval()
    whole = sim.likelihood(model, data, draws=3).marginal
    sizes = lots(model, "log_likelihood", monkeypatch)
    little(1 << 13)
    score = sim.likelihood(model, data, draws=3).marginal
    assert max(sizes) < 21
    assert sum(sizes) == 21
    assert torch.allclose(score.values, whole.values, rtol=1e-5)


@pytest.mark.parametrize("name", ["pixelcnn", "gan"])
def test_samples_are_those_of_always_unless_they_are_large(
    name: str, little: Callable[[int], None]
) -> None:
    model = sim.build(name, SPEC, dict(sim.find(name).small[0])).eval()
    with seeded(5), torch.no_grad():
        whole = model.sample(20)
    assert torch.equal(draw(model, 20, seed=(5,)).x, whole)
    with seeded(5, 1), torch.no_grad():
        second = model.sample(8)
    assert torch.equal(draw(model, 20, seed=(5,), at_once=8).x[8:16], second)
    little(1)
    each = draw(model, 4, seed=(5,)).x
    with seeded(5, 3), torch.no_grad():
        assert torch.equal(each[3:], model.sample(1))


def test_large_samples_are_drawn_in_lots_and_the_first_is_told(
    little: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sim.build("made", SPEC, {"hidden": (8,), "context": "label"}).eval()
    context = torch.arange(20) % 3
    little(1 << 13)
    sizes = lots(model, "sample_steps", monkeypatch)
    told: list[int] = []
    drawn = draw(model, 20, context, on_step=lambda x: told.append(len(x)))
    assert len(drawn) == sum(sizes) == 20
    assert max(sizes) < 20
    assert told == [sizes[0]] * 16
    assert torch.equal(draw(model, 20, context).x, drawn.x)


@pytest.mark.parametrize(("name", "room"), [("pixelcnn", 1 << 14), ("gmm", 1 << 11)])
def test_large_completions_keep_what_is_given(
    name: str, room: int, little: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sim.build(name, SPEC, dict(sim.find(name).small[0])).eval()
    x = torch.randint(4, (5, 1, 4, 4))
    observed = torch.zeros(1, 4, 4, dtype=torch.bool)
    observed[:, :2] = True
    whole = sim.complete(model, x, observed, times=4)
    little(room)
    sizes = lots(model, "complete", monkeypatch)
    drawn = sim.complete(model, x, observed, times=4)
    assert sum(sizes) == 20
    assert max(sizes) < 20
    assert drawn.shape == whole.shape
    assert torch.equal(drawn[..., :2, :], x[:, None, :, :2].expand(-1, 4, -1, -1, -1))


def test_frames_of_large_observations_share_their_noise(little: Callable[[int], None]) -> None:
    model = sim.build("vae", SPEC, {"latent": 2, "hidden": (8,)}).eval()
    whole = sim.interpolate(model, rows=6, steps=3)
    little(1 << 10)
    frames = sim.interpolate(model, rows=6, steps=3)
    assert frames.shape == whole.shape
    assert torch.equal(frames, sim.interpolate(model, rows=6, steps=3))


def test_surprise_does_not_depend_on_lots(little: Callable[[int], None]) -> None:
    model = sim.build("pixelcnn", SPEC, dict(sim.find("pixelcnn").small[0])).eval()
    x = torch.randint(4, (9, 1, 4, 4))
    whole = surprise(model, x)
    little(1 << 13)
    assert torch.allclose(surprise(model, x), whole, rtol=1e-5)


def test_validation_does_not_depend_on_lots(
    little: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = sim.load_data("digits")
    model = sim.build("nice", data.spec, {"hidden": (8,)})
    training = sim.Training(model, data.train, data.validation, Options(device="cpu"))
    whole = training.learner.validate(100)
    assert training.learner._few == FEW
    training.learner._few = None
    little(1 << 15)
    sizes = lots(training.averaged, "validation_loss", monkeypatch)
    assert training.learner.validate(100) == pytest.approx(whole, rel=1e-5)
    assert sum(sizes) == 100
    assert max(sizes) < FEW
