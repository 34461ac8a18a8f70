"""What a network says of a value, as a distribution over levels: three kinds of output."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.outputs import Output, OutputKind, takes_output
from simulacra.models.registry import find
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


@pytest.mark.parametrize("values", [[40, 44, 60], [180, 230, 250]])
def test_a_gaussian_learns_the_mean_as_least_squares_do(values: list[int]) -> None:
    """Its mean is that of the data, near the ends too, and its spread theirs where it is free."""
    output = Output("gaussian", 256).double()
    x = torch.tensor(values, dtype=torch.float64)
    raw = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw, output.log_spread], max_iter=200, tolerance_grad=1e-10)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss: torch.Tensor = -output(raw.expand(len(x), 1)).log_prob(x).mean()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    p = output.logits(raw.detach()).softmax(-1).detach()
    levels = torch.arange(256, dtype=torch.float64)
    mean = float(p @ levels)
    assert mean == pytest.approx(float(x.mean()), abs=0.05)
    assert float(p @ (levels - mean) ** 2) == pytest.approx(float(x.var(correction=0)), rel=0.05)


@pytest.mark.parametrize("level", [0, 3, 30, 128, 220, 255])
def test_what_is_regressed_is_the_likeliest(level: int) -> None:
    """As `--top-k 1` takes it: no level at the end of the scale has the tail beyond it."""
    output = Output("gaussian", 256)
    assert int(output.logits(torch.tensor([(level + 0.5) / 128 - 1])).argmax()) == level


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


@pytest.mark.parametrize("name", ["pixel-rnn", "pixelcnn"])
def test_networks_of_pictures_say_what_they_are_asked_to(name: str) -> None:
    """Categories have the weights that they always had; a palette is refused to the others."""
    spec = DataSpec((3, 4, 4), 256)
    kind, few = find(name), {key: find(name).small[0][key] for key in ("hidden", "channels")
                             if key in find(name).small[0]}  # fmt: skip
    models = {output: kind(spec, **few, output=output) for output in KINDS}
    sizes = {output: model.logits.weight.shape[0] for output, model in models.items()}
    colours = 3 if name == "pixelcnn" else 1
    assert sizes == {"categorical": 256 * colours, "gaussian": colours, "logistics": 30 * colours}
    assert not [key for key in models["categorical"].state_dict() if key.startswith("last")]
    assert "last.log_spread" in models["gaussian"].state_dict()
    assert models["gaussian"].keywords["output"] == "gaussian"
    palette = DataSpec((1, 4, 4), 2, False, "palette", ((0, 0, 0), (9, 9, 9)))
    kind(palette, **few)
    for output in ("gaussian", "logistics"):
        with pytest.raises(MissingCapability, match=f"output={output} needs .*ordered levels"):
            kind(palette, **few, output=output)
