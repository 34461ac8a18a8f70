"""A model alone in a folder: what it is, and its weights; saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simulacra.ground.errors import CheckpointError, UsageError, one_line, out_of_memory
from simulacra.ground.storage import read_folder, write_folder
from simulacra.models.model import Model
from simulacra.models.registry import restored


def save(model: Model, folder: Path, name: str) -> None:
    """Write a model alone into a new folder, to be loaded by `load`."""
    what = {"model": name, "keywords": model.keywords, "spec": model.spec.to_json()}
    write_folder(folder, {"model": what, "weights": dict(model.state_dict())})


def load(folder: Path, *, code: str | None = None) -> Model:
    """The model in a folder written by `save`, or in a checkpoint of a run; in eval mode.

    Args:
        folder: Where it is.
        code: For a model that is not in the registry, where its class is: a checkpoint never
            chooses which code is run.

    Raises:
        CheckpointError: If the folder is broken or does not fit the class.
    """
    return of(read_folder(folder, "model", "weights"), folder, code=code)


def of(state: dict[str, Any], folder: Path, *, code: str | None = None) -> Model:
    """As `load`, of what was read in a folder.

    Args:
        state: The values `model` and `weights`.
        folder: Where they were.
        code: See `load`.

    Raises:
        CheckpointError: If they do not fit the class.
    """
    what = state["model"]
    if not isinstance(what, dict) or not isinstance(what.get("model"), str):
        raise CheckpointError(f"{folder} does not say of which model it is")
    try:
        model = restored(what, code)
        fill(model, state["weights"])
    except (RuntimeError, UsageError, ValueError, TypeError, KeyError, AttributeError) as error:
        if out_of_memory(error):
            raise
        raise CheckpointError(
            f"{folder} does not fit {what['model']}: {one_line(error)}"
        ) from error
    return model.eval()


def fill(model: Model, weights: dict[str, Any]) -> None:
    """Put weights that were read into a model.

    Raises:
        ValueError: If one is of another kind of number than the model's, or is none.
        RuntimeError: If they are not those of the model.
    """
    expected = model.state_dict()
    lacks = [name for name in expected if name not in weights]
    odd = [name for name in weights if name not in expected]
    if lacks or odd:
        told = [
            f"{what} {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"
            for what, names in (("it lacks", lacks), ("it has no place for", odd))
            if names
        ]
        raise RuntimeError(
            f"{' and '.join(told)}: another version of simulacra may have built the model "
            "otherwise; use that version, or train again"
        )
    for name, own in expected.items():
        weight = weights[name]
        if weight.dtype != own.dtype:
            raise ValueError(f"its weight {name} is of {weight.dtype}, expected {own.dtype}")
        if weight.is_floating_point() and not weight.isfinite().all():
            raise ValueError(f"its weight {name} has NaN or infinite values")
    model.load_state_dict(weights)
