"""What a model costs: by hand where that can be, and kept by a run."""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Categorical

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.figures.cost import cost, rows_for, sampled_once
from simulacra.models import registry
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.model import Latent, Sampling
from simulacra.runs.run import Run
from simulacra.training.memory import STATUS
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Plan
from simulacra.training.progress import Outcome, Progress

TINY = {
    "gmm": {"components": 4},
    "vae": {"latent": 2, "hidden": (16,)},
    "pixelcnn": {"channels": 4, "layers": 1},
    "gan": {"latent": 2, "hidden": (16,)},
    "nice": {"hidden": (16,)},
}


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def build(name, data, **keywords):
    with seeded(0):
        model = registry.build(name, data.spec, TINY[name] | keywords)
        model.prepare(data.train.batch(torch.arange(200))[0])
    return model.eval()


def products(*modules):
    """FLOPs of every linear layer, used once."""
    layers = [part for module in modules for part in module.modules()]
    return sum(2 * part.weight.numel() for part in layers if isinstance(part, nn.Linear))


# ---- operations ----------------------------------------------------------------------------------


def test_operations_of_linear_layers_by_hand(digits):
    gan = build("gan", digits)
    found = cost(gan, digits)
    generator, discriminator = products(gan.generator), products(gan.discriminator)
    assert found.flops_per_sample == generator
    # the discriminator judges real and generated ones, the generator moves by its judgement
    assert found.flops_per_observation == 2 * (generator + discriminator) + discriminator
    layers = gan.generator.body[0][0], gan.discriminator.body[1]
    first, judged = (2 * layer.weight.numel() for layer in layers)
    # backwards: of both judgements all but their inputs' gradients, then, with the discriminator
    # held still, of one judgement those alone, and of the generator all but its code's
    turns = (generator + 6 * discriminator - 2 * judged, 3 * generator + 2 * discriminator - first)
    assert found.flops_per_training_step == sum(turns)
    nice = build("nice", digits)
    found = cost(nice, digits)
    assert found.flops_per_observation == found.flops_per_sample == products(nice)
    # the first coupling's input needs no gradient
    first = 2 * nice.maps[0].m[0].weight.numel()
    assert found.flops_per_training_step == 3 * products(nice) - first
    vae = build("vae", digits)
    found = cost(vae, digits)
    assert found.flops_per_observation == products(vae.encoding, vae.decoding)
    assert found.flops_per_sample == products(vae.decoding)


def test_what_masks_hide_costs_nothing(digits):
    model = build("pixelcnn", digits)
    found = cost(model, digits)
    ones = sum(int(m.mask.sum()) for m in model.modules() if isinstance(m, nn.Conv2d))
    assert found.flops_per_observation == found.flops_per_sample == 2 * ones * 64


def test_operations_that_are_not_counted_are_not_called_none_at_all(digits):
    found = cost(build("gmm", digits), digits)
    assert found.flops_per_sample is None
    assert found.parameters == 3 + 2 * 4 * 64


# ---- calls, one after another --------------------------------------------------------------------


class Table(Autoregressive):
    """The reference sampler over a network that is called as a whole."""

    def __init__(self, spec):
        super().__init__(spec)
        self.network = nn.Linear(spec.dims, spec.dims * spec.levels)

    def conditionals(self, x, context=None):
        logits = self.network(x.flatten(1).float()).view(*x.shape, -1)
        return Categorical(logits=logits, validate_args=False)


class ByRows(Table):
    """A row for each call."""

    def sample_steps(self, n, context=None, *, temperature=1.0, given=None, observed=None):
        canvas, _ = self.blank(n, given, observed)
        for row in range(self.spec.event_shape[1]):
            canvas[:, :, row] = self.conditionals(canvas, context).sample()[:, :, row]
            yield canvas


class Refining(Sampling):
    """One network, again and again, as in diffusion; what it does within counts once."""

    def __init__(self, spec):
        super().__init__(spec)
        self.start = nn.Linear(4, spec.dims)
        inner = nn.Linear(spec.dims, spec.dims)
        self.network = nn.Sequential(inner, nn.Tanh(), inner)

    def loss(self, x, context=None, *, turn="model"):
        return {"loss": self.network(x.flatten(1).float()).square().mean()}

    def sample(self, n, context=None):
        z = self.start(torch.randn(n, 4))
        for _ in range(7):
            z = self.network(z)
        return (z > 0).long().view(n, *self.spec.event_shape)


class Shared(Latent):
    """A decoder that uses its only layer three times."""

    def __init__(self, spec):
        super().__init__(spec)
        layer = nn.Linear(spec.dims, spec.dims)
        self.decoder = nn.Sequential(layer, layer, layer)

    def loss(self, x, context=None, *, turn="model"):
        return {"loss": self.decoder(x.flatten(1).float()).square().mean()}

    def prior(self, n, context=None):
        return torch.randn(n, self.spec.dims)

    def decode(self, z, context=None):
        return (self.decoder(z) > 0).long().view(len(z), *self.spec.event_shape)


