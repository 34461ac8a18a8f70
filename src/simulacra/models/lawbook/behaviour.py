"""Laws of what a model does: learn, draw, complete, encode, and listen to its context."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import (
    contexts,
    learnt_with,
    observations,
    one_context,
    players_of,
    precision_of,
)
from simulacra.models.model import (
    Completion,
    Decoding,
    Encoding,
    Invertible,
    Latent,
    Likelihood,
    Model,
    Sampling,
)


def moves_one_player(model: Model) -> None:
    """Each turn's loss gives gradients to its own player, all of it, and to no one else."""
    x, told = observations(model, 8), learnt_with(model, 8)
    model.train()
    for turn in players_of(model):
        model.zero_grad(set_to_none=True)
        model.loss(x, told, turn=turn)["loss"].backward()
        own = {id(p) for p in model.player(turn).parameters()}
        for name, parameter in model.named_parameters():
            moved = parameter.grad is not None and bool((parameter.grad != 0).any())
            mine = id(parameter) in own
            what = "moves" if moved else "stays"
            hold(moved == mine, f"{name} {what} in the turn of the {turn}")
        hold(all(p.requires_grad for p in model.parameters()), "a parameter stays frozen")
    model.eval()


def learns_by_steps(model: Model) -> bool:
    """Whether it has a loss that is gone down, and is not fitted by sweeps."""
    return bool(players_of(model))


def takes_context_alone(model: Model) -> bool:
    """Whether it learns by steps, and is told nothing but a context."""
    return learns_by_steps(model) and model.classes_in_batch is None


def has_one_loss(model: Model) -> bool:
    """Whether it learns by steps, and all are down the same loss; of players each has its own."""
    by_steps = [stage for stage in model.stages if stage.turns]
    return len(players_of(model)) == 1 and len(by_steps) == 1


def has_codes(model: Decoding) -> bool:
    """Whether it says what there is to decode."""
    return isinstance(model, Latent | Encoding)


def learns_what_it_scores(model: Likelihood) -> None:
    """A few small steps down `loss` raise the mean log-likelihood of what they were taken on."""
    x, told = observations(model, 32), learnt_with(model, 32)

    @torch.no_grad()
    def mean() -> float:
        # the noise of a bound belongs to the observation, and is the same before and after
        seeds, draws = range(1 if model.exact else 4), 8 if model.averaged else 1
        with seeded(11):
            scores = [
                model.log_likelihood(x, told, draws=draws, seed=seed).double().mean()
                for seed in seeds
            ]
        return float(torch.stack(scores).mean())

    (turn,) = players_of(model)
    before = mean()
    model.train()
    # each several times, where a loss is random
    times = 1 if model.exact else 8
    many = x.repeat(times, *[1] * (x.ndim - 1))
    many_told = None if told is None else told.repeat(times, *[1] * (told.ndim - 1))
    with seeded(10):
        for _ in range(4):
            model.zero_grad(set_to_none=True)
            model.loss(many, many_told, turn=turn)["loss"].backward()
            _step(model, 0.01)
    model.eval()
    after = mean()
    what = f"steps down `loss` take the mean log-likelihood from {before:.4f} to {after:.4f}"
    hold(after > before, what)


@torch.no_grad()
def _step(model: Model, length: float) -> None:
    """All weights a step of this length against their gradients."""
    moved = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    steepness = torch.stack([grad.double().square().sum() for _, grad in moved]).sum().sqrt()
    for parameter, grad in moved:
        parameter.sub_(grad * (length / float(steepness.clamp_min(1e-30))))


@torch.no_grad()
def draws_what_data_are(model: Sampling) -> None:
    """Samples are of the data's form; the same seed gives the same ones, another others."""
    told, drawn = contexts(model, 5), []
    for seed in (0, 0, 1):
        with seeded(seed):
            drawn.append(model.sample(5, told))
        hold(len(drawn[-1]) == 5, f"of 5 samples {len(drawn[-1])} came")
        model.spec.check(drawn[-1])
    hold(torch.equal(drawn[0], drawn[1]), "the same seed gives other samples")
    hold(not torch.equal(drawn[0], drawn[2]), "another seed gives the same samples")


