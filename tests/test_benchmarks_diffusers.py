"""The benchmark beside diffusers: what is timed of both networks, and what is told of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import beside_diffusers
from benchmarks.beside_diffusers import compare, markdown
from benchmarks.peers import Peer, Wrapped

from simulacra.models.model import Model

SHAPE = (1, 8, 8)


class Other(nn.Module):
    """A network of two inputs, as theirs, that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
        self.asked: list[Tensor] = []

    def forward(self, z: Tensor, time: Tensor) -> Tensor:
        """Of pictures, as many."""
        self.asked.append(time)
        found: Tensor = self.layer(z)
        return found


def test_a_step_and_a_call_of_both_are_measured_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Other()

    def theirs(ours: Model) -> Model:
        return Wrapped(ours.spec, network, lambda x: network(x.float(), x).square().mean())

    monkeypatch.setattr(beside_diffusers, "PEER", Peer("theirs", "ddpm", 256, theirs))
    step, call = compare(SHAPE, "float32", 2, 1, 0)
    assert (step["job"], call["job"]) == ("step", "call")
    assert step["their_parameters"] == call["their_parameters"] == 2
    # forwards, and back to the weights; a call has no way back
    assert call["their_flops"] == 2 * 2 * 64
    assert step["their_flops"] == 2 * call["their_flops"]
    assert step["flops"] > call["flops"] > 0
    assert step["times"] > 0
    # in the middle of their thousand steps
    assert {float(time[0]) for time in network.asked if time.ndim == 1} == {500.0}
    told = markdown({"rows": [step, call]})
    assert f"| 1×8×8 | step | float32 | 2, {step['parameters']:,} |" in told
    assert len(told.splitlines()) == 4


def test_ours_is_measured_where_theirs_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(model: object) -> Model:
        raise ModuleNotFoundError(name="theirs")

    monkeypatch.setattr(beside_diffusers, "PEER", Peer("theirs", "ddpm", 256, absent))
    rows = compare(SHAPE, "bf16", 2, 1, 0)
    assert all(row["ours"] > 0 for row in rows)
    assert "| not installed |" in markdown({"rows": rows})


def test_theirs_is_about_as_large_and_as_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    for row in compare((1, 28, 28), "float32", 1, 1, 0):
        assert row["their_parameters"] == pytest.approx(row["parameters"], rel=0.2)
        assert row["their_flops"] == pytest.approx(row["flops"], rel=0.3)
