"""What laws are tried on: tiny forms of data, observations of them, and models of no luck."""

from __future__ import annotations

import itertools
from typing import Any, TypeVar

import torch
from torch import Tensor

from simulacra.ground.column import Column
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.lawbook.law import hold
from simulacra.models.model import Model, Sampling
from simulacra.models.refining import Refining

M = TypeVar("M", bound=Model)

FORMS = {
    "grey": DataSpec((1, 2, 2), 3, classes=3, context_width=2, map_width=2),
    "rgb": DataSpec((3, 1, 2), 2, classes=3, context_width=2, map_width=2),
    "palette": DataSpec((1, 2, 2), 3, ordered=False, classes=3, context_width=2, map_width=2),
    "sequence": DataSpec((4,), 3, classes=3, context_width=2),
    "wide": DataSpec((2,), 16, classes=3, context_width=2),
    "picture": DataSpec(
        (1, 6, 6), 4, classes=4, parts=(("kind", 2), ("tint", 2)), context_width=2, map_width=2
    ),
    "colour-picture": DataSpec((3, 3, 3), 4, classes=3, context_width=2, map_width=2),
    "vectors": DataSpec((3,), None, classes=3, context_width=2),
    "plane": DataSpec((2,), None, classes=3, context_width=2),
    "mixed": DataSpec(
        (3,),
        None,
        classes=3,
        context_width=2,
        columns=(Column(), Column("category", 3), Column()),
    ),
}
"""Every kind of data in its smallest form.

Of the first five a law can look at every state, and of vectors in a plane at a grid. The labels of
pictures have two parts.
"""


def trial(kind: type[M], spec: DataSpec, keywords: dict[str, Any], scale: float = 0.3) -> M:
    """A model that is prepared but not trained, with weights of no special value; in eval mode."""
    with seeded(0):
        model = kind(spec, **keywords)
    x = observations(model, 60)
    told = learnt_with(model, 60)
    with seeded(1):
        model.prepare(x, told)
        for stage in model.stages:
            if stage.prepare is not None:
                stage.prepare(x, told)
    return randomise(model, scale)


def players_of(model: Model) -> list[str]:
    """Who moves in any of a model's stages, each once."""
    return list(dict.fromkeys(name for stage in model.stages for name in stage.players))


def randomise(model: M, scale: float = 0.3, seed: int = 0) -> M:
    """Weights of no special value, so that nothing holds because it starts at zero."""
    with seeded(seed), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape))
    return model.eval()


def precision_of(model: Model) -> torch.dtype:
    """What a model computes in: the type of its first weight or buffer of floats."""
    kinds = (value.dtype for value in model.state_dict().values() if value.is_floating_point())
    return next(kinds, torch.float32)


def states(model: Model) -> Tensor:
    """Every observation of a tiny discrete space."""
    levels = range(model.spec.levels or 0)
    every = itertools.product(levels, repeat=model.spec.dims)
    return torch.tensor(list(every)).view(-1, *model.spec.event_shape)


def observations(model: Model, n: int, seed: int = 1) -> Tensor:
    """Some observations `(n, *event_shape)`: uniform levels and categories, or normal numbers."""
    with seeded(seed):
        if model.spec.levels is None:
            x = torch.randn(n, *model.spec.event_shape)
            for at, column in enumerate(model.spec.columns):
                if column.levels is not None:
                    x[:, at] = torch.randint(column.levels, (n,))
            return x
        return torch.randint(model.spec.levels, (n, *model.spec.event_shape))


def contexts(model: Model, n: int) -> Tensor | None:
    """A context for each of `n` observations; none for a model that takes none."""
    if model.context == "none":
        return None
    if model.context == "label":
        return model.spec.labels(torch.arange(n) % model.spec.classes)
    maps = (model.spec.map_width, *model.spec.event_shape[1:])
    with seeded(2):
        return torch.randn(n, *(maps if model.context == "map" else (model.spec.context_width,)))


def learnt_with(model: Model, n: int) -> Tensor | None:
    """What a loss is told with each of `n` observations: their context, or else their classes."""
    if model.classes_in_batch is not None and model.context != "label":
        return torch.arange(n) % model.spec.classes
    return contexts(model, n)


def one_context(model: Model, n: int) -> Tensor | None:
    """One and the same context for `n` observations."""
    told = contexts(model, 2)
    return None if told is None else told[1:].expand(n, *told.shape[1:])


def drawn_from(model: Sampling, n: int) -> Tensor:
    """N samples told one and the same context, refined in more steps than change anything."""
    told = one_context(model, n)
    steps = {"steps": _STEPS} if isinstance(model, Refining) else {}
    return model.sample(n, told, **steps)


_STEPS = 16
"""Of samples that are refined, where they are counted."""


def agree(model: Model, drawn: Tensor, p: Tensor, otherwise: str) -> None:
    """χ² of draws against the probabilities of all `states`.

    Args:
        model: Whose draws they are.
        drawn: `(n, *event_shape)`.
        p: Probability of each state.
        otherwise: What is wrong, where p < 1e-6.

    Raises:
        BrokenLaw: If the draws are not of these probabilities.
    """
    place = (model.spec.levels or 0) ** torch.arange(model.spec.dims - 1, -1, -1)
    counts = torch.bincount((drawn.flatten(1) * place).sum(1), minlength=len(p)).double()
    fits(counts, p, otherwise)


def fits(counts: Tensor, p: Tensor, otherwise: str, unsure: Tensor | None = None) -> None:
    """χ² of how many draws fell into each cell.

    Args:
        counts: Draws in each cell.
        p: Probability of each.
        otherwise: What is wrong, where p < 1e-6.
        unsure: By how much each probability may be off, which is not held against the draws.

    Raises:
        BrokenLaw: If the draws are not of these probabilities.
    """
    from scipy import stats  # slow to import, and seldom needed

    n = float(counts.sum())
    off = torch.zeros_like(p) if unsure is None else unsure * n
    # cells with few expected draws are put together
    many = p * n >= 10
    observed, expected, allowed = (
        torch.cat([of[many], of[~many].sum()[None]]) for of in (counts, p * n, off)
    )
    hold(bool(expected[-1] + allowed[-1] > 0 or observed[-1] == 0), otherwise)
    if not expected[-1] >= 10:
        # too few for χ², even together: how rarely so many come
        value = float(stats.poisson.sf(float(observed[-1]) - 1, float(expected[-1] + allowed[-1])))
        hold(value >= 1e-6, f"p = {value:.1e}: {otherwise}")
        observed, expected, allowed = observed[:-1], expected[:-1], allowed[:-1]
    gap = ((observed - expected).abs() - allowed).clamp_min(0)
    statistic = float((gap**2 / expected).sum())
    value = float(stats.chi2.sf(statistic, max(1, len(expected) - 1)))
    hold(value >= 1e-6, f"p = {value:.1e}: {otherwise}")
