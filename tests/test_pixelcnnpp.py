"""PixelCNN++: shifted convolutions by loops, the paper's joint probability, the cached sampler."""

import itertools

import pytest
import torch
from torch import nn

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.pixelcnnpp import PixelCNNpp
from simulacra.models.autoregressive.pixelcnnpp_blocks import concat_elu
from simulacra.models.autoregressive.pixelcnnpp_convolutions import (
    PixelStream,
    RowStream,
    ShiftedConv2d,
    ShiftedConvTranspose2d,
    shifted_conv,
)
from simulacra.nn.distributions import DiscretisedLogistic

SIDES = [(1, 1), (1, 4), (5, 1), (2, 2), (4, 6), (5, 7)]
CONVS = {
    "down": lambda: shifted_conv("down", 3, 4),
    "down-right": lambda: shifted_conv("down-right", 3, 4),
    "down-half": lambda: shifted_conv("down", 3, 4, stride=2),
    "down-right-half": lambda: shifted_conv("down-right", 3, 4, stride=2),
    "first-u": lambda: ShiftedConv2d(3, 4, (2, 3), above=2),
    "first-above": lambda: ShiftedConv2d(3, 4, (1, 3)),
    "first-left": lambda: ShiftedConv2d(3, 4, (2, 1)),
}
# rows and columns, from the output's own, that each may see
SEEN = {
    "down": [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1)],
    "down-right": [(-1, -1), (-1, 0), (0, -1), (0, 0)],
    "first-u": [(-2, -1), (-2, 0), (-2, 1), (-1, -1), (-1, 0), (-1, 1)],
    "first-above": [(-1, -1), (-1, 0), (-1, 1)],
    "first-left": [(-1, -1), (0, -1)],
}


def pictures(*shape):
    with seeded(1):
        return torch.randn(*shape, dtype=torch.float64)


def small(spec, **keywords):
    with seeded(0):
        model = PixelCNNpp(spec, **{"channels": 4, "blocks": 1, "components": 2, **keywords})
    x = laws.observations(model, 60)
    with seeded(1):
        model.prepare(x, laws.contexts(model, 60))
    return model