@torch.no_grad()
def completes(model: Completion) -> None:
    """Observed values stay, hidden ones are drawn, whatever the hidden input was."""
    x, told = observations(model, 64), contexts(model, 64)
    with seeded(5):
        observed = torch.rand(model.spec.event_shape) < 0.5
        observed.view(-1)[:2] = torch.tensor([True, False])
        each = torch.rand(x.shape) < 0.5
    for mask in (observed, each, torch.ones_like(observed), torch.zeros_like(observed)):
        with seeded(6):
            drawn = model.complete(x, mask, told)
        model.spec.check(drawn)
        kept = mask.expand_as(x)
        hold(torch.equal(drawn[kept], x[kept]), "an observed value changed")
        other = torch.where(kept, x, torch.zeros_like(x))
        with seeded(6):
            again = model.complete(other, mask, told)
        hold(torch.equal(again, drawn), "hidden values are seen")


@torch.no_grad()
def encodes_without_noise(model: Encoding) -> None:
    """A code is that of its observation alone, and nothing random is in it."""
    x, told = observations(model, 7), contexts(model, 7)
    with seeded(0):
        codes = model.encode(x, told)
    hold(len(codes) == 7, f"of 7 observations {len(codes)} codes came")
    with seeded(1):
        again = model.encode(x, told)
    hold(torch.equal(codes, again), "a code depends on chance")
    alone = torch.cat(
        [model.encode(x[i : i + 1], None if told is None else told[i : i + 1]) for i in range(7)]
    )
    # float32 has seven digits, of which a path of several calls loses one or two
    near = torch.isclose(alone, codes, rtol=1e-4, atol=1e-4)
    hold(bool(near.all()), "a code depends on what else is in its batch")


@torch.no_grad()
def decodes_to_data(model: Decoding) -> None:
    """What is decoded is of the data's form."""
    x, told = observations(model, 5), contexts(model, 5)
    with seeded(0):
        codes = model.prior(5, told) if isinstance(model, Latent) else None
        codes = model.encode(x, told) if isinstance(model, Encoding) else codes
        assert codes is not None
        again = model.decode(codes, told)
    model.spec.check(again)
    hold(again.shape == x.shape, f"of 5 codes come observations {tuple(again.shape)}")


@torch.no_grad()
def narrows(model: Latent) -> None:
    """At a temperature of 1 codes are the prior's own, below they spread less, and are decoded."""
    told = one_context(model, 500)

    def drawn(what: Callable[..., Tensor], **options: float) -> Tensor:
        with seeded(12):
            return what(500, told, **options)

    own, narrow = drawn(model.prior), drawn(model.prior, temperature=0.5)
    for what in (model.prior, model.sample):
        same = torch.equal(drawn(what, temperature=1.0), drawn(what))
        hold(same, "at a temperature of 1 it draws otherwise than without one")
    model.spec.check(drawn(model.sample, temperature=0.5))
    spread = [float(codes.double().std(0).mean()) for codes in (narrow, own)]
    wide = f"codes spread by {spread[0]:.3f} at temperature 0.5, and by {spread[1]:.3f} at 1"
    hold(spread[0] < 0.9 * spread[1], wide)
    with seeded(12):
        codes = model.prior(500, told, temperature=0.5)
        same = torch.equal(drawn(model.sample, temperature=0.5), model.decode(codes, told))
    hold(same, "samples of a temperature are not decoded from codes of it")


@torch.no_grad()
def comes_back(model: Invertible) -> None:
    """Decoding undoes encoding: levels exactly, vectors to 1e-4, in float64 to 1e-9.

    So does the map itself, before levels are rounded, by the model's own measure.
    """
    own = precision_of(model)
    for dtype in dict.fromkeys((own, torch.float64)):
        model.to(dtype)
        x, told = observations(model, 16), contexts(model, 16)
        x = x if model.spec.levels else x.to(dtype)
        again = model.decode(model.encode(x, told), told)
        gap = float((again - x).abs().max())
        allowed = 0 if model.spec.levels else 1e-9 if dtype == torch.float64 else 1e-4
        hold(gap <= allowed, f"decoding what was encoded is off by {gap:.1e}")
        errors = model.inverse_error(x, told)
        hold(tuple(errors.shape) == (16,), f"of 16 come inverse errors {tuple(errors.shape)}")
        worst, allowed = float(errors.max()), 1e-9 if dtype == torch.float64 else 1e-4
        hold(worst < allowed, f"the inverse error is {worst:.1e}")
    model.to(own)


@torch.no_grad()
def keeps_contexts_apart(model: Model) -> None:
    """Another context in row j leaves row i alone, and changes scores and samples of row j.

    So does a label that is not told, or whose first part is not.
    """
    told = contexts(model, 4)
    assert told is not None
    other = told.clone()
    other[2] = told[3]
    _hears_row_2(model, told, other, "context")
    if model.context == "label":
        # beside the first class, which a careless model takes it for
        first, untold = told.clone(), told.clone()
        first[2] = untold[2] = 0
        untold.view(4, -1)[2, 0] = -1
        _hears_row_2(model, first, untold, "untold label")


