"""Chains that complete, short where no test looks at how near they come to the conditional.

`test_code_completion.py`, `test_flow_completion.py` and `test_inversion.py` do, of long ones.
"""

from __future__ import annotations

import pytest

from simulacra.models import inversion
from simulacra.models.adversarial import completion as of_games
from simulacra.models.flow import completion as of_values
from simulacra.models.latent import completion as of_codes
from simulacra.models.latent.completion import CodeCompletion
from simulacra.models.model import Model


def shorten(patch: pytest.MonkeyPatch, kind: type[Model] = CodeCompletion) -> None:
    """Let chains make a few moves of each kind that they have, for all moves of a kind are alike.

    Args:
        patch: Undoes it.
        kind: Of the model that completes.
    """
    patch.setattr(of_codes, "_FREE", 1)
    if issubclass(kind, CodeCompletion):
        patch.setattr(kind, "moves", 3)
    patch.setattr(of_values, "_TRAJECTORIES", 2)
    patch.setattr(of_values, "_LEAPS", 2)
    patch.setattr(inversion, "STEPS", 3)
    for place in (inversion, of_games):
        patch.setattr(place, "RESTARTS", 2)