# ---- shifted convolutions -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_a_shifted_convolution_is_the_sum_over_what_it_sees(kind, height, width):
    conv = CONVS[kind]().double()
    x, seen = pictures(2, 3, height, width), SEEN[kind.removesuffix("-half")]
    step = conv.stride[0]
    y = conv(x)
    assert y.shape == (2, 4, -(-height // step), -(-width // step))
    for i, j in itertools.product(range(y.shape[2]), range(y.shape[3])):
        expected = conv.bias.expand(2, 4)
        for (k, l), tap in zip(seen, conv.weight.flatten(2).unbind(2), strict=True):  # noqa: E741
            row, column = step * i + k, step * j + l
            if 0 <= row < height and 0 <= column < width:
                expected = expected + x[:, :, row, column] @ tap.T
        torch.testing.assert_close(y[:, :, i, j], expected)


@pytest.mark.parametrize("kind", ["down", "down-half", "first-u", "first-above"])
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_rows_in_turn_are_the_parallel_form(kind, height, width):
    conv = CONVS[kind]().double()
    x = pictures(2, 3, height, width)
    y, stream = conv(x), RowStream(conv, 2, width)
    for i in range(height):
        # one that ends above its own row is read before the row is there
        late = conv.margins[3] < 0
        if not late:
            stream.push(x[:, :, i : i + 1])
        if i % conv.stride[0] == 0:
            torch.testing.assert_close(stream.read(), y[:, :, i // conv.stride[0]][:, :, None])
        if late:
            stream.push(x[:, :, i : i + 1])


@pytest.mark.parametrize("kind", ["down-right", "down-right-half", "first-left"])
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_pixels_in_turn_are_the_parallel_form(kind, height, width):
    conv = CONVS[kind]().double()
    x, extra = pictures(2, 3, height, width), pictures(2, 4, 1, 1)
    y, stream, step = conv(x), PixelStream(conv, 2, width), conv.stride[0]
    for i, j in itertools.product(range(height), range(width)):
        if j == 0 and i % step == 0:
            stream.start_row(extra)
        if kind != "first-left":
            stream.slots[j].copy_(x[:, :, i, j])
        if i % step == 0 and j % step == 0:
            expected = y[:, :, i // step, j // step] + extra[:, :, 0, 0]
            torch.testing.assert_close(stream.read(j // step), expected)
        # it ends to the left of its own pixel, which is not there yet
        stream.slots[j].copy_(x[:, :, i, j])


@pytest.mark.parametrize("stream", ["down", "down-right"])
@pytest.mark.parametrize(("height", "width"), SIDES)
def test_growing_sees_only_what_lies_before(stream, height, width):
    grow = ShiftedConvTranspose2d(stream, 2).double()
    size = (-(-height // 2), -(-width // 2))
    x = pictures(1, 2, *size).requires_grad_()
    y = grow(x, [height, width])
    assert y.shape == (1, 2, height, width)
    for i, j in itertools.product(range(height), range(width)):
        (gradient,) = torch.autograd.grad(y[0, :, i, j].sum(), x, retain_graph=True)
        seen = {(int(k), int(m)) for k, m in gradient[0].abs().sum(0).nonzero()}
        expected = {(i // 2, j // 2)}
        if stream == "down" and j % 2 and j // 2 + 1 < size[1]:
            expected.add((i // 2, j // 2 + 1))
        assert seen == expected


def test_growing_in_turn_is_the_parallel_form():
    down, right = (ShiftedConvTranspose2d(s, 2).double() for s in ("down", "down-right"))
    x = pictures(3, 2, 2, 3)
    for i in range(4):
        row = down.row(x[:, :, i // 2][:, :, None], i % 2, 5)
        torch.testing.assert_close(row[:, :, 0], down(x, [4, 5])[:, :, i])
    bias, matrix = right.pixels()
    four = (x[:, :, 1, 2] @ matrix + bias).unflatten(1, (2, 2, 2)).movedim(3, 1)
    torch.testing.assert_close(four, right(x)[:, :, 2:4, 4:6])


# ---- the mixture --------------------------------------------------------------------------------


def joint_by_the_paper(model, x):
    """Equations 2 and 3, one pixel and one component at a time."""
    k, colours = model.components, model.colours
    top = model.levels - 1
    outputs = model._outputs(x, None)
    total = torch.zeros(len(x), dtype=torch.float64)
    values = 2 * x.double() / top - 1
    for n, i, j in itertools.product(range(len(x)), range(x.shape[2]), range(x.shape[3])):
        p = outputs[n, i, j]
        own = p[k : k + 2 * k * colours].view(colours, 2, k)
        couplings = p[k + 2 * k * colours :].view(-1, k).tanh()
        weights, joint = p[:k].softmax(0), 0
        for component in range(k):
            probability, pair = weights[component], 0
            for c in range(colours):
                mean = own[c, 0, component]
                for earlier in range(c):
                    mean = mean + couplings[pair, component] * values[n, earlier, i, j]
                    pair += 1
                scale = own[c, 1, component].clamp_min(-7).exp()
                # in the paper's units a level is 2 / top wide
                low = (values[n, c, i, j] - 1 / top - mean) / scale
                high = (values[n, c, i, j] + 1 / top - mean) / scale
                below = 0 if x[n, c, i, j] == 0 else low.sigmoid()
                up_to = 1 if x[n, c, i, j] == top else high.sigmoid()
                probability = probability * (up_to - below)
            joint = joint + probability
        total[n] += joint.log()
    return total


@pytest.mark.parametrize("shape", [(1, 3, 2), (2, 2, 2), (3, 2, 3), (4, 1, 2)])
@pytest.mark.parametrize("levels", [2, 5, 256])
@torch.no_grad()
def test_the_conditionals_multiply_to_the_papers_joint(shape, levels):
    model = small(DataSpec(shape, levels)).double().eval()
    x = laws.observations(model, 3)
    expected = joint_by_the_paper(model, x)
    torch.testing.assert_close(model.log_likelihood(x), expected)
    conditionals = model.conditionals(x)
    assert conditionals.batch_shape == (3, *shape)
    torch.testing.assert_close(conditionals.log_prob(x).flatten(1).sum(1), expected)


@torch.no_grad()
def test_one_indicator_chooses_for_all_colours():
    """Two components far apart: given red, the other colours are of the same component."""
    model = small(DataSpec((3, 1, 1), 256)).double().eval()
    model.out.weight = torch.zeros_like(model.out.weight) + 1e-12
    bias = torch.zeros(2 + 12 + 6)
    # of each colour, two means and two log-scales
    bias[2:14] = torch.tensor([-0.8, 0.8, -5, -5]).repeat(3)
    model.out.bias.copy_(bias)
    dark, light = (torch.full((1, 3, 1, 1), value) for value in (26, 229))
    for x, other in ((dark, light), (light, dark)):
        weights = model.conditionals(x).logits.softmax(-1)[0, :, 0, 0]
        torch.testing.assert_close(weights[0], torch.full((2,), 0.5).double())
        assert bool((weights[1:].max(-1).values > 0.999).all())
        mixed = torch.cat([x[:, :1], other[:, 1:]], 1)
        assert float(model.log_likelihood(x) - model.log_likelihood(mixed)) > 50


def test_bfloat16_is_close():
    model = small(DataSpec((1, 4, 4), 256))
    laws.is_close_in_bfloat16(laws.randomise(model, 0.1))


@torch.no_grad()
def test_no_location_is_rounded_to_bfloat16():
    """A network that says the same everywhere: autocast has nothing else to round."""
    model = small(DataSpec((1, 2, 2), 256)).eval()
    model.out.weight = torch.zeros_like(model.out.weight) + 1e-12
    locations = torch.linspace(-0.99, 0.99, 2)
    model.out.bias.copy_(torch.tensor([0.0, 0.0, *locations, -5.0, -5.0]))
    x = laws.observations(model, 4)
    exact = model.conditionals(x)
    with torch.autocast("cpu", torch.bfloat16):
        low = model.conditionals(x)
    torch.testing.assert_close(low.loc, exact.loc)


# ---- the network --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "levels"),
    [((1, 1, 1), 2), ((2, 1, 5), 3), ((1, 9, 1), 5), ((3, 5, 7), 256), ((1, 6, 6), 4)],
)
@pytest.mark.parametrize("scales", [1, 2, 3, 4])
@torch.no_grad()
def test_cached_predictions_are_the_networks_own(shape, levels, scales):
    context = "label" if scales % 2 else "none"
    model = small(DataSpec(shape, levels, classes=3), scales=scales, context=context)
    model.eval()
    for dtype, near in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        model.to(dtype)
        x, told = laws.observations(model, 4), laws.contexts(model, 4)
        whole = model.conditionals(x, told).level_log_probs().flatten(1, -2)
        canvas = torch.zeros_like(x)
        flat = canvas.view(4, -1)
        for at, logits in zip(model.order.tolist(), model.in_turn(canvas, told), strict=True):
            torch.testing.assert_close(logits, whole[:, at], rtol=10 * near, atol=near)
            flat[:, at] = x.flatten(1)[:, at]


@torch.no_grad()
def test_the_cached_sampler_draws_what_the_plain_one_does():
    model = small(DataSpec((3, 5, 3), 16)).double().eval()
    with seeded(2):
        own = model.sample(8)
    with seeded(2):
        *_, plain = Autoregressive.sample_steps(model, 8)
    assert torch.equal(own, plain)


@pytest.mark.parametrize(
    ("side", "keywords"),
    [
        ((9, 9), {"blocks": 1, "scales": 1}),
        ((9, 8), {"blocks": 1, "scales": 2}),
        ((5, 5), {"blocks": 2, "scales": 3}),
    ],
)
@torch.no_grad()
def test_the_blind_spot_is_what_changes_nothing(side, keywords):
    model = small(DataSpec((1, *side), 3), channels=6, components=3, **keywords)
    laws.is_causal(laws.randomise(model, 0.1))


def test_one_scale_sees_so_many_rows_and_no_further():
    pixels = 12 * 12
    blind = PixelCNNpp(DataSpec((1, 12, 12), 2), channels=2, blocks=1, scales=1).blind_spot()
    assert blind.shape == (pixels, pixels)
    # the last pixel: two rows by u's first layer, one by each of its four convolutions, one by ul's
    last = blind[:, -1].view(12, 12)
    assert bool(last[:4].all())
    assert not bool(last[4:].all(1).any())


def test_the_defaults_see_all_of_a_small_picture():
    assert not bool(PixelCNNpp(DataSpec((3, 8, 8), 2), channels=2).blind_spot().any())


@pytest.mark.parametrize("blocks", [1, 2])
def test_an_odd_row_sees_itself_at_the_finest_resolution_alone(blocks):
    model = PixelCNNpp(DataSpec((1, 4, 16), 2), channels=2, blocks=blocks)
    blind = model.blind_spot().view(4, 16, 4, 16)
    reach = 4 * blocks + 2
    assert blind[3, :15, 3, 15].tolist() == [15 - j > reach for j in range(15)]
    assert not bool(blind[2, :15, 2, 15].any())


# ---- beginning ----------------------------------------------------------------------------------


@torch.no_grad()
def test_every_convolution_begins_at_mean_0_and_variance_1():
    with seeded(0):
        model = PixelCNNpp(DataSpec((1, 8, 8), 16), channels=6, blocks=1, scales=2)
    x = laws.observations(model, 100)
    model.prepare(x)
    small_ones = {block.second for block in model.modules() if hasattr(block, "second")}
    seen = []

    def note(conv, _, y):
        scale = 0.1 if conv in small_ones else 1.0
        mean, spread = y.mean((0, 2, 3)), y.std((0, 2, 3), correction=0)
        constant = spread < 1e-5
        seen.append(float(((spread / scale - 1).abs() * ~constant).max()))
        seen.append(float((mean.abs() * ~constant).max()) / scale)

    hooks = [
        module.register_forward_hook(note)
        for module in model.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    model.conditionals(x)
    assert len(seen) == 2 * len(hooks)
    assert max(seen) < 1e-3


def test_preparing_keeps_the_mode_and_the_random_state():
    model = small(DataSpec((1, 4, 4), 4), dropout=0.5)
    assert model.training
    before = torch.get_rng_state()
    model.prepare(laws.observations(model, 10))
    model.blind_spot()
    assert model.training
    assert torch.equal(before, torch.get_rng_state())


def test_it_learns(request):
    every = request.config.getoption("--every")
    # of half as many, at two resolutions, it learns the same sooner
    n, keywords = (64, {}) if every else (32, {"scales": 2})
    model = small(DataSpec((3, 4, 4), 8), channels=8, **keywords)
    with seeded(3):
        level = torch.randint(8, (n, 1, 1, 1))
    x = level.expand(n, 3, 4, 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = model.loss(x)["loss"].item()
    for _ in range(40):
        optimiser.zero_grad()
        model.loss(x)["loss"].backward()
        optimiser.step()
    assert model.loss(x)["loss"].item() < 0.5 * before


def test_dropout_acts_in_training_alone():
    model = small(DataSpec((1, 4, 4), 4), dropout=0.5)
    x = laws.observations(model, 4)
    assert not torch.equal(model.log_likelihood(x), model.log_likelihood(x))
    model.eval()
    assert torch.equal(model.log_likelihood(x), model.log_likelihood(x))


def test_concat_elu_keeps_both_signs():
    x = torch.tensor([[[[2.0]], [[-1.0]]]])
    expected = torch.tensor([2.0, -0.6321206, -0.8646647, 1.0])
    torch.testing.assert_close(concat_elu(x).flatten(), expected)


# ---- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [DataSpec((3,), None), DataSpec((4,), 8), DataSpec((1, 4, 4), 3, ordered=False)],
)
def test_data_without_order_are_refused(spec):
    with pytest.raises(MissingCapability, match="needs pictures of ordered levels, these are"):
        PixelCNNpp(spec)


@pytest.mark.parametrize(
    "keywords",
    [{"channels": 0}, {"blocks": 0}, {"scales": 0}, {"components": 0}, {"dropout": 1.0}],
)
def test_keywords_out_of_range_are_refused(keywords):
    with pytest.raises(UsageError, match=r"are positive, dropout in \[0, 1\)"):
        PixelCNNpp(DataSpec((1, 4, 4), 4), **keywords)


def test_the_location_is_in_units_of_levels():
    """A mean of −1 is the middle of level 0, 1 that of the last."""
    model = small(DataSpec((1, 1, 1), 256))
    outputs = torch.zeros(1, 2 + 4)
    outputs[:, 2:4] = torch.tensor([-1.0, 1.0])
    ((_, components),) = model._mixture(outputs, torch.zeros(1, 1).long())
    assert isinstance(components, DiscretisedLogistic)
    torch.testing.assert_close(components.loc, torch.tensor([[0.5, 255.5]]))
    torch.testing.assert_close(components.scale, torch.full((1, 2), 127.5))
