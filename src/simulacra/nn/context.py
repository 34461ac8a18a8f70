"""The features of what a model is told beside the observation: a class, or a vector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec

ContextKind = Literal["none", "label", "vector"]


class ContextEmbedding(nn.Module):
    """Context as features `(N, width)`: an embedding of labels, or a linear map of vectors.

    A model that takes no context owns one too, of width 0: it refuses context, and saves the
    model a branch at every concatenation.

    Args:
        kind: What the model takes.
        spec: The data's form; it knows the number of classes and the width of the vectors.
        width: Number of features, used unless `kind` is `none`.

    Raises:
        UsageError: If the data have no such context.
    """

    def __init__(self, kind: ContextKind, spec: DataSpec, width: int = 0) -> None:
        super().__init__()
        if kind not in ("none", "label", "vector"):
            raise UsageError(f"context is none, label or vector, got {kind!r}")
        if kind == "label" and not spec.classes:
            raise UsageError("context='label' needs data with labels; these have none")
        if kind == "vector" and not spec.context_width:
            raise UsageError(
                "context='vector' needs data with context vectors, and these have none: give them "
                "with --context FILE, a .npy or .npz with a row for each observation"
            )
        self.kind = kind
        self.classes = spec.classes
        self.context_width = spec.context_width
        self.width = 0 if kind == "none" else width
        if kind == "label":
            self.embed: nn.Module = nn.Embedding(spec.classes, width)
        elif kind == "vector":
            self.embed = nn.Linear(spec.context_width, width)

    def forward(self, context: Tensor | None, like: Tensor) -> Tensor:
        """The features of each row's context.

        Args:
            context: `(N,)` integer labels, `(N, D)` float vectors, or `None`.
            like: A float tensor whose first size is N; gives the features' type and device.

        Returns:
            `(N, width)`.

        Raises:
            UsageError: If context is missing, not wanted, or of another form.
        """
        n = like.shape[0]
        if self.kind == "none":
            if context is not None:
                raise UsageError(
                    "this model takes no context: build it with context='label' "
                    "or context='vector', or leave the context out"
                )
            return like.new_zeros(n, 0)
        shape = (n,) if self.kind == "label" else (n, self.context_width)
        if context is None or tuple(context.shape) != shape:
            came = "none" if context is None else f"shape {tuple(context.shape)}"
            raise UsageError(f"this model takes a {self.kind} for each row, {shape}; got {came}")
        if self.kind == "vector":
            return self._embedded(context.to(like.dtype))
        if context.is_floating_point():
            raise UsageError(f"labels are integers, got {context.dtype}")
        # whether a number is in its range is not known while a step is compiled, before any data
        if torch.compiler.is_compiling():
            return self._embedded(context.long())
        if context.numel() and not 0 <= int(context.min()) <= int(context.max()) < self.classes:
            raise UsageError(
                f"labels go from 0 to {self.classes - 1}, "
                f"got {int(context.min())} to {int(context.max())}"
            )
        return self._embedded(context.long())

    def _embedded(self, context: Tensor) -> Tensor:
        features: Tensor = self.embed(context)
        return features
