"""What is measured, in sections.

A model of the registry has its rows in the first three without anything being added. What else a
family wants to know is a job: a function from a `Place` to figures,

    def distilled(place: Place) -> Iterator[Figure]:
        readings = measure({...}, ROUNDS, clock=place.clock, until=place.until)
        yield Figure("ddpm, 4 steps", ..., "samples/s")

named in `SECTIONS` below, as `Job("ddpm, 4 steps", distilled)`, in a section there is or in one of
its own with a share of the minutes. Figures are yielded as soon as they are known, and a job that
fails is a row that says so.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import work
from benchmarks.figures.rows import BEST, PICTURED
from benchmarks.gpu import diffusions, games, voices
from benchmarks.gpu.board import Figure, Job, Place, Section
from benchmarks.gpu.learning import PRECISIONS, learnt
from benchmarks.gpu.pictures import pictures
from benchmarks.measure import measure, ratio
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import DataError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.cost import sampling_seconds
from simulacra.judging.figures.likelihood import likelihood
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Completion, Likelihood, Model, Sampling
from simulacra.models.registry import MODELS, build, find, preset
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

ROUNDS = 5
"""Readings of each time, fewer where time is short."""
TINY = 6
"""Side of pictures on which it is seen that a model works."""
TRAINED: dict[str, dict[str, Any]] = {
    "pixelcnnpp": {}, "mfa": {"components": 30}, "vae": {}, "hvae": {}, "pixelvae": {},
}  # fmt: skip
"""What learns static MNIST: names, and keywords of the models."""
WEIGHTED: dict[str, Any] = {"encoder": "mlp", "hidden": (200, 200), "latent": 50, "draws": 50}
"""The importance-weighted autoencoder of its paper, with its most draws."""
WEIGHTED_AIM = 84.8
"""Nats of dynamically binarised MNIST, as the paper has them, of 5,000 draws."""
LARGER = (("cifar10", 3.6, "an hour"), ("mnist", 1.02, "10 minutes"))
"""What the best flow learns from, and the bits per dimension that are aimed at, after how long.

