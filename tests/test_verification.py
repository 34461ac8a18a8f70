"""Verification: areas, errors and thresholds against brute force, and what has none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import toys
from commands import run_main
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures import verification as verifying
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.roc import Pairs, VerificationFigures
from simulacra.judging.figures.verification import chosen, verification
from simulacra.judging.results import Entry, Results
from simulacra.models import registry
from simulacra.models.model import Encoding, Model
from simulacra.report.page import render
from simulacra.report.verdict import verdict
from simulacra.report.verification_tables import verification_said, verification_table


def by_hand(codes: Tensor, who: list[int], times: list[int]) -> tuple[float, float, float]:
    """The area, and both shares below a distance of 1, pair by pair."""
    same, different = [], []
    for i in range(len(who)):
        for j in range(i):
            gap = math.dist(codes[i].tolist(), codes[j].tolist())
            if who[i] == who[j]:
                same += [gap] * times[who[i]]
            else:
                different += [gap] * (times[who[i]] * times[who[j]])
    nearer = sum((s < d) + 0.5 * (s == d) for s in same for d in different)
    return (
        nearer / (len(same) * len(different)),
        sum(d <= 1 for d in different) / len(different),
        sum(s <= 1 for s in same) / len(same),
    )


@pytest.mark.parametrize("times", [[1, 1, 1, 1], [2, 0, 1, 3]])
def test_the_curve_is_that_of_every_pair(times: list[int]) -> None:
    """Of whole numbers, so that many distances are equal; of copies of one there is no pair."""
    with seeded(0):
        codes = torch.randint(3, (12, 2)).double() * 0.7
    who = [0, 1, 2, 3] * 3
    pairs = Pairs.of(codes, torch.tensor(who) * 5)
    rates = pairs.rates(torch.tensor(times))
    right, at_false, at_true = by_hand(codes, who, times)
    assert rates.area == pytest.approx(right)
    at = int((rates.gaps <= 1).sum())
    assert (float(rates.false[at]), float(rates.true[at])) == pytest.approx((at_false, at_true))
    assert rates.right_below(1.0) == pytest.approx((at_true + 1 - at_false) / 2)


def test_errors_and_thresholds() -> None:
    """Pairs of one at 1, 2, 3, 3.2 and 9, of two at 2.5, 4, 5, 6."""
    gaps = torch.tensor([1.0, 2, 2.5, 3, 3.2, 4, 5, 6, 9])
    same = torch.tensor([True, True, False, True, True, False, False, False, True])
    pairs = Pairs(gaps, same, torch.zeros(2, 9).long()).rates()
    assert pairs.area == pytest.approx((4 + 4 + 3 + 3) / 20)
    assert pairs.equal_error == pytest.approx(0.25)
    assert pairs.best_threshold == pytest.approx(3.6)
    assert pairs.right_below(3.6) == pytest.approx(0.775)
    apart = Pairs(gaps, torch.arange(9) < 4, torch.zeros(2, 9).long()).rates()
    assert apart.equal_error == 0
    assert apart.best_threshold == pytest.approx(3.1)
    turned = Pairs(gaps, torch.arange(9) >= 4, torch.zeros(2, 9).long()).rates()
    assert turned.area == 0
    assert turned.equal_error == 1
    # no threshold is worth more than none
    assert turned.best_threshold == pytest.approx(0.5)


def test_who_is_paired() -> None:
    who = torch.tensor([-1, 4, 4, 4, 7, 7, 7, 2])
    assert chosen(who).tolist() == [1, 2, 3, 4, 5, 6, 7]
    many = torch.arange(100_000) // 50
    rows = chosen(many)
    counts = many[rows].bincount()
    assert len(rows) == 1000
    assert counts[counts > 0].tolist() == [10] * 100
    assert torch.equal(rows, chosen(many))
    two = chosen(torch.arange(3000) % 2)
    assert (two % 2).bincount().tolist() == [500, 500]


class Plain(Encoding):
    """Codes that are the values."""

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return 3 * x.float()

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        raise NotImplementedError


def people(counts: tuple[int, int, int] = (9, 4, 8), each: int = 6) -> Dataset:
    """Vectors near to the middle of their group, of which none is in two splits."""
    first, splits = 0, []
    for count in counts:
        groups = torch.arange(first, first + count).repeat_interleave(each)
        with seeded(first):
            x = torch.randn(count, 3)[groups - first] + 0.3 * torch.randn(count * each, 3)
        splits.append(Observations(x, groups=groups))
        first += count
    return Dataset("people", DataSpec((3,), None), *splits)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "_DRAWS", 60)


def test_figures_of_groups() -> None:
    data = people()
    found = verification(Plain(data.spec), data)
    assert found is not None
    assert (found.kind, found.identities, found.observations) == ("group", 8, 48)
    assert (found.same, found.different, found.validation_identities) == (120, 1008, 4)
    assert found.unseen
    assert found.codes is not None
    assert found.codes.area.value > 0.8
    who, x = data.test.groups, data.test.x[:].double()
    assert who is not None
    right = by_hand(x, (who - 13).tolist(), [1] * 8)[0]
    assert found.codes.area.value == pytest.approx(right)
    low, high = found.codes.area.low, found.codes.area.high
    assert low is not None
    assert high is not None
    assert low < right < high
    assert found.codes.accuracy is not None
    assert found.codes.accuracy.value > 0.7
    assert found.codes.curve[0][0] == 0
    assert found.codes.curve[-1] == (1.0, 1.0)
    assert found.values is not None
    assert found.beyond is not None
    gain = found.codes.area.value - found.values.area.value
    assert found.beyond.value == pytest.approx(gain)
    assert found.of_components == 3
    assert found.components is not None
    # all components are a turned space
    assert found.components.area.value == pytest.approx(found.values.area.value)
    # to JSON and back
    entry = Entry(model="plain", verification=found)
    assert Entry.from_json(entry.to_json()) == entry
    # who is there once says nothing else
    train = replace(data.train, groups=data.train.groups + 9)  # type: ignore[operator]
    met = verification(Plain(data.spec), replace(data, train=train))
    assert met is not None
    assert not met.unseen


def test_the_interval_counts_identities() -> None:
    """Of as many observations of fewer people it is wider; copies of observations add nothing."""
    widths = []
    for data in (people((9, 4, 24), 4), people((9, 4, 6), 16)):
        found = verification(Plain(data.spec), data)
        assert found is not None
        assert found.codes is not None
        area_ = found.codes.area
        assert area_.low is not None
        assert area_.high is not None
        widths.append(area_.high - area_.low)
    assert widths[1] > 1.3 * widths[0]


def test_what_cannot_be_verified_is_said() -> None:
    data = people()
    plain = Plain(data.spec)
    assert verification(plain, people(each=1)) is None
    none = replace(data, test=replace(data.test, groups=None))
    assert verification(plain, none) is None
    alone = verification(plain, people((9, 4, 1)))
    assert alone is not None
    assert alone.codes is None
    assert alone.reason == "all test observations are of one of them"
    # one validation person has no pair of two: there is no threshold, and the rest is there
    single = verification(plain, people((9, 1, 8)))
    assert single is not None
    assert single.codes is not None
    assert (single.codes.accuracy, single.validation_identities) == (None, 1)
    # of few people there is no interval
    few = verification(plain, people((9, 4, 3)))
    assert few is not None
    assert few.codes is not None
    assert few.codes.area.low is None


# ---- told ----------------------------------------------------------------------------------------


def test_a_report_tells_it() -> None:
    data = people()
    found = verification(Plain(data.spec), data)
    assert found is not None
    sure = replace(found, beyond=Figure(0.1, 9, 0.05, 0.2))
    found = replace(found, beyond=Figure(0.1, 9, -0.05, 0.2))
    said = "all test observations are of one of them"
    results = Results(
        models=(
            Entry(model="plain", class_name="Plain", capabilities=("encodes",), verification=found),
            Entry(model="sure", class_name="Plain", capabilities=("encodes",), verification=sure),
            Entry(
                model="lone",
                class_name="Plain",
                verification=VerificationFigures(identities=1, reason=said),
            ),
            Entry(model="other", class_name="Plain"),
        )
    )
    rows = verification_table(results)
    names = ["plain", "sure", "the values themselves", "3 principal components"]
    assert [row["model"].head for row in rows] == names
    assert [row["model"].reference for row in rows] == [False, False, True, True]
    assert found.codes is not None
    assert rows[0]["ROC area ↑"].head == f"{found.codes.area.value:.3f}"
    assert rows[0]["accuracy ↑"].head.endswith(" %")
    assert rows[2]["more than values"].empty
    says = verification_said(results)
    assert "48 test observations of 8 groups, none of which was in the training split" in says
    assert "120 pairs of one group and 1,008 of two" in says
    assert "a threshold chosen on 4 validation groups" in says
    page = render(results, {})
    assert "Verification</h2>" in page
    assert "Receiver operating characteristic. Areas: plain 0." in page
    assert "cannot be verified by groups: all test observations are of one of them" in page
    assert "Not told apart" in (words := verdict(results))
    assert ": sure." in words
    assert "not judged here" not in words
    assert verification_table(Results(models=(Entry(model="other"),))) == []


def test_the_command_line_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    for person in range(24):
        face = chance.integers(0, 256, (4, 4))
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        for number in range(4):
            seen = (face + chance.integers(-20, 21, (4, 4))).clip(0, 255).astype(np.uint8)
            Image.fromarray(seen).save(tmp_path / "faces" / f"p{person}" / f"{number}.png")
    assert (
        run_main("train", "triplet", "faces", "--groups", "{person}/*", "--budget", "3steps",
                 "--set", "identities=3", "--set", "each=3", "--set", "channels=2", "-o", "run",
                 "--device", "cpu") == 0
    )  # fmt: skip
    assert run_main("evaluate", "run") == 0
    shown = capsys.readouterr().out
    assert "Verification: 20 test observations of 5 groups, none of which" in shown
    assert "ROC area" in shown
    assert "Verification</h2>" in (tmp_path / "run" / "report.html").read_text("utf-8")
    capsys.readouterr()
    assert run_main("train", "triplet", "faces", "--groups", "{person}/*", "--budget", "3steps",
                    "--labels", "{label}/*", "-o", "other") == 2  # fmt: skip
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted((tmp_path / "faces").rglob("*.png"))):
        path.rename(flat / f"{number}.png")
    assert run_main("train", "triplet", "flat", "--budget", "3steps", "-o", "third") == 2
    assert "give --labels, or --groups" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


def test_who_learns_from_classes_is_held_against_these(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "MOST", 100)
    data = load("digits")
    with seeded(0):
        model: Model = registry.build(toys.place("triplet"), data.spec)
    assert isinstance(model, Encoding)
    found = verification(model.eval(), data)
    assert found is not None
    assert (found.kind, found.identities, found.observations) == ("class", 10, 100)
    assert not found.unseen
    vae = registry.build("vae", data.spec, {"hidden": (4,)})
    assert isinstance(vae, Encoding)
    assert verification(vae, data) is None


def test_a_recording_is_nobody() -> None:
    """Windows of one are counted together in intervals; who speaks in it was not said."""
    spec = DataSpec((30,), 8, coding="mu-law", rate=8000)

    def split(seed: int) -> Observations:
        with seeded(seed):
            return Observations(torch.randint(8, (12, 30)), groups=torch.arange(12) // 3)

    data = Dataset("sounds", spec, split(0), split(1), split(2), options={"source": "sounds"})
    with seeded(0):
        model = registry.build("vae", spec, {"latent": 2, "hidden": (4,), "encoder": "mlp"}).eval()
    assert verification(model, data) is None
    asked = replace(data, options={"source": "sounds", "groups": "{speaker}_*"})
    assert verification(model, asked) is not None
