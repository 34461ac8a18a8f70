"""What the benchmarks of the autoregressive family compute, at a tiny size."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from benchmarks import counts, family, sampling

import simulacra as sim
from simulacra.data.dataset import Observations
from simulacra.ground.randomness import seeded


@pytest.fixture(scope="module")
def digits():
    return sim.load_data("digits", levels=3)


# ---- counts -------------------------------------------------------------------------------------


def by_loops(x, levels, i, j):
    number = 0
    for rows, columns in counts.NEIGHBOURS:
        k, l = i + rows, j + columns  # noqa: E741
        inside = 0 <= k < x.shape[0] and 0 <= l < x.shape[1]
        number = number * levels + (int(x[k, l]) if inside else 0)
    return number


def test_contexts_are_the_neighbours_before_a_pixel():
    with seeded(0):
        x = torch.randint(3, (2, 1, 4, 5))
    found = counts.contexts(x, 3)
    for n in range(2):
        for i in range(4):
            for j in range(5):
                assert int(found[n, 0, i, j]) == by_loops(x[n, 0], 3, i, j)


def test_a_table_of_counts_is_a_distribution_and_learns():
    """Probabilities of all pictures of a tiny space add up to 1."""
    every = torch.cartesian_prod(*[torch.arange(2)] * 4).view(-1, 1, 2, 2)
    train = every[torch.tensor([3, 3, 3, 7, 15])]
    p = (-counts.nats(Observations(train), Observations(every), 2)).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    # what was seen is likelier than by chance
    assert float(p[torch.tensor([3, 7, 15])].min()) > 1.9 / 16


def test_counts_are_printed_with_their_error(capsys):
    assert counts.main(["digits", "--levels", "2"]) == 0
    assert "nats a pixel, 359 test pictures" in capsys.readouterr().out
    assert counts.main(["digits"]) == 2
    assert "pass --levels" in capsys.readouterr().err


# ---- the family ---------------------------------------------------------------------------------


def test_models_are_made_of_a_size(digits):
    for name in family.ORDER:
        model = family.sized(name, digits, 20_000)
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(20_000, rel=0.15)


def test_differences_are_paired():
    hard = torch.linspace(1, 9, 101)
    found = family.difference(hard, hard + 0.1)
    assert found["difference"] == pytest.approx(0.1)
    assert found["high"] - found["low"] < 1e-5
    noisy = family.difference(hard, hard.flip(0))
    assert noisy["low"] < 0 < noisy["high"]


def test_the_family_is_compared_in_one_report(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(family, "LAYERS", 1)
    arguments = ["digits", "--levels", "3", "--budget", "2steps", "--parameters", "3000",
                 "--rounds", "1", "--out", str(tmp_path)]  # fmt: skip
    assert family.main(arguments) == 0
    report = json.loads((tmp_path / "family.json").read_text())
    assert [m["model"] for m in report["models"]] == list(family.ORDER)
    assert [pair["models"] for pair in report["pairs"]] == [
        [a, b] for a, b in zip(family.ORDER, family.ORDER[1:], strict=False)
    ]
    bits = {m["model"]: m["bits"] for m in report["models"]}
    for pair in report["pairs"]:
        a, b = pair["models"]
        assert pair["difference"] == pytest.approx(bits[b] - bits[a], abs=1e-6)
        assert pair["low"] <= pair["difference"] <= pair["high"]
    # untrained networks are near independent values
    assert all(0.5 < value < 2 * math.log2(3) for value in bits.values())
    assert (tmp_path / "family.md").read_text() == family.markdown(report)


# ---- sampling -----------------------------------------------------------------------------------


def test_sampling_is_measured_in_forward_passes(tmp_path, monkeypatch, capsys):
    tiny = {"model": "gated-pixelcnn", "layers": 1, "channels": 2}
    monkeypatch.setattr(sampling, "LIMITED", {"gated-pixelcnn 10 × 128": tiny})
    monkeypatch.setattr(sampling, "FAMILY", ("made",))
    for name, value in (("SIDE", 4), ("SIDES", (4, 5)), ("GROWN", 2), ("BATCHES", (2,))):
        monkeypatch.setattr(sampling, name, value)
    steps = {name: how for name, how in sampling.STEPS.items() if "compiled" not in how}
    monkeypatch.setattr(sampling, "STEPS", steps)
    assert sampling.main(["--rounds", "1", "--threads", "1", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "sampling.json").read_text())
    for row in report["ratios"]:
        assert row["ratio"] == pytest.approx(row["sample"] / row["forward"])
    assert {row["model"] for row in report["ratios"]} == {"gated-pixelcnn 10 × 128", "made"}
    plain = report["against_plain"]
    assert plain["times"] == pytest.approx(plain["plain"] / plain["cached"])
    assert [s["step"] for s in report["steps"]] == list(steps)
    assert Path(tmp_path / "sampling.png").stat().st_size > 1000
    assert "time ∝ pixels^p" in capsys.readouterr().out
