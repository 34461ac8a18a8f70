"""The laws that models keep, under one name for the tests of single models.

`test_contract.py` holds them over the registry, `test_planted_faults.py` over broken models.
"""

from __future__ import annotations

import pytest

import chains
from simulacra.models.autoregressive.laws import (
    is_causal,
    is_close_in_bfloat16,
    predicts_in_turn,
    resamples_towards_its_conditional,
    samples_incrementally,
)
from simulacra.models.flow.laws import inverts
from simulacra.models.latent.completion import CodeCompletion
from simulacra.models.lawbook import bounds, densities, probability
from simulacra.models.lawbook.behaviour import (
    comes_back,
    completes,
    draws_what_data_are,
    encodes_without_noise,
    keeps_contexts_apart,
    moves_one_player,
)
from simulacra.models.lawbook.configuration import keeps_its_keywords
from simulacra.models.lawbook.probability import (
    completes_by_its_conditional,
    samples_as_it_says,
    scores_alone,
    sums_to_one,
)
from simulacra.models.lawbook.trials import (
    contexts,
    observations,
    one_context,
    randomise,
    states,
    trial,
)
from simulacra.models.model import Model

__all__ = [
    "comes_back", "completes", "completes_by_its_conditional", "contexts", "draws_what_data_are",
    "encodes_without_noise", "inverts", "is_causal", "is_close_in_bfloat16",
    "keeps_contexts_apart", "keeps_its_keywords", "make_quick", "moves_one_player",
    "observations", "one_context", "predicts_in_turn", "randomise",
    "resamples_towards_its_conditional", "samples_as_it_says", "samples_incrementally",
    "scores_alone", "states", "sums_to_one", "trial",
]  # fmt: skip


def make_quick(patch: pytest.MonkeyPatch, kind: type[Model] = CodeCompletion) -> None:
    """Let laws count fewer draws of levels and of bounds, and chains that complete be short.

    Args:
        patch: Undoes it.
        kind: Of the model that completes.
    """
    patch.setattr(probability, "_DRAWS", 20_000)
    for book in (probability, bounds):
        patch.setattr(book, "_SEEDS", 25)
    patch.setattr(densities, "_GRIDS", 6)
    chains.shorten(patch, kind)
