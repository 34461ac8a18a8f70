"""Scores of unseen observations, recomputed by hand, and what a model costs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from simulacra.data.dataset import Observations
from simulacra.data.splits import permutation
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.live import Live
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.cost import parameters, sampling_seconds
from simulacra.judging.figures.intervals import degrees_of_freedom, standard_error
from simulacra.judging.figures.likelihood import (
    Score,
    bits_per_dim,
    likelihood,
    valid_dims,
)
from simulacra.models import registry
from simulacra.models.model import Likelihood, Model, Sampling
from simulacra.tasks import bayes

GREY = DataSpec((1, 2, 2), 3, classes=3, context_width=2)
VECTORS = DataSpec((3,), None, classes=3)


class Told(Likelihood):
    """Its log-likelihood is a function of the observations; it keeps what it was asked."""

    exact = True

    def __init__(self, spec: DataSpec, score: Callable[[Tensor], Tensor], *, exact: bool = True):
        super().__init__(spec)
        self.register_buffer("somewhere", torch.zeros(1))
        self.score, self.exact = score, exact
        self.asked: list[dict[str, Any]] = []

    def loss(self, x: Tensor, context: Tensor | None = None, *, turn: str = "") -> Any:
        raise AssertionError("nothing is trained here")

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        assert not torch.is_grad_enabled()
        if not isinstance(_get_current_dispatch_mode(), Live):
            # what is asked only to count its memory is no question
            self.asked.append({"n": len(x), "context": context, "draws": draws, "seed": seed})
        return self.score(x)


def by_number(values: list[float]) -> tuple[Told, Observations]:
    """A model of vectors whose log-likelihood of observation i is `values[i]`."""
    x = torch.arange(float(len(values)))[:, None].expand(-1, 3).contiguous()
    table = torch.tensor(values)
    return Told(VECTORS, lambda x: table[x[:, 0].long()]), Observations(x)


def pictures(n: int, seed: int = 0) -> Observations:
    with seeded(seed):
        x = torch.randint(3, (n, 1, 2, 2), dtype=torch.uint8)
        return Observations(x, torch.randint(3, (n,)))


def built(name: str, **keywords: Any) -> Any:
    with seeded(0):
        model = registry.build(name, GREY, keywords)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


# ---- one score ----------------------------------------------------------------------------------


def test_bits_are_nats_per_value_over_log_two() -> None:
    """Of a uniform model: log2 of the levels, whatever the number of values."""
    model = Told(GREY, lambda x: torch.full((len(x),), -4 * math.log(3)))
    score = likelihood(model, pictures(10)).marginal
    assert score is not None
    assert score.nats == pytest.approx(4 * math.log(3), rel=1e-6)
    assert score.bits_per_dim == pytest.approx(math.log2(3), rel=1e-6)
    assert (score.dims, score.levels, score.observations) == (4, 3, 10)
    assert score.standard_error == pytest.approx(0, abs=1e-6)


@torch.no_grad()
def test_a_models_bits_are_its_categorical_losses() -> None:
    """Recomputed from the logits of every value of every observation, one at a time."""
    model, data = built("pixelcnn", channels=3, layers=1, first_kernel_size=3), pictures(300)
    bits = []
    for row in data.x.long():
        logits = model.conditionals(row[None]).logits[0]
        p = logits.double().softmax(-1).gather(-1, row[..., None])
        bits.append(-float(p.log2().sum()) / 4)
    score = likelihood(model, data).marginal
    assert score is not None
    assert score.observations == 300
    assert score.bits_per_dim == pytest.approx(statistics.fmean(bits), rel=1e-5)
    error = statistics.stdev(bits) / math.sqrt(300)
    assert score.bits_standard_error == pytest.approx(error, rel=1e-4)
    assert score.standard_error == pytest.approx(error * 4 * math.log(2), rel=1e-4)
    assert (score.exact, score.relation) == (True, "=")


def test_the_standard_error_is_that_of_a_mean() -> None:
    values = [-1.0, -2.5, -7.0, 0.5]
    model, data = by_number(values)
    score = likelihood(model, data).marginal
    assert score is not None
    assert score.nats == pytest.approx(2.5)
    squares = [(-v - 2.5) ** 2 for v in values]
    assert score.standard_error == pytest.approx(math.sqrt(sum(squares) / 3 / 4))


def test_of_one_observation_the_spread_is_unknown() -> None:
    model, data = by_number([-3.0])
    score = likelihood(model, data).marginal
    assert score is not None
    assert score.nats == 3
    assert math.isnan(score.standard_error)


def test_continuous_vectors_have_no_bits() -> None:
    model, data = by_number([-3.0, -5.0])
    score = likelihood(model, data).marginal
    assert score is not None
    assert (score.nats, score.levels) == (4, None)
    assert score.bits_per_dim is None
    assert score.bits_standard_error is None
    assert bits_per_dim(4.0, VECTORS) == 4
    assert bits_per_dim(4.0, GREY) == pytest.approx(1 / math.log(2))


@pytest.mark.parametrize(
    ("values", "count"),
    [([-1, -math.inf, -2], 1), ([-1, math.nan, -2, math.nan], 2), ([math.inf, -1], 1)],
)
def test_what_is_not_finite_is_counted_and_stays_in_the_mean(
    values: list[float], count: int
) -> None:
    model, data = by_number(values)
    score = likelihood(model, data).marginal
    assert score is not None
    assert score.non_finite == count
    assert score.observations == len(values)
    assert not math.isfinite(score.nats)


def test_every_observation_counts_once_whatever_the_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = torch.linspace(-9, 4, 300).tolist()
    model, data = by_number(values)
    whole = likelihood(model, data).marginal
    monkeypatch.setattr(bayes, "_SCORED", 7)
    assert likelihood(model, data).marginal == whole
    assert whole is not None
    assert whole.nats == pytest.approx(-statistics.fmean(values))
    assert [call["n"] for call in model.asked] == [128, 128, 44] + [7] * 42 + [6]


@pytest.mark.parametrize("limit", [1, 5, 128, 129, 300, 1000])
def test_a_limit_takes_a_fixed_random_part(limit: int) -> None:
    values = torch.linspace(-9, 4, 300).tolist()
    model, data = by_number(values)
    score = likelihood(model, data, limit=limit).marginal
    assert score is not None
    assert score.observations == min(limit, 300)
    assert score.nats == pytest.approx(
        -statistics.fmean(values[i] for i in permutation(300)[:limit].tolist()), rel=1e-5
    )
    assert sum(call["n"] for call in model.asked) == min(limit, 300)


def test_a_limit_takes_the_contexts_too() -> None:
    data = pictures(200)
    model = Told(GREY, lambda x: torch.zeros(len(x)))
    model.context = "label"
    likelihood(model, data, limit=130)
    told = torch.cat([call["context"] for call in model.asked])
    assert data.context is not None
    assert torch.equal(told, data.context[permutation(200)[:130]])


def test_there_must_be_something_to_look_at() -> None:
    model, data = by_number([-1.0, -2.0])
    for keywords in ({"draws": 0}, {"limit": 0}, {"limit": -1}):
        with pytest.raises(UsageError, match="at least one observation and one draw"):
            likelihood(model, data, **keywords)
    with pytest.raises(UsageError, match="at least one observation"):
        likelihood(model, data.take(torch.arange(0)))


def test_a_model_without_a_likelihood_says_so() -> None:
    with pytest.raises(MissingCapability, match="GAN has no likelihood: compare it by its samples"):
        likelihood(built("gan", latent=2, hidden=(4,)), pictures(3))


# ---- bounds -------------------------------------------------------------------------------------


def test_draws_and_seed_are_the_bounds_own() -> None:
    bound = Told(GREY, lambda x: torch.zeros(len(x)), exact=False)
    score = likelihood(bound, pictures(5), draws=16, seed=3).marginal
    assert score is not None
    assert (score.draws, score.relation, score.exact) == (16, "≤", False)
    assert (bound.asked[0]["draws"], bound.asked[0]["seed"]) == (16, 3)
    exact = Told(GREY, lambda x: torch.zeros(len(x)))
    score = likelihood(exact, pictures(5), draws=16).marginal
    assert score is not None
    assert (score.draws, score.relation) == (1, "=")


def test_more_draws_tighten_a_bound_and_a_seed_makes_it_the_same() -> None:
    model, data = built("vae", latent=2, hidden=(6,)), pictures(200)
    loose = likelihood(model, data, draws=1).marginal
    tight = likelihood(model, data, draws=64).marginal
    assert loose is not None
    assert tight is not None
    assert tight.nats < loose.nats
    torch.rand(7)
    assert likelihood(model, data, draws=64).marginal == tight
    assert likelihood(model, data, draws=64, seed=1).marginal != tight


def test_a_score_leaves_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    likelihood(built("vae", latent=2, hidden=(6,)), pictures(20), draws=2)
    assert torch.equal(torch.get_rng_state(), before)


# ---- sounds -------------------------------------------------------------------------------------

SOUNDS = DataSpec((4,), 256, coding="mu-law", rate=8000)


def padded(values: list[float], lengths: list[int] | None) -> tuple[Told, Observations]:
    """A model whose log-likelihood of window i is `values[i]`, and windows of such lengths."""
    x = torch.arange(len(values))[:, None].expand(-1, 4).to(torch.uint8).contiguous()
    table = torch.tensor(values)
    valid = None if lengths is None else torch.tensor(lengths)
    return Told(SOUNDS, lambda x: table[x[:, 0]]), Observations(x, lengths=valid)


def test_padding_costs_and_valid_samples_alone_count() -> None:
    """All nats over all valid samples, not the mean of each window's own bits."""
    model, data = padded([-8.0, -6.0, -1.0], [4, 3, 1])
    score = likelihood(model, data).marginal
    assert score is not None
    assert score.bits_per_dim == pytest.approx(15 / 8 / math.log(2))
    assert (score.nats, score.observations) == (5, 3)
    assert score.dims == valid_dims(data) == pytest.approx(8 / 3)
    # a model that is told nothing of where a sound ends pays 4 × ln 256 for every window
    uniform = Told(SOUNDS, lambda x: torch.full((len(x),), -4 * math.log(256)))
    score = likelihood(uniform, data).marginal
    assert score is not None
    assert score.bits_per_dim == pytest.approx(8 * 12 / 8)


