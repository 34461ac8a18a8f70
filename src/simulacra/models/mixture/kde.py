"""Kernel density estimate: every training observation is the middle of a bump."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Categorical

from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import keys_of
from simulacra.ground.spec import DataSpec
from simulacra.models.mixture.kde_kernel import NUMBERS, Kernel
from simulacra.models.model import Completion, Likelihood, Sampling
from simulacra.models.standardised import Standardised
from simulacra.models.swept import Swept
from simulacra.models.takes import Takes
from simulacra.nn.context import ContextEmbedding
from simulacra.nn.precision import double


class KDE(Standardised, Swept, Sampling, Likelihood, Completion):
    """An equal mixture of kernels, one around each of many training observations.

    A kernel is a product over values, each with a bandwidth of its own. Of continuous vectors it
    is a normal density of the standardised value. Of levels it is met on the scale of their ranks:
    a level has the mass that all values together give it, and lies in the middle of its mass, in
    (0, 1). P(x | c) is that mass of x, times a normal density of the distance of x from c, over
    their sum; of levels without an order the distance is 0 or 1. So it sums to one, is a copy of c
    at a small bandwidth, and at a large one says how frequent each level is.

    The bandwidths climb the leave-one-out likelihood, in which no observation sees itself, by
    expectation–maximisation; the sweep that is best by validation is kept.

    Paper: E. Parzen, "On Estimation of a Probability Density Function and Mode", 1962, Ann. Math.
        Statist. 33(3).
    Departs from the paper: many values, as products (Cacoullos 1966); bandwidths by the
        leave-one-out likelihood (Habbema, Hermans and van den Broek 1974; Duin 1976), each with one
        pseudo-observation of the mean distance, so that a value which never varies keeps one; on
        levels the kernels of Aitchison and Aitken 1976, and the estimate on transformed values of
        Wand, Marron and Ruppert 1991; some of the observations where there are more than
        `centres`. Vectors are standardised, and that is counted; their bandwidths are at least
        0.001 of a standard deviation, and no copy of an observation counts for it, so that
        duplicates do not shrink them.

    Args:
        spec: Levels, or continuous vectors.
        centres: The most observations that are kept, chosen by chance. No more than 10,000 are
            ever taken, and of large observations so many that they have 16.8 million values.
        context: `label` for p(x | y), by the kernels around observations of this class: those
            which agree with what is told of a label, or all, where none does.
    """

    takes = Takes()
    exact = True
    small = ({}, {"context": "label"}, {"centres": 20})
    smaller = ({"centres": 1000}, {"centres": 100})
    points: Tensor
    keys: Tensor
    labels: Tensor
    bandwidths: Tensor
    log_mass: Tensor
    last_step: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        centres: int = 10_000,
        context: Literal["none", "label"] = "none",
    ) -> None:
        if centres < 1 or context not in ("none", "label"):
            raise UsageError(
                f"centres is positive, context none or label; got {centres}, {context}"
            )
        super().__init__(spec)
        self.centres, self.context = centres, context
        self.context_features = ContextEmbedding(context, spec)
        self.shift, self.scale = self.shift.flatten(), self.scale.flatten()
        levels, d = spec.levels, spec.dims
        kind = torch.uint8 if (levels or 0) <= 256 else torch.int32
        kind = torch.get_default_dtype() if levels is None else kind
        # of one observation, until there are data
        self.register_buffer("points", torch.full((1, d), (levels or 0) // 2, dtype=kind))
        self.register_buffer("keys", torch.zeros(1, dtype=torch.long))
        self.register_buffer("labels", torch.full((1, len(spec.parts) or 1), -1))
        self.register_buffer("bandwidths", torch.full((d,), self._usual(1)))
        self.register_buffer("log_mass", torch.full((levels or 0,), -math.log(levels or 1)))
        self.register_buffer("last_step", torch.zeros(d))

    @torch.no_grad()
    def prepare(self, x: Tensor, context: Tensor | None = None) -> None:
        """Keep the centres, and begin with the bandwidths of Scott's rule."""
        self.context_features(context, self.bandwidths[:1].expand(len(x)))
        flat = x.flatten(1)
        super().prepare(flat)
        self.points = flat[: self.centres].to(self.points.dtype)
        self.keys = keys_of(self.points).to(x.device)
        self.labels = self.labels[:1].expand(len(self.points), -1).clone()
        if context is not None:
            self.labels.copy_(context[: self.centres].view_as(self.labels))
        if self.spec.levels:
            counts = torch.bincount(self.points.flatten().long(), minlength=self.spec.levels)
            self.log_mass.copy_((double(counts) + 0.5).log().log_softmax(0))
        self.bandwidths.fill_(self._usual(len(self.points)))
        self.last_step.zero_()

    def _usual(self, count: int) -> float:
        """Scott's rule: of a deviation of 1, or that of ranks, which are uniform."""
        deviation = 1.0 if self.spec.levels is None else 12**-0.5
        return float(deviation * count ** (-1 / (self.spec.dims + 4)))

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        *rest: Any,  # noqa: ANN401 (torch's own arguments)
    ) -> None:
        """Take as many centres as there are, if they are observations of this form."""
        points = state_dict.get(f"{prefix}points")
        if points is not None and points.ndim == 2 and len(points):
            for name in ("points", "keys", "labels"):
                own = getattr(self, name)
                setattr(self, name, own[:1].expand(len(points), *own.shape[1:]).clone())
            if self.spec.levels and int(points.max()) >= self.spec.levels:
                told = f"{prefix}points has {int(points.max())}, of {self.spec.levels} levels"
                rest[-1].append(told)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    # ---- who is seen by whom ---------------------------------------------------------------------

    @property
    def _kernel(self) -> Kernel:
        numbers = (self.bandwidths, self.log_mass, self.shift, self.scale)
        return Kernel(self.spec, *map(double, numbers))

    def _seen(self, context: Tensor | None, x: Tensor, *, alone: bool = False) -> Tensor | None:
        """Which centres p(· | context) is made of, `(N, M)` booleans; all, if none is given.

        Args:
            context: Of each row.
            x: `(N, D)`.
            alone: Whether a row does not see itself: of levels one copy of it, of vectors any,
                since of a density there are none by chance.
        """
        if context is None and not alone:
            return None
        seen = self.keys.new_ones(len(x), len(self.points), dtype=torch.bool)
        if alone:
            copies = keys_of(x)[:, None].to(self.keys.device) == self.keys
            if self.spec.levels:
                copies &= copies.cumsum(1, dtype=torch.int32) == 1
            # who is alone in the world sees itself
            seen = ~copies | copies.all(1, keepdim=True)
        if context is not None:
            told = context.view(len(x), 1, self.labels.shape[1])
            fits = seen & ((told < 0) | (told == self.labels)).all(2)
            seen = torch.where(fits.any(1, keepdim=True), fits, seen)
        return seen.to(double(self.bandwidths).device)

    def _lots(self, x: Tensor, context: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Rows `(n, D)` and their context, so few that matrices of rows and centres are small."""
        size = max(1, 4 * NUMBERS // max(len(self.points), self.spec.dims))
        flat = x.flatten(1)
        for at in range(0, max(1, len(x)), size):
            rows = slice(at, at + size)
            yield flat[rows], None if context is None else context[rows]

    # ---- likelihood ------------------------------------------------------------------------------

    def log_likelihood(
        self, x: Tensor, context: Tensor | None = None, *, draws: int = 1, seed: int = 0
    ) -> Tensor:
        """log p(x) or log p(x | y), exactly, `(N,)` in nats."""
        return self._scores(x, context, alone=False)

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        """Mean negative leave-one-out log-likelihood, in nats per observation."""
        return {"loss": -self._scores(x, context, alone=True).mean()}

    def _scores(self, x: Tensor, context: Tensor | None, *, alone: bool) -> Tensor:
        self._check(x, context)
        lots = self._lots(x, context)
        found = [self._explained(rows, told, alone=alone)[0] for rows, told in lots]
        return torch.cat(found).to(self.bandwidths)

    def _explained(
        self, x: Tensor, context: Tensor | None, *, alone: bool
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihoods `(N,)`, and by how much of each which centre explains it, `(N, M)`."""
        kernel = self._kernel
        log_kernels = kernel.log_kernels(x, self.points)
        seen = self._seen(context, x, alone=alone)
        count = log_kernels.new_full((), len(self.points))
        if seen is not None:
            log_kernels.masked_fill_(~seen, -math.inf)
            count = seen.sum(1, keepdim=True)
        top = log_kernels.amax(1, keepdim=True)
        shares = log_kernels.sub_(top).exp_()
        total = shares.sum(1, keepdim=True)
        score = (top + (total / count).log())[:, 0] + kernel.own(x)
        return score, shares.div_(total)

    def _check(self, x: Tensor, context: Tensor | None) -> None:
        self.spec.check(x)
        self.context_features(context, self.bandwidths[:1].expand(len(x)))

    # ---- sweeps ----------------------------------------------------------------------------------

    @property
    def learnt(self) -> int:
        """A bandwidth for each value; and the centres, which are all that it knows."""
        return self.spec.dims + self.points.numel()

    @torch.no_grad()
    def sums(self, batches: Iterable[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, ...]:
        """The statistics of the centres: no other observation is looked at.

        Others would say little more of so few numbers. And where data are augmented or drawn anew,
        an observation is never again what it was as a centre, and would see itself.
        """
        told = self.labels if self.spec.parts else self.labels[:, 0]
        x = self.points.view(-1, *self.spec.event_shape)
        return self.statistics(x, None if self.context == "none" else told)

    @torch.no_grad()
    def statistics(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """The E-step: who explains whom, where none explains itself.

        Returns:
            The number of observations, the sum of their leave-one-out log-likelihoods, the sums of
            squared distances `(D,)`, and of responsibilities `(M,)`.
        """
        self._check(x, context)
        bound, gaps = double(self.bandwidths).sum() * 0, double(self.bandwidths) * 0
        mass = gaps.new_zeros(len(self.points))
        for rows, told in self._lots(x, context):
            scores, shares = self._explained(rows, told, alone=True)
            bound, mass = bound + scores.sum(), mass + shares.sum(0)
            gaps = gaps + self._kernel.spread(rows, self.points, shares)
        return bound.new_tensor(len(x)), bound, gaps, mass

    @torch.no_grad()
    def maximise(self, *sums: Tensor) -> dict[str, float]:
        """The M-step: kernels in which distances are as they were found to be.

        Returns:
            `loss`, the mean negative leave-one-out log-likelihood before the sweep, in nats, and
            `converged`.
        """
        count, bound, gaps, mass = sums
        loss = -float(bound) / float(count)
        # the same, however many processes have added up the same sums
        size = len(self.points)
        found = (gaps * size + gaps.mean()) / (size + 1) / count
        if self.spec.levels is None:
            widths = found.clamp_min(0).sqrt().clamp_min(_LEAST)
        else:
            widths = self._kernel.widths(found, self.points, mass)
        step = (widths / double(self.bandwidths)).log()
        if self.spec.levels is None:
            # where kernels overlap, each sweep goes a small part of the way: every other one, as
            # far as the two last ones promise (Aitken), one promise for all
            last = double(self.last_step)
            promised = ((step @ last) / (last @ last)).nan_to_num(0.0, 0.0, 0.0).clamp(0, 0.9)
            self.last_step.copy_(step * (promised == 0))
            widths = (double(self.bandwidths) * (step / (1 - promised)).exp()).clamp_min(_LEAST)
        self.bandwidths.copy_(widths)
        return {"loss": loss, "converged": float(step.abs().mean() < _TOLERANCE)}

    # ---- draws -----------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        """A centre, of the class if one is told, then a draw from its kernel."""
        self.context_features(context, self.bandwidths[:1].expand(n))
        lots = self._lots(self.points[:1].expand(n, -1), context)
        drawn = [self._draw(len(rows), self._seen(told, rows)) for rows, told in lots]
        return torch.cat(drawn).view(n, *self.spec.event_shape)

    def completes_exactly(self, observed: Tensor) -> bool:
        """Whatever is observed: given the centre, values do not depend on one another."""
        return True

    @torch.no_grad()
    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        """A centre given the observed values, then a draw of the hidden ones from its kernel."""
        self._check(x, context)
        kept = observed.expand_as(x)
        drawn, at = [], 0
        for rows, told in self._lots(x, context):
            mask = kept.flatten(1)[at : at + len(rows)]
            log_kernels = self._kernel.log_kernels(rows, self.points, mask)
            drawn.append(self._draw(len(rows), self._seen(told, rows), log_kernels))
            at += len(rows)
        hidden = torch.cat(drawn).view_as(x)
        return torch.where(kept, x.to(hidden.dtype), hidden)

    def _draw(self, n: int, seen: Tensor | None, log_kernels: Tensor | None = None) -> Tensor:
        """Draws `(n, D)` from kernels of what each row sees, `(n, M)`, by how well they explain it.

        Args:
            n: How many.
            seen: See `_seen`.
            log_kernels: Of what is observed, `(n, M)`; all kernels alike, if left out.
        """
        shares = log_kernels
        if seen is not None:
            shares = torch.zeros_like(seen, dtype=torch.double) if shares is None else shares
            shares = shares.masked_fill(~seen, -math.inf)
        if shares is None:
            centre = torch.randint(len(self.points), (n,), device=self.points.device)
        else:
            rows = Categorical(logits=shares, validate_args=False).sample()
            centre = rows.to(self.points.device)
        drawn = self._kernel.drawn(self.points[centre])
        if self.spec.levels is None:
            drawn = drawn * double(self.scale) + double(self.shift)
        return drawn.to(self.points.device, torch.long if self.spec.levels else self.points.dtype)


_LEAST = 1e-3
"""Least bandwidth of standardised vectors."""
_TOLERANCE = 5e-3
"""Converged once bandwidths change by less, as a part of themselves, on average."""
