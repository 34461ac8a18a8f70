"""MADE: its masks, their mean, the mixtures of vectors, and sampling a degree at a time."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

import laws
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import flops
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.made import MADE
from simulacra.nn.distributions import Narrowing
from simulacra.nn.masked_linear import MaskedLinear, MaskedLinearStream, deal_degrees

BINARY = DataSpec((1, 3, 4), 2, classes=3)
RGB = DataSpec((3, 2, 3), 4, classes=3, context_width=2)
PALETTE = DataSpec((1, 3, 3), 4, ordered=False)
SOUND = DataSpec((7,), 5)
VECTORS = DataSpec((3,), None, classes=3, context_width=2)


def built(spec, scale=0.3, **keywords):
    with seeded(0):
        model = MADE(spec, **keywords)
    x = laws.observations(model, 60)
    model.prepare(3 * x + 1 if spec.levels is None else x)
    return laws.randomise(model, scale)


def layers(model):
    return [module for module in model.modules() if isinstance(module, MaskedLinear)]


# ---- the layer -------------------------------------------------------------------------------


def test_a_masked_layer_is_a_sum_over_what_is_seen():
    sources, targets = torch.tensor([[1, 2, 3, 2], [3, 2, 1, 2]]), torch.tensor([[0, 2, 3]] * 2)
    layer = MaskedLinear(sources, targets)
    x = torch.randn(5, 4)
    for which in range(2):
        y = layer(x, which)
        for k in range(3):
            expected = layer.bias[k].expand(5)
            for j in range(4):
                if sources[which, j] <= targets[which, k]:
                    expected = expected + layer.weight[k, j] * x[:, j]
            torch.testing.assert_close(y[:, k], expected)


def test_of_a_masked_layer_only_connections_are_counted():
    layer = MaskedLinear(torch.tensor([[1, 2, 3]]), torch.tensor([[0, 1, 2, 2]]))
    connections = 0 + 1 + 2 + 2
    x = torch.randn(5, 3)
    with torch.no_grad():
        assert flops.count(layer, lambda: layer(x)) == 2 * 5 * connections
    count = flops.count(layer, lambda: layer(x).sum().backward())
    assert count == 2 * (2 * 5 * connections)


def test_the_cached_layer_gives_what_the_parallel_one_does():
    with seeded(0):
        noise = torch.rand(3, 11), torch.rand(3, 13)
        degrees = (torch.arange(11) * 8 // 11, torch.arange(13) * 8 // 13)
        sources, targets = (d[n.argsort(stable=True)] for d, n in zip(degrees, noise, strict=True))
        layer = MaskedLinear(sources, targets).double()
        x = torch.randn(4, 11, dtype=torch.float64)
        told = torch.randn(4, 13, dtype=torch.float64)
    # each mask has its own order of the same inputs
    own = torch.stack([x[:, order] for order in sources.argsort(stable=True)]).mT.contiguous()
    known = torch.zeros_like(own)
    with torch.no_grad():
        stream = MaskedLinearStream(layer, known, 8, told.T)
        found = []
        for degree in range(8):
            if degree % 3 == 0:
                stream.start(degree, min(degree + 3, 8))
            now = (sources.sort().values == degree)[:, :, None]
            known.copy_(torch.where(now, own, known))
            found.append(stream.step(degree))
        found = torch.cat(found, 1)
        for which in range(3):
            expected = (layer(x, which) + told)[:, targets[which].argsort(stable=True)]
            torch.testing.assert_close(found[which].T, expected, rtol=0, atol=1e-12)


# ---- the masks -------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["none", "label"])
@pytest.mark.parametrize("hidden", [(5,), (40,), (9, 30, 7)])
def test_no_path_leads_to_a_value_from_itself_or_a_later_one(hidden, context):
    model = MADE(BINARY, hidden=hidden, masks=3, direct=False, context=context)
    dims = BINARY.dims
    for which in range(3):
        paths = torch.eye(dims)
        for layer in layers(model):
            paths = (layer.connections(which).float() @ paths > 0).float()
        assert torch.equal(paths, paths.tril(-1))
        declared = model.blind_spot()
        assert torch.equal(paths.T == 0, declared | ~torch.ones(dims, dims).triu(1).bool())


def test_a_narrow_layer_has_a_blind_spot_and_direct_connections_have_none():
    narrow = MADE(BINARY, hidden=(3,), direct=False)
    assert narrow.blind_spot().any()
    assert not MADE(BINARY, hidden=(3,)).blind_spot().any()
    assert not MADE(BINARY, hidden=(11,), direct=False).blind_spot().any()
    # what two layers let through together is less than either alone does
    two = MADE(BINARY, hidden=(4, 3), direct=False).blind_spot()
    alone = [MADE(BINARY, hidden=(width,), direct=False).blind_spot() for width in (4, 3)]
    assert not bool((~two & (alone[0] | alone[1])).any())


@pytest.mark.parametrize("spec", [RGB, PALETTE, BINARY])
@pytest.mark.parametrize("keywords", [{"hidden": (3, 5), "masks": 2}, {"hidden": (4,)}])
def test_a_declared_blind_spot_is_what_conditionals_do_not_see(spec, keywords):
    model = built(spec, **keywords, direct=False).double()
    with torch.no_grad():
        for layer in model.W:
            # no unit is cut off by its activation: every path that there is shows
            layer.bias += 10
    laws.is_causal(model)


def test_masks_differ_and_have_as_many_connections():
    model = MADE(BINARY, hidden=(20, 20), masks=4)
    for layer in layers(model):
        counts = {int(layer.connections(which).sum()) for which in range(4)}
        assert counts == {int(layer.mask.sum())}
    between = model.W[1]
    each = [between.connections(which) for which in range(4)]
    assert not any(torch.equal(each[a], each[b]) for a in range(4) for b in range(a))


def test_masks_are_the_same_whenever_they_are_made():
    with seeded(1):
        before = torch.get_rng_state()
        one = deal_degrees(30, 1, 10, masks=3, layer=0)
        assert torch.equal(torch.get_rng_state(), before)
    with seeded(2):
        assert torch.equal(one, deal_degrees(30, 1, 10, masks=3, layer=0))
    # a mask is the same however many there are
    assert torch.equal(one[:2], deal_degrees(30, 1, 10, masks=2, layer=0))
    assert not torch.equal(one, deal_degrees(30, 1, 10, masks=3, layer=1))
    assert not any("sources" in name or "mask" in name for name in MADE(BINARY).state_dict())


@pytest.mark.parametrize(("width", "least"), [(4, 1), (9, 1), (50, 0), (10, 0)])
def test_degrees_are_spread_evenly(width, least):
    for degrees in deal_degrees(width, least, 10, masks=2, layer=0):
        counts = torch.bincount(degrees, minlength=10)
        assert counts[:least].sum() == 0
        assert counts[least:].max() - counts[least:].min() <= 1
        assert len(counts) == 10


@pytest.mark.parametrize("spec", [BINARY, VECTORS])
def test_the_mean_under_several_masks_is_that_of_probabilities(spec):
    model = built(spec, hidden=(8,), masks=3, components=2).double()
    x = laws.observations(model, 5)
    x = x.double() if spec.levels is None else x
    together = model.conditionals(x).log_prob(x).exp()
    each = []
    for which in range(3):
        alone = built(spec, hidden=(8,), masks=3, components=2).double()
        alone.masks = 1
        for layer in layers(alone):
            layer.sources, layer.targets = layer.sources[[which]], layer.targets[[which]]
        each.append(alone.conditionals(x).log_prob(x).exp())
    torch.testing.assert_close(together, torch.stack(each).mean(0))
    assert not torch.allclose(each[0], each[1])


def test_a_training_step_uses_one_mask_drawn_from_torchs_generator():
    model = built(BINARY, hidden=(20,), masks=3)
    x = laws.observations(model, 6)

    def loss(seed):
        with seeded(seed), torch.no_grad():
            return float(model.loss(x)["loss"])

    assert loss(0) == loss(1)
    model.train()
    drawn = [loss(seed) for seed in range(30)]
    assert drawn == [loss(seed) for seed in range(30)]
    assert len(set(drawn)) == 3


def test_dropout_is_for_training_alone():
    model = built(BINARY, hidden=(20,), dropout=0.5)
    x = laws.observations(model, 6)
    with torch.no_grad():
        assert float(model.loss(x)["loss"]) == float(model.loss(x)["loss"])
        model.train()
        assert float(model.loss(x)["loss"]) != float(model.loss(x)["loss"])


def test_the_first_value_hears_the_context():
    model = built(VECTORS, hidden=(6,), context="label", direct=False)
    x = torch.zeros(2, 3)
    log_prob = model.conditionals(x, torch.tensor([0, 1])).log_prob(x)
    assert log_prob[0, 0] != log_prob[1, 0]


# ---- continuous vectors ----------------------------------------------------------------------


def test_the_density_of_vectors_integrates_to_one():
    spec = DataSpec((2,), None)
    model = built(spec, hidden=(6,), components=2, masks=2).double()
    assert float(model.scale.log().sum().abs()) > 0.5
    steps = torch.arange(-4000, 4000, dtype=torch.float64) * 0.025
    with torch.no_grad():
        x = torch.stack([steps, torch.zeros_like(steps)], 1)
        first = model.conditionals(x).log_prob(x)[:, 0].exp().sum() * 0.025
        x = torch.stack([torch.full_like(steps, 0.7), steps], 1)
        second = model.conditionals(x).log_prob(x)[:, 1].exp().sum() * 0.025
    assert float(first) == pytest.approx(1, abs=1e-3)
    assert float(second) == pytest.approx(1, abs=1e-3)


def test_other_units_change_the_density_by_their_scale():
    x, scale = laws.observations(MADE(VECTORS), 50).double(), torch.tensor([10.0, 0.1, 3.0])
    scores = []
    for data in (x, x * scale + 5):
        with seeded(0):
            model = MADE(VECTORS, hidden=(8,)).double()
        model.prepare(data)
        scores.append(model.log_likelihood(data))
    torch.testing.assert_close(scores[1], scores[0] - scale.double().log().sum())


def test_draws_of_vectors_follow_their_conditionals():
    model = built(VECTORS, hidden=(8,), masks=2, components=3).double()
    with seeded(0), torch.no_grad():
        x = model.sample(20_000)
        cdf = model.conditionals(x).cdf(x)
    assert x.dtype == torch.float64
    for column in cdf.T:
        assert stats.kstest(column.numpy(), "uniform").pvalue >= 1e-6
    assert abs(float(torch.corrcoef(cdf.T)[0, 1])) < 4 / math.sqrt(20_000)


def test_the_ends_of_the_uniform_draws_give_numbers():
    model = built(VECTORS)
    prediction = torch.stack(
        [torch.tensor([-100.0, 0.0, -20.0]), torch.zeros(3), torch.ones(3)]
    ).expand(3, 3, 3)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-24])
    drawn = model.draw(prediction, uniform, Narrowing())
    assert bool(drawn.isfinite().all())
    assert drawn[0] < -5
    assert abs(float(drawn[1])) < 1e-6
    assert drawn[2] > 5


def test_vectors_are_not_narrowed():
    model = built(VECTORS)
    for option in ({"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.9}):
        with pytest.raises(MissingCapability, match="for levels"):
            list(model.sample_steps(2, **option))


def test_given_values_of_vectors_keep_all_their_digits():
    model = built(VECTORS)
    x = torch.full((4, 3), 1 / 3, dtype=torch.float64)
    observed = torch.tensor([True, False, True])
    with torch.no_grad():
        drawn = model.complete(x, observed)
    assert torch.equal(drawn[:, observed], x[:, observed])
    assert len(drawn[:, 1].unique()) == 4


# ---- sampling --------------------------------------------------------------------------------

CASES = [
    (BINARY, {"hidden": (30,)}),
    (BINARY, {"hidden": (4,), "direct": False}),
    (BINARY, {"hidden": (7, 20), "masks": 3, "context": "label"}),
    (RGB, {"hidden": (9, 30), "context": "vector", "dropout": 0.5}),
    (PALETTE, {"hidden": (20,), "masks": 2}),
    (SOUND, {"hidden": (20,)}),
]


def in_turn(predictions, canvas, x, order):
    """All predictions, the values of x being written as they come."""
    found = []
    for position, prediction in zip(order.tolist(), predictions, strict=True):
        found.append(prediction)
        canvas.view(len(x), -1)[:, position] = x.flatten(1)[:, position]
    return torch.stack(found, 1)


@pytest.mark.parametrize(("spec", "keywords"), CASES)
def test_cached_predictions_are_those_of_the_whole_network(spec, keywords):
    model = built(spec, **keywords)
    x, told = laws.observations(model, 4), laws.contexts(model, 4)
    for tolerance in (1e-5, 1e-12):
        canvas = torch.zeros_like(x), torch.zeros_like(x)
        cached = in_turn(model.in_turn(canvas[0], told), canvas[0], x, model.order)
        plain = in_turn(Autoregressive.in_turn(model, canvas[1], told), canvas[1], x, model.order)
        cached, plain = cached.log_softmax(-1), plain.log_softmax(-1)
        torch.testing.assert_close(cached, plain, rtol=tolerance, atol=tolerance)
        model.double()


@pytest.mark.parametrize("context", ["none", "vector"])
def test_cached_predictions_of_vectors_are_those_of_the_whole_network(context):
    model = built(VECTORS, hidden=(8, 5), masks=2, components=3, context=context).double()
    x, told = laws.observations(model, 4).double(), laws.contexts(model, 4)
    canvas = torch.zeros_like(x)
    cached = in_turn(model.in_turn(canvas, told), canvas, x, model.order)
    logits, loc, scale = cached.unbind(2)
    p = logits.softmax(-1) * torch.distributions.Normal(loc, scale).log_prob(x[..., None]).exp()
    torch.testing.assert_close(p.sum(-1).log(), model.conditionals(x, told).log_prob(x))


def test_a_sample_computes_each_unit_once():
    model = built(DataSpec((1, 16, 16), 2), hidden=(300, 300))
    # products that the masks undo are made only between units of one block of √dims values
    once = 2 * sum(int(layer.mask.sum()) for layer in layers(model))
    with torch.no_grad():
        count = flops.count(model, lambda: model.sample(1))
    assert once <= count <= 1.1 * once


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keywords",
    [{"hidden": ()}, {"hidden": (8, 0)}, {"masks": 0}, {"components": 0}, {"dropout": 1.0}],
)
def test_keywords_out_of_range_are_refused(keywords):
    with pytest.raises(UsageError, match="got hidden="):
        MADE(BINARY, **keywords)


def test_one_value_alone_is_a_distribution_too():
    laws.sums_to_one(built(DataSpec((1,), 4), hidden=(3,)))
    laws.sums_to_one(built(DataSpec((1,), 4, classes=2), hidden=(3,), context="label"))
