"""Laws of models that refine noise: of steps, guidance, taking noise away, and averaged draws."""

from __future__ import annotations

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts, observations
from simulacra.models.model import Likelihood
from simulacra.models.refining import Denoising, Refining


@torch.no_grad()
def refines_in_any_number_of_steps(model: Refining) -> None:
    """After any number of steps there are observations, and each step shows one."""
    told = contexts(model, 5)
    for steps in (1, 2, 5):
        with seeded(3):
            drawn = model.sample(5, told, steps=steps)
        model.spec.check(drawn)
        with seeded(3):
            shown = [x.clone() for x in model.sample_steps(5, told, steps=steps)]
        for x in shown:
            model.spec.check(x)
        expected = min(steps, model.most_steps or steps)
        hold(len(shown) == expected + 1, f"{steps} steps show {len(shown)} times what they make")
        hold(_same(shown[-1], drawn), "samples are not what the last step shows")
    try:
        model.sample(1, contexts(model, 1), steps=0)
    except UsageError:
        return
    hold(False, "0 steps are taken")


def _same(a: Tensor, b: Tensor) -> bool:
    """But for rounding, which may make another level of a value near the end of its bin."""
    if a.is_floating_point():
        return torch.allclose(a, b, rtol=1e-3, atol=1e-3)
    return float((a != b).double().mean()) < 0.05


@torch.no_grad()
def guidance_weighs_the_context(model: Refining) -> None:
    """At 1 samples are those without it, at 0 nothing is heard of the context, at 4 it is louder.

    A model that is told none refuses another weight than 1.
    """
    told, n = contexts(model, 20), 20

    def drawn(context: Tensor | None, **options: float) -> Tensor:
        with seeded(9):
            return model.sample(n, context, steps=6, **options)

    own = drawn(told)
    hold(torch.equal(drawn(told, guidance=1.0), own), "at a guidance of 1 other samples are drawn")
    if told is None:
        try:
            drawn(told, guidance=2.0)
        except UsageError:
            return
        hold(False, "a model that is told nothing takes a guidance")
        return
    deaf = drawn(told, guidance=0.0)
    hold(_same(drawn(told.flip(0), guidance=0.0), deaf), "at a guidance of 0 a context is heard")
    if model.context == "label":
        untold = drawn(torch.full_like(told, -1))
        hold(_same(untold, deaf), "at a guidance of 0 samples are not those of an untold label")
    hold(not torch.equal(drawn(told, guidance=4.0), own), "at a guidance of 4 nothing changes")


@torch.no_grad()
def denoises(model: Denoising) -> None:
    """Without noise what comes is given back; with noise, observations are."""
    x, told = observations(model, 6), contexts(model, 6)
    same = model.denoise(x.to(torch.get_default_dtype()), 0.0, told)
    model.spec.check(same)
    if model.spec.levels is None:
        gap = float((same - x).abs().max())
        hold(gap < 0.25, f"without noise a vector comes back off by {gap:.2f}")
    else:
        hold(torch.equal(same, x), "without noise levels come back as others")
    with seeded(4):
        noisy = x + torch.randn(x.shape)
    found = model.denoise(noisy, 1.0, told)
    model.spec.check(found)
    hold(found.shape == x.shape, f"of 6 observations come {tuple(found.shape)}")
    unheard = torch.equal(found, model.denoise(noisy, 0.0, told))
    hold(not unheard, "the size of the noise is unheard")


@torch.no_grad()
def draws_are_averaged(model: Refining) -> None:
    """With several draws a likelihood is on average what it is with one, and more certain.

    The log of a mean of exponentials would rise with each draw.
    """
    assert isinstance(model, Likelihood)
    x, told = observations(model, _AVERAGED), contexts(model, _AVERAGED)
    one, several = (
        torch.stack([model.log_likelihood(x, told, draws=n, seed=s + n) for s in range(2)]).double()
        for n in (1, _TOGETHER)
    )
    apart = several.mean(0) - one.mean(0)
    error = 4 * float(apart.std()) / _AVERAGED**0.5 + 1e-4
    what = f"{_TOGETHER} draws take the mean log-likelihood from {float(one.mean()):.4f} to "
    what += f"{float(several.mean()):.4f}, by more than {error:.4f}: they are not averaged"
    hold(abs(float(apart.mean())) <= error, what)
    spread = [float((each[0] - each[1]).square().mean()) for each in (one, several)]
    hold(spread[1] < spread[0], f"{_TOGETHER} draws are no more certain than one")


_AVERAGED, _TOGETHER = 64, 4
"""Observations of which draws are averaged, and how many are drawn together."""


def averages(model: Refining) -> bool:
    """Whether it has a likelihood whose draws are averaged."""
    return isinstance(model, Likelihood) and model.averaged


LAWS = (
    Law(
        "steps", Refining, refines_in_any_number_of_steps,
        ("picture", "vectors", "sequence", "palette"),
    ),
    # of more values than those of which a trace is exact
    Law("averaged draws", Refining, draws_are_averaged, ("picture", "colour-picture"), averages),
    Law("guidance", Refining, guidance_weighs_the_context, ("picture", "vectors", "palette")),
    # larger weights than these would be sure of another level than that which came
    Law("denoising", Denoising, denoises, ("picture", "vectors", "sequence"), scale=0.1),
)  # fmt: skip
