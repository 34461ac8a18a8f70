"""Compiling leaves the rest of the process as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.distributions import Distribution, Normal

from forked import Forked
from simulacra.ground.spec import DataSpec
from simulacra.nn.context import ContextEmbedding
from simulacra.training.compiling import compiled, distributions_unchecked


def compile_first() -> None:
    """What a process that has compiled nothing sees."""
    double = compiled(lambda x: 2 * x, backend="eager")
    assert Distribution._validate_args, "after compiling"
    assert double(torch.ones(2)).tolist() == [2, 2]
    assert Distribution._validate_args, "after the call"


def test_distributions_check_their_arguments_after_compiling(tmp_path: Path) -> None:
    """In a process of its own: torch turns the checks off the first time alone."""
    process = Forked(compile_first, log=tmp_path / "log")
    assert process.wait() == 0, process.said()


def test_what_is_compiled_computes_the_same_and_checks_nothing() -> None:
    found = []

    def likely(x: torch.Tensor) -> torch.Tensor:
        found.append(Distribution._validate_args)
        return Normal(0.0, 1.0).log_prob(x)

    x = torch.randn(3)
    traced = compiled(likely, backend="eager")
    torch.testing.assert_close(traced(x), Normal(0.0, 1.0).log_prob(x))
    assert found == [False]


def test_labels_that_are_not_told_compile() -> None:
    spec = DataSpec((2,), 2, classes=6, parts=(("digit", 3), ("speaker", 2)))
    told = ContextEmbedding("label", spec, 4)
    labels, like = torch.tensor([[2, 1], [2, -1], [-1, -1]]), torch.zeros(3, 1)
    assert torch.equal(compiled(told, backend="eager")(labels, like), told(labels, like))


def test_checks_come_back_after_an_error_and_stay_off_where_they_were() -> None:
    with pytest.raises(KeyError), distributions_unchecked():
        raise KeyError(Normal(0.0, -1.0))
    with pytest.raises(ValueError, match="constraint"):
        Normal(0.0, -1.0)
    Distribution.set_default_validate_args(False)
    try:
        with distributions_unchecked():
            pass
        assert not Distribution._validate_args
    finally:
        Distribution.set_default_validate_args(True)
