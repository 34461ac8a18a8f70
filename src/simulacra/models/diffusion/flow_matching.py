"""Flow matching: velocities of straight paths from data to noise, and the density they move."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keyed_normal, keyed_uniform, keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.diffusion.base import stratified, wide
from simulacra.models.diffusion.gaussian import GaussianDiffusion, Prediction
from simulacra.models.stages import Stage
from simulacra.nn.distributions import log_mean_exp
from simulacra.nn.levels import to_levels


class FlowMatching(GaussianDiffusion):
    """A velocity field that moves noise to data, learnt on straight paths between pairs of them.

    z_t = (1 − t) y + t ε has the velocity ε − y; the network learns its mean given z_t, which moves
    the density of noise to that of data. Levels are dequantised, y = x + u with u ~ U[0, 1)^D, on
    [−1, 1]. By the instantaneous change of variables log p(y) = log N(z_1) + ∫ tr ∂v/∂z dt along
    the path of y, which is followed in steps of the classic Runge–Kutta method. Of few values the
    trace is exact, and draws of u weigh by importance; of more it is estimated without bias (M.
    Hutchinson 1990), by one random direction for each draw, and draws are averaged. What a solver
    of half the steps finds otherwise is `solver_error`.

    Paper: Y. Lipman, R. T. Q. Chen, H. Ben-Hamu, M. Nickel, M. Le, "Flow Matching for Generative
        Modeling", 2023, arXiv 2210.02747; pairs by optimal transport after A. Tong et al., 2023,
        arXiv 2302.00482; density after R. T. Q. Chen et al., 2018, arXiv 1806.07366, and W.
        Grathwohl et al., 2018, arXiv 1810.01367.
    Departs from the paper: time goes from data to noise; σ_min is 0; a small U-Net; samples are
        drawn by Euler's method, with what is predicted of levels kept on [−1, 1]; dequantisation;
        early times are learnt from most often; a vector is learnt from at eight times in one step.

    Args:
        spec: Ordered levels, or continuous vectors.
        coupling: Which noise goes with which observation of a batch: independent, or ot, so that
            paths are short together (optimal transport, without a context alone: among
            observations that are told otherwise it would say something of what is told).
        solver_steps: Of the likelihood's solver, each of four calls of the network.
        keywords: Of the network, see `Diffusion`.
    """

    preset: ClassVar = {"lr": 4e-3}
    small: ClassVar[tuple[dict[str, Any], ...]] = (
        {"channels": 4, "hidden": (8,), "sampling_steps": 3, "solver_steps": 8},
        {
            "channels": 4, "hidden": (8, 8), "sampling_steps": 3, "solver_steps": 8,
            "context": "label",
        },
        {"channels": 4, "hidden": (8,), "sampling_steps": 3, "solver_steps": 8, "coupling": "ot"},
    )  # fmt: skip

    def __init__(
        self,
        spec: DataSpec,
        *,
        coupling: Literal["independent", "ot"] = "independent",
        solver_steps: int = 16,
        **keywords: Any,  # noqa: ANN401 (those of the base)
    ) -> None:
        super().__init__(spec, "v", **keywords)
        if solver_steps < 2 or coupling not in ("independent", "ot"):
            raise UsageError(
                "solver_steps is at least 2 and coupling is independent or ot, got "
                f"{solver_steps} and {coupling!r}"
            )
        if coupling == "ot" and self.context != "none":
            raise UsageError(
                "coupling=ot pairs noise with what is told too, so that noise drawn later is of "
                "another density than what was learnt from: leave it out, or the context"
            )
        self.coupling, self.solver_steps = coupling, solver_steps

    @property
    def _trace_is_exact(self) -> bool:
        return self.spec.dims <= _EXACT

    @property
    def exact(self) -> bool:
        """Of few continuous values, but for `solver_error`."""
        return self.spec.levels is None and self._trace_is_exact

    @property
    def averaged(self) -> bool:
        """Where the trace is estimated."""
        return not self._trace_is_exact

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, whose best step is chosen by what is learnt, at the same times and noise always."""
        (stage,) = super().stages
        return (replace(stage, validation_loss=self.validation_loss),)

    # ---- between the units of data and of z ------------------------------------------------------

    @property
    def unit(self) -> float:
        """What a level, or a deviation of vectors, is in units of z."""
        return 1.0 if self.spec.levels is None else 2 / self.spec.levels

    def scaled(self, x: Tensor) -> Tensor:
        """The middle of each level's bin on [−1, 1], or standardised vectors."""
        if self.spec.levels is None:
            return self.standardised(x)
        return (x.to(self.shift.dtype) + 0.5) * self.unit - 1

    def unscaled(self, y: Tensor) -> Tensor:
        """The levels in whose bins values lie, or vectors."""
        if self.spec.levels is None:
            return y * self.scale + self.shift
        return to_levels((y + 1) / self.unit, self.spec.levels)

    def _dequantised(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Anywhere in the bin of each level; vectors as they are."""
        y = self.scaled(x)
        return y if self.spec.levels is None else y + (uniform - 0.5) * self.unit

    # ---- straight paths --------------------------------------------------------------------------

    def signal(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """1 − t and t."""
        return 1 - time, time

    def split(self, z: Tensor, time: Tensor, output: Tensor) -> Prediction:
        """By the velocity ε − y, which the network predicts."""
        t = wide(time, z)
        return z - t * output, z + (1 - t) * output

    def velocity(self, z: Tensor, time: Tensor, told: Tensor) -> Tensor:
        """dz/dt at z `(N, *event_shape)` and times `(N,)`."""
        x, noise = self.predict(z, time, told)
        return noise - x

    def _errors(self, y: Tensor, told: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Squared error of the velocity, summed over an observation, `(N,)`."""
        t = wide(time, y)
        found = self.velocity((1 - t) * y + t * noise, time, told)
        return (found - (noise - y)).square().flatten(1).sum(1)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """The squared error of the velocity, summed over an observation (equation 23).

        Times are squares of uniform ones, for early ones say most of a density: its score is off by
        (1 − t) / t of what the velocity is. On digits, after 1,400 steps, that took 2.5 nats off
        the bound, and no quality from samples.
        """
        rows = len(x)
        x, context = self.several(x, context)
        y = self._dequantised(x, torch.rand(x.shape, device=x.device))
        noise = torch.randn_like(y)
        if self.coupling == "ot":
            # a batch is paired, as often as each of it is looked at
            for first in range(copies := len(y) // rows):
                noise[first::copies] = _paired(y[first::copies], noise[first::copies])
        told = self.told(context, y)
        time = stratified(len(y), y).square()
        return {"loss": self._errors(y, told, time, noise).mean()}

    def validation_loss(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """The squared error at one time of each observation, and with one noise; see `loss`."""
        keys = keys_of(x, 0)
        y = self._dequantised(x, keyed_uniform(keys + 1, self.spec.event_shape).to(self.shift))
        noise = keyed_normal(keys + 2, self.spec.event_shape).to(y)
        time = keyed_uniform(keys, ()).to(y).square()
        return self._errors(y, self.context_features(context, y), time, noise)

    # ---- the density -----------------------------------------------------------------------------

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """Log p(x) of vectors; of levels the dequantisation bound; see the class. Nats, `(N,)`."""
        return self._solved(x, context, 1 if self.exact else draws, seed, self.solver_steps)

    def solver_error(
        self, x: Tensor, context: Tensor | None = None, *, seed: int = 0
    ) -> Tensor | None:
        """What half as many steps change, which is more than what is left; see `Likelihood`."""
        fine, coarse = (
            self._solved(x, context, 1, seed, steps)
            for steps in (self.solver_steps, self.solver_steps // 2)
        )
        return coarse - fine

    def _solved(
        self, x: Tensor, context: Tensor | None, draws: int, seed: int, steps: int
    ) -> Tensor:
        self.spec.check(x)
        found, keys = [], keys_of(x, seed)
        for draw in range(draws):
            uniform, direction = keyed_uniform(keys + draw, (2, *self.spec.event_shape)).unbind(1)
            y = self._dequantised(x, uniform.to(self.shift))
            signs = torch.where(direction < 0.5, -1.0, 1.0).to(y)
            log_p = self.log_density(y, context, signs, steps)
            found.append(log_p + self.spec.dims * math.log(self.unit) - self.scale.log().sum())
        each = torch.stack(found)
        return each.mean(0) if self.averaged else log_mean_exp(each)

    def log_density(self, y: Tensor, context: Tensor | None, signs: Tensor, steps: int) -> Tensor:
        """Log p(y) in nats `(N,)`, of y in units of z.

        Args:
            y: `(N, *event_shape)`.
            context: One row for each.
            signs: −1 and 1 at random, shaped as y: the direction along which the trace is
                estimated, where it is.
            steps: Of the solver.
        """
        told = self.context_features(context, y)
        z, total = y, y.new_zeros(len(y))
        # the density of data is rougher than that of noise, and asks for shorter steps
        times = [(step / steps) ** _SHORTER for step in range(steps + 1)]
        for now, then in pairwise(times):
            step = then - now
            speeds: list[Tensor] = []
            traces: list[Tensor] = []
            for at, share in zip((0, 0.5, 0.5, 1), (0, 0.5, 0.5, 1), strict=True):
                moved = z + step * share * speeds[-1] if speeds else z
                speed, trace = self._with_trace(moved, now + at * step, told, signs)
                speeds.append(speed)
                traces.append(trace)
            z, total = (
                value + step / 6 * (k[0] + 2 * k[1] + 2 * k[2] + k[3])
                for value, k in ((z, speeds), (total, traces))
            )
        normal = (z.square() + math.log(2 * math.pi)).flatten(1).sum(1) / 2
        return total - normal

    def _with_trace(
        self, z: Tensor, time: float, told: Tensor, signs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The velocity, and the trace of its derivative or an estimate of it, `(N,)`."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            speed = self.velocity(z, torch.full((len(z),), time).to(z), told)
            if not self._trace_is_exact:
                (slope,) = torch.autograd.grad((speed * signs).sum(), z)
                return speed.detach(), (slope * signs).flatten(1).sum(1)
            flat, trace = speed.flatten(1), z.new_zeros(len(z))
            for value in range(flat.shape[1]):
                (slope,) = torch.autograd.grad(flat[:, value].sum(), z, retain_graph=True)
                trace = trace + slope.flatten(1)[:, value]
        return speed.detach(), trace


def _paired(y: Tensor, noise: Tensor) -> Tensor:
    """The noise in an order that goes with y, so that squared distances sum to least."""
    from scipy.optimize import linear_sum_assignment  # slow to import

    costs = torch.cdist(y.detach().flatten(1).float(), noise.flatten(1).float()).square()
    _, columns = linear_sum_assignment(costs.cpu().numpy())
    return noise[torch.as_tensor(columns, device=y.device)]


_EXACT = 16
"""Values of an observation up to which the trace is exact, at the cost of a gradient for each."""
_SHORTER = 1.5
"""Power that times of the solver are of. On digits of 17 levels 8 steps are then off by 0.1 nat,
and by 1.1 where all are as long; 16 of a method of two calls by 0.5, its best."""
