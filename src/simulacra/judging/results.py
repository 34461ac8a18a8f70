"""An entry of `models` in `results.json`: what a model is, and how its training went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulacra.data.dataset import Dataset
from simulacra.judging.figures.likelihood import bits_per_dim, valid_dims
from simulacra.models import registry
from simulacra.models.model import Latent, Model, capabilities
from simulacra.training.plan import Outcome

BLANK: dict[str, Any] = {
    "class": None, "family": None, "summary": None, "paper": None, "departs": None,
    "keywords": None, "options": None, "step_name": "steps", "failed": None, "left_out": None,
    "capabilities": [], "steps": None, "curves": {}, "warnings": [], "likelihood": None,
    "likelihood_given_label": None, "classifier": None, "kl": None, "samples": None, "cost": {},
    "nature": None,
}  # fmt: skip
"""An entry of `models` of which nothing is known."""


def described(
    name: str, keywords: Mapping[str, Any] | None = None, options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What a model is and how it was trained, as `results.json` has it."""
    about = registry.describe(name)
    return {
        **BLANK,
        "model": name,
        "class": about.class_name,
        "family": about.family,
        "summary": about.summary,
        "paper": about.paper,
        "departs": about.departs or None,
        "keywords": keywords,
        "options": options,
        "step_name": "steps" if registry.find(name).turns else "sweeps",
    }


def can(model: Model, found: Mapping[str, Any]) -> list[str]:
    """The capabilities, with what only an instance knows.

    Args:
        model: Any.
        found: Its `nature`.
    """
    words = [word for word in capabilities(type(model)) if word != "latent"]
    if "completes" in words and model.spec.is_image:
        words[words.index("completes")] = f"completes {found['completes']}"
    return [*words, "interpolates"] if isinstance(model, Latent) else words


def learning_curves(
    metrics: Mapping[str, list[float | None]], model: Model, data: Dataset
) -> dict[str, Any]:
    """How validation and losses went, in the units of the report.

    Args:
        metrics: The columns of `metrics.csv`.
        model: That was trained.
        data: That it was trained on.
    """
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


def skipped_steps(outcome: Outcome | None) -> list[str]:
    """A warning, if a training skipped steps."""
    if not outcome or not outcome.skipped:
        return []
    return [f"{outcome.skipped} steps were skipped for non-finite numbers"]
