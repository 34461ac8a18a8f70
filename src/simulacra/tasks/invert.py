"""Inversion: which code of a generator makes a real observation, and how nearly."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import keys_of, seeded
from simulacra.models.at_once import rows_at_once
from simulacra.models.game import Game
from simulacra.models.inversion import RESTARTS, STEPS, chosen, nearing, unit_of
from simulacra.models.model import Encoding, Model
from simulacra.models.modes import evaluating, scoring
from simulacra.nn.precision import double
from simulacra.tasks.codes import looked_at
from simulacra.tasks.sample import device_of

MISFIT = 0.1
"""What a code is sought with: half of what completions take a generator to lack, for here nothing
else is to be told from an observation than how near to it the generator comes."""
_AT_ONCE = 16
"""Observations together, where they are small."""
_MOST = 50_000
"""Training observations among which the nearest is sought."""
_COMPARED = 4096
"""Of these at once."""


@dataclass(frozen=True, eq=False)
class Inversion:
    """Codes that were found for observations, on the CPU, and what they generate.

    Residuals are the root of the mean square over an observation's values: of levels in levels; of
    vectors in standard deviations of the data, where the model standardises.

    Args:
        codes: `(N, …)`.
        x: What they decode to, of the form of the data, `(N, *event_shape)`.
        residual: What is left between that and the observations, `(N,)` float64.
        sample: The same of samples of the model, the mean of those that were begun at, `(N,)`.
        steps: Gradients that were gone along for each observation, of all restarts together.
    """

    codes: Tensor
    x: Tensor
    residual: Tensor
    sample: Tensor
    steps: int


def generates(model: Model) -> Game:
    """The model, if gradients go back through what it generates.

    Raises:
        MissingCapability: If it is no game, with what to use instead.
    """
    if isinstance(model, Game):
        return model
    name = type(model).__name__
    instead = "its codes are told by encode, and what they lack by reconstruct"
    if not isinstance(model, Encoding):
        instead = "use gan, or vae with reconstruct"
    raise MissingCapability(f"{name} has no generator to invert: {instead}")


@scoring()
def invert(model: Model, x: Tensor, context: Tensor | None = None, *, seed: int = 0) -> Inversion:
    """Seek the code of each observation: a generator has no encoder, and this is what it costs.

    Eight codes of the prior go down |G(z) − x|² / 2s² + |z|² / 2, the first over half the range of
    levels and s = 0.1, for 100 steps each; the cheapest of them is kept. Their beginnings belong to
    the seed and the observation, so that a row does not depend on what else is in its batch.

    Args:
        model: A game; in eval mode meanwhile.
        x: Observations `(N, *event_shape)`, at least one.
        context: One row for each.
        seed: Of the codes that are begun at.

    Raises:
        MissingCapability: If the model has no such generator.
        UsageError: If `x` is not of the form of the data.

    Example:
        >>> import simulacra as sim, torch
        >>> spec = sim.DataSpec((1, 4, 4), levels=16)
        >>> gan = sim.build("gan", spec, {"latent": 2, "hidden": (8,)})
        >>> found = sim.invert(gan, gan.eval().sample(3))
        >>> found.codes.shape, found.x.shape, bool((found.residual < 1).all())
        (torch.Size([3, 2]), torch.Size([3, 1, 4, 4]), True)
    """
    game = generates(model)
    if not len(x):
        raise UsageError("invert needs at least one observation")
    model.spec.check(x)
    if not bool(x.isfinite().all()):
        raise UsageError("invert needs observations of finite numbers, and some are not")
    if context is not None and len(context) != len(x):
        raise UsageError(f"invert needs a context for each of {len(x)} rows, got {len(context)}")
    device = device_of(model)
    keys = keys_of(x.cpu(), seed).tolist()

    def begun(rows: range, told: Tensor | None) -> Tensor:
        starts = []
        for at, row in enumerate(rows):
            own = None if told is None else told[at : at + 1].expand(RESTARTS, *told.shape[1:])
            with seeded(seed, keys[row]):
                starts.append(game.prior(RESTARTS, own))
        return torch.stack(starts)

    def found(rows: range, steps: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Codes, what they decode to, and how far samples are; after some steps, or all."""
        lot = slice(rows.start, rows.stop)
        told = None if context is None else context[lot].to(device)
        y, starts = x[lot].to(device), begun(rows, told)
        *_, (codes, costs) = islice(nearing(game, y, starts, told, misfit=MISFIT), steps)
        best = chosen(codes, costs.nan_to_num(nan=torch.inf).argmin(1))
        many = None if told is None else told.repeat_interleave(RESTARTS, 0)
        samples = game.decode(starts.flatten(0, 1), many).unflatten(0, starts.shape[:2])
        far = distance(game, samples, y[:, None]).mean(1)
        return best.cpu(), game.decode(best, told).cpu(), far.cpu()

    with evaluating(model):
        # what is kept from step to step is there after a few
        size = rows_at_once(lambda n: found(range(n), _FEW), min(len(x), _AT_ONCE))
        lots = [range(at, min(at + size, len(x))) for at in range(0, len(x), size)]
        codes, again, far = (torch.cat(parts) for parts in zip(*map(found, lots), strict=True))
        return Inversion(codes, again, distance(game, again, x.cpu()), far, RESTARTS * STEPS)


_FEW = 3
_VALUES = 1 << 24
"""Of training observations at once, of eight bytes each."""


def distance(model: Game, a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean square over values, float64; see `Inversion`.

    Args:
        model: In whose units it is.
        a: Observations `(…, *event_shape)`.
        b: Others, with whose leading axes those of `a` agree.
    """
    unit = 1.0 if model.spec.levels is not None else unit_of(model)
    unit = unit.to(a.device) if isinstance(unit, Tensor) else unit
    gap = (double(a) - double(b)) / (double(unit) if isinstance(unit, Tensor) else unit)
    return gap.flatten(-len(model.spec.event_shape)).square().mean(-1).sqrt()


def nearest(model: Game, x: Tensor, data: Dataset) -> tuple[Tensor, int]:
    """How far the nearest training observation is: what whoever remembers data would do.

    Args:
        model: In whose units it is; see `Inversion`.
        x: Observations `(N, *event_shape)`, on the CPU.
        data: That the model learned from.

    Returns:
        `(N,)` float64, and among how many training observations: 50,000 at most.
    """
    unit = 1.0 if model.spec.levels is not None else unit_of(model)
    unit = unit.cpu().double() if isinstance(unit, Tensor) else unit
    rows = looked_at(data.train, _MOST)
    own = (x.double() / unit).flatten(1)
    best = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for lot in rows.split(max(1, min(_COMPARED, _VALUES // model.spec.dims))):
        other = (data.train.batch(lot)[0].double() / unit).flatten(1)
        # products would leave something of what is nothing
        apart = torch.cdist(own, other, compute_mode="donot_use_mm_for_euclid_dist")
        best = best.minimum(apart.amin(1))
    return best / model.spec.dims**0.5, len(rows)
