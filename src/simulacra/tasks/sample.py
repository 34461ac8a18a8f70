"""Drawing samples, each with what its model was told, for all who draw any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.threads import settled
from simulacra.models.at_once import rows_at_once
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Latent, Model, Sampling, Stepwise
from simulacra.models.modes import evaluating
from simulacra.models.refining import Refining
from simulacra.nn.distributions import Narrowing
from simulacra.tasks.refined import check_refined
from simulacra.tasks.start import Start, checked

USUAL = 64
"""Samples to draw."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Draws of a model, on the CPU.

    Args:
        x: `(n, *event_shape)`, int64 levels or floats.
        context: What each was drawn for: labels `(n,)`, or `(n, K)` of K parts, or vectors
            `(n, D)`; nothing of a model that takes none.
    """

    x: Tensor
    context: Tensor | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self.x)

    @property
    def labels(self) -> Tensor | None:
        """The labels that they were drawn for, `(n,)` or `(n, K)` int64, if it was for labels."""
        told = self.context
        return None if told is None or told.is_floating_point() else told


def sample(
    model: Model,
    n: int | None = None,
    *,
    label: int | None = None,
    context: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    steps: int | None = None,
    guidance: float = 1.0,
    start: Start | None = None,
    seed: int = 0,
) -> Samples:
    """Samples of a model, as `simulacra sample` draws them.

    Args:
        model: Any that samples.
        n: How many; 64 by default, or as many as there are rows of `context`.
        label: The class of all, for a model with `context="label"`; the classes in turn by
            default. Of labels of several parts, the number of the combination.
        context: Labels `(N,)`, or `(N, K)` of K parts, or vectors `(N, D)`, row *i* for sample
            *i*; −1 is a label, or part, that is not told.
        temperature: Below 1 for likelier samples: it divides the logits of an autoregressive model,
            and multiplies the codes that a latent one decodes; 1 samples the model.
        top_k: Draw each value from its so many likeliest levels only, of autoregressive models.
        top_p: Draw each value from its likeliest levels that together have this probability only,
            of autoregressive models.
        steps: In which noise is refined, of diffusion and flow matching: fewer are faster, and
            worse; as many as the model's `sampling_steps` by default.
        guidance: Weight of what a sample is drawn for, of the same that are told a context: 1 as it
            was learnt, 0 without; above 1 samples are more like their class, and less varied.
        start: Levels that samples of autoregressive models begin from, and where: see `Start`.
        seed: The same seed gives the same samples on the same kind of device.

    Returns:
        The samples, `x`, and the `labels` or the `context` that they were drawn for.

    Raises:
        MissingCapability: If the model does not sample, takes no such context, or cannot narrow
            what it draws from, or refines no noise.
        UsageError: If an option is out of its range, or context vectors are missing.

    Example:
        >>> import simulacra as sim
        >>> spec = sim.DataSpec((1, 8, 8), levels=16, classes=10)
        >>> model = sim.build("made", spec, {"hidden": (16,), "context": "label"})
        >>> drawn = sim.sample(model, 5, seed=1)
        >>> drawn.x.shape, drawn.labels.tolist()
        (torch.Size([5, 1, 8, 8]), [0, 1, 2, 3, 4])
    """
    number, told = asked_context(model, n, label=label, context=context)
    narrowing = Narrowing(temperature, top_k, top_p)
    return draw(
        model, number, told, narrowing=narrowing, steps=steps, guidance=guidance, start=start,
        seed=(seed,),
    )  # fmt: skip


def draw(
    model: Model,
    n: int,
    context: Tensor | None = None,
    *,
    narrowing: Narrowing | None = None,
    steps: int | None = None,
    guidance: float = 1.0,
    start: Start | None = None,
    seed: tuple[int, ...] = (0,),
    at_once: int | None = None,
    on_step: Callable[[Tensor], None] = lambda _: None,
) -> Samples:
    """Samples for contexts that are settled, drawn on the model's device.

    Where observations are large, no more of them are drawn together than memory is meant for; see
    `rows_at_once`. So the same seed gives the same samples for as long as the same number is drawn
    of the same model: of small observations all together, or in the lots that were asked for.

    Args:
        model: Any that samples; put in eval mode meanwhile.
        n: How many, at least 1.
        context: One row for each, on any device.
        narrowing: Of the distribution of each value, or of the codes: see `sample`.
        steps: In which noise is refined: see `sample`.
        guidance: Weight of the context: see `sample`.
        start: What they begin from: see `sample`.
        seed: One or more integers that together are the seed: see `seeded`.
        at_once: Draw so many together at most; by default all are drawn together. Of several lots
            each has a seed of its own, `(*seed, number)`, and so has each where this is given.
        on_step: Told the samples of the first lot as they grow, of a model that draws in steps.

    Raises:
        MissingCapability: If the model does not sample, or not so: see `samples_with`.
        UsageError: If there is nothing to draw, or not a row of context for each, or an option is
            out of its range.
    """
    narrowing = narrowing or Narrowing()
    sampling = samples_with(model, narrowing, steps=steps, guidance=guidance)
    how = _how(sampling, narrowing, steps, guidance)
    if n < 1:
        raise UsageError(f"n is at least 1, got {n}")
    if context is not None and len(context) != n:
        raise UsageError(f"{n} samples need as many rows of context, got {len(context)}")
    begun = None if start is None else checked(model, start, n)
    device = device_of(model)
    drawn = []
    with torch.no_grad(), evaluating(model), settled(1 if in_turn(model) else None):
        size = _at_once(sampling, min(n, at_once or n), context, how)
        numbered = at_once is not None or size < n
        for number, rows in enumerate(torch.arange(n).split(size)):
            told = None if context is None else context[rows.to(context.device)].to(device)
            with seeded(*seed, *([number] if numbered else [])):
                if not isinstance(sampling, Stepwise):
                    x = sampling.sample(len(rows), told, **how)
                else:
                    # one way for all, so that nothing but the numbers drawn decides what is drawn
                    own = begun and (begun[0][rows].to(device), begun[1].to(device))
                    for x in _steps(sampling, len(rows), told, how, own):
                        if not number:
                            on_step(x)
            drawn.append(x.cpu())
    return Samples(torch.cat(drawn), None if context is None else context.cpu())


def in_turn(model: Model) -> bool:
    """Whether values are drawn one after another: small products, no sooner done by two threads."""
    return isinstance(model, Stepwise) and not isinstance(model, Refining)


def drawn_at_once(model: Sampling, most: int, context: Tensor | None = None) -> int:
    """How many samples to draw together, as the model draws by itself; see `rows_at_once`.

    Args:
        model: In eval mode; no gradients are kept.
        most: Of small observations; at most as many as there are rows of context.
        context: Of which two rows are looked at.
    """
    return _at_once(model, most, context, {})


def _at_once(model: Sampling, most: int, context: Tensor | None, how: dict[str, Any]) -> int:
    told = None if context is None else context[:2].to(device_of(model))

    def draw_some(n: int) -> None:
        own = None if told is None else told[:n]
        if not isinstance(model, Stepwise):
            model.sample(n, own, **how)
            return
        # whatever is kept from step to step is there after a few
        for _ in islice(_steps(model, n, own, how), _STEPS):
            pass

    return rows_at_once(draw_some, most)


_STEPS = 8


def samples_with(
    model: Model, narrowing: Narrowing, *, steps: int | None = None, guidance: float = 1.0
) -> Sampling:
    """The model, if it samples, from distributions so narrowed and in such steps.

    Args:
        model: Any.
        narrowing: See `draw`.
        steps: See `draw`.
        guidance: See `draw`.

    Raises:
        MissingCapability: If it does not.
        UsageError: If `steps` or `guidance` is out of its range.
    """
    name = type(model).__name__
    if not isinstance(model, Sampling):
        raise MissingCapability(f"{name} draws no samples")
    check_refined(model, steps, guidance)
    if isinstance(model, Autoregressive):
        return model
    if narrowing.temperature != 1 and not (isinstance(model, Latent) and model.narrows):
        raise MissingCapability(f"{name} has no temperature: leave it at 1")
    if narrowing.top_k is not None or narrowing.top_p != 1:
        option = "top_p" if narrowing.top_k is None else "top_k"
        raise MissingCapability(
            f"{name} does not draw one value after another, as {option} needs: use pixelcnn"
        )
    return model


def _how(
    model: Sampling, narrowing: Narrowing, steps: int | None, guidance: float
) -> dict[str, Any]:
    """What `sample`, or `sample_steps`, is told of how to draw; nothing of what is usual."""
    if isinstance(model, Autoregressive):
        return vars(narrowing)
    asked = {"temperature": (narrowing.temperature, 1), "steps": (steps, None)}
    asked["guidance"] = (guidance, 1)
    return {name: value for name, (value, usual) in asked.items() if value != usual}


def _steps(
    model: Stepwise,
    n: int,
    context: Tensor | None,
    how: dict[str, Any],
    start: Start | None = None,
) -> Iterator[Tensor]:
    if isinstance(model, Autoregressive):
        if start is not None:
            how = how | {"given": start[0], "observed": start[1]}
        return model.sample_steps(n, context, **how)
    if "temperature" in how and not isinstance(model, Refining):
        # of codes: how it goes on from them is its own
        return iter([model.sample(n, context, **how)])
    return model.sample_steps(n, context, **how)


def device_of(model: nn.Module) -> torch.device:
    """Where a model is; one without weights is on the CPU."""
    weights = next(iter(model.state_dict().values()), None)
    return torch.device("cpu") if weights is None else weights.device


# ---- what n samples are drawn for; nothing of a model that takes no context ----------------------


def asked_context(
    model: Model, n: int | None = None, *, label: int | None = None, context: Tensor | None = None
) -> tuple[int, Tensor | None]:
    """How many samples a user gets, and for what: what was asked, else the classes in turn.

    Args:
        model: That they are drawn from.
        n: How many; 64 by default, or as many as there are rows of `context`.
        label: One class for all.
        context: Labels or vectors, of which the first n are taken.

    Raises:
        MissingCapability: If the model takes no such context.
        UsageError: If a label or the number of rows is out of range, or vectors are missing.
    """
    if not isinstance(model, Model):
        raise UsageError(f"samples are drawn from a model, got {type(model).__name__}")
    if n is not None and type(n) is not int:
        raise UsageError(f"n is a whole number, got {n!r}")
    if context is not None and not context.ndim:
        raise UsageError("context has a row for each sample, got a single number: pass label")
    check_takes(model, label=label is not None, context=context)
    if label is not None and context is not None:
        raise UsageError("a label is one class for all, and context has a row for each: give one")
    if context is not None:
        n = len(context) if n is None else n
        if n > len(context):
            raise UsageError(f"context has {len(context)} rows: n is at most that, got {n}")
        return n, context[:n]
    n = USUAL if n is None else n
    if model.context == "vector":
        raise UsageError(
            f"this {type(model).__name__} needs context vectors: pass context, floats "
            f"(N, {model.spec.context_width})"
        )
    if label is None:
        return n, classes_in_turn(model, n)
    check_label(model, label)
    return n, model.spec.labels(torch.full((n,), label))


def check_takes(model: Model, *, label: bool = False, context: object = None) -> None:
    """Refuse context that a model does not take.

    Args:
        model: That is to take it.
        label: Whether there is a label for all.
        context: Whatever gives each a context of its own, if something does.

    Raises:
        MissingCapability: Saying how to train one that does.
    """
    name = type(model).__name__
    if label and model.context != "label":
        raise MissingCapability(f"this {name} takes no label: train one with --set context=label")
    labels = isinstance(context, Tensor) and not context.is_floating_point()
    if context is not None and model.context != ("label" if labels else "vector"):
        what, kind = ("labels", "label") if labels else ("context vectors", "vector")
        raise MissingCapability(f"this {name} takes no {what}: train one with --set context={kind}")


def check_label(model: Model, label: int, called: str = "label") -> None:
    """Refuse a class that the data do not have.

    Raises:
        UsageError: Naming what the user called it.
    """
    if not 0 <= label < model.spec.classes:
        raise UsageError(f"{called} goes from 0 to {model.spec.classes - 1}, got {label}")


def classes_in_turn(model: Model, n: int) -> Tensor | None:
    """One class after another, again from the first; nothing of a model that takes no labels."""
    if model.context != "label":
        return None
    return model.spec.labels(torch.arange(n) % model.spec.classes)


def context_of_rows(model: Model, split: Observations, n: int) -> Tensor | None:
    """What the first n observations of a split have, again from the first when it ends."""
    if model.context == "none" or split.context is None:
        return None
    return split.context[torch.arange(n) % len(split)]


def example_context(model: Model, data: Dataset, n: int) -> Tensor | None:
    """For samples to look at: the classes in turn, or vectors of the validation split in order."""
    if model.context == "label":
        return classes_in_turn(model, n)
    return context_of_rows(model, data.validation, n)


def frequent_context(model: Model, data: Dataset, n: int, *, seed: int) -> Tensor | None:
    """For samples that stand for the model: context drawn as frequently as the data have it.

    Args:
        model: That they are drawn from.
        data: Labels are those of its training split, if all of their parts are told; vectors those
            of its validation split, which the model has not learned from.
        n: How many.
        seed: Of the draw.
    """
    if model.context == "none":
        return None
    split = data.train if model.context == "label" else data.validation
    assert split.context is not None  # it was trained with one
    context = split.context
    if model.context == "label":
        whole = (context.view(len(split), -1) >= 0).all(1)
        context = context[whole] if bool(whole.any()) else context
    with seeded(seed):
        return context[torch.randint(len(context), (n,))]
