"""What a form of data accepts, refuses, and means to people."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from simulacra.ground.errors import UsageError
from simulacra.ground.spec import DataSpec

COLOURS = ((0, 0, 0), (255, 0, 0), (51, 102, 204))
PALETTE = DataSpec((1, 1, 3), 3, ordered=False, coding="palette", palette=COLOURS)
SOUND = DataSpec((5,), 256, coding="mu-law")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event_shape": ()}, "event_shape needs positive sizes"),
        ({"event_shape": (1, 0, 3)}, "event_shape needs positive sizes"),
        ({"event_shape": (-2,)}, "event_shape needs positive sizes"),
        ({"levels": 1}, "levels needs at least 2"),
        ({"levels": 0}, "levels needs at least 2"),
        ({"levels": -4}, "levels needs at least 2"),
        ({"coding": "a-law"}, "plain, palette, mu-law, got 'a-law'"),
        ({"coding": "palette", "ordered": False}, "a palette comes with coding='palette'"),
        ({"palette": COLOURS, "ordered": False}, "a palette comes with coding='palette'"),
        ({"coding": "palette", "palette": COLOURS[:2], "ordered": False}, "3 levels need as many"),
        ({"coding": "palette", "palette": COLOURS}, "unordered levels .1, H, W.*ordered=True"),
        (
            {"coding": "palette", "palette": COLOURS, "ordered": False, "event_shape": (3, 2, 2)},
            r"unordered levels .1, H, W.*\(3, 2, 2\)",
        ),
        (
            {"coding": "palette", "palette": COLOURS, "ordered": False, "event_shape": (4,)},
            r"unordered levels .1, H, W.*\(4,\)",
        ),
    ],
)
def test_a_form_that_nothing_has_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DataSpec(**({"event_shape": (1, 2, 2), "levels": 3} | changes))


def test_sizes() -> None:
    assert DataSpec((3, 4, 5), 256).dims == 60
    assert DataSpec((7,), None).dims == 7
    assert [DataSpec(s, 2).is_image for s in [(1, 2, 2), (4,), (2, 2)]] == [True, False, False]


def test_plain_levels_are_intensities() -> None:
    x = torch.tensor([0, 1, 2, 3, 4]).view(1, 1, 1, 5)
    unit = DataSpec((1, 1, 5), 5).to_float(x)
    assert unit.dtype == torch.float32
    assert unit.flatten().tolist() == [0, 0.25, 0.5, 0.75, 1]
    bytes_ = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    unit = DataSpec((1, 16, 16), 256).to_float(bytes_).flatten()
    assert torch.equal((unit * 255).round().to(torch.uint8), bytes_.flatten())
    assert (float(unit.min()), float(unit.max())) == (0, 1)


def test_palette_levels_are_their_colours() -> None:
    x = torch.tensor([[2, 0, 1], [1, 1, 2]]).view(2, 1, 1, 3)
    rgb = PALETTE.to_float(x)
    assert rgb.shape == (2, 3, 1, 3)
    assert rgb.dtype == torch.float32
    for n in range(2):
        for j in range(3):
            colour = torch.tensor(COLOURS[int(x[n, 0, 0, j])]) / 255
            assert torch.equal(rgb[n, :, 0, j], colour)


def test_mu_law_levels_are_amplitudes() -> None:
    """sign(s) ((1 + μ)^|s| − 1) / μ with s = 2 k / 255 − 1 and μ = 255."""
    levels = [0, 255, 64, 191, 127]
    amplitude = SOUND.to_float(torch.tensor([levels]))[0].tolist()
    assert amplitude[:2] == [-1, 1]
    assert amplitude[2] == pytest.approx(-(256 ** (127 / 255) - 1) / 255, rel=1e-5)
    assert amplitude[3] == pytest.approx((256 ** (127 / 255) - 1) / 255, rel=1e-5)
    assert amplitude[4] == pytest.approx(-(256 ** (1 / 255) - 1) / 255, rel=1e-4)
    whole = SOUND.to_float(torch.arange(255).view(-1, 5)).flatten()
    assert bool((whole.diff() > 0).all())


def test_continuous_values_are_themselves() -> None:
    x = torch.tensor([[-3.5, 2.25]])
    assert torch.equal(DataSpec((2,), None).to_float(x), x)


def test_a_batch_of_the_form_is_accepted() -> None:
    DataSpec((1, 2, 2), 3).check(torch.tensor([0, 1, 2, 2]).view(1, 1, 2, 2))
    DataSpec((1, 2, 2), 3).check(torch.zeros(0, 1, 2, 2, dtype=torch.int64))
    DataSpec((2,), 256).check(torch.tensor([[0, 255]], dtype=torch.uint8))
    DataSpec((2,), None).check(torch.tensor([[-3.5, 1e9]]))


@pytest.mark.parametrize(
    ("spec", "x", "message"),
    [
        (DataSpec((1, 2, 2), 3), torch.zeros(5, 2, 2).long(), r"\(N, 1, 2, 2\), got \(5, 2, 2\)"),
        (DataSpec((4,), 3), torch.zeros(5, 3).long(), r"\(N, 4\), got \(5, 3\)"),
        (DataSpec((2,), None), torch.zeros(5, 3), r"\(N, 2\), got \(5, 3\)"),
        (DataSpec((2,), 3), torch.zeros(5, 2), "expected integer levels 0 … 2, got torch.float32"),
        (DataSpec((2,), 3), torch.tensor([[0, 3]]), "expected levels 0 … 2, got 0 … 3"),
        (DataSpec((2,), 3), torch.tensor([[-1, 2]]), "expected levels 0 … 2, got -1 … 2"),
    ],
)  # fmt: skip
def test_another_batch_is_refused(spec: DataSpec, x: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec.check(x)


@pytest.mark.parametrize(
    "spec",
    [
        DataSpec((1, 28, 28), 2),
        DataSpec((3, 8, 8), 256, classes=10),
        DataSpec((1, 2, 2), 5, ordered=False),
        DataSpec((6,), None, context_width=3),
        PALETTE,
        SOUND,
    ],
)
def test_a_form_goes_through_json(spec: DataSpec) -> None:
    again = DataSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert hash(again) == hash(spec)
