"""Codes: encoded in lots, mapped, traversed, spread, probed; with models whose codes are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal

from simulacra.data.dataset import Dataset, Observations
from simulacra.drawing import codes as drawing
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.model import Decoding, Encoding, Latent
from simulacra.nn.distributions import DiscretisedLogistic
from simulacra.nn.logistic_mixture import DiscretisedLogisticMixture
from simulacra.tasks import codes as coding
from simulacra.tasks.attributes import attributes
from simulacra.tasks.codes import encode, encode_split, view_of
from simulacra.tasks.expected import expected, mean_of, words_of
from simulacra.tasks.interpolate import between, interpolate
from simulacra.tasks.probe import Linear, probe, wilson
from simulacra.tasks.spread import spread
from simulacra.tasks.traverse import traverse

SPEC = DataSpec((1, 4, 4), 9, classes=2)


def split(n: int, seed: int) -> Observations:
    """Pictures of one level in the upper half and another in the lower; bright above is class 1."""
    with seeded(seed):
        halves = torch.randint(9, (n, 2))
    x = halves.repeat_interleave(2, 1)[:, None, :, None].expand(n, 1, 4, 4)
    return Observations(x.to(torch.uint8), (halves[:, 0] > 4).long())


DATA = Dataset("halves", SPEC, split(400, 0), split(60, 1), split(20, 2))


class Halves(Encoding, Decoding):
    """An autoencoder by hand: the levels of both halves, less four, and some that say nothing."""

    idle = 0

    def loss(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is trained here")

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.lots = [*getattr(self, "lots", ()), len(x)]
        own = torch.stack([x[:, 0, -1, 0], x[:, 0, 0, 0]], 1).float() - 4
        return torch.cat([own, own.new_zeros(len(x), self.idle)], 1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        below, above = (z[:, :2] + 4).round().clamp(0, 8).long().T
        return torch.stack([above, above, below, below], 1)[:, None, :, None].expand(-1, 1, 4, 4)


class Drawn(Halves, Latent):
    """The same with a prior, one unit of which varies thrice as much, and a posterior."""

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return temperature * torch.randn(n, 2) * torch.tensor([1.0, 3.0]) + torch.tensor([0.0, 1.0])

    def posterior(self, x: Tensor, context: Tensor | None = None) -> Independent[Normal]:
        return Independent(Normal(self.encode(x), torch.tensor([0.5, 0.1])), 1)


class Wide(Latent):
    """A prior of three units, and no encoder."""

    def loss(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is trained here")

    def prior(self, n: int, context: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        return temperature * torch.randn(n, 3)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return z.new_zeros(len(z), 1, 4, 4).long()


# ---- what a decoder expects ---------------------------------------------------------------------


def by_definition(values: Distribution, levels: int) -> Tensor:
    every = torch.arange(levels).double().view(-1, *[1] * len(values.batch_shape))
    return (values.log_prob(every.expand(-1, *values.batch_shape)).exp() * every).sum(0)


def test_expected_levels_are_those_of_the_definition() -> None:
    with seeded(0):
        loc, spread_, raw = torch.randn(3, 5, 7, dtype=torch.float64)
    for values in (
        DiscretisedLogistic(4 + 4 * loc, spread_.exp(), 9),
        DiscretisedLogisticMixture(raw, 4 + 4 * loc, spread_.exp(), 9),
        Categorical(logits=raw),
        Bernoulli(logits=raw),
    ):
        levels = 7 if isinstance(values, Categorical) else 2 if isinstance(values, Bernoulli) else 9
        torch.testing.assert_close(mean_of(values).double(), by_definition(values, levels))


def test_what_is_expected_is_what_draws_are_on_average() -> None:
    for spec in (SPEC, DataSpec((3,), None)):
        with seeded(3):
            model = registry.build("vae", spec, {"latent": 2, "hidden": (8,)})
            model.prepare(2 + 3 * torch.randn(50, 3)) if spec.levels is None else None
            z = torch.randn(2, 2)
            drawn = model.decode(z.repeat_interleave(20000, 0))  # type: ignore[operator]
        means = spec.to_float(drawn).unflatten(0, (2, 20000)).mean(1)
        torch.testing.assert_close(expected(model, z), means, atol=0.08, rtol=0)
    assert words_of(model) == "expected values"


def test_of_unordered_levels_the_likeliest_is_shown() -> None:
    colours = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    spec = DataSpec((1, 2, 2), 3, coding="palette", ordered=False, palette=colours)
    with seeded(0):
        model = registry.build("vae", spec, {"latent": 2, "hidden": (8,)})
        z = torch.randn(6, 2)
    likeliest = model.likelihood(z).base_dist.probs.argmax(-1)  # type: ignore[operator]
    assert torch.equal(expected(model, z), spec.to_float(likeliest))
    assert words_of(model) == "likeliest levels"


def test_a_decoder_without_noise_says_itself() -> None:
    z = torch.tensor([[0.0, 1.0]])
    assert torch.equal(expected(Halves(SPEC), z), SPEC.to_float(Halves(SPEC).decode(z)))
    assert words_of(Halves(SPEC)) == ""


# ---- encoding -----------------------------------------------------------------------------------


def test_codes_come_in_order_however_many_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole = Halves(SPEC), encode_split(Halves(SPEC), DATA.train)
    assert whole.shape == (400, 2)
    monkeypatch.setattr(coding, "rows_at_once", lambda _run, _most: 7)
    assert torch.equal(encode_split(model, DATA.train), whole)
    assert model.lots == [7] * 57 + [1]
    assert torch.equal(encode(model, DATA.train.batch(torch.arange(30))[0]), whole[:30])
    some = encode_split(model, DATA.train, 50)
    assert torch.equal(some, whole[coding.looked_at(DATA.train, 50)])


def test_what_cannot_be_encoded_is_refused() -> None:
    drawing_alone = registry.build("pixelcnn", SPEC, {"channels": 4, "layers": 1})
    with pytest.raises(MissingCapability, match="PixelCNN does not encode observations"):
        encode(drawing_alone, torch.zeros(1, 1, 4, 4).long())
    with pytest.raises(UsageError, match="at least one observation"):
        encode(Halves(SPEC), torch.zeros(0, 1, 4, 4).long())
    with pytest.raises(UsageError, match="expected observations"):
        encode(Halves(SPEC), torch.zeros(2, 1, 5, 4).long())


# ---- mapping ------------------------------------------------------------------------------------


def test_a_grid_goes_over_the_quantiles_of_the_prior() -> None:
    view = view_of(Drawn(SPEC), DATA, encode_split(Drawn(SPEC), DATA.validation), 5)
    normal = torch.special.ndtri(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64))
    torch.testing.assert_close(view.ends, torch.stack([normal, 3 * normal + 1]), atol=0.05, rtol=0)
    assert (view.by, view.names) == ("the prior", ("z1", "z2"))
    codes = view.codes(view.grid()).view(5, 5, 2)
    assert bool((codes[:, 1:, 0] > codes[:, :-1, 0]).all()), "to the right"
    assert bool((codes[1:, :, 1] < codes[:-1, :, 1]).all()), "the highest row first"


def test_without_a_prior_it_goes_over_codes() -> None:
    codes = encode_split(Halves(SPEC), DATA.validation)
    view = view_of(Halves(SPEC), DATA, codes, 3)
    assert view.by == "the validation codes"
    torch.testing.assert_close(view.ends[0, 1], codes[:, 0].double().quantile(0.5))


def test_codes_of_many_units_are_seen_along_principal_components() -> None:
    with seeded(0):
        plane, base = torch.randn(200, 2) * torch.tensor([5.0, 2.0]), torch.randn(6, 6)
    axes = torch.linalg.qr(base).Q[:2]
    codes = (plane @ axes + 3 + 0.01 * torch.randn(200, 6)).view(200, 2, 3)
    view = view_of(Halves(SPEC), DATA, codes, 4)
    assert sum(view.share) > 0.99
    assert view.share[0] > view.share[1]
    places = view.seen(codes)
    torch.testing.assert_close(view.codes(places), codes, atol=0.1, rtol=0)
    assert (view.codes(places).shape, view.codes(places).dtype) == (codes.shape, codes.dtype)
    assert f"({view.share[0]:.0%})" in view.names[0]


def test_what_has_no_plane_is_refused() -> None:
    with pytest.raises(MissingCapability, match="codes of 3 values have no plane"):
        view_of(Wide(SPEC), DATA, None, 4)
    with pytest.raises(UsageError, match="at least two codes that are finite, got 0"):
        view_of(Halves(SPEC), DATA, torch.full((4, 2), torch.nan), 4)


@pytest.mark.parametrize("count", [1, 10, 30])
def test_classes_are_told_apart_by_colour_and_mark(count: int) -> None:
    with seeded(0):
        points, labels = torch.randn(90, 2), torch.arange(90) % count
    classes = drawing.Classes(labels, [f"c{i}" for i in range(count)])
    figure = drawing.scatter(points, classes, names=("a", "b"))
    shown = [(line.get_color(), line.get_marker()) for line in figure.axes[0].lines]
    assert len(set(shown)) == len(shown)
    assert len(shown) == (1 if count == 30 else count), "too many classes are no classes"
    legend = [text.get_text() for each in figure.legends for text in each.get_texts()]
    assert legend == ([] if count == 30 else [f"c{i}" for i in range(count)])


def test_an_ellipse_holds_what_it_says() -> None:
    with seeded(0):
        cloud = torch.randn(20000, 2, dtype=torch.float64) @ torch.tensor(
            [[2.0, 1.0], [0.0, 0.5]], dtype=torch.float64
        )
    outline = drawing._ellipse(cloud)
    inverse = torch.linalg.inv(cloud.T.cov())
    inside = ((cloud - cloud.mean(0)) @ inverse * (cloud - cloud.mean(0))).sum(1)
    edge = ((outline - cloud.mean(0)) @ inverse * (outline - cloud.mean(0))).sum(1)
    assert float((inside < edge.mean()).double().mean()) == pytest.approx(0.95, abs=0.01)
    assert float(edge.std()) < 0.01


# ---- traversals ---------------------------------------------------------------------------------


def test_units_are_told_by_what_they_move() -> None:
    model = Drawn(SPEC)
    found = traverse(model, DATA, row=3, steps=5)
    assert found.units.tolist() == [1, 0], "the unit whose prior reaches further moves more"
    torch.testing.assert_close(
        found.ends, torch.tensor([[-3.0, 3.0], [-8.0, 10.0]]), atol=0.5, rtol=0
    )
    assert found.frames.shape == (2, 5, 1, 4, 4)
    above, below = found.frames[0][:, 0, 0, 0], found.frames[0][:, 0, -1, 0]
    assert (above[0], above[-1]) == (0, 1)
    own = DATA.validation.x[3, 0, -1, 0] / 8
    assert torch.equal(below, own.expand(5)), "the other unit stays as it is"
    assert bool((found.changes["ink"].abs() > 1).all())
    assert found.classes is not None
    assert float(found.classes[0, 1]) > 0.5
    assert abs(float(found.classes[1, 1])) < 0.2
    assert found.rates is None


def test_what_units_cost_is_told_of_a_bound() -> None:
    with seeded(0):
        model = registry.build("vae", SPEC, {"latent": 3, "hidden": (8,)})
    found = traverse(model, DATA, units=2)
    assert found.rates is not None
    x, _ = DATA.validation.batch(torch.arange(60))
    rates = model.eval().terms(x).rates.mean(0)  # type: ignore[operator]
    torch.testing.assert_close(found.rates, rates[found.units].double(), rtol=1e-4, atol=1e-5)


def test_without_a_prior_codes_say_how_far() -> None:
    model = Halves(SPEC)
    model.idle = 2
    found = traverse(model, DATA, units=2)
    assert found.by == "validation codes"
    assert sorted(found.units.tolist()) == [0, 1], "units that move nothing come last"
    with pytest.raises(UsageError, match="from 0 to 59, got 60"):
        traverse(model, DATA, row=60)


def test_attributes_of_strokes() -> None:
    x = torch.zeros(4, 1, 12, 12)
    x[0, 0, 2:10, 5] = 1
    x[1, 0, 2:10, 5:7] = 1
    for i in range(8):
        x[2, 0, 9 - i, 2 + i] = 1
    x[3, 0, 6, 2:10] = 1
    spec = DataSpec((1, 12, 12), 2)
    found = attributes(spec, x)
    assert found["stroke"][1] / found["stroke"][0] == pytest.approx(1.8, abs=0.1)
    assert found["slant"].tolist() == pytest.approx([0, 0, 1, 0], abs=1e-6)
    assert found["height"][3] < 1e-3 < found["height"][0]
    assert found["width"][0] < 1e-3 < found["width"][3]
    assert found["height"][0] == pytest.approx(found["width"][3])
    for name, values in attributes(spec, 1 - x, dark=False).items():
        torch.testing.assert_close(values, found[name], msg=name)


def test_attributes_of_sounds_and_vectors() -> None:
    time = torch.arange(400) / 400
    sounds = torch.stack([(20 * time).sin(), 0.5 * (200 * time).sin()])
    found = attributes(DataSpec((400,), 256, rate=400), sounds)
    assert found["loudness"][0] > found["loudness"][1]
    assert found["crossings"][1] / found["crossings"][0] == pytest.approx(10, rel=0.2)
    points = torch.randn(5, 3)
    assert list(attributes(DataSpec((3,), None), points, names=("a",))) == [
        "a",
        "value 1",
        "value 2",
    ]


# ---- spreads and ways ---------------------------------------------------------------------------


def test_codes_of_one_observation_spread_as_its_posterior_does() -> None:
    x, _ = DATA.validation.batch(torch.arange(3))
    found = spread(Drawn(SPEC), x, draws=2000, shown=4)
    assert found.codes.shape == (3, 2000, 2)
    torch.testing.assert_close(found.codes.mean(1), Drawn(SPEC).encode(x), atol=0.06, rtol=0)
    torch.testing.assert_close(
        found.codes.std(1), torch.tensor([0.5, 0.1]).expand(3, 2), atol=0.05, rtol=0.1
    )
    assert torch.equal(found.middle, SPEC.to_float(x))
    assert torch.equal(found.decoded[1], expected(Drawn(SPEC), found.codes[1, :4]))
    with pytest.raises(MissingCapability, match="Halves gives an observation one code"):
        spread(Halves(SPEC), x)


def test_a_straight_way_is_one() -> None:
    start, end = torch.randn(2, 4, 2, 3)
    way = between(start, end, 5, "linear")
    torch.testing.assert_close(way[:, 1], 0.75 * start + 0.25 * end)
    assert torch.equal(way[:, 0], start)
    torch.testing.assert_close(way[:, -1], end)
    x, _ = DATA.validation.batch(torch.arange(6))
    frames = interpolate(Halves(SPEC), steps=3, ends=(x[:3], x[3:]), path="linear")
    middle = ((x[:3] + x[3:]) / 2 - 4).round() + 4
    assert torch.equal(frames[:, 1], middle.long())
    with pytest.raises(UsageError, match="path is one of spherical, linear, got 'arc'"):
        interpolate(Halves(SPEC), rows=2, steps=3, path="arc")  # type: ignore[arg-type]


# ---- probing ------------------------------------------------------------------------------------


def test_a_probe_finds_what_codes_say_linearly() -> None:
    by_name = {each.name: each for each in probe(Halves(SPEC), DATA)}
    assert by_name["codes"].accuracy > 0.95
    assert by_name["raw values"].accuracy > 0.95
    assert [each.features for each in by_name.values()] == [2, 2, 16, 0]
    assert by_name["most frequent class"].accuracy < 0.65
    for each in by_name.values():
        assert each.low <= each.accuracy <= each.high
        assert (each.observations, each.trained) == (60, 400)


def test_a_probe_of_codes_that_say_nothing_finds_nothing() -> None:
    class Blind(Halves):
        def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return torch.zeros(len(x), 2)

    codes, *_, usual = probe(Blind(SPEC), DATA)
    assert codes.accuracy == usual.accuracy


def test_validation_data_choose_nothing_of_a_probe() -> None:
    """With other validation data, the classifier is the same."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 30)), rng.integers(0, 3, 200)
    noisy = Linear.fit(x, y)
    assert noisy.strength == 0.001, "noise is best told apart by nothing"
    separate = Linear.fit(x + 5 * y[:, None], y)
    assert separate.strength > noisy.strength
    assert noisy.probabilities(x, 5).shape == (200, 5)
    assert (noisy.probabilities(x, 5)[:, 3:] == 0).all()


def test_groups_count_as_one_in_an_interval() -> None:
    apart = probe(Halves(SPEC), DATA)[0]
    held = DATA.validation
    groups = Observations(held.x, held.context, groups=torch.arange(60) // 6)
    together = probe(Halves(SPEC), Dataset("grouped", SPEC, DATA.train, groups, DATA.test))[0]
    assert together.accuracy == apart.accuracy
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_wilson_by_hand() -> None:
    """Agresti and Coull 1998: 0 of 10, and 5 of 10."""
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
