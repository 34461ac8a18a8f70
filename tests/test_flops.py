"""FLOPs, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from simulacra.ground.spec import DataSpec
from simulacra.models import flops
from simulacra.models.autoregressive.gated_pixelcnn import GatedPixelCNN
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.nn.masked_convolution import MaskedConv2d, MaskedConvStream


def forward_and_backward(model, x):
    return lambda: model(x).sum().backward()


def test_linear_layers_are_counted_in_full():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    first, second = 2 * 5 * 3 * 4, 2 * 5 * 4 * 2
    assert flops.count(model, lambda: model(x)) == first + second
    # the first layer's input needs no gradient
    assert flops.count(model, forward_and_backward(model, x)) == 2 * first + 3 * second


def test_of_a_masked_convolution_only_what_is_seen_is_counted():
    first = MaskedConv2d(1, 2, 3, mask="A")
    second = MaskedConv2d(2, 3, 1, mask="B")
    model = nn.Sequential(first, second)
    x = torch.randn(2, 1, 4, 5)
    positions = 2 * 4 * 5
    # three pixels above and one to the left, to two outputs; then a pixel's own features
    one, two = 2 * (3 + 1) * 2 * positions, 2 * 2 * 3 * positions
    with torch.no_grad():
        assert flops.count(model, lambda: model(x)) == one + two
    assert flops.count(model, forward_and_backward(model, x)) == 2 * one + 3 * two


@pytest.mark.parametrize(("mask", "ones"), [("A", 3), ("B", 6)])
def test_colours_that_are_hidden_are_not_counted(mask, ones):
    layer = MaskedConv2d(3, 3, 1, mask=mask, colours=3)  # type: ignore[arg-type]
    x = torch.randn(1, 3, 2, 2)
    with torch.no_grad():
        assert flops.count(layer, lambda: layer(x)) == 2 * ones * 4


def test_counting_leaves_no_trace():
    layer, read = MaskedConv2d(1, 1, 3, mask="A"), MaskedConvStream.read

    def fails():
        layer(torch.randn(1, 1, 2, 2))
        raise KeyError

    flops.count(layer, lambda: layer(torch.randn(1, 1, 2, 2)))
    with pytest.raises(KeyError):
        flops.count(layer, fails)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks
    assert MaskedConvStream.read is read


def test_cached_sampling_is_counted_by_hand():
    model = PixelCNN(DataSpec((1, 2, 2), levels=2), channels=1, layers=0, first_kernel_size=3)
    # taps to two outputs, two to two, two to two levels; at four pixels of three pictures
    ones = (3 + 1) * 2 + 2 * 2 + 2 * 2
    assert flops.count(model, lambda: model.sample(3)) == 2 * ones * 4 * 3


@pytest.mark.parametrize("colours", [1, 3])
def test_the_cached_and_the_parallel_form_do_the_same_work(colours):
    spec = DataSpec((colours, 4, 3), levels=3)
    model = PixelCNN(spec, channels=4, layers=2, first_kernel_size=5)
    x = torch.zeros(2, *spec.event_shape, dtype=torch.long)
    with torch.no_grad():
        parallel = flops.count(model, lambda: model.loss(x))
    assert flops.count(model, lambda: model.sample(2)) == parallel


def test_attention_is_counted_by_the_pairs_that_see_one_another():
    q, k, v = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    model = nn.Identity()
    pairs, width = 5 * 6 // 2, 4
    forward = 2 * 2 * 3 * pairs * 2 * width
    with torch.no_grad():
        assert flops.count(model, lambda: attend(q, k, v, is_causal=True)) == forward
        assert flops.count(model, lambda: attend(q, k, v)) == 2 * 2 * 3 * 25 * 2 * width
    both = flops.count(model, lambda: attend(q, k, v, is_causal=True).sum().backward())
    assert both == 3 * forward


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_are_counted_at_every_step(kind):
    gates = 4 if kind is nn.LSTM else 3
    model = kind(3, 5, batch_first=True)
    x = torch.randn(2, 7, 3)
    forward = 2 * 2 * 7 * gates * 5 * (3 + 5)
    with torch.no_grad():
        assert flops.count(model, lambda: model(x)) == forward


@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 4, 4)])
def test_a_gated_pixelcnn_is_sampled_with_the_products_of_one_pass(shape):
    model = GatedPixelCNN(DataSpec(shape, 4), channels=6, layers=3, first_kernel_size=3).eval()
    weights = 0
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            weights += int(layer.mask.sum()) if hasattr(layer, "mask") else layer.weight.numel()
    pixels = 2 * shape[1] * shape[2]
    assert flops.count(model, lambda: model.sample(2)) == 2 * pixels * weights


def by_hand(name, **told):
    """What an operation counts as, from the shapes of its arguments by their names."""
    operation = getattr(torch.ops.aten, name)
    arguments = [argument.name for argument in operation.default._schema.arguments]
    assert set(told) <= set(arguments)
    positional = [told.pop(each) if each in told else None for each in arguments[:-1]]
    return flops._FORMULAS[operation](*positional, out_shape=None, **told)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", ["flash", "efficient", "cudnn"])
def test_attention_on_a_gpu_counts_as_on_a_cpu(kernel, causal):
    q, k, v = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    both = flops.count(nn.Identity(), lambda: attend(q, k, v, is_causal=causal).sum().backward())
    with torch.no_grad():
        forward = flops.count(nn.Identity(), lambda: attend(q, k, v, is_causal=causal))
    told = {"query": q.shape, "key": k.shape, "value": v.shape, "is_causal": causal}
    name = f"_scaled_dot_product_{kernel}_attention"
    assert by_hand(name, **told) == forward
    assert by_hand(f"{name}_backward", **told) == both - forward


@pytest.mark.parametrize(
    "form", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}, {"proj_size": 2}]
)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_a_recurrent_layer_on_a_gpu_counts_as_on_a_cpu(form, batch_first):
    model, x = nn.LSTM(3, 5, batch_first=batch_first, **form), torch.randn(7, 2, 3)
    with torch.no_grad():
        forward = flops.count(model, lambda: model(x))
    weights = [parameter.shape for parameter in model.parameters()]
    told = {"input": x.shape, "weight": weights, "weight_buf": (sum(map(len, weights)),)}
    assert by_hand("_cudnn_rnn", **told) == forward
    assert by_hand("_cudnn_rnn_backward", **told) == 2 * forward
    # sequences of several lengths: all their steps in one axis
    assert by_hand("_cudnn_rnn", **told | {"input": (14, 3)}) == forward


def test_gradients_of_gradients_are_counted():
    critic, x = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)), torch.randn(5, 3)
    first, second = 2 * 5 * 3 * 16, 2 * 5 * 16

    def penalised():
        x.requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        (slope.square().sum() + critic(x).mean()).backward()

    # twice forwards, and back to x; from the critic's value to weights, features and x; from the
    # slope to both layers' weights, to the first one's output, and from there again to both
    found = flops.count(critic, penalised)
    assert found == (2 + 1 + 2) * (first + second) + (2 + 2) * first + second
