"""An `Entry` before its figures: what a model is, and how its training went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from simulacra.data.dataset import Dataset
from simulacra.judging.figures.likelihood import bits_per_dim, valid_dims
from simulacra.judging.figures.records import Curves, Nature
from simulacra.judging.results import Entry
from simulacra.models.description import Description
from simulacra.models.model import Latent, Likelihood, Model, capabilities
from simulacra.models.swept import Swept
from simulacra.runs.metrics import BALANCE
from simulacra.training.diagnosis import advice
from simulacra.training.progress import INVERTS_WITHIN, Outcome


def described(about: Description, *, swept: bool = False, **more: Any) -> Entry:  # noqa: ANN401
    """What a model is.

    Args:
        about: What it says of itself.
        swept: Whether its training goes by sweeps.
        more: Whatever else is known already, by the names of `Entry`.
    """
    return Entry(
        model=about.name,
        class_name=about.class_name,
        family=about.family,
        summary=about.summary,
        paper=about.paper,
        departs=about.departs or None,
        step_name="sweeps" if swept else "steps",
        **more,
    )


def can(model: Model, found: Nature) -> tuple[str, ...]:
    """The capabilities, with what only an instance knows.

    Args:
        model: Any.
        found: Its nature.
    """
    words = [word for word in capabilities(type(model)) if word != "latent"]
    if "completes" in words and model.spec.is_image:
        words[words.index("completes")] = f"completes {found.completes}"
    return (*words, "interpolates") if isinstance(model, Latent) else tuple(words)


def learning_curves(
    metrics: Mapping[str, list[float | None]], model: Model, data: Dataset
) -> Curves:
    """How validation and losses went, in the units of the report.

    Args:
        metrics: The columns of `metrics.csv`.
        model: That was trained.
        data: That it was trained on.
    """
    dims = valid_dims(data.validation)

    def shown(nats: float) -> float:
        # as the table has it: bits, or the log-likelihood of vectors, of which more is better
        value = bits_per_dim(nats, model.spec, dims)
        return -value if model.spec.levels is None else value

    known = {"step", "epoch", "seconds", "lr", "validation", "skipped", "stage"}
    validation = metrics.get("validation", [])
    stages = [stage or 0.0 for stage in metrics.get("stage", [0.0] * len(validation))]
    # given its label an observation is another question, which shares no axis with p(x); neither
    # does a loss of another kind, nor that of a stage before the last
    shares = isinstance(model, Likelihood) and model.context == "none"
    return Curves(
        seconds=tuple(metrics.get("seconds", ())),
        steps=tuple(metrics.get("step", ())),
        validation=tuple(
            shown(value) if value is not None and shares and stage == stages[-1] else None
            for value, stage in zip(validation, stages, strict=True)
        ),
        losses={
            name.removesuffix("/loss"): tuple(values)
            for name, values in metrics.items()
            if name not in known and name.endswith("loss")
        },
        balance={
            name: tuple(v if v is not None and math.isfinite(v) else None for v in values)
            for name, values in metrics.items()
            if name.startswith(BALANCE) or name.endswith("/gradient")
        },
    )


def skipped_steps(outcome: Outcome | None) -> list[str]:
    """A warning, if a training skipped steps."""
    if not outcome or not outcome.skipped:
        return []
    return [f"{outcome.skipped} steps were skipped for non-finite numbers"]


def wrong_inverse(outcome: Outcome | None) -> list[str]:
    """A warning, if an invertible model did not invert at its best step."""
    error = outcome.inverse_error if outcome else None
    if error is None or error <= INVERTS_WITHIN:
        return []
    return [
        f"held-out observations came back from their codes off by {error:.2g}, where at most "
        f"{INVERTS_WITHIN:g} is rounding: neither its codes nor its samples are what its "
        "likelihood says"
    ]


def diagnosed(outcome: Outcome | None, model: Model) -> list[str]:
    """A warning for each thing that was wrong with a game, with what may help.

    Args:
        outcome: How its training ended, if that is known.
        model: That was trained.
    """
    return [
        f"{each}. Try {advice(each.name, model.keywords)}"
        for each in (outcome.diagnoses if outcome else ())
    ]


def is_swept(model: Model | type[Model]) -> bool:
    """Whether a training goes by sweeps over the data, not by gradient steps."""
    if isinstance(model, Model):
        return all(stage.by_sweeps for stage in model.stages)
    return issubclass(model, Swept)
