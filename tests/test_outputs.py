"""What a network says of a value, as a distribution over levels: three kinds of output."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from simulacra.ground.errors import UsageError
from simulacra.models.autoregressive.outputs import Output, OutputKind, takes_output
from simulacra.models.takes import Takes

KINDS = get_args(OutputKind)


def _built(kind: OutputKind, levels: int = 7) -> tuple[Output, torch.Tensor]:
    """An output in float64, and numbers for 2×3 values, some of them far out."""
    output = Output(kind, levels).double()
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(2, 3, output.numbers, generator=generator, dtype=torch.float64)
    raw[0, 0] *= 20
    return output, raw


@pytest.mark.parametrize("kind", KINDS)
def test_the_levels_have_probabilities_that_sum_to_one(kind: OutputKind) -> None:
    """And `logits` are those of `forward`, up to what all levels share."""
    output, raw = _built(kind)
    found = output(raw)
    assert found.batch_shape == (2, 3)
    each = torch.stack([found.log_prob(torch.full((2, 3), level)) for level in range(7)], -1)
    assert torch.allclose(each.exp().sum(-1), torch.ones(2, 3, dtype=torch.float64))
    assert torch.allclose(output.logits(raw).log_softmax(-1), each, atol=1e-9)
    drawn = found.sample()
    assert drawn.dtype == torch.int64
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) <= 6


def test_a_gaussian_learns_the_mean_as_least_squares_do() -> None:
    """Of values far from the ends, where the bins hold all of the density."""
    output = Output("gaussian", 101).double()
    x = torch.tensor([40, 44, 60], dtype=torch.float64)
    loc = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([loc, output.log_spread], max_iter=100, tolerance_grad=1e-10)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss: torch.Tensor = -output(loc.expand(3, 1)).log_prob(x).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = output(loc.detach().expand(1))
    # the middle of level k is k + ½; bins add a twelfth to the variance
    assert float(found.loc) == pytest.approx(48.5, abs=1e-3)
    variance = float(x.var(correction=0))
    assert float(found.scale.detach()) ** 2 == pytest.approx(variance, abs=0.2)


def test_components_begin_apart_and_reach_the_ends() -> None:
    """Numbers of 0 say that all levels are likely, and no two components are the same."""
    output = Output("logistics", 256).double()
    p = output.logits(torch.zeros(output.numbers, dtype=torch.float64)).softmax(-1)
    assert float(p.min()) > 1 / 256 / 10
    assert len(output(torch.zeros(output.numbers)).loc.unique()) > 5


def test_what_has_no_order_is_predicted_by_categories_alone() -> None:
    """Colours of a palette are no numbers to regress."""
    assert takes_output(Takes(), "categorical").unordered
    assert not takes_output(Takes(), "gaussian").unordered
    assert not takes_output(Takes(), "logistics").unordered
    with pytest.raises(UsageError, match="gaussian or logistics, got 'mse'"):
        Output("mse", 4)  # type: ignore[arg-type]
