"""What a game makes of stacked MNIST in a few minutes: how many of its modes."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu.board import Figure, Place
from benchmarks.gpu.learning import learnt
from benchmarks.gpu.pictures import there
from benchmarks.stacked import modes, recogniser_of
from simulacra.models.registry import MODELS

GAME = next(name for name in ("r3gan", "gan") if name in MODELS)
"""The best there is."""
AIM = 990
"""Modes of stacked MNIST, of 1,000."""


def stacked(place: Place) -> Iterator[Figure]:
    """Train on stacked MNIST, then count the modes among 25,600 samples, beside test pictures."""
    data, why = there(GAME, "stacked-mnist", place)
    if data is None:
        yield why
        return
    recogniser, of = recogniser_of(data, place.device), f"{GAME}, {data.name}"
    yield Figure(f"{data.name}: recogniser", recogniser.accuracy, "of validation pictures")
    model = yield from learnt(GAME, {}, data, place)
    found, real = modes(model, data, recogniser)
    among = f"of {found.classes:,} among {found.among:,} samples"
    yield Figure(f"{of}: modes", found.found, f"{among}; real {real.found:,}; aim {AIM}")
    if found.reverse_kl and real.reverse_kl:
        beside = f"nats; real {real.reverse_kl.value:.4f}"
        yield Figure(f"{of}: reverse KL", found.reverse_kl.value, beside)