def _hears_row_2(model: Model, told: Tensor, other: Tensor, what_changed: str) -> None:
    x = observations(model, 4)
    asked: list[tuple[str, Callable[[Tensor], Tensor]]] = []
    if isinstance(model, Likelihood):
        asked.append(("score", lambda c: model.log_likelihood(x, c)))
    if isinstance(model, Encoding):
        asked.append(("code", lambda c: model.encode(x, c)))
    if isinstance(model, Sampling):
        asked.append(("sample", lambda c: model.sample(4, c)))
    for what, ask in asked:
        # of a few levels the same numbers may draw the same ones from other probabilities
        for seed in range(4, 20):
            with seeded(seed):
                before = ask(told)
            with seeded(seed):
                after = ask(other)
            rest = [0, 1, 3]
            hold(torch.equal(before[rest], after[rest]), "a row heard another row's context")
            heard = not torch.equal(before[2], after[2])
            if heard or what == "code":
                break
        # a code may leave what it was told to who decodes it
        hold(heard or what == "code", f"the {what_changed} changes no {what}")


@torch.no_grad()
def refuses_another_context(model: Model) -> None:
    """A context that is not wanted is an error, and so is one that lacks."""
    x = observations(model, 4)
    wrong = torch.zeros(4).long() if model.context == "none" else None
    try:
        model.loss(x, wrong, turn=players_of(model)[0])
    except UsageError:
        return
    hold(False, f"context={model.context!r}, and {'one' if wrong is not None else 'none'} is taken")


def validates_otherwise(model: Model) -> bool:
    """Whether it is chosen by anything but its likelihood, of which other laws are."""
    usual = (Model.validation_loss, Likelihood.validation_loss)
    own = any(stage.validation_loss is not None for stage in model.stages)
    return own or type(model).validation_loss not in usual


@torch.no_grad()
def validates_without_chance(model: Model) -> None:
    """What the best step is chosen by is a number of each observation, the same at each look."""
    x, told = observations(model, 9), learnt_with(model, 9)
    own = [stage.validation_loss for stage in model.stages if stage.validation_loss is not None]
    for score in (model.validation_loss, *own):
        found = []
        for seed in (0, 1):
            with seeded(seed):
                found.append(score(x, told))
        first, again = found
        if first is None or again is None:
            hold(first is again, "it validates at one look, and not at another")
            continue
        hold(tuple(first.shape) == (9,), f"of 9 observations come losses {tuple(first.shape)}")
        hold(torch.equal(first, again), "the validation loss depends on chance")
        # those of classes are about what else is in the batch
        if model.classes_in_batch is None:
            few = score(x[:2], None if told is None else told[:2])
            near = few is not None and torch.allclose(few, first[:2], rtol=1e-4, atol=1e-4)
            hold(near, "an observation's validation loss depends on what else is in its batch")


LAWS = (
    Law(
        "turns", Model, moves_one_player, ("picture", "vectors", "sequence", "palette"),
        learns_by_steps,
    ),
    Law(
        "learning", Likelihood, learns_what_it_scores, ("grey", "plane", "sequence", "palette"),
        has_one_loss,
    ),
    Law(
        "draws", Sampling, draws_what_data_are,
        ("picture", "colour-picture", "vectors", "sequence", "palette"),
    ),
    Law("completion", Completion, completes, ("grey", "rgb", "colour-picture", "vectors")),
    Law("encoding", Encoding, encodes_without_noise, ("picture", "palette", "vectors", "rgb")),
    Law(
        "decoding", Decoding, decodes_to_data, ("picture", "colour-picture", "vectors"),
        has_codes,
    ),
    Law(
        "temperature", Latent, narrows, ("picture", "vectors"), lambda model: model.narrows,
    ),
    Law("inverse", Invertible, comes_back, ("grey", "wide", "colour-picture", "vectors")),
    Law(
        "contexts", Model, keeps_contexts_apart, ("picture", "vectors"),
        lambda model: isinstance(model, Likelihood | Encoding | Sampling), told=True,
    ),
    Law(
        "context refused", Model, refuses_another_context, ("picture", "vectors"),
        takes_context_alone,
    ),
    Law(
        "validation", Model, validates_without_chance, ("picture", "vectors", "sequence"),
        validates_otherwise,
    ),
)  # fmt: skip