First what may well be missing: it leaves its time to the other.
"""
BATCHES = (16, 64, 256)
"""Of the steps of a training whose speeds are compared."""


# ---- that every model works ----------------------------------------------------------------------


def works(name: str, precision: Any, place: Place) -> Iterator[Figure]:  # noqa: ANN401 (a literal)
    """Train three steps, then sample, score and complete where the model can."""
    with seeded(0):
        spec = work.form(find(name), TINY, levels=4)
        model = build(name, spec, find(name).small[0])
        x = torch.randint(spec.levels or 4, (64, *spec.event_shape))
    options = Options(
        **{**preset(name), "batch": 16, "device": place.device.type, "precision": precision}
    )
    told = work.told(model, len(x))
    split, done = Observations(x, told), ["trains"]
    training = Training(model, split, split, options)
    training.set_plan(Budget(3, "steps"))
    list(training)
    if training.progress.skipped:
        raise ArithmeticError(f"{training.progress.skipped} steps with non-finite numbers")
    model, x = training.averaged.eval(), x[:4].to(place.device)
    told = work.told(model, 4)
    with seeded(1), torch.no_grad():
        if isinstance(model, Sampling):
            _check(model.sample(4, told), spec)
            done.append("samples")
        if isinstance(model, Likelihood):
            if not bool(model.log_likelihood(x, told).isfinite().all()):
                raise ArithmeticError("a likelihood is not finite")
            done.append("scores")
        if isinstance(model, Completion):
            observed = torch.zeros(spec.event_shape, dtype=torch.bool, device=place.device)
            observed.view(-1)[: spec.dims // 2] = True
            completed = model.complete(x, observed, told)
            _check(completed, spec)
            if not torch.equal(completed[:, observed], x[:, observed]):
                raise ArithmeticError("a completion changed what it was given")
            done.append("completes")
    yield Figure(f"{name}, {PRECISIONS[precision]}", f"ok: {', '.join(done)}")


def _check(x: Tensor, spec: DataSpec) -> None:
    spec.check(x)
    if x.shape != (4, *spec.event_shape):
        raise ArithmeticError(f"4 samples have shape {tuple(x.shape)}")


# ---- what the loop costs, and samplers -----------------------------------------------------------


def _side(place: Place) -> int:
    """Of pictures whose steps are timed: what a GPU is for, a CPU does too slowly."""
    return 28 if place.device.type == "cuda" else 8


def loop(name: str, place: Place) -> Iterator[Figure]:
    """A step of the training loop against the step alone, both in float32."""
    side, batch = _side(place), 64 if place.device.type == "cuda" else 16
    alone, looped = (work.Work(name, side, batch, place.device) for _ in range(2))
    options = Options(batch=batch, lr=1e-12, device=place.device.type, precision="32")
    tasks = {
        "step": alone.job("step"),
        "loop": work.loop(looped.model, looped.x, options),
    }
    read = measure(tasks, ROUNDS, clock=place.clock, until=place.until)
    of = f"{name}, {work.size(alone.model.spec)}, batch {batch}"
    yield Figure(of, ratio(read["loop"], read["step"]), "× the plain step")
    yield Figure(f"{of}: plain step", 1000 * statistics.median(read["step"]), "ms")


def pace(name: str, place: Place) -> Iterator[Figure]:
    """Observations that a training sees in a second, by its batch and its precision."""
    side = _side(place)
    for batch in BATCHES if place.device.type == "cuda" else BATCHES[:1]:
        tasks = {}
        for precision in PRECISIONS:
            of = work.Work(name, side, batch, place.device)
            options = Options(batch=batch, lr=1e-12, device=place.device.type, precision=precision)  # type: ignore[arg-type]
            tasks[precision] = work.loop(of.model, of.x, options)
        read = measure(tasks, ROUNDS, clock=place.clock, until=place.until)
        for precision, seconds in read.items():
            of_all = f"{name}, {side}×{side}, batch {batch}, {PRECISIONS[precision]}"
            yield Figure(of_all, batch / statistics.median(seconds), "observations/s")
        if place.left <= 0:
            return


def sampler(name: str, batch: int, place: Place) -> Iterator[Figure]:
    """Drawing a batch against one parallel pass over as many pictures."""
    side = _side(place)
    with seeded(0):
        model = build(name, work.form(find(name), side, levels=2)).to(place.device).eval()
    x = work.pictures(model.spec, batch, 0).to(place.device)
    assert isinstance(model, Sampling)
    tasks = {"forward": _forward(model, x), "sample": work.sample(model, batch)}
    read = measure(tasks, ROUNDS, clock=place.clock, until=place.until)
    of = f"{name}, {work.size(model.spec)}, batch {batch}"
    yield Figure(of, ratio(read["sample"], read["forward"]), "forward passes")
    yield Figure(f"{of}: speed", batch / statistics.median(read["sample"]), "samples/s")


def _forward(model: Model, x: Tensor) -> Callable[[], object]:
    """One pass: of what samples value by value the prediction of all, else the losses."""
    if isinstance(model, Autoregressive):
        return torch.no_grad()(partial(model.conditionals, x))
    return work.forward(model, x)


# ---- trainings -----------------------------------------------------------------------------------


def static_mnist(name: str, place: Place) -> Iterator[Figure]:
    """Train for most of the time that is left, then score test pictures and sample."""
    try:
        data = load("binarized-mnist", data_dir=place.data_dir)
    except (DataError, UsageError) as error:
        # without the places where it was looked for
        yield Figure("no static MNIST", f"digits instead: {str(error).partition(',')[0]}")
        data = load("digits")
    yield from _learnt(name, TRAINED[name], data, place)


def weighted(place: Place) -> Iterator[Figure]:
    """Train `iwae` as its paper has it on dynamically binarised MNIST, then score and sample."""
    try:
        data = load("binarized-mnist-dynamic", data_dir=place.data_dir)
    except (DataError, UsageError) as error:
        yield Figure("iwae", f"left out: {str(error).partition(',')[0]}")
        return
    yield from _learnt("iwae", WEIGHTED, data, place, draws=500)
    yield Figure(f"iwae, {data.name}: aim", WEIGHTED_AIM, "nats")


def flow(name: str, aim: float, within: str, place: Place) -> Iterator[Figure]:
    """Train the best flow for most of the time that is left, then score test pictures and sample.

    Args:
        name: Of the data.
        aim: Bits per dimension.
        within: How long that may take, which is longer than here.
        place: Where.
    """
    if BEST not in MODELS:
        yield Figure(f"{BEST}, {name}", "left out: there is no such model")
        return
    try:
        data = load(name, data_dir=place.data_dir)
    except (DataError, UsageError) as error:
        yield Figure(f"{BEST}, {name}", f"left out: {str(error).partition(',')[0]}")
        return
    yield from _learnt(BEST, {}, data, place)
    yield Figure(f"{BEST}, {data.name}: aim", aim, f"bits/dim within {within}")


def _learnt(
    name: str, keywords: dict[str, Any], data: Dataset, place: Place, draws: int = 1
) -> Iterator[Figure]:
    """Train for most of the time that is left, and judge in the rest."""
    model = yield from learnt(name, keywords, data, place)
    yield from _judged(model, data, f"{name}, {data.name}", place, draws)


def _judged(model: Model, data: Dataset, of: str, place: Place, draws: int = 1) -> Iterator[Figure]:
    """Nats of as many test pictures as half of what is left allows, and the speed of sampling."""
    few = min(64, len(data.test))
    # a first call loads what later ones find there
    likelihood(model, data.test, limit=few, draws=draws)
    begun = place.clock()
    likelihood(model, data.test, limit=few, draws=draws)
    took = max(1e-9, place.clock() - begun)
    limit = max(few, min(len(data.test), int(few * 0.5 * place.left / took)))
    scores = likelihood(model, data.test, limit=limit, draws=draws)
    score = scores.marginal
    assert score is not None
    kind = "exact" if score.exact else f"a bound of {draws} draw{'s' * (draws > 1)}"
    of_all = f"{limit:,} of {len(data.test):,}"
    unit = f"nats, {kind}, ± {score.standard_error:.2g}, {of_all} test pictures"
    yield Figure(f"{of}: nats", score.nats, unit)
    if data.spec.levels is not None:
        yield Figure(f"{of}: likelihood", score.nats / score.nats_per_unit, score.unit)
    assert isinstance(model, Sampling)
    for n in (64, 1):
        yield Figure(f"{of}: sampling {n} at once", n / sampling_seconds(model, n), "samples/s")


# ---- the table -----------------------------------------------------------------------------------


def _stepped() -> list[str]:
    """Those that begin with steps, not with sweeps."""
    return _those(_steps)


def _steps(kind: type[Model]) -> bool:
    return bool(kind(work.form(kind, TINY, levels=4), **kind.small[0]).stages[0].turns)


def _sampling() -> list[str]:
    return _those(lambda kind: issubclass(kind, Sampling))


def _those(wanted: Callable[[type[Model]], bool]) -> list[str]:
    """Names of models; with those that cannot be found, whose rows then say why."""
    found = []
    for name in MODELS:
        try:
            mine = wanted(find(name))
        except Exception:
            # whatever it is, it fails again where a row tells it
            mine = True
        found += [name] if mine else []
    return found


SECTIONS = (
    Section(
        "Every model, tiny: three steps, then what it can do",
        0.2,
        lambda: [
            Job(f"{name}, {told}", partial(works, name, precision))
            for name in MODELS
            for precision, told in PRECISIONS.items()
        ],
    ),
    Section(
        "The loop against the plain step",
        0.12,
        lambda: [Job(name, partial(loop, name)) for name in _stepped()],
    ),
    Section(
        "Samplers against forward passes",
        0.12,
        lambda: [
            Job(f"{name}, batch {batch}", partial(sampler, name, batch))
            for batch in (64, 1)
            for name in _sampling()
        ],
    ),
    Section(
        "Steps of a training, by batch and precision",
        0.05,
        lambda: [Job(name, partial(pace, name)) for name in (*TRAINED, BEST) if name in MODELS],
    ),
    Section(
        "Static MNIST",
        0.12,
        lambda: [Job(f"static MNIST, {name}", partial(static_mnist, name)) for name in TRAINED],
    ),
    Section("Dynamic MNIST", 0.1, lambda: [Job("iwae, 50 draws", weighted)]),
    Section("Stacked MNIST", 0.1, lambda: [Job("stacked MNIST", games.stacked)]),
    Section(
        "A game on CIFAR-10",
        0.06,
        lambda: [Job("a game", partial(pictures, games.GAME, "cifar10", "game"))],
    ),
    Section("Diffusion: its speed", 0.03, lambda: [Job("its speed", diffusions.speeds)]),
    Section(
        "Diffusion of MNIST",
        0.03,
        lambda: [
            Job("MNIST", partial(pictures, PICTURED, "mnist", '"diffusion of mnist"', aim=1.5))
        ],
    ),
    Section(
        "Diffusion of CIFAR-10",
        0.03,
        lambda: [Job("CIFAR-10", partial(pictures, PICTURED, "cifar10", '"diffusion of cifar"'))],
    ),
    Section("Voices", 0.06, lambda: [Job("voices", voices.spoken)]),
    Section(
        "A flow on larger pictures",
        1.0,
        lambda: [
            Job(f"{BEST}, {name}", partial(flow, name, aim, within)) for name, aim, within in LARGER
        ],
    ),
)
"""In this order. The last one has what the others leave."""
