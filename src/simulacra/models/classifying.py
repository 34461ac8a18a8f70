"""`Classifying`: a model that says itself which class an observation is of."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from simulacra.models.model import Model


class Classifying(Model):
    """Has a classifier of its own, which it learned along with the rest.

    Example:
        >>> import simulacra as sim, torch
        >>> spec = sim.DataSpec((1, 2, 2), levels=2, classes=3)
        >>> m2 = sim.build("m2", spec, {"latent": 2, "hidden": (4,)}).eval()
        >>> log_p = m2.class_log_probabilities(torch.zeros((5, 1, 2, 2), dtype=torch.long))
        >>> log_p.shape, bool((log_p.exp().sum(1) - 1).abs().max() < 1e-5)
        (torch.Size([5, 3]), True)
    """

    @abstractmethod
    def class_log_probabilities(self, x: Tensor) -> Tensor:
        """Log q(y | x) of every class, `(N, classes)`; a row does not depend on the others.

        Args:
            x: Observations `(N, *event_shape)`.
        """
