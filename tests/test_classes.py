"""Classes of samples beside the training data's: counted by hand, planted faults, and told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reported import full, render, texts, typed, words
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.judging.drawn import drawn_classes
from simulacra.judging.features.classifier import Classifier
from simulacra.judging.figures.classes import class_figures
from simulacra.judging.figures.measures import CLASSES
from simulacra.judging.figures.sample_judge import SampleJudge
from simulacra.judging.judge import Judge
from simulacra.models.model import Sampling
from simulacra.report import sample_tables
from simulacra.report.short import class_lines

# ---- counted by hand -----------------------------------------------------------------------------


def test_classes_are_counted_beside_their_shares() -> None:
    shares = torch.tensor([0.5, 0.25, 0.25, 0.0])
    found = class_figures(torch.tensor([0] * 2 + [1] * 6 + [-1, 3]), shares)
    assert (found.classes, found.found, found.among, found.elsewhere) == (3, 2, 10, 2)
    assert (found.rarest.label, found.rarest.ratio.value) == (2, 0.0)
    assert (found.commonest.label, found.commonest.ratio.value) == (1, pytest.approx(0.6 / 0.25))
    # of the eight that are of some class
    assert found.reverse_kl is not None
    by_hand = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.25)
    assert found.reverse_kl.value == pytest.approx(by_hand)
    low, high = found.reverse_kl.low, found.reverse_kl.high
    assert low is not None
    assert high is not None
    assert low < by_hand < high


def test_it_is_the_reverse_and_not_the_forward_divergence() -> None:
    """Forward, a class that is missing would make it infinite."""
    found = class_figures(torch.zeros(40, dtype=torch.long), torch.tensor([0.5, 0.5]))
    assert found.reverse_kl is not None
    assert found.reverse_kl.value == pytest.approx(math.log(2))


def test_samples_of_no_class_have_no_divergence() -> None:
    found = class_figures(torch.full((5,), -1), torch.tensor([0.5, 0.5]))
    assert (found.found, found.elsewhere, found.reverse_kl) == (0, 5, None)


@pytest.mark.parametrize("taken", [[], [2], [[0]]])
def test_what_cannot_be_counted_is_refused(taken: list[int]) -> None:
    with pytest.raises(UsageError, match="classes are counted"):
        class_figures(torch.tensor(taken, dtype=torch.long), torch.tensor([0.5, 0.5]))


def test_the_divergence_of_equal_classes_is_what_chance_makes_of_it() -> None:
    """About (classes − 1) / 2 among; and its interval reaches down to 0."""
    generator, p = np.random.default_rng(0), np.full(50, 1 / 50)
    found = []
    for seed in range(40):
        drawn = generator.choice(50, size=500, p=p)
        figure = class_figures(torch.from_numpy(drawn), torch.from_numpy(p), seed=seed).reverse_kl
        assert figure is not None
        found.append(figure)
    assert np.mean([each.value for each in found]) == pytest.approx(49 / 1000, rel=0.1)
    assert sum(each.low == 0 for each in found) >= 34
    # a hundredth of the samples more in one class is told from chance
    skewed = torch.cat([torch.arange(50).repeat(10), torch.zeros(200, dtype=torch.long)])
    told = class_figures(skewed, torch.from_numpy(p)).reverse_kl
    assert told is not None
    assert told.low is not None
    assert told.low > 0.1


# ---- a classifier by parts, and by channels ------------------------------------------------------


PARTS = (("red", 2), ("green", 2), ("blue", 2))


def coloured(spec: DataSpec, n: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, *spec.event_shape), generator=generator)
    return x, torch.randint(0, 2, (n, 3), generator=generator)


@pytest.mark.parametrize("names", [("red", "green", "blue"), ("sort", "age", "mood")])
def test_log_probabilities_of_combinations_are_sums_over_parts(names: tuple[str, ...]) -> None:
    spec = DataSpec((3, 8, 8), 256, classes=8, parts=tuple((name, 2) for name in names))
    model, (x, labels) = Classifier(spec, width=4).eval(), coloured(spec)
    found = model.log_probabilities(x)
    assert found.shape == (40, 8)
    assert torch.allclose(found.exp().sum(1), torch.ones(40), atol=1e-5)
    # the loss is that of the combination
    own = found[torch.arange(40), spec.joint(labels)]
    assert float(model.loss(x, labels)["loss"].detach()) == pytest.approx(
        -float(own.detach().mean()), rel=1e-4
    )


def test_a_channels_label_is_told_from_that_channel_alone() -> None:
    spec = DataSpec((3, 8, 8), 256, classes=8, parts=PARTS)
    assert spec.labels_channels
    model, (x, _) = Classifier(spec, width=4).eval(), coloured(spec)
    other = x.clone()
    other[:, 1:] = 255 - other[:, 1:]
    red, changed = (
        model.log_probabilities(each).exp().view(-1, 2, 4).sum(2) for each in (x, other)
    )
    assert torch.allclose(red, changed, atol=1e-6)
    # and one network tells all of them
    turned = model.log_probabilities(x.flip(1)).view(-1, 2, 2, 2).permute(0, 3, 2, 1).flatten(1)
    assert torch.allclose(turned, model.log_probabilities(x), atol=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec((3, 8, 8), 256, classes=8, parts=(("green", 2), ("red", 2), ("blue", 2))),
        DataSpec((3, 8, 8), 256, classes=12, parts=(("red", 2), ("green", 3), ("blue", 2))),
        DataSpec((1, 8, 8), 256, classes=8, parts=PARTS),
        DataSpec((3, 8, 8), 256, classes=8),
    ],
)
def test_other_parts_are_no_labels_of_channels(spec: DataSpec) -> None:
    assert not spec.labels_channels


# ---- judged --------------------------------------------------------------------------------------


class Levels:
    """A view whose classifier reads the class off the first value; 40 classes."""

    name, learned = "features", False

    def __init__(self, data: Dataset) -> None:
        self.data, self.seen = data, 0

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2].double()

    def log_probabilities(self, x: Tensor) -> Tensor | None:
        self.seen += len(x)
        return torch.nn.functional.one_hot(x.flatten(1)[:, 0].long(), 40).double().mul(9)


def forty(n: int = 2000) -> Dataset:
    """Pictures of forty classes, each as often, which the first value tells."""
    spec = DataSpec((1, 2, 2), 64, classes=40)

    def split(count: int, seed: int) -> Observations:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randint(0, 64, (count, 1, 2, 2), generator=generator)
        x[:, 0, 0, 0] = torch.arange(count) % 40
        return Observations(x.to(torch.uint8), torch.arange(count) % 40)

    return Dataset("forty", spec, split(400, 0), split(80, 1), split(n, 2))


def test_many_classes_are_counted_among_more_samples_than_are_judged() -> None:
    data = forty()
    judge = SampleJudge(data, [Levels(data)], most=200)
    assert (judge.count, judge.classes.count, judge.classes.wants_more) == (200, 1024, True)
    real = judge.references.real
    assert real is not None
    assert real.classes is not None
    assert (real.classes.found, real.classes.among) == (40, 1024)
    # a model without every fourth class, of which 200 are judged and 1,024 are counted
    x = torch.zeros(1024, 1, 2, 2, dtype=torch.long)
    x[:, 0, 0, 0] = torch.arange(1024) % 40 // 4 * 4 + torch.arange(1024) % 3
    judged = judge.judge(x, taken=judge.classes.of_many(x))
    assert judged.classes is not None
    assert (judged.classes.found, judged.classes.among, judged.classes.elsewhere) == (30, 1024, 0)
    assert (judged.classes.rarest.label, judged.classes.rarest.ratio.value) == (3, 0)
    assert judged.class_shares is not None
    assert sum(judged.class_shares) == pytest.approx(1)
    assert judged.class_shares[3] == 0
    # of one that draws slowly, as many as are judged, beside as many real ones
    few = judge.judge(x)
    assert few.classes is not None
    assert few.real_classes is not None
    assert (few.classes.among, few.real_classes.among) == (200, 200)


def test_few_classes_are_counted_among_the_samples_that_are_judged() -> None:
    data = load("digits")
    judge = SampleJudge(data, [], most=1000)
    assert (judge.classes.count, judge.classes.wants_more) == (judge.count, False)
    assert judge.classes.of_many(data.test.x) is None
    assert judge.judge(data.test.x.long()).classes is None


def test_held_out_observations_are_counted_once_first_those_judged() -> None:
    data = forty(600)
    judge = SampleJudge(data, [Levels(data)], most=100)
    assert judge.classes.count == 600
    real = judge.classes.real
    assert real is not None
    assert torch.equal(real[:100], judge.real.flatten(1)[:, 0])
    assert real.bincount().tolist() == [15] * 40


class Uniform(Sampling):
    """Draws every class but the last as often."""

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        x = torch.randint(0, 64, (n, 1, 2, 2))
        x[:, 0, 0, 0] = torch.randint(0, 39, (n,))
        return x


def test_samples_to_be_counted_come_in_lots_and_again_the_same() -> None:
    data = forty()
    sizes: list[int] = []

    def taken(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x.flatten(1)[:, 0]

    found = drawn_classes(Uniform(data.spec), data, 2500, taken)
    assert found is not None
    assert sizes == [1000, 1000, 500]
    again = drawn_classes(Uniform(data.spec), data, 2500, taken)
    assert again is not None
    assert torch.equal(found, again)
    # no lot is drawn as another was
    assert not torch.equal(found[:1000], found[1000:2000])
    assert drawn_classes(Uniform(data.spec), data, 10, lambda _: None) is None


def test_a_judge_draws_more_where_classes_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    data = forty()
    monkeypatch.setattr("simulacra.judging.judge.views", lambda *_, **__: [Levels(data)])
    monkeypatch.setattr(Levels, "summary", lambda _: None, raising=False)
    told: list[str] = []
    judge = Judge(data, most=200, told=told.append)
    samples = judge.model(Uniform(data.spec), "uniform").entry.samples
    assert samples is not None
    assert samples.classes is not None
    assert samples.count == 200
    assert (samples.classes.found, samples.classes.among) == (39, 1024)
    assert samples.classes.rarest.label == 39
    assert "uniform: classes of 1,024 samples" in told
    # and counts of a folder what there is, up to as many
    x = Uniform(data.spec).sample(700)
    foreign = judge.foreign("theirs", x).entry.samples
    assert foreign is not None
    assert foreign.classes is not None
    assert foreign.classes.among == 700


# ---- told ----------------------------------------------------------------------------------------


def counted(found: int, among: int, least: float, most: float) -> dict[str, Any]:
    def ratio(label: int, value: float) -> dict[str, Any]:
        figure = {"value": value, "count": among, "low": value - 0.1, "high": value + 0.1}
        return {"label": label, "ratio": figure}

    kl = {"value": 0.0314, "count": among, "low": 0.02, "high": 0.04}
    return {"classes": 10, "found": found, "among": among, "elsewhere": 0, "reverse_kl": kl,
            "rarest": ratio(1, least), "commonest": ratio(0, most)}  # fmt: skip


def test_a_line_a_table_and_json_tell_classes_beside_those_of_real_data() -> None:
    results = full()
    results["data"]["class_names"] = ["cat", "dog <b>"]
    first, second = (results["models"][place] for place in (0, 2))
    for model, figures in ((first, counted(9, 179, 0.5, 2.25)), (second, counted(3, 40, 0.1, 4.0))):
        model["samples"] |= {
            "classes": figures,
            "real_classes": counted(10, figures["among"], 0.75, 1.5),
        }
    assert class_lines(typed(results))[-1] == (
        "gmm: 9 of 10 classes among 179 samples (real data 10); least 0.50 × its share, “dog <b>” "
        "(0.75), most 2.25 × its share, “cat” (1.50); reverse KL 0.031 nats (0.031)"
    )
    rows = texts(sample_tables.found_table, results)
    assert [(row["model"], row["samples"]) for row in rows] == [
        (sample_tables.REAL, "40"), (sample_tables.REAL, "179"), ("pixelcnn", "40"), ("gmm", "179"),
    ]  # fmt: skip
    assert rows[-1]["classes found → real"] == "9 of 10"
    assert rows[-1]["least times its share → 1"] == "0.50 [0.40, 0.60] “dog <b>”"
    page = render(results, {})
    assert "Classes among the samples, as the classifier takes them" in words(page)
    assert "dog &lt;b&gt;" in page
    assert all(measure.says in words(page) for measure in CLASSES.values())
    kept = typed(results).to_json()["models"][0]["samples"]["classes"]
    assert (kept["found"], kept["rarest"]["label"]) == (9, 1)
    assert class_lines(typed(full())) == []
    assert texts(sample_tables.found_table, full()) == []


def test_samples_of_no_class_are_loud_and_a_thousand_classes_have_no_rows() -> None:
    results = full()
    many = counted(9, 179, 0.5, 2.25) | {"elsewhere": 3}
    results["models"][0]["samples"] |= {"classes": many, "class_shares": [0.001] * 1000}
    results["references"]["real"]["class_shares"] = [0.001] * 1000
    assert "3 samples are of none" in words(render(results, {}))
    assert "How often each class comes" not in words(render(results, {}))


def test_a_judged_model_says_which_digit_it_does_not_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault: real digits without the eights, which nobody drew."""
    monkeypatch.setattr("simulacra.judging.features.pinned_classifier._FEWEST_STEPS", 60)
    monkeypatch.setattr("simulacra.judging.features.pinned_classifier._MOST_STEPS", 60)
    data = load("digits")
    labels = data.train.context
    assert labels is not None
    judge = Judge(data)
    some = data.train.x[labels != 8][:400].long()
    found = judge.foreign("no eights", some).entry.samples
    assert found is not None
    assert found.classes is not None
    assert found.real_classes is not None
    assert found.classes.rarest.label == 8
    assert found.classes.rarest.ratio.value < found.real_classes.rarest.ratio.value / 2
    assert found.classes.reverse_kl is not None
    assert found.real_classes.reverse_kl is not None
    assert found.classes.reverse_kl.value > found.real_classes.reverse_kl.value
    whole = judge.together([judge.foreign("no eights", some)]).results
    assert "“8”" in class_lines(whole)[0]
