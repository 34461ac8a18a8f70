"""Laws of autoregressive models: no value sees a later one, and samplers agree."""

from __future__ import annotations

from types import MethodType

import torch
from torch import Tensor

from simulacra.ground.randomness import seeded
from simulacra.models.autoregressive.base import Autoregressive, level_logits
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts, observations, one_context, states


@torch.no_grad()
def is_causal(model: Autoregressive) -> None:
    """A value changes no conditional up to its own; it reaches all later ones but the blind."""
    x = observations(model, 16)
    told = contexts(model, 16)
    before = level_logits(model.conditionals(x, told), x, model.spec.levels).flatten(1, -2)
    rank = torch.empty(model.spec.dims, dtype=torch.long)
    rank[model.order] = torch.arange(model.spec.dims)
    blind = model.blind_spot()
    for i in range(model.spec.dims):
        changed = x.flatten(1).clone()
        changed[:, i] = (changed[:, i] + 1) % (model.spec.levels or 1)
        conditionals = model.conditionals(changed.view_as(x), told)
        after = level_logits(conditionals, x, model.spec.levels).flatten(1, -2)
        moved = (after != before).any(-1).any(0)
        later = rank > rank[i]
        hold(not bool((moved & ~later).any()), f"value {i} is seen too early")
        hold(torch.equal(moved, later & ~blind[i]), f"value {i} does not reach what it should")


@torch.no_grad()
def samples_incrementally(model: Autoregressive) -> None:
    """The model's own sampler and the plain one draw the same pictures from the same numbers."""
    model.double()
    for seed in range(2):
        told = contexts(model, 32)
        with seeded(seed):
            *_, own = model.sample_steps(32, told)
        # for a while the model has no cached form
        model.in_turn = MethodType(Autoregressive.in_turn, model)  # type: ignore[method-assign]
        with seeded(seed):
            *_, plain = model.sample_steps(32, told)
        del model.in_turn
        hold(torch.equal(own, plain), "the two samplers differ")
    model.float()


@torch.no_grad()
def predicts_in_turn(model: Autoregressive) -> None:
    """The cached predictions are the parallel ones: 1e-12 in float64, 1e-5 in float32.

    Or, where that is more, what rounding does to the parallel pass itself.
    """
    x, told = observations(model, 5), contexts(model, 5)

    def parallel() -> Tensor:
        logits = level_logits(model.conditionals(x, told), x, model.spec.levels)
        return logits.flatten(1, -2).softmax(-1)

    model.double()
    exact = parallel()
    for double in (True, False):
        model.double() if double else model.float()
        expected = parallel()
        rounding = 4 * float((expected - exact).abs().max())
        canvas = torch.zeros_like(x)
        flat = canvas.view(len(x), -1)
        for position, logits in zip(model.order.tolist(), model.in_turn(canvas, told), strict=True):
            gap = float((logits.softmax(-1) - expected[:, position]).abs().max())
            allowed = 1e-12 if double else max(1e-5, rounding)
            hold(gap < allowed, f"the prediction of value {position} is off by {gap:.1e}")
            # known only now
            flat[:, position] = x.flatten(1)[:, position]
    model.float()


def is_close_in_bfloat16(model: Autoregressive) -> None:
    """Under autocast every prediction moves by little of what the network has to say of it.

    That is how far predictions of a value are from one another, which differ by what came before:
    a network that is deaf under autocast is as far off as they are.
    """
    x = observations(model, 32)

    def predicted() -> Tensor:
        return level_logits(model.conditionals(x), x, model.spec.levels).flatten(1, -2)

    with torch.no_grad():
        exact = predicted()
        with torch.autocast("cpu", torch.bfloat16):
            low = predicted()
    hold(low.dtype == torch.float32, f"predictions are {low.dtype}")
    # the first value has nothing before it
    later = model.order[1:]
    moved = (low - exact)[:, later].square().mean(0)
    says = exact[:, later].var(0)
    share = float((moved.sum() / says.sum()).sqrt())
    hold(share < 0.25, f"bfloat16 moves predictions by {share:.3f} of what they vary")
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(x)["loss"]
    hold(loss.dtype == torch.float32, f"the loss is {loss.dtype}")
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    finite = all(g is not None and bool(g.isfinite().all()) for g in gradients)
    hold(finite, "a gradient is missing or not finite")


