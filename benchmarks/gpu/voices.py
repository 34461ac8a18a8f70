"""How fast a WaveNet speaks, and what it learns of spoken digits in a few minutes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks import work
from benchmarks.gpu.board import Figure, Place
from benchmarks.gpu.learning import learnt
from simulacra.data.catalogue import load
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.likelihood import likelihood
from simulacra.models.autoregressive.wavenet import WaveNet

VOICES, AIM = 16, 4.0
"""Sounds of a second at 8 kHz that are drawn at once, and the seconds that this should take."""


def spoken(place: Place) -> Iterator[Figure]:
    """Seconds for 16 seconds of sound, then a training on spoken digits, and its bits a sample."""
    rate = 8000 if place.device.type == "cuda" else 400
    spec = DataSpec((rate,), levels=256, coding="mu-law", rate=rate)
    with seeded(0):
        model = WaveNet(spec).to(place.device).eval()
    # a first call loads what later ones find there
    steps = model.sample_steps(VOICES)
    next(steps)
    for n in (VOICES, 64):
        begun = place.clock()
        work.sample(model, n)()
        took = place.clock() - begun
        x = work.pictures(spec, n, 0).to(place.device)
        forward = torch.no_grad()(partial(model.conditionals, x))
        forward()
        begun = place.clock()
        forward()
        passes = took / max(1e-9, place.clock() - begun)
        of = f"wavenet, {n} voices, {rate} samples"
        aim = f"s; aim {AIM:g}" if n == VOICES and rate == 8000 else "s"
        yield Figure(f"{of}: drawn in", took, aim)
        yield Figure(f"{of}: against a pass", passes, "forward passes")
        if place.left <= 0:
            return
    try:
        data = load("fsdd", data_dir=place.data_dir)
    except (DataError, UsageError) as error:
        yield Figure("wavenet, fsdd", f"left out: {str(error).partition(',')[0]}")
        return
    trained = yield from learnt("wavenet", {}, data, place)
    score = likelihood(trained, data.test).marginal
    if score is not None:
        yield Figure("wavenet, fsdd: likelihood", score.nats / score.nats_per_unit, score.unit)
