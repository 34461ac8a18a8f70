"""What a model costs: its parameters, and the operations, time and memory that it takes."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.groups import identities
from simulacra.ground.randomness import seeded
from simulacra.ground.threads import settled
from simulacra.judging.figures.records import Costs
from simulacra.models import flops
from simulacra.models.model import Likelihood, Model, Sampling, Stepwise
from simulacra.models.refining import Refining
from simulacra.models.swept import Swept
from simulacra.tasks.sample import context_of_rows, device_of, drawn_at_once, in_turn
from simulacra.training.progress import Outcome

_T = TypeVar("_T")
_MANY = 64
"""Samples at once, for the throughput; fewer of large observations."""
_COUNTED, _FEWEST, _LARGE = 8, 2, 1 << 20
"""Observations on which operations are counted: normalisation over a batch needs a few. Of those
with so many values and levels of each, a step holds gigabytes, and two are enough."""


def cost(model: Model, data: Dataset, outcome: Outcome | None = None) -> Costs:
    """What a trained model costs.

    `None` stands for what cannot be measured: sampling of a model that does not sample, or fails
    to; operations of a model that only works element by element, which are not counted.

    Args:
        model: In eval mode.
        data: Of which a few training observations are looked at.
        outcome: How its training ended; without, nothing is said of its time and memory.
    """
    once = sampled_once(model, data) if isinstance(model, Sampling) else None
    size, one, many = _MANY, None, None
    if isinstance(model, Sampling) and once is not None:
        one = unless_broken(partial(_seconds, model, data, 1))
        size = unless_broken(partial(_together, model, data)) or 1
        many = unless_broken(partial(_seconds, model, data, size))
    return Costs(
        parameters=parameters(model),
        # of the likelihood, or of the losses where there is none
        flops_per_observation=unless_broken(partial(_scoring, model, data)),
        flops_per_training_step=unless_broken(partial(_training, model, data)),
        flops_per_sample=once and (once[0] or None),
        training_seconds=None if outcome is None else outcome.seconds,
        training_spent=None if outcome is None else dict(outcome.spent) or None,
        training_peak_bytes=None if outcome is None else outcome.peak_bytes,
        seconds_for_1=one,
        samples_per_second=size / many if many else None,
        sequential_calls=once and once[1],
    )


def parameters(model: Model) -> int:
    """Free numbers that were learnt: by gradients, and by sweeps."""
    learnt = sum(p.numel() for p in model.parameters())
    return learnt + (model.learnt if isinstance(model, Swept) else 0)


def sampling_seconds(
    model: Sampling, n: int, context: Tensor | None = None, *, repeats: int = 5
) -> float:
    """Median seconds that drawing n samples at once takes, after one draw to warm up.

    A slow one on a processor needs no other before it.

    Args:
        model: In eval mode.
        n: Samples at once.
        context: One row for each.
        repeats: Timed draws; fewer if they are slow.
    """
    device = device_of(model)

    def timed() -> float:
        begun = time.perf_counter()
        model.sample(n, context)
        _wait_for(device)
        return time.perf_counter() - begun

    with seeded(0), torch.no_grad(), settled(1 if in_turn(model) else None):
        first = timed()
        # a GPU may be so long in getting ready
        times = [first] if first > _SLOW and device.type == "cpu" else []
        while len(times) < repeats and sum(times) < _ENOUGH:
            times.append(timed())
    return statistics.median(times)


_SLOW, _ENOUGH = 1.5, 3.0
"""Seconds of a draw beside which it is nothing what is made ready in it; of all draws."""


def sampled_once(model: Sampling, data: Dataset) -> tuple[int, int] | None:
    """FLOPs of one sample, and how many network calls it takes, one after another.

    A model that samples in steps takes as many calls as its `sample_steps` has steps. Of any other
    the calls are counted: the largest number of times that the model itself calls one and the same
    of its parts that have parameters; what parts call inside of themselves is one call. It is 1
    where no part is called.

    Args:
        model: In eval mode.
        data: Whose contexts a conditional model is told.

    Returns:
        Both numbers; `None` if sampling fails, as with weights that are no numbers.
    """
    context = _told(model, data.validation, 1)

    def draw() -> int:
        if isinstance(model, Stepwise):
            # what noise is refined from is shown before the first call
            shown = sum(1 for _ in model.sample_steps(1, context))
            return shown - 1 if isinstance(model, Refining) else shown
        return _calls(model, lambda: model.sample(1, context))

    def counted() -> tuple[int, int]:
        calls: list[int] = []
        with seeded(0), torch.no_grad():
            total = flops.count(model, lambda: calls.append(draw()))
        return total, calls[0]

    return unless_broken(counted)


def rows_for(model: Model, split: Observations, n: int) -> tuple[Tensor, Tensor | None]:
    """N observations of a split, again from the first when it ends, on the model's device.

    Returns:
        Observations, and their context if the model takes any.
    """
    device = device_of(model)
    x, _ = split.batch(torch.arange(n) % len(split))
    return x.to(device), _told(model, split, n)


def _learnt_with(model: Model, data: Dataset, n: int) -> tuple[Tensor, Tensor | None]:
    """As `rows_for`, of training data, with the classes of a model that learns from these."""
    x, context = rows_for(model, data.train, n)
    if model.classes_in_batch is not None and model.context == "none":
        classes = identities(data.train, data.spec)
        context = None if classes is None else classes[torch.arange(n) % len(classes)].to(x.device)
    return x, context


def _told(model: Model, split: Observations, n: int) -> Tensor | None:
    context = context_of_rows(model, split, n)
    return None if context is None else context.to(device_of(model))


def unless_broken(measure: Callable[[], _T]) -> _T | None:
    """What is measured; nothing of a model whose numbers are none any more, or lack memory."""
    try:
        return measure()
    except (RuntimeError, ValueError):
        # what torch and its distributions raise then
        return None


def _seconds(model: Sampling, data: Dataset, n: int) -> float:
    context = _told(model, data.validation, n)
    return sampling_seconds(model, n, context, repeats=3)


@torch.no_grad()
def _together(model: Sampling, data: Dataset) -> int:
    return drawn_at_once(model, _MANY, _told(model, data.validation, 2))


def _counted(model: Model) -> int:
    size = model.spec.dims * (model.spec.levels or 1)
    return _FEWEST if size > _LARGE else _COUNTED


def _scoring(model: Model, data: Dataset) -> int | None:
    count = _counted(model)
    x, context = _learnt_with(model, data, count)

    def run() -> None:
        if isinstance(model, Likelihood):
            model.log_likelihood(x, context)
        else:
            for turn in _players(model) or ["model"]:
                model.loss(x, context, turn=turn)

    with seeded(0), torch.no_grad():
        return flops.count(model, run) // count or None


def _training(model: Model, data: Dataset) -> int | None:
    count = _counted(model)
    x, context = _learnt_with(model, data, count)
    # a step leaves gradients, and may change what a model remembers of its batches
    learner = copy.deepcopy(model).train()

    def run() -> None:
        # of a model that learns in stages, a step of each
        for stage in learner.stages:
            if stage.by_sweeps and isinstance(learner, Swept):
                learner.sums([(x, context)])
            for turn in stage.turns:
                learner.zero_grad()
                learner.loss(x, context, turn=turn)["loss"].backward()

    with seeded(0), torch.enable_grad():
        return flops.count(learner, run) // count or None


def _players(model: Model) -> list[str]:
    return [name for stage in model.stages for name in stage.players]


def _calls(model: nn.Module, run: Callable[[], object]) -> int:
    """How often a model calls the part that it calls most often itself, at least 1."""
    counts: dict[nn.Module, int] = {}
    inside: list[nn.Module] = []

    def begin(part: nn.Module, _: object) -> None:
        if not inside:
            counts[part] = counts.get(part, 0) + 1
        inside.append(part)

    def end(*_: object) -> None:
        inside.pop()

    with ExitStack() as watching:
        for part in model.modules():
            if part is not model and next(part.parameters(), None) is not None:
                watching.callback(part.register_forward_pre_hook(begin).remove)
                watching.callback(part.register_forward_hook(end, always_call=True).remove)
        run()
    return max(counts.values(), default=1)


def _wait_for(device: torch.device) -> None:
    """Let a GPU finish what it was given: calls return before it does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
