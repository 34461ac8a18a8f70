"""Traversals: what each unit of a code changes, when it alone is moved."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.labels import joint_classes
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.at_once import rows_at_once
from simulacra.models.bounded import Bounded
from simulacra.models.model import Latent, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.models.refining import Refining
from simulacra.tasks.attributes import attributes
from simulacra.tasks.codes import encode_split, encodes, looked_at
from simulacra.tasks.expected import decoding, expected
from simulacra.tasks.probe import Linear, classes_of, flat_values, labelled, values_of
from simulacra.tasks.sample import device_of, frequent_context

FARTHEST = 3.0
"""Standard deviations of the prior to either side that a unit is moved to."""
MOST_UNITS = 16
"""Units that are shown."""
_WEIGHED = 128
"""Units of which it is measured how much they move; of more, those whose codes vary the most."""
_SEEN = 16
"""Validation observations that a change is the mean of."""
_KNOWN = 2000
"""Validation observations that say how attributes differ, and codes of the prior or of them."""


@dataclass(frozen=True, eq=False)
class Traversal:
    """What each unit of a code changes: rows in the order of how much that is, the most first.

    Args:
        units: Their places in a code, `(U,)` int64.
        frames: One observation as its code's unit goes from −3 to 3 standard deviations, as
            numbers for people, `(U, steps, …)`.
        moves: By how much a value changes from end to end, in standard deviations of the data, the
            root of the mean square over all values and several observations, `(U,)`.
        rates: What each unit costs, the mean over validation observations, in nats, `(U,)`; of
            models that know it.
        classes: By how much the probability of each class changes from end to end, the mean of
            several observations, `(U, classes)`, as a linear classifier of raw values sees what
            decodes; of data with labels.
        changes: By name, what an attribute of them changes from end to end, the mean of several
            observations, in the attribute's standard deviations over validation data, `(U,)`.
        ends: What a unit of the code goes from and to, `(units, 2)`.
        by: Whose standard deviations these are.
    """

    units: Tensor
    frames: Tensor
    moves: Tensor
    rates: Tensor | None
    classes: Tensor | None
    changes: dict[str, Tensor]
    ends: Tensor
    by: str


@torch.no_grad()
def traverse(
    model: Model,
    data: Dataset,
    *,
    row: int = 0,
    steps: int = 7,
    units: int = MOST_UNITS,
    seed: int = 0,
) -> Traversal:
    """Move each unit of a code alone, from −3 to 3 standard deviations, and look at what changes.

    The standard deviations are those of the prior; of a model without one, of validation codes.

    Args:
        model: One that encodes and decodes.
        data: That it learned from.
        row: The validation observation that is shown.
        steps: Frames of each unit.
        units: Shown at most.
        seed: Of draws of the prior.

    Raises:
        MissingCapability: If the model does not do both, or its codes are noise that is refined.
        UsageError: If a number is out of its range.
    """
    encodes(model)
    decoding(model)
    if not 0 <= row < len(data.validation):
        raise UsageError(
            f"validation observations go from 0 to {len(data.validation) - 1}, got {row}"
        )
    if steps < 2 or units < 1:
        raise UsageError(f"steps is at least 2 and units at least 1, got {steps} and {units}")
    if isinstance(model, Refining):
        raise MissingCapability(
            f"a code of {type(model).__name__} is noise, of which no value says anything alone: "
            "use interpolate, or map --direction CLASS"
        )
    known = data.validation.take(looked_at(data.validation, _KNOWN))
    codes = encode_split(model, known)
    ends, by = _ends(model, data, codes, seed)
    flat = codes.flatten(1)
    chosen = flat.var(0).argsort(descending=True)[:_WEIGHED].sort().values
    x, context = known.batch(torch.arange(len(known)))
    real = data.spec.to_float(x)
    # of pictures whose ground is bright, ink is dark
    dark = not data.spec.is_image or bool(real.mean() < 0.5)
    measured = partial(attributes, data.spec, dark=dark, names=data.columns)
    usual = measured(real)
    some = min(_SEEN, len(known))
    context = None if context is None or model.context == "none" else context[:some]
    spread = real.double().flatten(1).std(0).clamp_min(1e-6)
    if data.spec.levels is not None:
        # one for all: by its own, a pixel that never changes in the data would count the most
        spread = spread.square().mean().sqrt()
    seen_by = _classifier(data)
    moves, changes, classes = [], dict[str, list[Tensor]](), list[Tensor]()
    for unit in chosen.tolist():
        low, high = (
            expected(model, _moved(codes[:some], unit, end), context, seed=seed)
            for end in ends[unit]
        )
        change = ((high - low).double().flatten(1) / spread).square().mean().sqrt()
        moves.append(change)
        if seen_by is not None:
            p_high, p_low = (
                torch.from_numpy(seen_by.probabilities(flat_values(each), data.spec.classes))
                for each in (high, low)
            )
            classes.append((p_high - p_low).mean(0))
        after, before = (measured(each) for each in (high, low))
        for name, values in usual.items():
            own = (after[name] - before[name]).mean() / values.std().clamp_min(1e-9)
            changes.setdefault(name, []).append(own)
    order = torch.stack(moves).argsort(descending=True, stable=True)[:units]
    shown = _frames(model, data, row, chosen[order], ends, steps, seed)
    return Traversal(
        chosen[order], shown, torch.stack(moves)[order], _rates(model, known, chosen[order]),
        torch.stack(classes)[order] if classes else None,
        {name: torch.stack(values)[order] for name, values in changes.items()}, ends, by,
    )  # fmt: skip


def _ends(model: Model, data: Dataset, codes: Tensor, seed: int) -> tuple[Tensor, str]:
    """What each unit goes from and to, `(units, 2)`, and whose standard deviations these are."""
    of, by = codes, "validation codes"
    if isinstance(model, Latent):
        told = frequent_context(model, data, _PRIOR, seed=seed)
        with evaluating(model), seeded(seed):
            of = model.prior(_PRIOR, None if told is None else told.to(device_of(model))).cpu()
        by = "the prior"
    flat = of.flatten(1)
    reach = FARTHEST * flat.std(0)
    return torch.stack([flat.mean(0) - reach, flat.mean(0) + reach], 1), by


_PRIOR = 4000


def _classifier(data: Dataset) -> Linear | None:
    """A linear classifier of raw values; `None` of data without two classes."""
    classes = joint_classes(data.train, data.spec)
    if classes is None or len(classes[classes >= 0].unique()) < 2:
        return None
    some = labelled(data.train, data, "training", _KNOWN)
    y = classes_of(some, data)
    return Linear.fit(values_of(some, data), y) if len(set(y.tolist())) > 1 else None


@scoring()
def _rates(model: Model, known: Observations, units: Tensor) -> Tensor | None:
    """What units cost, of a model that tells the parts of its bound."""
    if not isinstance(model, Bounded):
        return None
    x, context = known.batch(torch.arange(min(len(known), _RATED)))
    told = None if model.context == "none" or context is None else context
    device = device_of(model)

    def rates(lot: slice) -> Tensor:
        own = None if told is None else told[lot].to(device)
        return model.terms(x[lot].to(device), own).rates.flatten(1).cpu()

    with evaluating(model):
        size = rows_at_once(lambda n: rates(slice(n)), len(x))
        each = torch.cat([rates(slice(at, at + size)) for at in range(0, len(x), size)])
    return each.double().mean(0)[units]


_RATED = 512


def _moved(codes: Tensor, unit: int, to: Tensor) -> Tensor:
    """Codes with one unit of each set to a number."""
    flat = codes.flatten(1).clone()
    flat[:, unit] = to
    return flat.view_as(codes)


def _frames(
    model: Model, data: Dataset, row: int, units: Tensor, ends: Tensor, steps: int, seed: int
) -> Tensor:
    one = data.validation.take(torch.tensor([row]))
    code, context = encode_split(model, one), one.batch(torch.tensor([0]))[1]
    ways = []
    for unit in units.tolist():
        low, high = ends[unit].tolist()
        to = torch.linspace(low, high, steps, dtype=code.dtype)
        ways.append(_moved(code.expand(steps, *code.shape[1:]), unit, to))
    whole = torch.cat(ways)
    told = None
    if context is not None and model.context != "none":
        told = context.expand(len(whole), *context.shape[1:])
    return expected(model, whole, told, seed=seed).unflatten(0, (len(units), steps))
