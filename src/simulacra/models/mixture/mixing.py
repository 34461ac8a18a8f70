"""`Mixing`: the weights of components, one set for all observations or one for each class."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec
from simulacra.nn.context import ContextEmbedding


class Mixing(nn.Module):
    """p(k | y), the weights of components that all classes share.

    Where nothing is told of an observation, or not all parts of its label, its weights are the
    mean of those of the classes that it may be of, by how frequent they are.

    Args:
        spec: The form of the data.
        components: How many there are.
        context: What is told beside an observation: none, or label.

    Raises:
        UsageError: If the data have no labels, or the context is a vector.
    """

    alive: Tensor
    frequencies: Tensor

    def __init__(
        self, spec: DataSpec, components: int, context: Literal["none", "label"] = "none"
    ) -> None:
        super().__init__()
        if context not in ("none", "label"):
            raise UsageError(f"context of a mixture is none or label, got {context!r}")
        self.spec, self.told = spec, ContextEmbedding(context, spec)
        classes = spec.classes if context == "label" else 1
        self.logits = nn.Parameter(torch.zeros(classes, components))
        self.register_buffer("alive", torch.ones(components, dtype=torch.bool))
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))

    def forward(self, context: Tensor | None, like: Tensor) -> Tensor:
        """log p(k | y) of each row, `(N, K)`, or `(1, K)` where all rows have the same.

        Args:
            context: Labels of each row, or `None`.
            like: Its first size is N; gives type and device.
        """
        columns = self.told.checked(context, like)
        weights = self._log_weights(like)
        if columns is None:
            return weights
        told = self.spec.joint(columns if self.spec.parts else columns[:, 0])
        known = (told >= 0)[:, None]
        return torch.where(known, weights[told.clamp_min(0)], self._marginal(columns, weights))

    def classes(self, context: Tensor | None, like: Tensor) -> Tensor:
        """The class of each row, `(N,)`; −1 where it is not told, or none are."""
        columns = self.told.checked(context, like)
        if columns is None:
            return torch.full((len(like),), -1, device=like.device)
        return self.spec.joint(columns if self.spec.parts else columns[:, 0])

    @torch.no_grad()
    def split(self, parents: Tensor, children: Tensor) -> None:
        """Share the weights of some components with others that were not there."""
        self.logits[:, parents] -= math.log(2)
        self.logits[:, children] = self.logits[:, parents]
        self.alive[children] = True

    def members(self, context: Tensor | None, responsibilities: Tensor) -> Tensor:
        """Sums of responsibilities `(N, K)` over the rows of each class, `(C, K)`.

        A row whose class is not told counts for all that it may be of, by p(y | k).
        """
        columns = self.told.checked(context, responsibilities)
        if columns is None:
            return responsibilities.sum(0, keepdim=True)
        possible = self._possible(columns).to(responsibilities)
        # Σ_n r_nk p(y | k) / Σ_y' p(y' | k), of the classes that row n may be of
        prior = self.frequencies.to(responsibilities)[:, None]
        joint = prior * self._log_weights(responsibilities).exp()
        norm = (possible @ joint).clamp_min(torch.finfo(joint.dtype).tiny)
        return joint * (possible.T @ (responsibilities / norm))

    @torch.no_grad()
    def maximise(self, members: Tensor) -> None:
        """Weights from the sums of each class, under one pseudo-observation of all classes."""
        total = members.sum(0)
        shared = total / total.sum()
        each = members.sum(1, keepdim=True)
        one = float(len(members) > 1)
        weights = (members + one * shared) / (each + one).clamp_min(1e-8)
        tiny = torch.finfo(self.logits.dtype).tiny
        self.logits.copy_(weights.clamp_min(tiny).log())
        self.frequencies.copy_((each[:, 0] + one) / (each + one).sum())

    def components(self, context: Tensor | None, like: Tensor) -> Tensor:
        """A component for each row, `(N,)`, by its weights."""
        weights = self(context, like).expand(len(like), -1)
        return torch.distributions.Categorical(logits=weights, validate_args=False).sample()

    @property
    def shares(self) -> Tensor:
        """p(k), the weights over all classes, `(K,)`."""
        return self.frequencies @ self._log_weights(self.frequencies).exp()

    def _log_weights(self, like: Tensor) -> Tensor:
        """log p(k | y) of each class, `(C, K)`; of components that are not there yet, −∞."""
        logits = self.logits.to(like.device, like.dtype)
        return logits.masked_fill(~self.alive.to(like.device), -torch.inf).log_softmax(1)

    def _possible(self, columns: Tensor) -> Tensor:
        """Which classes each row may be of, `(N, C)`."""
        every = torch.arange(len(self.frequencies), device=columns.device)
        labels = self.spec.labels(every).view(len(every), -1)
        return ((columns[:, None] == labels) | (columns[:, None] < 0)).all(2)

    def _marginal(self, columns: Tensor, weights: Tensor) -> Tensor:
        """log Σ p(y) p(k | y) / Σ p(y), over the classes that each row may be of, `(N, K)`."""
        possible = self._possible(columns).to(weights) * self.frequencies.to(weights)
        mean = (possible @ weights.exp()) / possible.sum(1, keepdim=True)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()
