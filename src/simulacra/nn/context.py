"""The features of what a model is told beside the observation: a label, a vector, or a map."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec

ContextKind = Literal["none", "label", "vector"]
MapContextKind = Literal["none", "label", "vector", "map"]
"""Of models of pictures that can also be told something else at each pixel."""


class ContextEmbedding(nn.Module):
    """Context as features `(N, width)`: an embedding of labels, or a linear map of vectors.

    Maps, which tell something else at each pixel, have features `(N, width, H, W)`: a linear map of
    the numbers of each pixel (the 1×1 convolution m of arXiv 1606.05328, section 2.3).

    Labels of several parts have the sum of what their parts have, so a model is of the same size
    whatever parts there are. A part that is not told, −1, adds nothing: of a label of which
    nothing is told the features are 0.

    A model that takes no context owns one too, of width 0: it refuses context, and saves the
    model a branch at every concatenation.

    Args:
        kind: What the model takes.
        spec: The data's form; it knows the number of classes and the width of the vectors.
        width: Number of features, used unless `kind` is `none`.

    Raises:
        UsageError: If the data have no such context.
    """

    def __init__(self, kind: MapContextKind, spec: DataSpec, width: int = 0) -> None:
        super().__init__()
        if kind not in get_args(MapContextKind):
            raise UsageError(f"context is none, label, vector or map, got {kind!r}")
        if kind == "label" and not spec.classes:
            raise UsageError("context='label' needs data with labels; these have none")
        if kind == "vector" and not spec.context_width:
            raise UsageError(
                "context='vector' needs data with context vectors, and these have none: give them "
                "with --context FILE, a .npy or .npz with a row for each observation"
            )
        if kind == "map" and not spec.map_width:
            raise UsageError(
                "context='map' needs data with numbers for each pixel, which no data set has: "
                "a model such as pixelvae tells them to one that is nested in it"
            )
        self.kind: MapContextKind = kind
        self.parts = spec.parts or (("label", spec.classes),)
        self.several = bool(spec.parts)
        self.context_width = spec.context_width
        self.map_shape = (spec.map_width, *spec.event_shape[1:])
        self.width = 0 if kind == "none" else width
        if kind == "label":
            # one table for all parts: where the classes of each begin
            sizes = [size for _, size in self.parts]
            starts = torch.tensor([sum(sizes[:part]) for part in range(len(sizes))])
            self.starts: Tensor
            self.register_buffer("starts", starts, persistent=False)
            if width:
                self.embed: nn.Module = nn.Embedding(sum(sizes), width)
        elif kind == "vector" and width:
            self.embed = nn.Linear(spec.context_width, width)
        elif kind == "map":
            self.embed = nn.Conv2d(spec.map_width, width, 1)

    def forward(self, context: Tensor | None, like: Tensor) -> Tensor:
        """The features of each row's context.

        Args:
            context: Integer labels `(N,)`, or `(N, K)` of K parts, −1 where one is not told; float
                vectors `(N, D)`, or maps `(N, K, H, W)`; or `None`.
            like: A float tensor whose first size is N; gives the features' type and device.

        Returns:
            `(N, width)`, of maps `(N, width, H, W)`.

        Raises:
            UsageError: If context is missing, not wanted, or of another form.
        """
        context = self.checked(context, like)
        if context is None or not self.width:
            return like.new_zeros(len(like), 0)
        if self.kind in ("vector", "map"):
            features: Tensor = self.embed(context)
            return features
        told = context >= 0
        each = self.embed(context.clamp_min(0) + self.starts)
        return torch.where(told[..., None], each, 0).sum(1)

    def checked(self, context: Tensor | None, like: Tensor) -> Tensor | None:
        """The context as it is looked up: labels `(N, K)` int64 of K parts, or floats as they came.

        Args:
            context: See `forward`.
            like: See `forward`.

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
            return None
        shape: tuple[int, ...] = (n, self.context_width)
        if self.kind == "label":
            shape = (n, len(self.parts)) if self.several else (n,)
        if self.kind == "map":
            shape = (n, *self.map_shape)
        if context is None or tuple(context.shape) != shape:
            came = "none" if context is None else f"shape {tuple(context.shape)}"
            of = f" of {' and '.join(name for name, _ in self.parts)}" if self.several else ""
            raise UsageError(
                f"this model takes a {self.kind}{of} for each row, {shape}; got {came}"
            )
        if self.kind in ("vector", "map"):
            return context.to(like.dtype)
        if context.is_floating_point():
            raise UsageError(f"labels are integers, got {context.dtype}")
        columns = context.long().view(n, len(self.parts))
        # whether a number is in its range is not known while a step is compiled, before any data
        if n and not torch.compiler.is_compiling():
            self._check(columns)
        return columns

    def _check(self, columns: Tensor) -> None:
        """Refuse labels that no class has.

        Raises:
            UsageError: Naming the part, if there are several.
        """
        for (name, size), low, high in zip(
            self.parts, columns.amin(0).tolist(), columns.amax(0).tolist(), strict=True
        ):
            if low < -1 or high >= size:
                of = f" of {name}" if self.several else ""
                raise UsageError(
                    f"labels{of} go from 0 to {size - 1}, or −1 where untold, got {low} to {high}"
                )
