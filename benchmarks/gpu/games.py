"""What a game makes of pictures in a few minutes: modes of stacked MNIST, samples of CIFAR-10."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu.board import Figure, Place
from benchmarks.gpu.learning import learnt
from benchmarks.stacked import modes, recogniser_of
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.data.splits import halves
from simulacra.ground.caching import cache_folder
from simulacra.ground.errors import DataError, UsageError
from simulacra.judging.drawn import draw
from simulacra.judging.features.views import views
from simulacra.judging.figures.fidelity import fidelity
from simulacra.judging.figures.sample_judge import MOST
from simulacra.models.registry import MODELS

GAME = next(name for name in ("r3gan", "gan") if name in MODELS)
"""The best there is."""
AIM = 990
"""Modes of stacked MNIST, of 1,000."""
LEAST = 180
"""Seconds below which the extractor alone would take most of the time."""


def stacked(place: Place) -> Iterator[Figure]:
    """Train on stacked MNIST, then count the modes among 25,600 samples, beside test pictures."""
    data, why = _there("stacked-mnist", place)
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


def pictures(name: str, place: Place) -> Iterator[Figure]:
    """Train on pictures with labels, then hold 1,000 samples against as many test pictures."""
    data, why = _there(name, place)
    if data is None:
        yield why
        return
    if place.left < LEAST:
        again = f"left out: {place.left:.0f} s are too few, run --only game --minutes 10"
        yield Figure(f"{GAME}, {name}", again)
        return
    rows, others = halves(data.test, MOST)
    # the extractor learns on the CPU, before the clock of the training begins
    view = views(data, len(rows), folder=cache_folder(), device=place.device)[0]
    reference, real = (view.features(data.test.batch(each)[0]) for each in (rows, others))
    floor = fidelity(reference, real)
    model = yield from learnt(GAME, {}, data, place)
    found = fidelity(reference, view.features(draw(model, data, len(rows)).x))
    for key in ("frechet", "precision", "recall", "coverage"):
        unit = f"in {view.extractor} of {len(rows):,}; real {floor[key].value:.4f}"
        yield Figure(f"{GAME}, {data.name}: {key}", found[key].value, unit)


def _there(name: str, place: Place) -> tuple[Dataset | None, Figure]:
    """The data, or a row that says why not."""
    try:
        return load(name, data_dir=place.data_dir), Figure(name, "ok")
    except (DataError, UsageError) as error:
        return None, Figure(f"{GAME}, {name}", f"left out: {str(error).partition(',')[0]}")