def test_full_windows_score_as_without_lengths() -> None:
    values = [-8.0, -6.0, -1.0]
    with_lengths = likelihood(*padded(values, [4, 4, 4])).marginal
    without = likelihood(*padded(values, None)).marginal
    assert with_lengths is not None
    assert without is not None
    assert asdict(with_lengths.figures()) == pytest.approx(asdict(without.figures()))
    assert valid_dims(padded(values, None)[1]) == 4


def test_the_standard_error_of_sounds_is_that_of_a_ratio() -> None:
    """Against the spread of the ratio itself, over many data sets drawn anew."""
    generator = torch.Generator().manual_seed(0)

    def drawn() -> tuple[list[float], list[int]]:
        lengths = torch.randint(1, 5, (200,), generator=generator)
        noise = torch.randn(200, generator=generator)
        # long windows cost more, so that a mean of v / n or of v alone would spread otherwise
        return (-(5 * lengths + 1 + noise)).tolist(), lengths.tolist()

    scores = [likelihood(*padded(*drawn())).marginal for _ in range(300)]
    bits = [score.bits_per_dim for score in scores if score and score.bits_per_dim is not None]
    claimed = [score.bits_standard_error for score in scores if score and score.bits_standard_error]
    assert len(bits) == len(claimed) == 300
    # 300 draws tell a deviation to within 4 %; both errors that one could make are off by far more
    assert statistics.fmean(claimed) == pytest.approx(statistics.stdev(bits), rel=0.15)
    plain = statistics.fmean(
        statistics.stdev(drawn()[0]) / math.sqrt(200) / (2.5 * math.log(2)) for _ in range(20)
    )
    assert plain > 3 * statistics.fmean(claimed)


