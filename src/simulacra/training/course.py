"""`Course`: how a game went so far, and what was diagnosed of it. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from simulacra.training.diagnosis import LASTS, Diagnosis, diagnosed, worse

_BLOCK = 10
"""Steps whose accuracies are averaged, so that what a batch happens to be is no swing."""
_SWING = 0.15
"""How far the accuracy goes one way before it has turned round."""


class Course:
    """What is remembered of a game, as numbers and words that a checkpoint keeps.

    Args:
        state: What is remembered, changed in place; empty to begin with.
        opponent: In which turn the opponent moves.
        critic: Whether its scores estimate a distance.
    """

    def __init__(self, state: dict[str, Any], opponent: str, *, critic: bool = False) -> None:
        self.state, self.opponent, self.critic = state, opponent, critic
        for name, empty in (("looks", []), ("diagnoses", []), ("told", {}), ("sums", {})):
            state.setdefault(name, empty)
        state.setdefault("steps", 0)
        state.setdefault("block", [0.0, 0])
        # where the accuracy last turned round, which way it goes since, and how often it did
        state.setdefault("turned", [None, 0, 0])

    @property
    def diagnoses(self) -> list[Diagnosis]:
        """All that was diagnosed so far, in the order in which it began."""
        return [Diagnosis(**each) for each in self.state["diagnoses"]]

    def moved(self, losses: Mapping[str, float]) -> None:
        """Take in a step.

        Args:
            losses: Scalars of its turns, `turn/name`; of several turns of a player, `turn 1/name`.
        """
        state, sums = self.state, self.state["sums"]
        state["steps"] += 1
        found: dict[str, list[float]] = {}
        for key, value in losses.items():
            turn, _, name = key.partition("/")
            if name in ("loss", "gradient", "accuracy"):
                player = turn.rstrip("0123456789").rstrip()
                found.setdefault(f"{player}/{name}", []).append(value)
        for key, values in found.items():
            sums[key] = sums.get(key, 0.0) + sum(values) / len(values)
        if told := found.get(f"{self.opponent}/accuracy"):
            self._swing(sum(told) / len(told))

    def _swing(self, accuracy: float) -> None:
        block = self.state["block"]
        block[0] += accuracy
        block[1] += 1
        if block[1] < _BLOCK:
            return
        value = block[0] / block[1]
        block[:] = [0.0, 0]
        turned = self.state["turned"]
        last, way, _ = turned
        if last is None:
            turned[0] = value
        elif (value - last) * way > 0:
            # further the same way
            turned[0] = value
        elif abs(value - last) >= _SWING:
            turned[:2] = [value, 1 if value > last else -1]
            turned[2] += way != 0

    def looked(self, step: int, place: float, seen: Mapping[str, float]) -> list[Diagnosis]:
        """Take in a validation.

        Args:
            step: Steps done.
            place: How far the training is, from 0 to 1.
            seen: See `Balance.measure`; empty where nothing could be afforded.

        Returns:
            What is to be told: what has begun, or become clearly worse since it was told.
        """
        state = self.state
        steps, turned = max(1, state["steps"]), state["turned"]
        look = {"step": float(step), "place": place, **seen}
        look |= {key: total / steps for key, total in state["sums"].items()}
        if f"{self.opponent}/accuracy" in look:
            look |= {
                "accuracy": look[f"{self.opponent}/accuracy"],
                # a swing is there and back
                "swings": turned[2] / 2 * LASTS / steps,
            }
        state["looks"].append(look)
        state |= {"sums": {}, "steps": 0}
        turned[2] = 0
        tell = []
        found = diagnosed(state["looks"], critic=self.critic)
        here = {(now.name, now.since) for now in found}
        for each in state["diagnoses"]:
            each["over"] = (each["name"], each["since"]) not in here
        for now in found:
            same = [each for each in state["diagnoses"]
                    if (each["name"], each["since"]) == (now.name, now.since)]  # fmt: skip
            for each in same:
                each |= asdict(now)
            if not same:
                state["diagnoses"].append(asdict(now))
            told = state["told"].get(now.name)
            if told is None or worse(now.figure, told):
                state["told"][now.name] = now.figure
                tell.append(now)
        return tell
