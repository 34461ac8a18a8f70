"""The ladders by which the judge is judged: known densities, and planted figures that are wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from benchmarks import calibration, ladders
from benchmarks.calibration import badness, calibrate, correlation, main, markdown, verdict
from benchmarks.ladders import Blend, Ladder, Stored, gaussians, jensen_shannon

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.data.sets.known_pictures import PixelMixture, mixture
from simulacra.ground.randomness import seeded
from simulacra.judging.figures import sample_judge as samples
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.measures import FIDELITY, MEASURES, NOVELTY, WHOLE

# all pictures of 1 × 3 pixels with two levels
SPACE = torch.cartesian_prod(*[torch.arange(2)] * 3).view(8, 1, 1, 3)


def pixel_mixture() -> PixelMixture:
    with seeded(5):
        return PixelMixture(torch.tensor([0.3, 0.7]), torch.randn(2, 1, 3, 2))


def line(centre: float, scale: float = 1.0):
    """A Gaussian on a line."""
    return gaussians(torch.tensor([[centre]]), torch.tensor([scale]), torch.ones(1))


@pytest.fixture(scope="module")
def known() -> dict[str, Dataset]:
    return {name: load(name) for name in calibration.DATA}


# ---- distributions ------------------------------------------------------------------------------


def test_what_is_stored_is_as_likely_as_it_is_often():
    stored = Stored(SPACE[[0, 3, 3, 7]].to(torch.uint8))
    shares = stored.log_prob(SPACE).exp()
    assert shares.dtype == torch.float64
    assert shares.tolist() == [0.25, 0, 0, 0.5, 0, 0, 0, 0.25]
    with seeded(0):
        x = stored.sample(torch.Size([4000]))
    assert x.shape == (4000, 1, 1, 3)
    drawn = torch.bincount((x.flatten(1) * torch.tensor([4, 2, 1])).sum(1), minlength=8) / 4000
    assert drawn.tolist() == pytest.approx(shares.tolist(), abs=0.03)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_blend_is_a_distribution(share):
    first, second = pixel_mixture(), Stored(SPACE[[1, 1, 6]])
    blend = Blend(first, second, share)
    p = blend.log_prob(SPACE).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    expected = (1 - share) * first.log_prob(SPACE).exp() + share * second.log_prob(SPACE).exp()
    assert p.tolist() == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_blend_draws_from_the_second_as_often_as_it_says(share):
    blend = Blend(Stored(SPACE[:1]), Stored(SPACE[7:]), share)
    with seeded(0):
        x = blend.sample(torch.Size([4000]))
    # whole pictures, never pixels of both
    assert (x.flatten(1) == x.flatten(1)[:, :1]).all()
    found = x[:, 0, 0, 0].double().mean().item()
    assert found == pytest.approx(share, abs=0.03 if 0 < share < 1 else 0)


def test_gaussians_have_their_weights_centres_and_deviations():
    centres = torch.tensor([[-3.0, 0.0], [3.0, 1.0]])
    both = gaussians(centres, torch.tensor([0.5, 1.0]), torch.tensor([1.0, 3.0]))
    with seeded(0):
        x = both.sample(torch.Size([8000]))
    right = x[:, 0] > 0
    assert right.double().mean().item() == pytest.approx(0.75, abs=0.03)
    for side, centre, scale in ((~right, centres[0], 0.5), (right, centres[1], 1.0)):
        assert x[side].mean(0).tolist() == pytest.approx(centre.tolist(), abs=0.06)
        assert x[side].std(0).tolist() == pytest.approx([scale] * 2, abs=0.06)
    at = both.log_prob(centres[:1].double()).item()
    assert at == pytest.approx(math.log(0.25 / (2 * math.pi * 0.25)), abs=1e-6)


# ---- divergence ---------------------------------------------------------------------------------


def test_the_divergence_of_a_distribution_from_itself_is_0_and_of_disjoint_ones_log_2():
    for p in (line(0.0), pixel_mixture(), Stored(SPACE[:3])):
        assert jensen_shannon(p, p, draws=500) == pytest.approx(0, abs=1e-12)
    apart = jensen_shannon(Stored(SPACE[:3]), Stored(SPACE[3:]), draws=500)
    assert apart == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize(("centre", "scale"), [(1.0, 1.0), (0.0, 2.0), (3.0, 0.5)])
def test_the_divergence_of_two_gaussians_is_that_of_quadrature(centre, scale):
    p, q = line(0.0), line(centre, scale)
    grid = torch.linspace(-15, 15, 20_001).double()
    a, b = (d.log_prob(grid[:, None]) for d in (p, q))
    middle = torch.logaddexp(a, b) - math.log(2)
    half = [torch.trapezoid(c.exp() * (c - middle), grid) for c in (a, b)]
    expected = float(sum(half)) / 2
    assert 0.02 < expected < math.log(2)
    for found in (jensen_shannon(p, q), jensen_shannon(q, p), jensen_shannon(p, q, seed=1)):
        assert found == pytest.approx(expected, abs=0.01)
    assert jensen_shannon(p, q, draws=50) == jensen_shannon(p, q, draws=50)
    assert jensen_shannon(p, q, draws=50) != jensen_shannon(p, q, draws=50, seed=1)


def test_the_divergence_of_two_finite_distributions_is_their_sum():
    p, q = pixel_mixture(), Blend(pixel_mixture(), Stored(SPACE[[1, 6]]), 0.5)
    a, b = p.log_prob(SPACE), q.log_prob(SPACE)
    middle = torch.logaddexp(a, b) - math.log(2)
    expected = float(sum((c.exp() * (c - middle)).sum() for c in (a, b))) / 2
    assert jensen_shannon(p, q) == pytest.approx(expected, abs=0.01)


# ---- ladders ------------------------------------------------------------------------------------

TRUE = {"temperature": "T = 1.0", "noise": ("0% of pixels", "sd 0.0"), "copies": "0% copied",
        "modes dropped": ("0 of 10", "0 of 8")}  # fmt: skip


@pytest.mark.parametrize("name", calibration.DATA)
def test_a_ladder_begins_at_the_truth_and_leaves_it_more_and_more(known, name):
    data = known[name]
    found = ladders.ladders(data)
    assert {"temperature", "copies"} <= {ladder.name for ladder in found} <= set(TRUE)
    for ladder in found:
        truth = [jensen_shannon(data.density, rung, draws=1000) for _, rung in ladder.rungs]
        [start] = [i for i, (words, _) in enumerate(ladder.rungs) if words in TRUE[ladder.name]]
        assert truth[start] == pytest.approx(0, abs=1e-6), ladder.name
        for way in (truth[start:], truth[start::-1]):
            steps = [after - before for before, after in pairwise(way)]
            assert all(step > 3e-5 for step in steps), (ladder.name, truth)
        assert max(truth) <= math.log(2) + 1e-9
        assert start == (6 if ladder.name == "temperature" else 0)


def test_rungs_are_drawn_in_the_form_of_the_data(known):
    for data in known.values():
        for ladder in ladders.ladders(data):
            for _, rung in ladder.rungs:
                with seeded(0):
                    x = rung.sample(torch.Size([8]))
                data.spec.check(x if data.spec.levels else x.float())
                assert rung.log_prob(x).isfinite().all()


def test_a_full_copy_is_a_training_observation(known):
    for name in ("mixture-8x8", "table-8x8"):
        data = known[name]
        rung = ladders.ladders(data)[-1].rungs[-1][1]
        with seeded(0):
            x = rung.sample(torch.Size([30]))
        stored = data.train.x[: ladders.STORED].long()
        assert all((stored == one).flatten(1).all(1).any() for one in x)
    ring = known["ring-8"]
    with seeded(0):
        x = ladders.ladders(ring)[-1].rungs[-1][1].sample(torch.Size([200]))
    near = torch.cdist(x.float(), ring.train.x[: ladders.STORED]).min(1).values
    # hardly off, and not at all in the mean of all
    assert near.mean() < 0.02


def test_the_modes_dropped_are_the_rarest(known):
    weights = mixture().log_weights
    assert (weights[1:] <= weights[:-1]).all()
    dropped = ladders.ladders(known["mixture-8x8"])[1]
    words, last = dropped.rungs[-1]
    assert (words, len(last.log_weights)) == ("9 of 10", 1)
    words, some = dropped.rungs[6]
    assert (words, len(some.log_weights)) == ("6 of 10", 4)
    kept = weights[:4].exp()
    assert some.log_weights.exp().tolist() == pytest.approx((kept / kept.sum()).tolist())
    assert torch.allclose(some.log_levels, mixture().log_levels[:4])


@pytest.mark.parametrize("rung", [0, 12])
def test_the_temperature_of_the_ring_is_the_power_of_its_density(known, rung):
    """Up to what its modes have in common."""
    temperature = ladders.TEMPERATURES[rung]
    axis = torch.linspace(-4, 4, 321).double()
    points = torch.cartesian_prod(axis, axis)
    powered = known["ring-8"].density.log_prob(points) / temperature
    powered = (powered - powered.logsumexp(0)).exp()
    found = ladders.ladders(known["ring-8"])[0].rungs[rung][1].log_prob(points)
    found = (found - found.logsumexp(0)).exp()
    assert (powered - found).abs().sum() / 2 < 0.001
    usual = known["ring-8"].density.log_prob(points)
    usual = (usual - usual.logsumexp(0)).exp()
    assert (powered - usual).abs().sum() / 2 > 0.05


@pytest.mark.parametrize("name", ["mixture-8x8", "ring-8"])
def test_the_truth_made_noisy_is_likeliest_on_its_own_rung(known, name):
    data = known[name]
    [ladder] = [each for each in ladders.ladders(data) if each.name == "noise"]
    x = data.test.batch(torch.arange(len(data.test)))[0]
    for number, (words, _) in enumerate(ladder.rungs):
        with seeded(0):
            if data.spec.levels:
                share = float(words.split("%")[0]) / 100
                noisy = torch.where(torch.rand(x.shape) < share, torch.randint(4, x.shape), x)
            else:
                noisy = x + float(words.split()[1]) * torch.randn(x.shape)
        scores = [rung.log_prob(noisy).mean().item() for _, rung in ladder.rungs]
        # the first rungs of the ring are hardly told apart
        assert abs(scores.index(max(scores)) - number) <= (number < 2), words


def test_other_data_have_no_ladder():
    with pytest.raises(KeyError, match="digits"):
        ladders.ladders(load("digits"))


# ---- ranks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "real", "better_first"),
    [
        ("frechet", 5.0, [-1, 0, 2, 7]),
        ("accuracy", 0.5, [0.9, 0.5, 0.1]),
        ("sharpness", 3.0, [1, 1.5, 0.4, 3]),
        ("c_t", 2.0, [0, -1, 4, -9]),
        ("precision", 0.7, [0.7, 0.8, 0.5, 0.2]),
    ],
)
def test_the_direction_of_a_figure_says_what_is_worse(key, real, better_first):
    bad = [badness(key, value, real) for value in better_first]
    assert bad == sorted(bad)
    assert len(set(bad)) == len(bad)


def test_every_direction_has_been_thought_of():
    found = {MEASURES[key].better for key in ("frechet", "accuracy", "sharpness", "c_t", "recall")}
    assert found >= {measure.better for measure in {**FIDELITY, **NOVELTY, **WHOLE}.values()}


@pytest.mark.parametrize(
    ("rank", "word"),
    [(1, "right"), (0.9, "right"), (0.89, "roughly"), (0.5, "roughly"), (0.49, "blind"),
     (0, "blind"), (-0.49, "blind"), (-0.5, "wrong"), (-1, "wrong")],
)  # fmt: skip
def test_a_rank_in_a_word(rank, word):
    assert verdict(rank, 0.001) == word
    # what chance alone does now and then is nothing
    assert verdict(rank, 0.02) == "blind"


def test_a_constant_figure_is_blind_and_a_reversed_one_wrong():
    truth = [0.0, 0.1, 0.4, 0.5]
    assert verdict(*correlation([3, 3, 3, 3], truth)) == "blind"
    assert correlation([9, 4, 2, 1], truth)[0] == pytest.approx(-1)
    assert verdict(*correlation([9, 4, 2, 1], truth)) == "wrong"
    assert correlation([1, 20, 300, 4000], truth)[0] == pytest.approx(1)
    rank, chance = correlation([1, 3, 2, 4], truth)
    assert rank == pytest.approx(0.8)
    assert chance == pytest.approx(0.2)


# ---- the whole ----------------------------------------------------------------------------------


@pytest.fixture
def ring(monkeypatch, known) -> Dataset:
    """The ring without labels, few samples of it, and one ladder with an order that all can see."""
    data = known["ring-8"]
    plain = {name: Observations(split.x) for name, split in data.splits.items()}
    spec = replace(data.spec, classes=0)
    plain["test"] = plain["test"].take(torch.arange(120))
    data = replace(data, spec=spec, class_names=(), **plain)
    monkeypatch.setattr(calibration, "load", {"ring-8": data}.__getitem__)
    monkeypatch.setattr(calibration, "FRESH", 2)
    rungs = ladders.ladders(data)[2].rungs[::10]
    far = gaussians(torch.zeros(1, 2), torch.tensor([4.0]), torch.ones(1))
    ladder = Ladder("noise", (*rungs, ("nothing but noise", far)))
    monkeypatch.setattr(calibration, "ladders", lambda of: [ladder] if of is data else [])
    return data


def planted(monkeypatch, change) -> None:
    """Let the Fréchet distance come out otherwise."""
    inner = samples.fidelity

    def fidelity(*arguments, **keywords):
        found = inner(*arguments, **keywords)
        return found | {"frechet": Figure(change(found["frechet"].value), 60)}

    monkeypatch.setattr(samples, "fidelity", fidelity)


@pytest.mark.parametrize(
    ("change", "word"),
    [(lambda v: v, "right"), (lambda v: -v, "wrong"), (lambda v: v * 0 + 1, "blind")],
    ids=["as it is", "negative", "constant"],
)
def test_a_planted_figure_is_found_out(ring, monkeypatch, change, word):
    planted(monkeypatch, change)
    report = calibrate(ring, repeats=4)
    assert (report["data"], report["count"], report["models"]) == ("ring-8", 60, {})
    [ladder] = report["ladders"]
    assert ladder["truth"] == sorted(ladder["truth"])
    assert ladder["figures"]["frechet features"]["verdict"] == word
    # its neighbour is as it was
    assert ladder["figures"]["coverage features"]["verdict"] == "right"
    assert len(ladder["rungs"]) == len(ladder["truth"]) == len(ladder["says"]) == 3


def test_every_set_of_samples_is_a_fresh_draw(ring):
    judge = samples.SampleJudge(ring, calibration.views(ring, 60))
    [ladder] = calibration.ladders(ring)
    rung = ladder.rungs[1][1]
    one, two = calibration.measured(judge, rung, repeats=2, seed=(0, 2))
    assert calibration.measured(judge, rung, repeats=1, seed=(0, 2)) == [one]
    distances = [each.figure("features", "frechet").value for each in (one, two)]
    assert distances[0] != distances[1]
    with seeded(0, 2, 1):
        x = rung.sample(torch.Size([60])).float()
    assert judge.judge(x) == two


def test_what_the_report_would_call_copies_is_counted(ring):
    judge = samples.SampleJudge(ring, calibration.views(ring, 60))
    copied = [judge.judge(ring.train.x[start : start + 60]) for start in (0, 60)]
    fresh = calibration.measured(judge, ring.density, repeats=1, seed=(5,))
    assert calibration._says(judge, [*copied, *fresh]) == {"copies": 2, "near": 0, "void": 0}


def test_the_command_prints_a_row_for_each_figure_and_writes_json(
    ring, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(calibration, "USUAL", ("gmm", "gan"))
    asked = ["--data", "ring-8", "--repeats", "1", "--budget", "2steps", "--seed", "3"]
    assert main([*asked, "--out", str(tmp_path / "new" / "folder")]) == 0
    text = (tmp_path / "new" / "folder" / "calibration.json").read_text()
    report = json.loads(text, parse_constant=pytest.fail)
    assert (report["seed"], report["repeats"]) == (3, 1)
    [found] = report["data"]
    assert set(found["models"]) == {"gmm", "gan"}
    gmm, gan = found["models"]["gmm"], found["models"]["gan"]
    assert (gmm["exact"], gan["kl"], gan["exact"]) == (True, None, None)
    assert gmm["kl"]["low"] < gmm["kl"]["value"] < gmm["kl"]["high"]
    out = capsys.readouterr().out
    assert out == markdown(report) + "\n"
    [ladder] = found["ladders"]
    for key, figure in ladder["figures"].items():
        name, _, view = key.partition(" ")
        [row] = [line for line in out.splitlines()
                 if line.startswith(f"| {MEASURES[name].name} | {view or '–'} |")]  # fmt: skip
        shown = f"{figure['rank']:.2f}".replace("-", "−")
        word = "" if figure["verdict"] == "right" else f" ({figure['verdict']})"
        assert row.endswith(f"| {shown}{word} |")
    names = {key.partition(" ")[0] for key in ladder["figures"]}
    assert {*FIDELITY, "c_t", "authentic", "duplicates", "repeats"} <= names
    assert "suspects" not in names  # for which there are too few
    assert "none: no likelihood" in out
    assert f"= {gmm['kl']['value']:.3f} [" in out


def test_markdown_has_a_column_for_each_ladder_and_a_dash_for_what_one_lacks():
    figure = {"rank": -0.75, "verdict": "wrong", "chance": 0.001}
    quiet, loud = dict.fromkeys(("copies", "near", "void"), 0), {"copies": 2, "near": 0, "void": 1}
    ladder = {"name": "noise", "rungs": ["none", "much"], "truth": [-0.0, 0.5],
              "says": [quiet, loud]}  # fmt: skip
    found = [
        ladder | {"figures": {"frechet features": figure, "frechet pixels": figure}},
        ladder | {"name": "copies", "figures": {"frechet features": figure, "duplicates": figure}},
    ]
    view = {"name": "features", "extractor": "vector", "width": 2}
    one = {"data": "ring-8", "count": 60, "views": [view], "ladders": found}
    text = markdown({"machine": {"cpu": "one"}, "seed": 0, "repeats": 2, "data": [one, one]})
    assert text.count("### ring-8\n\n60 samples against as many. features: vector, width 2.") == 2
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[:3] == [
        "| ladder | rungs, and their Jensen–Shannon divergence from the truth, nats |",
        "| noise | none 0.0000; much 0.5000 |",
        "| copies | none 0.0000; much 0.5000 |",
    ]
    assert rows[3:5] == ["| figure | view | noise | copies |", "| --- | ---: | ---: | ---: |"]
    names = [MEASURES[key].name for key in ("frechet", "duplicates")]
    assert rows[5:8] == [
        f"| {names[0]} | features | −0.75 (wrong) | −0.75 (wrong) |",
        f"| {names[0]} | pixels | −0.75 (wrong) | – |",
        f"| {names[1]} | – | – | −0.75 (wrong) |",
    ]
    assert rows[10] == "| noise | much (2 of 2) | never | much (1 of 2) |"


def test_every_figure_that_may_come_has_a_place_in_the_table():
    assert set(MEASURES) >= {*FIDELITY, *NOVELTY, *WHOLE}
    figure = {"rank": 1.0, "verdict": "right", "chance": 0.001}
    keys = [*FIDELITY, *NOVELTY, *WHOLE]
    ladder = {"name": "noise", "rungs": ["all"], "truth": [0.0], "says": [{}],
              "figures": dict.fromkeys(reversed(keys), figure)}  # fmt: skip
    report = {"data": "ring-8", "count": 60, "views": [], "ladders": [ladder]}
    text = markdown({"machine": {}, "seed": 0, "repeats": 1, "data": [report]})
    rows = [line.split(" | ")[0][2:] for line in text.splitlines() if line.endswith("| 1.00 |")]
    assert rows == [MEASURES[key].name for key in keys]


def test_the_truth_is_what_the_data_are_drawn_from(known):
    """A ladder that began elsewhere would call a right figure wrong."""
    for data in known.values():
        own = data.density.log_prob(data.test.x).double()
        for ladder in ladders.ladders(data):
            start = next(d for words, d in ladder.rungs if words in TRUE[ladder.name])
            assert torch.allclose(start.log_prob(data.test.x).double(), own, atol=1e-4)
            other = replace(data, test=data.train).test.x[: ladders.STORED]
            assert torch.allclose(start.log_prob(other), data.density.log_prob(other), atol=1e-4)
