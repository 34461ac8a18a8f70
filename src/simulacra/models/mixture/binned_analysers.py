"""Levels as bins of factor analysers: which explain an observation, and a bound on its mass.

Given its code z the values of an observation do not depend on each other, so the mass of their
bins is a product: p(x | k) = E_z Π_d [Φ(b_d) − Φ(a_d)]. What is left is an integral over z. Its
integrand has one top, for a normal distribution's mass in a bin is log-concave in its mean. The
method of Newton finds it, and the curvature there says what the draws of an importance sampler are
made of.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical

from simulacra.models.mixture.analysers import Analysers
from simulacra.nn.distributions import DiscretisedNormal


class Binned(NamedTuple):
    """A mixture of factor analysers whose draws are put into bins.

    Args:
        analysers: In units of levels, of which level k is the bin [k, k + 1).
        levels: How many.
        shares: Weights of the components over all data, `(K,)`.
    """

    analysers: Analysers
    levels: int
    shares: Tensor

    def of(self, values: Tensor) -> Binned:
        """The marginal distribution of some values, by a mask."""
        return self._replace(analysers=self.analysers.of(values))

    def wide(self) -> Binned:
        """In float64, where the device has it."""
        analysers = Analysers(*map(_wide, self.analysers))
        return Binned(analysers, self.levels, _wide(self.shares))


class Tops(NamedTuple):
    """A place near where p(x, z | k) is largest, of pairs of an observation and a component.

    Args:
        codes: The place, `(P, R)`.
        joint: log p(x, z | k) there, but for log √(2π) of each factor, `(P,)`.
        factors: Cholesky factors of its negative second derivatives there, `(P, R, R)`.
        steps: That of Newton's method from there, `(P, R)`.
        gains: What this gains if log p is a parabola, `(P,)`.
        safe: A step that never leads down, `(P, R)`.
    """

    codes: Tensor
    joint: Tensor
    factors: Tensor
    steps: Tensor
    gains: Tensor
    safe: Tensor

    @property
    def evidence(self) -> Tensor:
        """log p(x | k) if log p(x, z | k) is a parabola in z, `(P,)`."""
        return self.joint + self.gains - self.factors.diagonal(dim1=1, dim2=2).log().sum(1)

    def cautious(self) -> Tensor:
        """A step further, `(P, R)`: the safe one where Newton's is a leap, which may go too far."""
        leap = self.gains > 2
        return self.codes + torch.where(leap[:, None], self.safe, self.steps)

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Codes z + F⁻ᵀ ε, and −log q of them but for log √(2π) of each factor."""
        upper = self.factors.mT
        moved = torch.linalg.solve_triangular(upper, noise[..., None], upper=True)[..., 0]
        log_det = upper.diagonal(dim1=1, dim2=2).log().sum(1)
        return self.codes + moved, 0.5 * noise.square().sum(1) - log_det


class Pairs:
    """Observations beside components, sorted by these so that each is one product of matrices.

    Args:
        binned: The mixture.
        x: Observations `(N, D)`.
        components: Some for each observation, `(N, M)`.
    """

    def __init__(self, binned: Binned, x: Tensor, components: Tensor) -> None:
        analysers, self.levels, _ = binned
        self.analysers, self.shape = analysers, components.shape
        self.component, self.order = components.flatten().sort(stable=True)
        self.counts = self.component.bincount(minlength=len(analysers.means)).tolist()
        self.row = self.order // components.shape[1]
        # as curved as values are that are known to a point
        points = Analysers(*map(_wide, analysers))
        self.steepest = points.inner(points.scales.square().reciprocal())[1].detach()
        self.values = x.to(analysers.means.dtype)[self.row]

    @property
    def scales(self) -> Tensor:
        """Of each pair's component, `(P, D)`."""
        return self.analysers.scales[self.component]

    def sorted(self, each: Tensor) -> Tensor:
        """`(N, M, …)` as the pairs are sorted, `(P, …)`."""
        return each.flatten(0, 1)[self.order]

    def back(self, each: Tensor) -> Tensor:
        """`(P, …)` as `(N, M, …)`."""
        return each[self.order.argsort()].unflatten(0, self.shape)

    def _each(self, of_pairs: Tensor) -> list[tuple[Tensor, Tensor]]:
        return list(zip(of_pairs.split(self.counts), self.analysers.loadings, strict=True))

    def locations(self, codes: Tensor) -> Tensor:
        """μ_k + Λ_k z, `(P, D)`."""
        moved = torch.cat([z @ loadings.T for z, loadings in self._each(codes)])
        return self.analysers.means[self.component] + moved

    def edges(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Where the bins begin and end, in standard deviations from their means, `(P, D)` each."""
        width = self.scales.reciprocal()
        lower = (self.values - self.locations(codes)) * width
        upper = lower + width
        # an open bin ends so far away that nothing is beyond
        return (
            torch.where(self.values <= 0, upper - _OPEN, lower),
            torch.where(self.values >= self.levels - 1, lower + _OPEN, upper),
        )

    def log_mass(self, codes: Tensor) -> Tensor:
        """log p(x | z, k), `(P,)`: to seven digits or less, with its gradient, for training."""
        return _log_mass(*self.edges(codes)).sum(1)

    def log_mass_exact(self, codes: Tensor) -> Tensor:
        """log p(x | z, k), `(P,)`, to the last digit in the farthest tail."""
        normal = DiscretisedNormal(
            self.locations(codes), self.scales, self.levels, validate_args=False
        )
        return normal.log_prob(self.values).sum(1)

    def newton(self, codes: Tensor) -> Tops:
        """What there is at a place, and the step from there towards the top."""
        lower, upper = self.edges(codes)
        log_mass, at_lower, at_upper = _slopes(lower, upper)
        slope = at_lower - at_upper
        # the mass of a bin lies between that of a point, whose curvature is 1, and of all, 0
        curvature = slope.square() - lower * at_lower + upper * at_upper
        # far away it is that of a point, which is lost in the digits of the squares
        far = torch.maximum(lower, -upper) > _FARTHER
        curvature = curvature.clamp_(0, 1).masked_fill_(far, 1) / self.scales.square()
        # the steepest direction may be 10⁸ times as curved as the flattest, too much for float32
        rank = codes.shape[1]
        inner = torch.cat(
            [
                h @ _wide(loadings[:, :, None] * loadings[:, None]).flatten(1)
                for h, loadings in self._each(_wide(curvature))
            ]
        ).unflatten(1, (rank, rank))
        identity = torch.eye(rank, dtype=inner.dtype, device=inner.device)
        factors = torch.linalg.cholesky_ex(inner + identity).L
        pulled = [g @ loadings for g, loadings in self._each(slope / self.scales)]
        uphill = torch.cat(pulled) - codes
        step, safe = (
            torch.cholesky_solve(uphill[..., None].to(factors), each)[..., 0].to(codes)
            for each in (factors, self.steepest[self.component])
        )
        joint = log_mass.sum(1) - 0.5 * codes.square().sum(1)
        gains = 0.5 * (uphill * step).sum(1)
        return Tops(codes, joint, factors.to(codes), step, gains, safe)

    def climbed(self, tops: Tops, steps: int) -> Tops:
        """So many steps of Newton's method; where one led down, a safe one is taken."""
        at = tops.codes + tops.steps
        for _ in range(steps):
            found = self.newton(at)
            up = found.joint >= tops.joint
            tops = Tops(
                *(
                    torch.where(up.view(-1, *[1] * (new.dim() - 1)), new, old)
                    for new, old in zip(found, tops, strict=True)
                )
            )
            at = tops.codes + torch.where(up[:, None], tops.steps, tops.safe)
        return tops._replace(codes=tops.cautious())


@torch.no_grad()
def explained(
    binned: Binned, x: Tensor, log_mixing: Tensor, *, ranked: int, kept: int, steps: int
) -> tuple[Tensor, Tops, Pairs]:
    """The components that explain observations best, `(N, kept)`, and their tops.

    Args:
        binned: The mixture.
        x: Observations `(N, D)`.
        log_mixing: Log-weights of the components, `(N, K)`.
        ranked: How many are looked at by a step of Newton's method, the best by their Gaussians.
        kept: How many of these, the best by that step.
        steps: Of Newton's method after that.
    """
    # squares of what is large beside its noise need float64
    wide = binned.wide()
    log_density, codes = wide.analysers.given(*filled(wide, x))
    chosen = (log_mixing + log_density).topk(min(ranked, len(binned.shares)), 1).indices
    pairs = Pairs(binned, x, chosen)
    tops = pairs.newton(pairs.sorted(_picked(codes.to(log_mixing), chosen)))
    if kept < chosen.shape[1]:
        evidence = log_mixing.gather(1, chosen) + pairs.back(tops.evidence)
        best = evidence.topk(kept, 1).indices
        chosen = chosen.gather(1, best)
        several = [_picked(pairs.back(each), best) for each in tops]
        pairs = Pairs(binned, x, chosen)
        tops = Tops(*map(pairs.sorted, several))
    return chosen, pairs.climbed(tops, steps), pairs


@torch.no_grad()
def resampled(binned: Binned, x: Tensor, log_mixing: Tensor, trials: int) -> tuple[Tensor, Tensor]:
    """A component `(N,)` and factors `(N, R)` of each observation, as its posterior has them.

    One of several draws from the Gaussians at the tops of all components, by their importance: the
    posterior itself in the limit of many.

    Args:
        binned: The mixture, of the values that are seen.
        x: Observations `(N, D)`.
        log_mixing: Log-weights of the components, `(N, K)`.
        trials: How many draws.
    """
    count = len(binned.shares)
    chosen, tops, pairs = explained(binned, x, log_mixing, ranked=count, kept=count, steps=1)
    log_mixing = log_mixing.gather(1, chosen)
    likely = (log_mixing + pairs.back(tops.evidence)).log_softmax(1)
    trial = drawn(likely, trials)
    component = chosen.gather(1, trial)
    pairs_drawn = Pairs(binned, x, component)
    begun = Tops(*(pairs_drawn.sorted(_picked(pairs.back(each), trial)) for each in tops))
    codes, log_weight = begun.draw(torch.randn_like(begun.codes))
    log_weight = log_weight - 0.5 * codes.square().sum(1) + pairs_drawn.log_mass(codes)
    weights = pairs_drawn.back(log_weight) + (log_mixing - likely).gather(1, trial)
    one = drawn(weights, 1)
    return component.gather(1, one)[:, 0], _picked(pairs_drawn.back(codes), one)[:, 0]


def drawn(logits: Tensor, count: int = 0) -> Tensor:
    """Numbers of columns by their probabilities, `(N,)`, or `(N, count)`."""
    numbers = Categorical(logits=logits, validate_args=False).sample((count or 1,))
    return numbers.T if count else numbers[0]


def _picked(each: Tensor, numbers: Tensor) -> Tensor:
    """Of `(N, M, …)` some columns of each row, `(N, m, …)`."""
    rows = torch.arange(len(each), device=each.device)[:, None]
    return each[rows, numbers]


def filled(binned: Binned, x: Tensor) -> tuple[Tensor, Tensor]:
    """What stands for levels where bins are taken for points: `(N, D)`, and its variance `(D,)`.

    An inner bin is its middle. An outer one is open, and what lies in it is known by the model
    alone: its mean, and its variance, under all components together.

    Args:
        binned: The mixture.
        x: Observations `(N, D)`.
    """
    analysers, levels, weights = binned
    variances = analysers.scales.square() + analysers.loadings.square().sum(2)
    deviations = variances.sqrt()
    places, masses, spread = [], [], []
    for edge, side in ((1.0, -1.0), (levels - 1.0, 1.0)):
        # beyond t deviations from the mean lie a mass, and r, the mean of what lies there
        t = side * (edge - analysers.means) / deviations
        log_mass, r, _ = _slopes(t, t + _OPEN)
        mean = analysers.means + side * deviations * r
        within = variances * (1 + t * r - r.square()).clamp_min(0)
        share = weights[:, None] * log_mass.exp() + _TINY
        total = share.sum(0)
        place = (share * mean).sum(0) / total
        spread.append((share * (within + (mean - place).square())).sum(0) / total)
        places.append(place)
        masses.append(total.clamp_max(1))
    inner = (1 - masses[0] - masses[1]).clamp_min(0) / 12
    noise = inner + masses[0] * spread[0] + masses[1] * spread[1]
    y = torch.where(x <= 0, places[0], torch.where(x >= levels - 1, places[1], x + 0.5))
    return y, noise


def _slopes(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log(Φ(b) − Φ(a)) for a < b, and φ(a) and φ(b) divided by this mass; without gradients.

    Several times faster than by log Φ. Beyond twelve deviations it is right to a part in 144.
    """
    low, high = torch.maximum(lower, -upper), torch.maximum(upper, -lower)
    near = low.clamp_max(_FAR)
    # numbers that underflow take ten times as long
    beyond = (high - low + near).mul_(_ROOT).clamp_max_(9.0)
    log_mass = torch.erfc(near * _ROOT).sub_(torch.erfc(beyond)).mul_(0.5).log_()
    log_unit = log_mass + _LOG_UNIT
    at_lower, at_upper = (
        each.square().mul_(-0.5).sub_(log_unit).clamp_min_(-80.0).exp_() for each in (lower, upper)
    )
    far = low > _FAR
    if bool(far.any()):
        # φ(p) / p, less that of the end; off by a part in p²
        p, width = low[far], (high - low)[far]
        end = torch.exp(-width * (p + 0.5 * width))
        log_mass[far] = torch.log1p(-end) - p.log() - 0.5 * p.square() - _LOG_UNIT
        near_edge = p / (1 - end)
        mirrored = lower[far] < 0
        at_lower[far] = torch.where(mirrored, near_edge * end, near_edge)
        at_upper[far] = torch.where(mirrored, near_edge, near_edge * end)
    return log_mass, at_lower, at_upper


def _wide(x: Tensor) -> Tensor:
    """In float64, but for Apple's GPU, which has none."""
    return x if x.device.type == "mps" else x.double()


class _LogMass(torch.autograd.Function):
    """`_slopes` with its gradient."""

    @staticmethod
    def forward(ctx: Any, lower: Tensor, upper: Tensor) -> Tensor:  # noqa: ANN401 (autograd's own)
        log_mass, at_lower, at_upper = _slopes(lower, upper)
        ctx.save_for_backward(at_lower, at_upper)
        return log_mass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        at_lower, at_upper = ctx.saved_tensors
        return -grad * at_lower, grad * at_upper


def _log_mass(lower: Tensor, upper: Tensor) -> Tensor:
    found: Tensor = _LogMass.apply(lower, upper)  # type: ignore[no-untyped-call]
    return found


_FAR, _FARTHER, _OPEN, _TINY = 12.0, 50.0, 1e4, 1e-30
_ROOT, _LOG_UNIT = math.sqrt(0.5), 0.5 * math.log(2 * math.pi)
