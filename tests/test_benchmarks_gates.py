"""What the gates and the second stack are worth: what is taken away, and that the rest stays."""

from __future__ import annotations

import json

import pytest
import torch
from benchmarks import gates

from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.gated_pixelcnn import GatedPixelCNN
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.tasks.field import field

SPEC = DataSpec((1, 7, 7), 3)
TINY = {"channels": 4, "layers": 6, "first_kernel_size": 3}


def test_with_nothing_taken_away_it_is_the_model():
    whole, same = GatedPixelCNN(SPEC, **TINY), gates.Ablated(SPEC, **TINY)
    same.load_state_dict(whole.state_dict())
    with seeded(0):
        x = torch.randint(3, (5, 1, 7, 7))
    assert torch.equal(same.log_likelihood(x), whole.log_likelihood(x))
    assert gates.weights(same) == gates.weights(whole)


@pytest.mark.parametrize("name", gates.OWN)
def test_one_stack_has_the_blind_spot_and_two_have_none(name):
    with seeded(0):
        model = gates.OWN[name](SPEC, **TINY).eval()
    found = field(model, (4, 3))
    assert not (found.leaks | found.undeclared | found.denied).any()
    blind = (found.earlier & ~found.reached)[:, 0].view(7, 7)
    # the wedge to the upper right, as deep as it may be
    wedge = torch.arange(7) > 3 + (4 - torch.arange(7)[:, None])
    assert torch.equal(blind, wedge & (torch.arange(7)[:, None] < 4) & (model.stacks == 1))
    if model.stacks == 1:
        other = PixelCNN(SPEC, channels=2, layers=5, first_kernel_size=3)
        assert torch.equal(model.blind_spot(), other.blind_spot())


def test_rectifiers_take_the_place_of_gates():
    for name, kind in gates.OWN.items():
        model = kind(SPEC, **TINY)
        wide = {layer.horizontal.out_channels for layer in model.stack}
        assert wide == {4 if name in ("no gates", "neither") else 8}
    features = torch.tensor([[-1.0, 2.0]])[..., None, None]
    plain, gated = (gates.Layer(1, 2, 3, 1, first=True, gated=g, stacks=2) for g in (False, True))
    assert plain.activation(features).flatten().tolist() == [0, 2]
    assert gated.activation(features).shape[1] == 1


def test_all_have_about_as_many_weights_and_what_masks_hide_is_none():
    one = PixelCNN(SPEC, channels=4, layers=0, first_kernel_size=3)
    # of the first kernel's 2×3 places 4 are seen, by 8 features
    assert gates.weights(one.first) == 8 * 4 + 8
    for row in gates.ROWS:
        model = gates.sized(row, SPEC, 6000, 3)
        assert gates.weights(model) == pytest.approx(6000, rel=0.2), row


def test_differences_are_of_pictures_over_seeds():
    easy = [1.0, 2.0, 3.0]
    assert gates.difference([(easy, [1.5, 2.5, 3.5])]) == pytest.approx((0.5, 0.0))
    more, off = gates.difference([(easy, [2.0, 3.0, 4.0]), (easy, [1.0, 2.0, 6.0])])
    assert more == pytest.approx(1.0)
    # 0.5, 0.5 and 2 nats
    assert off == pytest.approx(1.96 * 0.75**0.5 / 3**0.5)


def test_each_is_shown_at_its_best_rate_over_all_seeds():
    rows = [
        {"lr": lr, "seed": seed, "nats": [nats]}
        for lr, seed, nats in ((0.1, 0, 1.0), (0.1, 1, 9.0), (0.2, 0, 4.0), (0.2, 1, 4.0))
    ]
    assert {seed: each["lr"] for seed, each in gates.at_its_best(rows).items()} == {0: 0.2, 1: 0.2}


def test_a_tiny_run_measures_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gates, "LAYERS", {"row-lstm": 1})
    rows = "gated-pixelcnn,one stack,row-lstm"
    asked = ["--data", "digits", "--side", "6", "--layers", "3", "--weights", "900", "--steps", "2",
             "--rates", "1e-3,2e-3", "--pictures", "20", "--out", str(tmp_path)]  # fmt: skip
    assert gates.main([*asked, "--rows", rows]) == 0
    table = capsys.readouterr().out
    assert "| `gated-pixelcnn` |" in table
    assert "digits, 20 validation pictures; 2 steps of 16" in table
    monkeypatch.setattr(gates, "measure", lambda *_: pytest.fail("it was measured again"))
    assert gates.main([*asked, "--rows", rows]) == 0
    report = json.loads((tmp_path / "gates.json").read_text())
    assert [row["row"] for row in report["rows"]] == rows.split(",") * 2
    assert {row["lr"] for row in report["rows"]} == {1e-3, 2e-3}
    assert all(len(row["nats"]) == 20 for row in report["rows"])
    blind = {row["row"]: row["blind"] for row in report["rows"]}
    assert blind["gated-pixelcnn"] == 0 < blind["one stack"]
