"""Class and style apart: the code of one observation, decoded as every class."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.models.model import Model
from simulacra.models.modes import evaluating, scoring
from simulacra.models.quantised import Quantised
from simulacra.tasks.expected import expected
from simulacra.tasks.interpolate import encoder
from simulacra.tasks.sample import device_of

MOST = 20
"""Classes that are shown."""


@scoring()
def styles(model: Model, x: Tensor, context: Tensor | None, *, seed: int = 0) -> Tensor:
    """What the codes of observations stand for, told one class after another.

    Of a model that is told labels a code need not say the class, and says what is left: slant,
    width, stroke (D. Kingma, D. Rezende, S. Mohamed, M. Welling, "Semi-supervised Learning with
    Deep Generative Models", 2014, arXiv 1406.5298, figure 1).

    Args:
        model: One that encodes and decodes, and takes labels; in eval mode meanwhile.
        x: Observations `(N, *event_shape)`, at least one.
        context: Their labels; −1 where one is not told.
        seed: Of a decoder that draws.

    Returns:
        As `DataSpec.to_float` gives them, `(N, 1 + classes, …)` on the CPU: each observation
        itself, and what its code stands for in each of the first 20 classes; expected levels of a
        decoder that draws.

    Raises:
        MissingCapability: If the model does not do both, or takes no labels.
        UsageError: If there is no observation, or none has a label.

    Example:
        >>> import simulacra as sim, torch
        >>> spec = sim.DataSpec((1, 4, 4), levels=2, classes=3)
        >>> vae = sim.build("vae", spec, {"latent": 2, "hidden": (8,), "context": "label"})
        >>> sim.styles(vae, torch.ones(2, 1, 4, 4).long(), torch.tensor([0, 2])).shape
        torch.Size([2, 4, 1, 4, 4])
    """
    encoding = encoder(model)
    if model.context != "label":
        raise MissingCapability(
            f"this {type(model).__name__} is told no labels, and its codes say the class as well: "
            "train one with --set context=label"
        )
    if isinstance(model, Quantised):
        raise MissingCapability(
            f"{type(model).__name__} tells a label to its prior, and decodes without: use m2, or a "
            "vae with --set context=label"
        )
    if context is None or not len(x):
        raise UsageError("styles are those of observations with labels: got none")
    device, classes = device_of(model), min(model.spec.classes, MOST)
    with evaluating(model), torch.no_grad():
        codes = encoding.encode(x.to(device), context.to(device))
    labels = model.spec.labels(torch.arange(classes)).repeat(len(x), *[1] * (context.ndim - 1))
    shown = expected(model, codes.repeat_interleave(classes, 0), labels, seed=seed)
    own = model.spec.to_float(x).cpu()
    return torch.cat([own[:, None], shown.unflatten(0, (len(x), classes))], 1)
