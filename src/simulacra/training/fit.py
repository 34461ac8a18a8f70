"""`fit`: a training from its first to its last step, for programs and notebooks."""

from __future__ import annotations

from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.ground.storage import detached_copy
from simulacra.models.model import Model
from simulacra.training.loop import Training
from simulacra.training.memory import check_room
from simulacra.training.options import Budget, Options


def fit(
    model: Model, data: Dataset, budget: str | Budget = "60s", options: Options | None = None
) -> Model:
    """Train a model and return the one to use, in eval mode: no files, no display.

    Args:
        model: A new one, for the data's spec.
        data: Its train and validation splits are used, its test split is not.
        budget: As on the command line: `90s`, `2000steps`, `2Mobs`.
        options: See `Options`; by default those that suit the model, its `preset`, as on the
            command line.

    Raises:
        ResourceError: If memory has no room for a batch.

    Returns:
        The average of the weights at the best validation, or at the end if nothing validates; on
        the device that it was trained on.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> model = sim.fit(sim.build("gmm", data.spec, {"components": 3}), data, "2steps")
        >>> model.sample(5).shape
        torch.Size([5, 1, 8, 8])
    """
    chosen = options or Options(**model.preset)
    check_room(model, data.train, chosen)
    training = Training(model, data.train, data.validation, chosen)
    training.set_plan(Budget.parse(budget) if isinstance(budget, str) else budget)
    best: dict[str, Tensor] | None = None
    for record in training:
        if training.progress.best_step is None:
            # a stage that has not validated yet begins with what was best in the one before
            best = None
        elif record.validated and record.step == training.progress.best_step:
            best = detached_copy(training.averaged.state_dict())
    if best is not None:
        training.averaged.load_state_dict(best)
    return training.averaged.eval()