def test_recordings_are_counted_as_independent_and_not_their_windows() -> None:
    values, lengths = [-8.0, -6.0, -1.0, -4.0, -3.0], [4, 3, 1, 4, 2]
    groups = torch.tensor([3, 3, 0, 0, 8])

    def by_hand(valid: list[int]) -> float:
        """By leaving out each recording in turn: the ratios of the others, times the mean of n."""

        def ratio(without: int | None) -> float:
            kept = [i for i, g in enumerate(groups.tolist()) if g != without]
            return sum(values[i] for i in kept) / sum(valid[i] for i in kept)

        squares = sum((ratio(g) - ratio(None)) ** 2 for g in (3, 0, 8))
        return math.sqrt(2 / 3 * squares) * sum(valid) / 5

    double = torch.tensor(values).double()
    assert standard_error(double, None, groups) == pytest.approx(by_hand([1] * 5))
    assert standard_error(double, torch.tensor(lengths), groups) == pytest.approx(by_hand(lengths))
    # each observation a group of its own is as none
    alone = standard_error(double, None, torch.arange(5))
    assert alone == pytest.approx(standard_error(double))
    # and groups of one size have the cluster-robust error
    pairs = torch.tensor([6, 6, 4, 4])
    sums = torch.tensor([-14.0, -5.0]) + 2 * 19 / 4
    robust = math.sqrt(2 * float(sums.square().sum())) / 4
    assert standard_error(double[:4], None, pairs) == pytest.approx(robust)
    assert degrees_of_freedom(4, None, pairs) == pytest.approx(1)
    assert degrees_of_freedom(5, None, groups) == pytest.approx(25 / 9 - 1)
    assert degrees_of_freedom(5, torch.tensor(lengths), groups) == pytest.approx(196 / 78 - 1)

    model, data = padded(values, lengths)
    score = likelihood(model, replace(data, groups=groups)).marginal
    assert score is not None
    assert score.standard_error == pytest.approx(by_hand(lengths))
    assert (score.observations, score.independent) == (5, 3)
    assert score.figures().groups == 3
    some = score.take(torch.tensor([4, 1, 0]))
    assert some is not None
    assert some.groups is not None
    assert some.groups.tolist() == [8, 3, 3]
    few = likelihood(model, replace(data, groups=groups), limit=3).marginal
    assert few is not None
    assert few.groups is not None
    assert torch.equal(few.groups, groups[few.rows])
    plain = likelihood(model, data).marginal
    assert plain is not None
    assert plain.independent == 5
    assert plain.figures().groups is None


