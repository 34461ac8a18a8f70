"""`judge`: a trained model's figures and pictures, the same for every family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra import plot, registry
from simulacra.data.dataset import Dataset
from simulacra.engine import make_fabric
from simulacra.evaluate.cost import parameters, sampling_seconds
from simulacra.evaluate.likelihood import (
    Scores,
    bits_per_dim,
    class_frequencies,
    likelihood,
    valid_dims,
)
from simulacra.look import look
from simulacra.model import Completion, Latent, Likelihood, Model, Sampling, capabilities
from simulacra.randomness import seeded
from simulacra.run import Outcome, Run
from simulacra.tasks.complete import complete, mask, strips
from simulacra.tasks.interpolate import interpolate

PICTURES = 64
"""Samples in each model's grid."""
GAP = 3
"""Pixels between pictures, so that small ones do not run into one another."""
_WAVES, _POINTS = 16, 1000


def judge(
    run: Run,
    data: Dataset,
    outcome: Outcome | None = None,
    *,
    draws: int = 64,
    limit: int | None = None,
    code: str | None = None,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A trained model's figures and pictures, as the report shows them.

    Args:
        run: Its run.
        data: With the test split, which is looked at here and nowhere else.
        outcome: How its training ended, for its time; read from the metrics otherwise.
        draws: Importance draws of bounds.
        limit: Look only at so many test observations.
        code: See `registry.load`.

    Returns:
        An entry of `models` in `results.json`, and PNG files by kind.
    """
    device = make_fabric(run.options).device
    model = run.model(code=code).to(device)
    frequencies = class_frequencies(data.train, data.spec.classes)
    scores = Scores(None, None)
    if isinstance(model, Likelihood):
        scores = likelihood(
            model, data.test, class_frequencies=frequencies, draws=draws, limit=limit
        )
    times: dict[int, float] = {}
    if isinstance(model, Sampling):
        times = {n: sampling_seconds(model, n, example_context(model, data, n)) for n in (1, 64)}
    metrics = run.metrics()
    seconds = [value or 0.0 for value in metrics.get("seconds", [])]
    steps = [int(value or 0) for value in metrics.get("step", [])]
    name = registry.allowed_name(run.record["model"], code)
    entry = described(name, run.record["keywords"], run.record["options"]) | {
        "capabilities": _can(model),
        "parameters": parameters(model),
        "training_seconds": outcome.seconds if outcome else (seconds[-1] if seconds else 0.0),
        "steps": outcome.steps if outcome else (steps[-1] if steps else 0),
        "likelihood": scores.marginal and scores.marginal.to_json(),
        "likelihood_given_label": scores.given_label and scores.given_label.to_json(),
        "seconds_for_1": times.get(1),
        "seconds_for_64": times.get(64),
        "curves": _curves(metrics, model, data),
        "warnings": _warnings(outcome, scores),
    }
    return entry, _pictures(model, data)


def described(
    name: str, keywords: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a model is and how it was trained, as `results.json` has it."""
    about = registry.describe(name)
    return {
        "model": name,
        "class": about.class_name,
        "family": about.family,
        "summary": about.summary,
        "paper": about.paper,
        "departs": about.departs or None,
        "keywords": keywords,
        "options": options,
        "step_name": "steps" if registry.find(name).turns else "sweeps",
        "failed": None,
    }


def _can(model: Model) -> list[str]:
    """The capabilities, with what only an instance knows."""
    can = [word for word in capabilities(type(model)) if word != "latent"]
    if isinstance(model, Completion) and model.spec.is_image:
        exactly = model.completes_exactly(mask(model.spec.event_shape, "bottom"))
        can[can.index("completes")] = "completes exactly" if exactly else "completes ~"
    return [*can, "interpolates"] if isinstance(model, Latent) else can


def _curves(
    metrics: Mapping[str, list[float | None]], model: Model, data: Dataset
) -> dict[str, Any]:
    dims = valid_dims(data.validation)

    def shown(nats: float) -> float:
        # as the table has it: bits, or the log-likelihood of vectors, of which more is better
        return -nats if model.spec.levels is None else bits_per_dim(nats, model.spec, dims)

    known = {"step", "epoch", "seconds", "lr", "validation", "skipped"}
    return {
        "seconds": metrics.get("seconds", []),
        "steps": metrics.get("step", []),
        "validation": [
            # given its label an observation is another question, which shares no axis with p(x)
            None if value is None or model.context != "none" else shown(value)
            for value in metrics.get("validation", [])
        ],
        "losses": {
            name.removesuffix("/loss"): values
            for name, values in metrics.items()
            if name not in known and name.endswith("loss")
        },
    }


def _warnings(outcome: Outcome | None, scores: Scores) -> list[str]:
    warnings = []
    if outcome and outcome.skipped:
        warnings.append(f"{outcome.skipped} steps were skipped for non-finite numbers")
    for score in (scores.marginal, scores.given_label):
        if score and score.non_finite:
            warnings.append(
                f"{score.non_finite} of {score.observations} test observations have no finite "
                "likelihood"
            )
    return warnings


def example_context(model: Model, data: Dataset, n: int) -> Tensor | None:
    """Context for n samples of a conditional model: the classes in turn, or vectors of the data."""
    if model.context == "none":
        return None
    device = next(iter(model.state_dict().values())).device
    if model.context == "label":
        return (torch.arange(n) % data.spec.classes).to(device)
    assert data.validation.context is not None
    return data.validation.context[torch.arange(n) % len(data.validation)].to(device)


def real_pictures(data: Dataset, n: int = PICTURES) -> dict[str, bytes]:
    """Validation observations as one picture, under the name `real`."""
    x, _ = data.validation.batch(torch.arange(_shown(data, min(n, len(data.validation)))))
    return {"real": look(data.spec, x, columns=_columns(data), gap=GAP)}


def _shown(data: Dataset, most: int) -> int:
    """How many observations make a picture: a distribution of numbers needs more than a grid."""
    if data.spec.is_image:
        return most
    return min(_WAVES, most) if data.spec.rate is not None else min(_POINTS, len(data.validation))


def _columns(data: Dataset) -> int | None:
    return 8 if data.spec.is_image else None


@torch.no_grad()
def _pictures(model: Model, data: Dataset) -> dict[str, bytes]:
    """Grids of what the model draws, completes and interpolates."""
    spec, drawn = data.spec, {}
    device = next(iter(model.state_dict().values())).device
    if isinstance(model, Sampling):
        count = _shown(data, PICTURES)
        with seeded(0):
            x = model.sample(count, example_context(model, data, count))
        if spec.levels is not None or bool(x.isfinite().all()):
            drawn["samples"] = look(spec, x, columns=_columns(data), gap=GAP)
    if not spec.is_image:
        return drawn
    if isinstance(model, Completion):
        x, context = data.validation.batch(torch.arange(min(6, len(data.validation))))
        observed = mask(spec.event_shape, "bottom")
        told = None if context is None or model.context == "none" else context.to(device)
        many = complete(model, x.to(device), observed, times=4, context=told).cpu()
        rows = strips(
            spec.to_float(x), observed, spec.to_float(many.flatten(0, 1)).unflatten(0, (len(x), 4))
        )
        drawn["completions"] = plot.png(plot.grid(rows, columns=6, gap=GAP))
    if isinstance(model, Latent):
        frames = interpolate(model, rows=6, steps=10, context=example_context(model, data, 6)).cpu()
        drawn["interpolation"] = plot.png(
            plot.grid(spec.to_float(frames.flatten(0, 1)), columns=10, gap=GAP)
        )
    return drawn
