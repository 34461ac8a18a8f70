"""Greyness and blur, on pictures and sounds of which the answer is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import conv2d

from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.appearance import appearance, without_ratio

GREY = DataSpec((1, 16, 16), 256)
COLOUR = DataSpec((3, 12, 12), 256)


def smooth(generator, n, spec):
    """Pictures of a few soft blobs and some grain, as levels."""
    channels, height, width = spec.event_shape
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    x = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    x = x + 0.05 * torch.randn(x.shape, generator=generator)
    return (x.clamp(0, 1) * 255).round().long()


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def blurred(x, sigma=1.0):
    taps = torch.exp(-torch.arange(-3.0, 4).square() / (2 * sigma**2))
    kernel = (taps[:, None] * taps / taps.sum() ** 2).expand(x.shape[1], 1, 7, 7)
    padded = torch.nn.functional.pad(x.float(), (3, 3, 3, 3), mode="reflect")
    return conv2d(padded, kernel, groups=x.shape[1]).round().long()


@pytest.mark.parametrize("spec", [GREY, COLOUR])
def test_the_other_half_is_like_the_data(generator, spec):
    x = smooth(generator, 400, spec)
    figures = appearance(spec, x[:200], x[200:])
    assert set(figures) == ({"saturation", "sharpness"} if spec is COLOUR else {"sharpness"})
    for figure in figures.values():
        assert figure.low <= 1 <= figure.high
        assert figure.high - figure.low < 0.3
        assert figure.count == 200


def test_blur_and_noise_are_told_apart(generator):
    x = smooth(generator, 200, GREY)
    soft = appearance(GREY, x, blurred(x))["sharpness"]
    assert soft.high < 0.5
    softer = appearance(GREY, x, blurred(x, 2.0))["sharpness"]
    assert softer.high < soft.low
    noise = torch.randn(x.shape, generator=generator) * 25
    noisy = appearance(GREY, x, (x + noise).round().clamp(0, 255).long())["sharpness"]
    assert noisy.low > 2


def test_pixels_without_their_places_are_sharper_than_the_picture(generator):
    x = smooth(generator, 200, GREY)
    shuffled = x.flatten(1)[:, torch.randperm(256, generator=generator)].view_as(x)
    assert appearance(GREY, x, shuffled)["sharpness"].low > 3


def test_half_the_colour_is_half_the_saturation(generator):
    x = 2 * torch.randint(0, 128, (200, 3, 12, 12), generator=generator)
    middle = 126
    half = middle + (x - middle) // 2
    figure = appearance(COLOUR, x, half)["saturation"]
    assert figure.value == pytest.approx(0.5, abs=1e-6)
    grey = x.float().mean(1, keepdim=True).round().long().expand_as(x)
    assert appearance(COLOUR, x, grey)["saturation"].value == 0
    # half of the pictures without any colour
    mixed = torch.where(torch.arange(200)[:, None, None, None] < 100, grey, x)
    figure = appearance(COLOUR, x, mixed)["saturation"]
    assert figure.value == pytest.approx(0.5, abs=0.02)
    assert figure.low < 0.5 < figure.high


def test_chroma_by_hand():
    spec = DataSpec((3, 1, 1), 256)
    red = torch.tensor([255, 0, 0]).view(1, 3, 1, 1).expand(3, -1, -1, -1)
    dull = torch.tensor([102, 51, 77]).view(1, 3, 1, 1).expand(2, -1, -1, -1)
    assert appearance(spec, red, dull)["saturation"].value == pytest.approx(51 / 255)


def test_a_palette_is_looked_at_as_the_colours_that_it_stands_for():
    spec = DataSpec(
        (1, 4, 4), 4, ordered=False, coding="palette",
        palette=((0, 0, 0), (255, 255, 255), (255, 0, 0), (128, 128, 0)),
    )  # fmt: skip
    half = torch.zeros(1, 4, 4, dtype=torch.long)
    half[:, :, :2] = 2
    real, samples = half.expand(2, 1, 4, 4), (half == 2).long().expand(3, 1, 4, 4) * 3
    figures = appearance(spec, real, samples)
    assert figures["saturation"].value == pytest.approx(128 / 255)
    # red and dark yellow against black: one channel, and twice half of it
    assert figures["sharpness"].value == pytest.approx(2 * (128 / 255) ** 2)
    assert appearance(spec, real, real // 2)["saturation"].value == 0


@pytest.mark.parametrize(
    ("cycles", "counted"), [(3, False), (7, False), (9, True), (15, True)]
)  # of 16 pixels; the middle is 8 half cycles
def test_detail_begins_at_half_of_the_highest_frequency(cycles, counted):
    spec = DataSpec((1, 16, 16), 65536)
    wave = torch.cos(math.pi * cycles * (torch.arange(16) + 0.5) / 16)
    x = ((wave[:, None] * torch.ones(16) + 1) * 32767).round().long().expand(2, 1, 16, 16)
    noise = torch.randint(0, 65536, (2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    value = appearance(spec, noise, x)["sharpness"].value
    turned = appearance(spec, noise, x.mT)["sharpness"].value
    assert turned == pytest.approx(value, rel=1e-6)
    assert (value > 0.5) if counted else (value < 1e-6)


def test_a_border_that_does_not_meet_the_opposite_one_is_no_detail():
    ramp = torch.arange(0, 256, 16).expand(2, 1, 16, 16)
    noise = torch.randint(0, 256, (2, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    assert appearance(GREY, noise, ramp)["sharpness"].value < 1e-3


def test_sounds_have_detail_too():
    spec = DataSpec((512,), 256, coding="mu-law", rate=8000)
    t = torch.arange(512) / 8000
    phases = torch.arange(20.0)[:, None]
    low, high = (
        ((torch.sin(2 * math.pi * f * t + phases) + 1) * 127.5).round().long() for f in (500, 3500)
    )
    mixed = torch.where(torch.arange(20)[:, None] % 2 == 0, low, high)
    assert set(appearance(spec, mixed, low)) == {"sharpness"}
    assert appearance(spec, mixed, low)["sharpness"].high < 0.2
    assert appearance(spec, mixed, high)["sharpness"].low > 1


def test_vectors_and_codes_have_no_appearance():
    vectors = DataSpec((4,), None)
    assert appearance(vectors, torch.randn(3, 4), torch.randn(3, 4)) == {}
    table = DataSpec((4,), 8)
    codes = DataSpec((3, 4, 4), 8, ordered=False)
    for spec in (table, codes):
        x = torch.randint(0, 8, (3, *spec.event_shape))
        assert appearance(spec, x, x) == {}
        assert without_ratio(spec, x) == []


def test_constant_samples_have_nothing_and_constant_data_no_ratio(generator):
    x = smooth(generator, 20, COLOUR)
    flat = torch.full_like(x, 77)
    figures = appearance(COLOUR, x, flat)
    assert {(f.value, f.low, f.high) for f in figures.values()} == {(0.0, 0.0, 0.0)}
    assert appearance(COLOUR, flat, x) == {}
    assert len(without_ratio(COLOUR, flat)) == 2
    grey = x[:, :1].expand_as(x)
    assert set(appearance(COLOUR, grey, x)) == {"sharpness"}
    (words,) = without_ratio(COLOUR, grey)
    assert "all grey" in words
    assert without_ratio(COLOUR, x) == []


@pytest.mark.parametrize("shape", [(3, 7, 5), (3, 28, 28), (97,)])
def test_what_is_constant_has_no_detail_at_all(shape):
    """Not even what a Fourier transform rounds."""
    spec = DataSpec(shape, 256, rate=None if len(shape) == 3 else 8000)
    values = torch.tensor([77, 31, 200]).view(1, 3, 1, 1) if spec.is_image else torch.tensor(77)
    flat = values.expand(4, *shape)
    noise = torch.randint(0, 256, (4, *shape), generator=torch.Generator().manual_seed(0))
    assert appearance(spec, noise, flat)["sharpness"].value == 0
    assert "sharpness" not in appearance(spec, flat, noise)


def test_what_is_smooth_but_for_rounding_gives_no_ratio():
    spec = DataSpec((1, 16, 16), None)
    wave = torch.cos(math.pi * 3 * (torch.arange(16) + 0.5) / 16).expand(2, 1, 16, 16)
    noise = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    assert appearance(spec, wave, noise) == {}
    (words,) = without_ratio(spec, wave)
    assert "no detail at all" in words
    assert appearance(spec, noise, wave)["sharpness"].value < 1e-12


def test_data_of_which_a_draw_may_have_no_colour_give_no_interval():
    x = torch.zeros(3, 3, 12, 12, dtype=torch.long)
    x[0, 0] = 200
    figure = appearance(COLOUR, x, x)["saturation"]
    assert (figure.value, figure.low, figure.high) == (1.0, None, None)


def test_what_cannot_be_compared_is_refused():
    x = torch.zeros(4, 1, 16, 16, dtype=torch.long)
    with pytest.raises(UsageError, match="two observations on each side, got 4 and 1"):
        appearance(GREY, x, x[:1])
    with pytest.raises(UsageError, match="expected observations"):
        appearance(GREY, x, x[:, :, 1:])
    with pytest.raises(UsageError, match=r"levels 0 … 255"):
        appearance(GREY, x, x + 256)
    vectors = torch.randn(3, 4)
    vectors[1, 2] = math.nan
    with pytest.raises(DataError, match="1 values are not finite"):
        appearance(DataSpec((4,), None), vectors, vectors)


def test_a_seed_gives_the_same_interval_and_leaves_the_generator(generator):
    x = smooth(generator, 60, GREY)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, again, other = (appearance(GREY, x[:30], x[30:], seed=s) for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert one == again
    assert one["sharpness"].value == other["sharpness"].value
    assert one != other


def test_intervals_hold_the_truth_about_as_often_as_they_say(generator):
    """Of pictures whose colour and contrast vary, the ratio of the true means is known."""
    spec = DataSpec((3, 4, 4), 256)

    def draw(n):
        strength = torch.rand(n, 1, 1, 1, generator=generator)
        noise = torch.rand(n, 3, 4, 4, generator=generator) - 0.5
        return ((0.5 + strength * noise) * 255).round().long()

    trials, held = 200, {"saturation": 0, "sharpness": 0}
    for seed in range(trials):
        for name, figure in appearance(spec, draw(60), draw(60), seed=seed).items():
            held[name] += figure.low <= 1 <= figure.high
    # 0.95 give or take three standard errors of 200 trials, and some bias of a percentile
    assert all(0.89 <= count / trials <= 0.99 for count in held.values()), held
