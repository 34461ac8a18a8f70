"""The law of flows: a map, its inverse, and the volume that it counts."""

from __future__ import annotations

import torch

from simulacra.ground.randomness import seeded
from simulacra.models.flow.base import Flow
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts


def inverts(model: Flow) -> None:
    """invert ∘ transform is the identity, and the log-determinant is autograd's."""
    own = model.shift.dtype
    for dtype in dict.fromkeys((own, torch.float64)):
        _inverts(model.to(dtype))
    model.to(own)


def _inverts(model: Flow) -> None:
    double = model.shift.dtype == torch.float64
    with seeded(3):
        y = torch.randn(8, *model.spec.event_shape, dtype=model.shift.dtype)
    told = contexts(model, 8)
    with torch.no_grad():
        z, ladj = model.transform(y, told)
        error = float((model.invert(z, told) - y).abs().max())
    hold(error < (1e-9 if double else 1e-4), f"inverse error {error:.1e}")
    # of all rows at once: none depends on another, or what follows would be no determinant of it
    slopes = torch.autograd.functional.jacobian(
        lambda flat: model.transform(flat.view_as(y), told)[0].flatten(1).sum(0), y.flatten(1)
    )
    for matrix, own in zip(slopes.movedim(1, 0), ladj, strict=True):
        gap = abs(float(torch.linalg.slogdet(matrix.double())[1] - own))
        hold(gap < (1e-8 if double else 1e-3), f"log-determinant is off by {gap:.1e}")


LAWS = (Law("jacobian", Flow, inverts, ("grey", "wide", "colour-picture", "vectors")),)
