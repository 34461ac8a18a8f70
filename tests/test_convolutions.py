"""Convolutions by fewer products are those of torch, forward and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from simulacra.ground.randomness import seeded
from simulacra.nn.bilinear import plan
from simulacra.nn.convolutions import Convolution, PictureNorm, TransposedConvolution

CASES = [
    (1, 1, 0),
    (2, 1, 0),
    (2, 2, 1),
    (3, 1, 1),
    (3, 2, 1),
    (4, 2, 1),
    (4, 3, 0),
    (5, 2, 2),
    (5, 1, 2),
]
"""Kernels, strides and paddings."""


def both(layer: Convolution, x: Tensor, form: str) -> list[Tensor]:
    """The output and the gradients by input, weight and bias of a form."""
    x = x.clone().requires_grad_()
    y = getattr(layer, form)(x)
    weigh = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weigh).sum(), (x, *layer.parameters()))]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution])
def test_fewer_products_give_the_same(kind: type[Convolution], case: tuple[int, ...]) -> None:
    with seeded(0):
        for height, width in ((3, 4), (7, 5), (12, 9)):
            if min(height, width) + 2 * case[2] < case[0]:
                continue
            layer = kind(2, 3, *case).double()
            x = torch.randn(2, 2, height, width, dtype=torch.float64)
            plain = both(layer, x, "plain")
            for form in ("fast", "thin"):
                torch.testing.assert_close(both(layer, x, form), plain, rtol=1e-10, atol=1e-10)


def test_output_padding_is_kept() -> None:
    layer = TransposedConvolution(2, 3, 3, 2, 1, 1)
    x = torch.randn(2, 2, 7, 7)
    plain = layer.plain(x)
    assert plain.shape == (2, 3, 14, 14)
    for form in (layer.fast, layer.thin):
        torch.testing.assert_close(form(x), plain)


def test_there_are_fewer() -> None:
    def products(*case: int) -> int:
        return sum(len(group.inputs) for group in plan(*case))

    # those of the plain form that are not with padding: 10, 20, 26 and 11
    assert products(7, 3, 2, 1) == 8
    assert products(14, 3, 2, 1) == 16
    assert products(14, 4, 2, 1) == 18
    assert products(7, 4, 2, 1) == 8
    assert products(3, 4, 2, 1) == 3


@pytest.mark.parametrize("kind", [Convolution, TransposedConvolution])
def test_float32_loses_little(kind: type[Convolution]) -> None:
    with seeded(0):
        layer, x = kind(64, 64, 3, 2, 1), torch.randn(4, 64, 13, 13)
        for mine, plain in zip(both(layer, x, "fast"), both(layer, x, "plain"), strict=True):
            assert float((mine - plain).abs().max() / plain.abs().max()) < 1e-5


def test_initial_values_are_those_of_torch() -> None:
    with seeded(0):
        weight = nn.Conv2d(3, 5, 3).weight
    with seeded(0):
        assert torch.equal(Convolution(3, 5, 3).weight.permute(3, 2, 0, 1), weight)
    layer, plain = TransposedConvolution(3, 50, 3), nn.ConvTranspose2d(3, 50, 3)
    largest = [float(net.weight.detach().max()) for net in (layer, plain)]
    assert largest[0] == pytest.approx(largest[1], rel=0.05)
    assert layer.bias is not None
    assert layer.bias.shape == (50,)


def test_each_form_has_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    for kind in (Convolution, TransposedConvolution):
        for form in ("fast", "thin", "plain"):
            monkeypatch.setattr(kind, form, lambda *_, form=form: used.append(form))

    def form(layer: Convolution, x: Tensor) -> str:
        layer(x)
        return used.pop()

    x = torch.empty(1, 128, 4, 4)
    wide, thin = Convolution(128, 128, 3, 2), TransposedConvolution(128, 1, 3)
    assert form(wide, x) == "fast"
    assert form(thin, x) == "thin"
    assert form(Convolution(128, 1, 3), x) == "plain"
    assert form(Convolution(128, 127, 3, 2), x) == form(Convolution(128, 128, 3), x) == "plain"
    with torch.no_grad():
        assert form(wide, x) == "plain"
    with torch.autocast("cpu"):
        assert form(wide, x) == "plain"
    assert form(wide, x.double()) == "plain"
    assert form(wide.eval(), x) == form(thin.eval(), x) == "plain"


def test_norm_of_what_is_laid_out_otherwise() -> None:
    x = torch.randn(5, 3, 4, 2)
    laid = x.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
    norm, plain = PictureNorm(3), nn.BatchNorm2d(3)
    for _ in range(2):
        torch.testing.assert_close(norm(laid), plain(x))
    torch.testing.assert_close(norm.state_dict(), plain.state_dict())
    torch.testing.assert_close(norm.eval()(laid), plain.eval()(x))
    assert norm(laid).permute(2, 3, 0, 1).is_contiguous()
