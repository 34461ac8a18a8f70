"""Diagnoses of games, on histories made by hand; no training here."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from simulacra.ground.errors import UsageError
from simulacra.training.course import Course
from simulacra.training.diagnosis import (
    NAMES,
    TITLES,
    WORST,
    Diagnosis,
    advice,
    check_names,
    diagnosed,
    worse,
)

WELL = {"distance": 0.2, "diversity": 0.9, "classes": 1.0, "real": 0.7, "fake": 0.6, "swings": 0.0,
        "discriminator/loss": 1.2, "generator/loss": 0.9}  # fmt: skip


def looks(*changes: dict[str, float], every: int = 250, start: float = 0.3) -> list[Any]:
    """Looks of a healthy game but for what is changed."""
    return [
        {**WELL, "step": float(every * n), "place": start + 0.05 * n, **change}
        for n, change in enumerate(changes, start=1)
    ]


def names(*changes: dict[str, float], critic: bool = False, **more: Any) -> list[str]:
    return [each.name for each in diagnosed(looks(*changes, **more), critic=critic)]


def test_a_healthy_game_has_nothing() -> None:
    assert names(*[{}] * 20) == []
    assert diagnosed([]) == []
    # what could not be looked at is not known
    assert diagnosed([{"step": 100.0 * n, "place": 0.9} for n in range(20)]) == []


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("strong", {"real": 0.995, "fake": 1.0}),
        ("collapse", {"diversity": 0.05}),
        ("collapse", {"classes": 0.9}),
        ("oscillation", {"swings": 9.0}),
        ("divergence", {"distance": 50.0}),
    ],
)
def test_each_sickness_is_named_once_it_has_lasted(name: str, change: dict[str, float]) -> None:
    # 250 steps lie between looks
    assert names({}, {}, change, change) == []
    assert names({}, {}, change, change, change) == [name]
    assert names({}, change, {}, change, change) == []
    # and no more when it is over
    assert names(change, change, change, {}) == []
    (found,) = diagnosed(looks({}, {}, change, change, change))
    assert (found.since, found.until) == (750, 1250)
    # where looks lie far apart, two of them do
    assert names({}, change, change, every=900) == [name]


def test_a_game_that_swings_and_gets_somewhere_is_well() -> None:
    swinging = [{"swings": 9.0, "distance": 0.8**n} for n in range(8)]
    assert names(*swinging) == []
    assert names(*swinging, *[{"swings": 9.0, "distance": 0.8**7}] * 3) == ["oscillation"]


def test_what_is_no_number_is_named_at_once() -> None:
    broken = [*looks({}), {"step": 500.0, "place": 0.4, "distance": math.inf}]
    (found,) = diagnosed(broken)
    assert (found.name, found.since, found.figure) == ("divergence", 500, WORST)


def test_borders() -> None:
    assert names(*[{"real": 0.99, "fake": 0.99}] * 4) == []
    assert names(*[{"real": 0.98, "fake": 1.0}] * 4) == []
    assert names(*[{"diversity": 0.1}] * 4) == []
    assert names(*[{"distance": 4.0}] * 4) == []


def test_samples_may_be_alike_and_far_early() -> None:
    assert names(*[{"diversity": 0.01, "distance": 50.0, "swings": 9.0}] * 4, start=0.0) == []
    # but an opponent may not be so sure at any time
    assert names(*[{"real": 1.0, "fake": 1.0}] * 4, start=0.0) == ["strong"]


def test_classes_that_were_not_there_yet_are_not_lost() -> None:
    """In the first half; those that were there once are, and later all that are missing."""
    growing = [{"classes": 0.2}, {"classes": 0.2}, {"classes": 0.4}, {"classes": 0.4}]
    assert names(*growing, start=0.25) == []
    assert names(*growing, {"classes": 0.2}, *[{"classes": 0.2}] * 2, start=0.2) == ["collapse"]
    assert names(*growing, start=0.6) == ["collapse"]


def test_a_critic_cannot_be_too_good() -> None:
    sure = [{"real": 1.0, "fake": 1.0}] * 4
    assert names(*sure) == ["strong"]
    assert names(*sure, critic=True) == []


def test_its_own_batches_count_where_nothing_is_held_out() -> None:
    every = [{"step": 300.0 * n, "place": 0.5, "accuracy": 0.999} for n in range(1, 5)]
    assert [each.name for each in diagnosed(every)] == ["strong"]
    # held-out observations decide where there are some
    assert diagnosed([each | {"real": 0.6, "fake": 1.0} for each in every]) == []


def test_a_loss_that_grows_beyond_all_bounds() -> None:
    grown = [{"generator/loss": -3e4}] * 3
    assert names(*[{}] * 5, *grown) == ["divergence"]
    # a critic's scores may be of any size, as long as they stay so
    assert names(*grown, *grown) == []


def test_several_at_once() -> None:
    assert names(*[{"real": 1.0, "fake": 1.0, "diversity": 0.0, "classes": 0.1}] * 4) == [
        "strong", "collapse",
    ]  # fmt: skip


# ---- told and remembered -------------------------------------------------------------------------


def look_at(course: Course, *changes: dict[str, float]) -> list[list[str]]:
    """What is told at each look."""
    done = len(course.state["looks"])
    told = []
    for number, change in enumerate(changes, start=done + 1):
        seen = {k: v for k, v in {**WELL, **change}.items() if "/" not in k and k != "swings"}
        told.append([each.name for each in course.looked(250 * number, 0.5, seen)])
    return told


def test_a_diagnosis_is_told_when_it_begins_and_when_it_is_clearly_worse() -> None:
    course = Course({}, "discriminator")
    alike, one = {"diversity": 0.09}, {"diversity": 0.02}
    assert look_at(course, {}, alike, alike, alike) == [[], [], [], ["collapse"]]
    assert look_at(course, alike, alike) == [[], []]
    assert look_at(course, one, one, one) == [["collapse"], [], []]
    (found,) = course.diagnoses
    assert (found.since, found.until) == (500, 2250)
    # what was told comes back without being told anew
    assert look_at(course, {}, alike, alike, alike) == [[], [], [], []]
    assert [(each.since, each.over) for each in course.diagnoses] == [(500, True), (2750, False)]


def test_what_is_remembered_goes_through_a_file_and_back() -> None:
    """On the way to a checkpoint in the middle of what lasts, and back."""
    whole, begun = Course({}, "discriminator"), Course({}, "discriminator")
    alike = {"diversity": 0.05}
    steps = [{"discriminator/accuracy": 0.5 + 0.4 * (n // 40 % 2), "discriminator/loss": 1.0}
             for n in range(250)]  # fmt: skip
    for course in (whole, begun):
        look_at(course, {}, alike)
        for step in steps[:77]:
            course.moved(step)
    resumed = Course(json.loads(json.dumps(begun.state)), "discriminator")
    for course in (whole, resumed):
        for step in steps[77:]:
            course.moved(step)
    assert look_at(resumed, alike, alike) == look_at(whole, alike, alike)
    assert resumed.state == whole.state
    assert resumed.diagnoses[0].name == "collapse"


def test_steps_between_looks_are_averaged_by_player() -> None:
    course = Course({}, "critic", critic=True)
    for n in range(10):
        course.moved({"critic 1/loss": 1.0, "critic 2/loss": 3.0, "critic 1/lr": 9.0,
                      "critic 2/accuracy": 0.5, "generator/gradient": float(n)})  # fmt: skip
    course.looked(10, 0.1, {"distance": 1.0})
    course.looked(20, 0.2, {})
    first, second = course.state["looks"]
    assert first["critic/loss"] == 2.0
    assert first["generator/gradient"] == 4.5
    assert (first["accuracy"], first["swings"]) == (0.5, 0.0)
    assert second == {"step": 20.0, "place": 0.2}


def swings(accuracies: list[float]) -> float:
    course = Course({}, "discriminator")
    for value in accuracies:
        course.moved({"discriminator/accuracy": value})
    course.looked(len(accuracies), 0.5, {})
    found: float = course.state["looks"][-1]["swings"]
    return found


def test_a_swing_is_there_and_back() -> None:
    wave = [0.7 + 0.2 * math.sin(2 * math.pi * n / 100) for n in range(1000)]
    assert swings(wave) == pytest.approx(5.0, abs=0.6)
    assert swings([0.7 + 0.05 * math.sin(2 * math.pi * n / 100) for n in range(1000)]) == 0.0
    # neither is what a batch happens to be, nor what goes one way
    assert swings([0.7 + 0.2 * (-1) ** n for n in range(1000)]) == 0.0
    assert swings([0.5 + n / 2000 for n in range(1000)]) == 0.0


# ---- words ---------------------------------------------------------------------------------------


def test_in_words() -> None:
    found = Diagnosis("collapse", 500, 1500, 20.0, "samples are alike")
    assert str(found) == "mode collapse suspected, since step 500: samples are alike"
    assert str(Diagnosis("strong", 500, 500, 1.0, "sure")).endswith("at step 500: sure")
    over = Diagnosis("strong", 500, 900, 1.0, "sure", over=True)
    assert str(over) == "discriminator too strong, from step 500 to 900: sure"
    assert set(TITLES) == set(NAMES)
    assert worse(4.1, 2.0)
    assert not worse(4.0, 2.0)


def test_advice_is_what_can_be_done_with_the_model() -> None:
    plain = {"regulariser": "none", "rates": (1.0, 1.0), "augment": "auto", "objective": "hinge"}
    for name in NAMES:
        assert advice(name, plain)
        assert advice(name, {}), name
    assert "regulariser=r1" in advice("strong", plain)
    assert "rates=0.5,1" in advice("strong", plain)
    for kept in ("r1", "spectral", "gradient-penalty", "r1-r2"):
        assert "regulariser" not in advice("oscillation", plain | {"regulariser": kept})
    assert "augment" not in advice("strong", plain | {"augment": "always"})
    assert "--set" not in advice("strong", {})


def test_names_are_checked() -> None:
    check_names(NAMES)
    with pytest.raises(UsageError, match="did you mean 'collapse'"):
        check_names(["colapse"])