def test_one_recording_has_no_spread() -> None:
    model, data = padded([-8.0, -6.0, -1.0], [4, 3, 1])
    alone = likelihood(model, replace(data, groups=torch.full((3,), 5))).marginal
    assert alone is not None
    assert math.isnan(alone.standard_error)
    assert alone.figures().groups == 1


def test_one_window_has_no_spread_and_an_infinite_one_is_counted() -> None:
    alone = likelihood(*padded([-3.0], [2])).marginal
    assert alone is not None
    assert alone.bits_per_dim == pytest.approx(1.5 / math.log(2))
    assert math.isnan(alone.standard_error)
    lost = likelihood(*padded([-3.0, -math.inf], [2, 4])).marginal
    assert lost is not None
    assert (lost.non_finite, lost.nats) == (1, math.inf)


def test_a_limit_takes_the_lengths_too() -> None:
    lengths = [1 + i % 4 for i in range(200)]
    model, data = padded([-float(n) for n in lengths], lengths)
    score = likelihood(model, data, limit=37).marginal
    assert score is not None
    assert score.bits_per_dim == pytest.approx(1 / math.log(2))
    chosen = permutation(200)[:37].tolist()
    assert score.dims == pytest.approx(statistics.fmean(lengths[i] for i in chosen))


def test_bits_of_a_mean_take_the_valid_dims() -> None:
    assert bits_per_dim(6.0, SOUNDS, 3.0) == pytest.approx(2 / math.log(2))
    assert bits_per_dim(6.0, SOUNDS) == pytest.approx(1.5 / math.log(2))


# ---- conditional models -------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", ["pixelcnn", "vae"])
@pytest.mark.parametrize("p", [[0.2, 0.3, 0.5], [0.25, 0.0, 0.75]])
def test_labels_are_summed_out_by_their_frequency(name: str, p: list[float]) -> None:
    """log p(x) = log Σ_y p(y) p(x | y), and p(x | y) beside it."""
    keywords = {"channels": 3, "layers": 1} if name == "pixelcnn" else {"latent": 2, "hidden": (6,)}
    model, data = built(name, context="label", **keywords), pictures(150)
    scores = likelihood(model, data, class_frequencies=torch.tensor(p), draws=2, seed=4)
    joint = torch.stack(
        [
            model.log_likelihood(data.x.long(), torch.full((150,), y), draws=2, seed=4).double()
            for y in range(3)
        ]
    )
    by_hand = (joint.exp() * torch.tensor(p)[:, None]).sum(0).log()
    assert scores.marginal is not None
    assert scores.marginal.nats == pytest.approx(-float(by_hand.mean()), rel=1e-5)
    error = float(by_hand.std()) / math.sqrt(150)
    assert scores.marginal.standard_error == pytest.approx(error, rel=1e-4)
    assert data.context is not None
    told = joint[data.context, torch.arange(150)]
    assert scores.given_label is not None
    assert scores.given_label.nats == pytest.approx(-float(told.mean()), rel=1e-5)
    assert scores.given_label.exact == scores.marginal.exact == (name == "pixelcnn")


