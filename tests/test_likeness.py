"""Likeness to a group among vectors, beside chance."""

from __future__ import annotations

import pytest
import torch

from simulacra.ground.errors import UsageError
from simulacra.tasks.likeness import likeness

GROUPS = torch.arange(5).repeat_interleave(4)


def real(spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 8, generator=generator)
    return centres[GROUPS] + spread * torch.randn(20, 8, generator=generator)


def test_those_that_lie_together_are_like_their_own() -> None:
    found = likeness(real(0.01), torch.arange(20), real(0.01), GROUPS)
    assert found.than_another.tolist() == found.nearest.tolist() == [1.0] * 20
    assert found.chance == (0.5, 0.2)
    assert torch.equal(found.group, GROUPS)


def test_noise_has_what_chance_has() -> None:
    """The planted fault: a model that ignores what it is told."""
    drawn = torch.randn(4000, 8, generator=torch.Generator().manual_seed(1))
    found = likeness(drawn, torch.arange(4000) % 20, real(1.0), GROUPS)
    assert float(found.than_another.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(found.nearest.mean()) == pytest.approx(0.2, abs=0.03)


def test_the_source_itself_is_left_out() -> None:
    """What is drawn from a picture that is far from the rest of its person is no likeness."""
    odd = real(0.01)
    odd[0] = odd[5] + 0.02
    found = likeness(odd[:1], torch.tensor([0]), odd, GROUPS)
    assert found.nearest.tolist() == [0.0]
    assert float(found.than_another[0]) < 1


def test_ties_are_shared() -> None:
    same = torch.zeros(20, 3)
    found = likeness(same, torch.arange(20), same, GROUPS)
    assert found.than_another.tolist() == [0.5] * 20
    assert found.nearest.tolist() == [0.2] * 20


def test_lone_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="two groups"):
        likeness(torch.zeros(2, 3), torch.arange(2), torch.zeros(2, 3), torch.zeros(2).long())
    with pytest.raises(UsageError, match="two observations"):
        likeness(torch.zeros(1, 3), torch.tensor([0]), torch.zeros(2, 3), torch.arange(2))
