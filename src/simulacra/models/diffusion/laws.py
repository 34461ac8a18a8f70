"""Laws of the family: of its schedules, of paths there and back, and of the solver's error."""

from __future__ import annotations

import torch

from simulacra.models.diffusion.flow_matching import FlowMatching
from simulacra.models.diffusion.gaussian import GaussianDiffusion
from simulacra.models.lawbook.law import Law, hold
from simulacra.models.lawbook.trials import contexts, observations


@torch.no_grad()
def goes_from_data_to_noise(model: GaussianDiffusion) -> None:
    """At 0 there is the observation, at 1 noise; between them ever more of it.

    α² + σ² = 1, so that variances are kept, or α + σ = 1, so that paths are straight.
    """
    alpha, sigma = (each.double() for each in model.signal(torch.linspace(0, 1, 200)))
    what = f"goes from {float(alpha[0]):.3f} x + {float(sigma[0]):.3f} ε to "
    what += f"{float(alpha[-1]):.3f} x + {float(sigma[-1]):.3f} ε"
    first = sigma[0] / alpha[0]
    # of levels there may be so much to begin with that most are told apart
    hold(bool(first < (0.05 if model.spec.levels is None else 0.5 * model.unit)), what)
    hold(bool(alpha[-1] < 0.1) and bool(sigma[-1] > 0.9), what)
    # but for what float32 rounds
    falls = bool((alpha.diff() < 1e-6).all()) and bool((sigma.diff() > -1e-6).all())
    hold(falls, "there is less noise at some later time")
    off = torch.stack([(alpha**2 + sigma**2 - 1).abs().max(), (alpha + sigma - 1).abs().max()])
    hold(float(off.min()) < 1e-5, f"neither α² + σ² nor α + σ is 1, by {float(off.min()):.1e}")


@torch.no_grad()
def comes_back_along_its_path(model: GaussianDiffusion) -> None:
    """In many steps a code leads back to its observation, and the nearer the more there are."""
    x, told = observations(model, 16), contexts(model, 16)
    model.double()
    x = x.double()
    gaps = []
    many = model.most_steps or 256
    for steps in (8, many):
        model.sampling_steps = steps
        gaps.append(float((model.decode(model.encode(x, told), told) - x).abs().mean()))
    near = gaps[1] < 0.25 and gaps[1] < gaps[0] / 2
    hold(near, f"what was encoded comes back {gaps[0]:.3f} off in 8 steps, {gaps[1]:.3f} in {many}")


@torch.no_grad()
def errs_less_in_shorter_steps(model: FlowMatching) -> None:
    """What half the steps change grows less with more of them."""
    x, told = observations(model, 8), contexts(model, 8)
    model.double()
    found = []
    for steps in (4, 16):
        model.solver_steps = steps
        error = model.solver_error(x if model.spec.levels else x.double(), told)
        assert error is not None
        found.append(float(error.abs().mean()))
    hold(found[1] < found[0] / 4, f"{found[0]:.1e} nats off in 4 steps, {found[1]:.1e} in 16")


LAWS = (
    Law("noise", GaussianDiffusion, goes_from_data_to_noise, ("picture", "vectors", "wide")),
    # weights of the size of trained ones: larger ones make paths that no number of steps follows
    Law(
        "there and back", GaussianDiffusion, comes_back_along_its_path, ("vectors", "plane"),
        scale=0.1,
    ),
    Law("solver", FlowMatching, errs_less_in_shorter_steps, ("vectors", "sequence")),
)  # fmt: skip
