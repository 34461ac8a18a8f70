"""The law of models with Gaussian codes: samples against p(x), integrated over one code."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

from simulacra.models.latent.variational import Variational
from simulacra.models.lawbook.law import Law
from simulacra.models.lawbook.probability import samples_as_it_says
from simulacra.models.lawbook.trials import one_context, states


@torch.no_grad()
def by_quadrature(model: Variational, x: Tensor, context: Tensor | None = None) -> Tensor:
    """log p(x) = log ∫ p(x | z) p(z) dz in nats `(N,)`, for codes of one dimension, in float64.

    Args:
        model: In float64.
        x: Observations `(N, *event_shape)`.
        context: The same for all of them.
    """
    grid = torch.linspace(-10, 10, 501, dtype=torch.float64)
    told = None if context is None else context[:1].expand(len(grid), *context.shape[1:])
    decoded = model.likelihood(grid[:, None], told)
    log_joint = torch.stack([decoded.log_prob(row.double()) for row in x])
    log_joint = log_joint + Normal(0.0, 1.0).log_prob(grid)
    return log_joint.logsumexp(1) + (grid[1] - grid[0]).log()


def samples_as_it_integrates(model: Variational) -> None:
    """χ² of 100,000 draws against the likelihood that no bound stands in for."""
    x = states(model.double())
    told = one_context(model, len(x))
    told = told if told is None or not told.is_floating_point() else told.double()
    samples_as_it_says(model, by_quadrature(model, x, told).exp())


LAWS = (
    Law(
        "sampling of codes", Variational, samples_as_it_integrates,
        ("grey", "rgb", "palette", "sequence"), keywords={"latent": 1}, states=True,
        concerns=lambda model: model.code_size == 1,
    ),
)  # fmt: skip