@torch.no_grad()
def resamples_towards_its_conditional(model: Autoregressive) -> None:
    """Of more candidates the completions come nearer to p(hidden | observed), until they are it.

    Total variation over a tiny space, of which the values that come last are observed.
    """
    x = states(model)
    observed = torch.zeros(model.spec.dims, dtype=torch.bool)
    observed[model.order[model.spec.dims // 2 :]] = True
    observed = observed.view(model.spec.event_shape)
    hold(not model.completes_exactly(observed), "this mask must be approximate")
    log_p = model.log_likelihood(x, one_context(model, len(x))).double()
    n = 6_000
    place = (model.spec.levels or 0) ** torch.arange(model.spec.dims - 1, -1, -1)

    def gap(given: Tensor, candidates: int) -> float:
        p = log_p.exp() * (x == given)[:, observed].all(1)
        with seeded(candidates):
            drawn = model.complete(
                given.expand(n, *given.shape), observed, one_context(model, n),
                candidates=candidates,
            )  # fmt: skip
        counts = torch.bincount((drawn.flatten(1) * place).sum(1), minlength=len(x)).double()
        changed = counts[(x != given)[:, observed].any(1)].sum()
        hold(float(changed) == 0, "an observed value changed")
        return float((counts / n - p / p.sum()).abs().sum()) / 2

    # of all observations the one whose completion from what lies before is worst
    worst = max(x[:: max(1, len(x) // 16)], key=lambda given: gap(given, 1))
    one, four, many = (gap(worst, candidates) for candidates in (1, 4, 32))
    hold(one > 0.05, "a mask that is hardly approximate shows nothing")
    hold(four < 0.8 * one, f"four candidates are as far off as one: {four:.3f} and {one:.3f}")
    # the bias of 32 candidates, and the noise of so many draws
    hold(many < 0.05, f"32 candidates are still off by {many:.3f}")


@torch.no_grad()
def does_nothing_of_nothing(model: Autoregressive) -> None:
    """No observations are scored, drawn and completed as well as some."""
    x, told = observations(model, 0), contexts(model, 0)
    observed = torch.zeros(x.shape[1:], dtype=torch.bool)
    hold(model.log_likelihood(x, told).shape == (0,), "scores come of no observations")
    hold(model.sample(0, told).shape == x.shape, "samples come when none are asked for")
    hold(model.complete(x, observed, told).shape == x.shape, "completions come of nothing")


def has_its_own_sampler(model: Autoregressive) -> bool:
    """Whether it predicts one value otherwise than all: there are two samplers to compare."""
    return type(model).in_turn is not Autoregressive.in_turn


def on_levels(model: Autoregressive) -> bool:
    """Whether predictions are of levels, which are compared."""
    return model.spec.levels is not None


_PICTURES = ("picture", "colour-picture", "palette", "sequence")

LAWS = (
    Law("causality", Autoregressive, is_causal, _PICTURES, value_by_value=True),
    Law(
        "incremental sampling", Autoregressive, samples_incrementally, _PICTURES,
        has_its_own_sampler, value_by_value=True,
    ),
    # weights of the size of trained ones: larger ones enlarge what float32 rounds away
    Law(
        "incremental prediction", Autoregressive, predicts_in_turn, _PICTURES, value_by_value=True,
        scale=0.1,
    ),
    Law("empty batches", Autoregressive, does_nothing_of_nothing, ("colour-picture", "sequence")),
)  # fmt: skip
