"""What the codes of a bounded likelihood cost, unit by unit, and what a collapse is called."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.judging.figures.intervals import standard_error
from simulacra.judging.figures.likelihood import bits_per_dim, first_rows, valid_dims
from simulacra.judging.figures.records import (
    IDLE,
    USED,
    CodeFigures,
    LevelFigures,
    Term,
    UnitFigures,
)
from simulacra.models.bounded import Bounded
from simulacra.models.model import Model
from simulacra.models.modes import scoring
from simulacra.tasks.bayes import scored_at_once
from simulacra.tasks.sample import device_of


@scoring()
def bound_terms(
    model: Model, observations: Observations, *, seed: int = 0, limit: int | None = None
) -> CodeFigures:
    """The evidence lower bound in its parts, under a model in eval mode, and each unit's share.

    The rate is what a code costs, KL(q(z | x) ‖ p(z)), the distortion what is left of an
    observation once its code is known; a unit is active if its posterior mean varies between
    observations by more than 0.01 (Burda, Grosse and Salakhutdinov 2015, arXiv 1509.00519,
    section 5.1). A model that takes a context is given each observation's own; observations
    whose label is untold are left out, unless all are.

    Args:
        model: One that is `Bounded`.
        observations: Usually the test split.
        seed: Of the codes' noise.
        limit: Look only at so many, chosen by a fixed permutation, as `likelihood` does.

    Raises:
        MissingCapability: If the model's likelihood is no bound over codes.
        UsageError: If there is nothing to look at.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> vae = sim.build("vae", data.spec, {"latent": 4, "hidden": (16,)}).eval()
        >>> found = sim.bound_terms(vae, data.test, limit=50)
        >>> len(found.units), found.observations
        (4, 50)
        >>> abs(found.distortion.nats + found.rate.nats - found.bound.nats) < 1e-3
        True
    """
    if not isinstance(model, Bounded):
        raise MissingCapability(
            f"{type(model).__name__} has no bound over codes whose terms could be told apart"
        )
    if not len(observations) or (limit is not None and limit < 1):
        raise UsageError("the terms of a bound need at least one observation")
    if limit is not None and limit < len(observations):
        observations = observations.take(permutation(len(observations))[:limit])
    classes = joint_classes(observations, model.spec) if model.context == "label" else None
    if classes is not None and bool((classes >= 0).any()):
        observations = observations.take((classes >= 0).nonzero()[:, 0])
    device = device_of(model)
    parts, means = [], []
    for x, own in observations.batches(scored_at_once(model, *first_rows(model, observations))):
        x = x.to(device)
        told = None if own is None or model.context == "none" else own.to(device)
        terms = model.terms(x, told, seed=seed)
        parts.append(torch.cat([terms.distortion[:, None], terms.rates], 1).cpu().double())
        means.append(model.encode(x, told).flatten(1).cpu().double())
    return _figures(model, observations, torch.cat(parts), torch.cat(means))


def _figures(
    model: Bounded, observations: Observations, parts: Tensor, means: Tensor
) -> CodeFigures:
    """Of the distortion and the rates `(N, 1 + units)`, and posterior means `(N, units)`."""
    given = "" if model.context == "none" else model.context
    broken = int((~torch.cat([parts, means], 1).isfinite().all(1)).sum())
    if broken:
        return CodeFigures(observations=len(parts), non_finite=broken, given=given)
    dims, spec = valid_dims(observations), model.spec
    valid, groups = observations.lengths, observations.groups

    def term(values: Tensor) -> Term:
        error, nats = standard_error(values, valid, groups), float(values.mean())
        return Term(
            nats=nats,
            standard_error=None if math.isnan(error) else error,
            bits_per_dim=None if spec.levels is None else bits_per_dim(nats, spec, dims),
        )

    # a density of columns with a scale is another one in their own units
    distortion, rates = parts[:, 0] + spec.log_scale, parts[:, 1:]
    # one observation has no variance
    spread = means.var(0).nan_to_num(0.0).tolist() if len(means) > 1 else [0.0] * means.shape[1]
    return CodeFigures(
        observations=len(parts),
        distortion=term(distortion),
        rate=term(rates.sum(1)),
        bound=term(distortion + rates.sum(1)),
        units=tuple(
            UnitFigures(rate=term(rate), variance=variance)
            for rate, variance in zip(rates.T, spread, strict=True)
        ),
        levels=tuple(
            LevelFigures(name=name, rate=term(part.sum(1)), units=size)
            for (name, size), part in zip(
                model.hierarchy, rates.split([size for _, size in model.hierarchy], 1), strict=True
            )
        )
        if model.hierarchy
        else (),
        given=given,
    )


def collapse(found: CodeFigures, keywords: Collection[str]) -> str:
    """That a decoder ignores its whole code, and what may help; empty where it does not.

    Args:
        found: What its codes cost.
        keywords: That its model takes: nothing else is advised.
    """
    if not found.collapsed or found.rate is None:
        return ""
    count = len(found.units)
    units = f"none of its {count} units" if count > 1 else "not even its one unit"
    cheap = f"each costs under {USED:g} nats" if count > 1 else f"it costs under {USED:g} nats"
    why = cheap if found.unused == count else f"{found.rate.nats:.2f} nats buy nothing"
    # a code of one unit is as small as codes are
    own = set(keywords) - ({"latent"} if count == 1 else set())
    # a bound of several draws has no divergence, unit by unit, that could be free
    own -= {"free_bits"} if "draws" in own else set()
    # what a decoder sees beside the code weighs more than the width of what it is told
    own -= {"hidden"} if "decoder" in own else set()
    # after few steps no code tells anything yet, whatever the model
    helps = ["a longer training", *(text for name, text in _ADVICE.items() if name in own)]
    advice = f"what may help: {', '.join(helps)}"
    return f"collapsed posterior: {units} tells of an observation ({why}); {advice}"


_ADVICE = {
    "decoder": "a decoder that sees less (fewer --set decoder.layers)",
    "warmup": "KL warm-up (--set warmup=0.5)",
    "latent": "a smaller --set latent",
    "free_bits": "more free bits (--set free_bits)",
    "hidden": "a weaker decoder (smaller --set hidden)",
    "beta": "a smaller --set beta",
}
"""By the keyword that it is about, the likeliest help first."""
_OF_LEVELS = {
    "free_bits": "more free bits (--set free_bits)",
    "warmup": "KL warm-up (--set warmup=0.5)",
    "levels": "fewer of them (--set levels)",
}
"""The same, of a level."""


def idle(found: CodeFigures, keywords: Collection[str] = ()) -> str:
    """That part of a code tells next to nothing; empty where all of it or none does.

    Args:
        found: What its codes cost.
        keywords: That its model takes: nothing else is advised.
    """
    if found.collapsed:
        return ""
    if found.levels:
        # of hundreds of units many are always idle; a level that is says that it is not needed
        if not found.dead:
            return ""
        names = " and ".join(level.name for level in found.dead)
        verb = "costs" if len(found.dead) == 1 else "cost"
        own = [text for name, text in _OF_LEVELS.items() if name in keywords]
        advice = f"; what may help: {', '.join(own)}" if own else ""
        return (
            f"{names} of its code {verb} under {IDLE:g} nats{' each' * (len(found.dead) > 1)}: "
            f"nothing is told there{advice}"
        )
    if not found.unused:
        return ""
    # one of them may still be active: its mean moves by a hair more than is counted
    what = (
        f"costs under {USED:g} nats: it tells" if found.unused == 1
        else f"cost under {USED:g} nats each: they tell"
    )  # fmt: skip
    return (
        f"{found.unused} of {len(found.units)} units of its code {what} next to nothing, "
        "which often does no harm"
    )