def test_without_frequencies_nothing_is_summed() -> None:
    model = built("pixelcnn", channels=3, layers=1, context="label")
    scores = likelihood(model, pictures(5))
    assert scores.marginal is None
    assert scores.given_label is not None


def test_vectors_cannot_be_summed_out() -> None:
    model = built("pixelcnn", channels=3, layers=1, context="vector")
    data = Observations(pictures(5).x, torch.randn(5, 2))
    scores = likelihood(model, data, class_frequencies=torch.full((3,), 1 / 3))
    assert scores.marginal is None
    assert scores.given_label is not None


def test_a_model_that_takes_no_labels_has_one_score() -> None:
    model = Told(GREY, lambda x: torch.zeros(len(x)))
    scores = likelihood(model, pictures(5), class_frequencies=torch.full((3,), 1 / 3))
    assert scores.given_label is None
    assert scores.marginal is not None
    assert [call["context"] for call in model.asked] == [None]


# ---- as it is written ---------------------------------------------------------------------------


def test_a_score_is_written_in_bits() -> None:
    score = Score(
        exact=False, nats=8 * math.log(2), standard_error=2 * math.log(2), dims=4, levels=3,
        draws=5, observations=7, non_finite=1,
    )  # fmt: skip
    record = score.figures()
    assert {key: value for key, value in vars(record).items() if value is not None} == {
        "averaged": False, "exact": False, "relation": "≤", "draws": 5, "observations": 7,
        "non_finite": 1,
        "log_likelihood": pytest.approx(-8 * math.log(2)),
        "bits_per_dim": pytest.approx(2), "standard_error": pytest.approx(0.5),
        "ignores_context": False,
    }  # fmt: skip


def test_a_score_of_vectors_is_written_in_nats() -> None:
    model, data = by_number([-3.0, -5.0])
    score = likelihood(model, data).marginal
    assert score is not None
    record = score.figures()
    assert record.bits_per_dim is None
    assert record.log_likelihood == -4
    assert record.standard_error == score.standard_error


# ---- cost ---------------------------------------------------------------------------------------


def test_parameters_are_counted() -> None:
    layers = [(4, 8), (8, 4)]  # the encoder and the decoder have one hidden layer each
    encoder = sum(i * o + o for i, o in [*layers])
    decoder = sum(i * o + o for i, o in [(2, 8), (8, 12)])
    assert parameters(built("vae", latent=2, hidden=(8,))) == encoder + decoder


def test_what_sweeps_estimate_is_counted() -> None:
    # weights that sum to 1, means and deviations; the last loss is no estimate
    assert parameters(registry.build("gmm", GREY, {"components": 5})) == 4 + 5 * 4 + 5 * 4
    full = registry.build("gmm", GREY, {"components": 5, "covariance": "full"})
    assert parameters(full) == 4 + 5 * 4 + 5 * 10


class Counting(Sampling):
    """Counts its draws, each of which takes as long on the clock as it is told."""

    def __init__(self, seconds: list[float]) -> None:
        super().__init__(GREY)
        self.register_buffer("somewhere", torch.zeros(1))
        self.seconds, self.now, self.drawn = seconds, 0.0, list[int]()

    def loss(self, x: Tensor, context: Tensor | None = None, *, turn: str = "") -> Any:
        raise AssertionError("nothing is trained here")

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        assert not torch.is_grad_enabled()
        self.now += self.seconds[len(self.drawn)]
        self.drawn.append(n)
        return torch.rand(n)


@pytest.mark.parametrize(
    ("seconds", "median", "draws"),
    [
        # the first draw warms up
        ([1.4, 0.1, 0.5, 0.2, 0.3, 0.4], 0.3, 6),
        # slow draws are repeated only up to three seconds
        ([1.4, 2.0, 1.5, 7.0], 1.75, 3),
        # beside them it is nothing what is made ready in the first
        ([2.0, 1.5, 7.0], 1.75, 2),
        ([9.0, 20.0], 9.0, 1),
    ],
)
def test_the_time_of_a_draw_is_the_median_after_a_warm_up(
    monkeypatch: pytest.MonkeyPatch, seconds: list[float], median: float, draws: int
) -> None:
    model = Counting(seconds)
    monkeypatch.setattr("time.perf_counter", lambda: model.now)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert sampling_seconds(model, 17) == pytest.approx(median)
    assert model.drawn == [17] * draws
    assert torch.equal(torch.get_rng_state(), before)


def test_stand_ins_are_models() -> None:
    assert isinstance(Told(GREY, torch.sum), Model)
