"""A flow whose base hears the context, and models made of models: laws, names, and safety."""

from __future__ import annotations

import pytest
import torch

import toy_nested
from simulacra.ground.errors import BrokenLaw
from simulacra.models.laws import check_model


def test_a_base_may_hear_the_context() -> None:
    kept = check_model(toy_nested.ConditionalBase)
    assert {"contexts", "sampling of vectors", "normalisation of vectors", "jacobian"} <= set(kept)


def test_a_prior_that_is_not_told_is_found() -> None:
    class Deaf(toy_nested.ConditionalBase):
        __doc__ = toy_nested.ConditionalBase.__doc__

        def prior(self, n: int, context: torch.Tensor | None = None) -> torch.Tensor:
            told = None if context is None else torch.zeros_like(context)
            return super().prior(n, told)

    with pytest.raises(BrokenLaw, match="law `(contexts|sampling of vectors)`"):
        check_model(Deaf)
