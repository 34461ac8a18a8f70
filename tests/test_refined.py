"""Samples refined from noise: in how many steps, with how much of a context, and as they grow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import simulacra as sim
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.model import Model
from simulacra.tasks import sample as sampling
from simulacra.tasks.growing import FRAMES, WATCHED, Growing
from simulacra.tasks.refined import steps_taken
from simulacra.tasks.sample import draw

SPEC = DataSpec((1, 8, 8), 5, classes=3, context_width=2)
NAMES = ("ddpm", "vdm", "flow-matching", "d3pm")


def built(name: str, **keywords: Any) -> Model:
    """A model that has learnt nothing, but gives something else for each context."""
    with seeded(1):
        model = registry.build(name, SPEC, {"channels": 4, "sampling_steps": 3} | keywords).eval()
        for parameter in model.parameters():
            if not bool(parameter.any()):
                torch.nn.init.normal_(parameter, std=0.3)
    return model


class Calls:
    """Counts the rows of every call of a model's network."""

    def __init__(self, model: Model) -> None:
        self.rows: list[int] = []
        network = model.network
        assert isinstance(network, torch.nn.Module)
        network.register_forward_hook(lambda _, given, __: self.rows.append(len(given[0])))

    def taken(self) -> list[int]:
        """Of the calls since the last time; the first ones count memory."""
        found, self.rows = self.rows, []
        return found


@pytest.mark.parametrize("name", NAMES)
def test_so_many_steps_are_so_many_calls(name: str) -> None:
    model = built(name)
    calls = Calls(model)
    for steps, taken in ((None, 3), (1, 1), (5, 5)):
        x = sim.sample(model, 5, steps=steps, seed=3).x
        assert [rows for rows in calls.taken() if rows == 5] == [5] * taken
        with seeded(3), torch.no_grad():
            assert torch.equal(x, model.sample(5, steps=steps))
        calls.taken()
    assert not torch.equal(sim.sample(model, 5, steps=1).x, sim.sample(model, 5).x)


def test_values_that_come_one_by_one_take_no_more_steps_than_there_are() -> None:
    model = built("d3pm")
    assert (steps_taken(model), steps_taken(model, 2), steps_taken(model, 1000)) == (3, 2, 64)
    assert steps_taken(built("ddpm"), 1000) == 1000
    calls = Calls(model)
    draw(model, 3, steps=1000)
    assert calls.taken().count(3) == 64


@pytest.mark.parametrize("name", NAMES)
def test_guidance_weighs_what_a_sample_is_drawn_for(name: str) -> None:
    model = built(name, context="label")
    told, other = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 2, 0, 1])
    drawn = {w: sim.sample(model, context=told, guidance=w, seed=2).x for w in (0, 1, 3)}
    assert torch.equal(drawn[1], sim.sample(model, context=told, seed=2).x)
    assert torch.equal(drawn[0], sim.sample(model, context=other, guidance=0, seed=2).x), "untold"
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[3], drawn[1])
    calls = Calls(model)
    sim.sample(model, context=told, guidance=3)
    assert calls.taken().count(8) == 3, "with the context and without"


@pytest.mark.parametrize("name", ["ddpm", "flow-matching"])
def test_a_temperature_multiplies_the_noise_that_is_refined(name: str) -> None:
    model = built(name, context="label")
    told = torch.tensor([0, 1, 2])
    with seeded(4):
        noise = model.prior(3)
    *_, expected = model.refine(0.5 * noise, told, steps=4, guidance=2.0)
    drawn = sim.sample(model, context=told, temperature=0.5, steps=4, guidance=2.0, seed=4)
    assert torch.equal(drawn.x, expected)


@pytest.mark.parametrize(
    ("name", "asked", "error", "words"),
    [
        ("vae", {"steps": 3}, MissingCapability, "VAE refines no noise, as steps needs: use ddpm"),
        ("vae", {"guidance": 2}, MissingCapability, "as guidance needs: use ddpm"),
        ("pixelcnn", {"steps": 3}, MissingCapability, "PixelCNN refines no noise"),
        ("ddpm", {"guidance": 2.0}, MissingCapability, "told nothing that guidance could weigh: "),
        ("ddpm", {"guidance": 0}, MissingCapability, "train one with --set context=label"),
        ("ddpm", {"guidance": -1.0}, UsageError, "guidance is a number of at least 0, got -1.0"),
        ("ddpm", {"guidance": math.inf}, UsageError, "guidance is a number of at least 0, got inf"),
        ("ddpm", {"guidance": math.nan}, UsageError, "guidance is a number of at least 0"),
        ("ddpm", {"steps": 0}, UsageError, "steps is a positive whole number, got 0"),
        ("ddpm", {"steps": 2.5}, UsageError, "steps is a positive whole number, got 2.5"),
        ("ddpm", {"top_k": 3}, MissingCapability, "DDPM does not draw one value after another"),
        ("d3pm", {"top_p": 0.5}, MissingCapability, "D3PM does not draw one value after another"),
        ("d3pm", {"temperature": 0.5}, MissingCapability, "D3PM has no temperature"),
        (
            "flow-matching",
            {"start": (torch.zeros(1, 8, 8).long(), torch.ones(1, 8, 8).bool())},
            MissingCapability,
            "FlowMatching does not draw one value after another, as a start needs",
        ),
    ],
)
def test_what_cannot_be_refined_so_is_refused(
    name: str, asked: dict[str, Any], error: type[Exception], words: str
) -> None:
    small = {"vae": {"hidden": (4,)}, "pixelcnn": {"channels": 4, "layers": 1}}
    model = registry.build(name, SPEC, small[name]) if name in small else built(name)
    with pytest.raises(error, match=words):
        sim.sample(model, 2, **asked)


def test_memory_is_counted_of_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("ddpm", context="label")
    calls, counted = Calls(model), []

    def rows_at_once(run: Any, most: int) -> int:
        calls.taken()
        run(2)
        counted.append(calls.taken())
        return most

    monkeypatch.setattr(sampling, "rows_at_once", rows_at_once)
    told = torch.zeros(4).long()
    draw(model, 4, told, guidance=2.0)
    draw(model, 4, told, steps=1)
    assert [set(each) for each in counted] == [{4}, {2}], "guidance doubles the rows"
    assert len(counted[1]) == 1


# ---- noise that becomes pictures ----------------------------------------------------------------


@pytest.mark.parametrize(("name", "steps"), [("ddpm", None), ("d3pm", 4), ("flow-matching", 70)])
def test_frames_go_from_noise_to_what_is_drawn(name: str, steps: int | None) -> None:
    model = built(name)
    growing = Growing(model, steps=steps)
    x = draw(model, WATCHED + 2, steps=steps, seed=(1,), on_step=growing.add).x
    assert torch.equal(x, draw(model, WATCHED + 2, steps=steps, seed=(1,)).x)
    assert len(growing.frames) == min(steps_taken(model, steps) + 1, FRAMES)
    with seeded(1), torch.no_grad():
        begun = next(iter(model.sample_steps(WATCHED + 2)))
    assert torch.equal(growing.frames[0], SPEC.to_float(begun[:WATCHED]))
    assert torch.equal(growing.frames[-1], SPEC.to_float(x[:WATCHED]))
