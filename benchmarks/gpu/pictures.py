"""Samples of pictures, after a training of a few minutes, beside other real pictures."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu.board import Figure, Place
from benchmarks.gpu.learning import learnt
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.data.splits import halves
from simulacra.ground.caching import cache_folder
from simulacra.ground.errors import DataError, UsageError
from simulacra.judging.drawn import draw
from simulacra.judging.features.views import views
from simulacra.judging.figures.fidelity import fidelity
from simulacra.judging.figures.sample_judge import MOST

LEAST = 180
"""Seconds below which the extractor alone would take most of the time."""


def pictures(
    model: str, name: str, section: str, place: Place, *, aim: float | None = None
) -> Iterator[Figure]:
    """Train on pictures with labels, then hold 1,000 samples against as many test pictures.

    Args:
        model: In the registry.
        name: Of the data.
        section: Words by which its section is asked for alone, where it has too little time.
        place: Where.
        aim: How many times as far as real pictures samples may be.
    """
    data, why = there(model, name, place)
    if data is None:
        yield why
        return
    if place.left < LEAST:
        again = f"left out: {place.left:.0f} s are too few, run --only {section} --minutes 8"
        yield Figure(f"{model}, {name}", again)
        return
    rows, others = halves(data.test, MOST)
    # the extractor learns on the CPU, before the clock of the training begins
    view = views(data, len(rows), folder=cache_folder(), device=place.device)[0]
    reference, real = (view.features(data.test.batch(each)[0]) for each in (rows, others))
    floor = fidelity(reference, real)
    trained = yield from learnt(model, {}, data, place)
    found = fidelity(reference, view.features(draw(trained, data, len(rows)).x))
    for key in ("frechet", "precision", "recall", "coverage"):
        unit = f"in {view.extractor} of {len(rows):,}; real {floor[key].value:.4f}"
        if key == "frechet" and aim is not None:
            unit += f", aim {aim:g} times that"
        yield Figure(f"{model}, {data.name}: {key}", found[key].value, unit)


def there(model: str, name: str, place: Place) -> tuple[Dataset | None, Figure]:
    """The data, or a row that says why not."""
    try:
        return load(name, data_dir=place.data_dir), Figure(name, "ok")
    except (DataError, UsageError) as error:
        return None, Figure(f"{model}, {name}", f"left out: {str(error).partition(',')[0]}")