def forwards(model):
    """How often each part runs while one sample is drawn."""
    counts = Counter()
    handles = [
        part.register_forward_hook(lambda part, *_: counts.update([part]))
        for part in model.children()
    ]
    model.sample(1)
    for handle in handles:
        handle.remove()
    return counts


@pytest.mark.parametrize(("made", "calls"), [(Table, 64), (ByRows, 8), (Refining, 7), (Shared, 1)])
def test_calls_are_those_that_are_made(digits, made, calls):
    model = made(digits.spec).eval()
    assert sampled_once(model, digits)[1] == calls == max(forwards(model).values())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize(("name", "calls"), {**dict.fromkeys(TINY, 1), "pixelcnn": 64}.items())
def test_calls_of_the_models_of_the_registry(digits, name, calls):
    assert sampled_once(build(name, digits), digits)[1] == calls


def test_each_colour_takes_a_call():
    spec = DataSpec((3, 4, 5), 4)
    split = Observations(torch.randint(0, 4, (200, 3, 4, 5), dtype=torch.uint8))
    data = Dataset("made", spec, split, split, split)
    assert sampled_once(build("pixelcnn", data), data)[1] == 60


# ---- the whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_measuring_leaves_model_and_generator_as_they_were(digits, name):
    model = build(name, digits)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    found = cost(model, digits)
    assert torch.equal(state, torch.get_rng_state())
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert found.seconds_for_1 > 0
    assert found.samples_per_second > 0
    assert found.training_seconds is None


@pytest.mark.parametrize("name", ["pixelcnn", "gan"])
def test_a_conditional_model_is_told_contexts(digits, name):
    model = build(name, digits, context="label")
    found = cost(model, digits, Outcome(True, 5, 1.5, 0, None, 7_000_000, spent={"steps": 1.5}))
    assert None not in vars(found).values()
    assert (found.training_seconds, found.training_peak_bytes) == (1.5, 7_000_000)
    x, context = rows_for(model, digits.validation, len(digits.validation) + 2)
    assert len(x) == len(context)
    assert torch.equal(context[-2:], context[:2])
    assert rows_for(build(name, digits), digits.validation, 3)[1] is None


class Failing(Shared):
    def sample(self, n, context=None):
        raise ValueError("the constraint of a distribution")


def test_a_model_that_cannot_sample_has_no_figures_of_it(digits):
    found = cost(Failing(digits.spec).eval(), digits)
    of_samples = ("flops_per_sample", "seconds_for_1", "samples_per_second", "sequential_calls")
    assert {getattr(found, key) for key in of_samples} == {None}
    assert found.flops_per_training_step > 0
    spoilt = build("vae", digits)
    with torch.no_grad():
        spoilt.decoding.layers[0].weight.fill_(math.nan)
    assert cost(spoilt, digits).parameters > 0


# ---- kept by a run -------------------------------------------------------------------------------


def test_the_highest_peak_is_kept():
    progress = Progress()
    progress.note_peak(None)
    assert Outcome.of(progress, Plan(1, 1)).peak_bytes is None
    for grown, kept in ((5, 5), (3, 5), (None, 5), (8, 8)):
        progress.note_peak(grown)
        assert Outcome.of(progress, Plan(1, 1)).peak_bytes == kept


def create(folder, data, name, **options):
    return Run.create(
        folder, model=name, keywords=TINY[name], data=data, budget=Budget(12, "steps"),
        options=Options(batch=16, device="cpu", **options),
    )  # fmt: skip


def test_a_run_keeps_its_peak_and_its_outcome(digits, tmp_path, monkeypatch):
    grown = iter([50, 40, 30, *[20] * 20])
    monkeypatch.setattr("simulacra.training.memory.PeakMemory.growth", lambda _: next(grown))
    run = create(tmp_path / "run", digits, "gan")
    seen = []
    stopped = run.train(digits, on_record=seen.append, should_stop=lambda: len(seen) >= 2)
    assert not stopped.finished
    assert stopped.peak_bytes == 50
    kept = Run.open(run.folder).outcome()
    # the checkpoint does not know yet what it took itself
    assert kept.seconds <= stopped.seconds
    assert replace(kept, seconds=stopped.seconds, spent=stopped.spent) == stopped
    # a later part of the training needs less
    done = Run.open(run.folder).train(digits)
    assert done.finished
    assert (done.steps, done.peak_bytes) == (12, 50)
    assert Run.open(run.folder).outcome() == done


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
def test_a_larger_model_needs_more_memory_whichever_is_trained_first(digits, tmp_path):
    peaks = []
    for number, width in enumerate((1024, 16, 1024)):
        run = Run.create(
            tmp_path / str(number), model="vae", keywords={"hidden": (width, width)}, data=digits,
            budget=Budget(2, "steps"), options=Options(batch=16, device="cpu"),
        )  # fmt: skip
        peaks.append(run.train(digits).peak_bytes)
    # weights, their average, gradients, two moments, and a copy that becomes a checkpoint
    least = 5 * 4 * 2 * 1024**2
    assert peaks[1] < least < peaks[2]
    assert peaks[0] == pytest.approx(peaks[2], rel=0.25)
