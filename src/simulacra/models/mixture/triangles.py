"""Cholesky factors as rows of numbers: their lower triangles, the diagonal as logarithms."""

from __future__ import annotations

import torch
from torch import Tensor


def to_factors(triangles: Tensor, dims: int) -> Tensor:
    """L `(k, D, D)` of what was written down, `(k, D(D + 1)/2)`, row by row."""
    rows, columns = torch.tril_indices(dims, dims, device=triangles.device)
    flat = triangles.new_zeros(len(triangles), dims * dims)
    whole = flat.index_copy(1, rows * dims + columns, triangles).view(-1, dims, dims)
    return whole.tril(-1) + torch.diag_embed(whole.diagonal(dim1=1, dim2=2).exp())


def to_triangles(factors: Tensor) -> Tensor:
    """What is written down of L `(k, D, D)`."""
    rows, columns = torch.tril_indices(*factors.shape[1:], device=factors.device)
    kept = factors.tril(-1) + torch.diag_embed(factors.diagonal(dim1=1, dim2=2).log())
    return kept[:, rows, columns]


def diagonal(dims: int, device: torch.device) -> Tensor:
    """Where the diagonal is in a row, `(D,)`."""
    row = torch.arange(dims, device=device)
    return row * (row + 3) // 2


def inverses(factors: Tensor) -> Tensor:
    """Inverses of lower triangular matrices `(k, D, D)`."""
    identity = torch.eye(factors.shape[1], dtype=factors.dtype, device=factors.device)
    return torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False)
