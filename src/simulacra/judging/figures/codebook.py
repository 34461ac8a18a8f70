"""What codes of a codebook cost, how many of its entries stand for anything, and what may help."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simulacra.data.dataset import Observations
from simulacra.data.splits import permutation
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.judging.figures.intervals import standard_error
from simulacra.judging.figures.likelihood import bits_per_dim, first_rows, valid_dims
from simulacra.judging.figures.records import CodebookFigures, Term
from simulacra.models.at_once import rows_at_once
from simulacra.models.model import Model
from simulacra.models.modes import scoring
from simulacra.models.quantised import CodebookTerms, Quantised
from simulacra.tasks.sample import device_of

_AT_ONCE = 256
"""Observations that are looked at together, where they are small."""


@scoring()
def codebook_terms(
    model: Model, observations: Observations, *, limit: int | None = None
) -> CodebookFigures:
    """Rate and distortion of codes from a codebook, under a model in eval mode, and its use.

    The rate is −log p(z) of a code under the prior, the distortion −log p(x | z) of an observation
    given its code. Their sum is what both take to be written down. It is no likelihood of the
    observation: other codes could have led to it too, and are not counted. A model that takes a
    context is given each observation's own, told or not.

    Args:
        model: One that is `Quantised`.
        observations: Usually the test split.
        limit: Look only at so many, chosen by a fixed permutation, as `likelihood` does.

    Raises:
        MissingCapability: If the model has no codebook.
        UsageError: If there is nothing to look at.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> vqvae = sim.build("vqvae", data.spec, {"codes": 16, "channels": 8}).eval()
        >>> found = sim.codebook_terms(vqvae, data.test, limit=50)
        >>> found.entries, found.observations
        (16, 50)
        >>> abs(found.distortion.nats + found.rate.nats - found.total.nats) < 1e-3
        True
    """
    if not isinstance(model, Quantised):
        raise MissingCapability(f"{type(model).__name__} has no codebook: use vqvae")
    if not len(observations) or (limit is not None and limit < 1):
        raise UsageError("the terms of a codebook need at least one observation")
    if limit is not None and limit < len(observations):
        observations = observations.take(permutation(len(observations))[:limit])
    device = device_of(model)

    def terms_of(x: Tensor, own: Tensor | None) -> CodebookTerms:
        told = None if own is None or model.context == "none" else own.to(device)
        return model.codebook_terms(x.to(device), told)

    few, own = first_rows(model, observations)
    size = _AT_ONCE
    if len(few) > 1:
        size = rows_at_once(lambda n: terms_of(few[:n], None if own is None else own[:n]), _AT_ONCE)
    parts, counts = [], torch.zeros(model.codebook_size, dtype=torch.long)
    for x, told in observations.batches(size):
        terms = terms_of(x, told)
        parts.append(torch.stack([terms.distortion, terms.rate], 1).cpu().double())
        counts += torch.bincount(terms.indices.flatten().cpu(), minlength=len(counts))
    return _figures(model, observations, torch.cat(parts), counts)


def _figures(
    model: Quantised, observations: Observations, parts: Tensor, counts: Tensor
) -> CodebookFigures:
    """Of distortion and rate `(N, 2)`, and of how often each entry was used `(K,)`."""
    share = counts.double() / counts.sum()
    used: dict[str, Any] = {
        "observations": len(parts), "entries": len(counts), "places": int(counts.sum()),
        "used": int((counts > 0).sum()),
        "perplexity": float((-torch.special.xlogy(share, share).sum()).exp()),
    }  # fmt: skip
    used["given"] = "" if model.context == "none" else model.context
    broken = int((~parts.isfinite().all(1)).sum())
    if broken:
        return CodebookFigures(**used, non_finite=broken)
    dims, spec = valid_dims(observations), model.spec
    valid, groups = observations.lengths, observations.groups

    def term(values: Tensor) -> Term:
        error, nats = standard_error(values, valid, groups), float(values.mean())
        return Term(
            nats=nats,
            standard_error=None if math.isnan(error) else error,
            bits_per_dim=None if spec.levels is None else bits_per_dim(nats, spec, dims),
        )

    return CodebookFigures(
        **used, distortion=term(parts[:, 0]), rate=term(parts[:, 1]), total=term(parts.sum(1))
    )


def mostly_dead(found: CodebookFigures, keywords: Mapping[str, Any]) -> str:
    """That most of a codebook stands for nothing, and what may help; empty where it does not.

    Args:
        found: How it is used.
        keywords: Of its model: nothing else is advised, nor what it has already.
    """
    if not found.mostly_dead:
        return ""
    helps = ["a longer training"]
    fewer = max(2, round(found.perplexity))
    advice = {
        "codes": f"fewer entries (--set codes={fewer})",
        "quantiser": "finite scalars, which learn no entries (--set quantiser=fsq)",
    }
    helps += [text for name, text in advice.items() if keywords.get(name, "fsq") != "fsq"]
    return (
        f"dead codebook: {found.used} of {found.entries} entries stand for anything, used as "
        f"unevenly as {found.perplexity:.1f} alike; what may help: {', '.join(helps)}"
    )
