"""Verification: are two observations of one identity? By the distance between their codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.groups import identities
from simulacra.data.splits import permutation
from simulacra.ground.randomness import seeded
from simulacra.judging.figures.figure import Figure
from simulacra.judging.figures.roc import Pairs, Rates, RocFigures, VerificationFigures
from simulacra.models.model import Encoding, Model
from simulacra.nn.levels import as_input
from simulacra.nn.precision import moments
from simulacra.tasks.codes import encode_split

MOST = 1000
"""Observations that are paired, at most: half a million pairs."""
_EACH = 10
"""Of each identity at least, where there are more than that would leave room for all."""
_DRAWS = 300
"""Of the bootstrap; each takes milliseconds."""
_FEWEST = 5
"""Identities from which on the bootstrap says something."""
_POINTS = 60
"""Of a curve that is drawn, the closer the fewer are taken wrongly."""
_COMPONENTS = 32
"""Principal components, of up to `MOST` training observations."""


def chosen(who: Tensor, most: int | None = None) -> Tensor:
    """Which observations are paired, `(n,)`: some of each of as many identities as there is room.

    Args:
        who: Of each, `(N,)`; −1 where it is not told.
        most: So many, at most; `MOST` by default.
    """
    most = most or MOST
    drawn = permutation(len(who))
    drawn = drawn[who[drawn] >= 0]
    order = who[drawn].argsort(stable=True)
    counts = who[drawn].unique(return_counts=True)[1]
    members = drawn[order].split(counts.tolist())
    each, rows, count = max(_EACH, most // len(members)), list[Tensor](), 0
    for one in permutation(len(members)).tolist():
        rows.append(members[one][:each])
        count += len(rows[-1])
        if count >= most:
            break
    return torch.cat(rows)[:most].sort().values


def verification(model: Encoding, data: Dataset) -> VerificationFigures | None:
    """How well distances between codes of test observations say which are of one identity.

    Groups are the identities; of a model that learns from batches of classes, what it learns from.
    Beside it stands the same of the values themselves and of their principal components: levels as
    numbers from −1 to 1, vectors standardised. Thresholds are chosen on the validation split.
    Intervals are of a bootstrap over identities, of five at least.

    Args:
        model: In eval mode.
        data: With its training split, which components are fitted to.

    Returns:
        Nothing where the data have no identities, or no two test observations are of one.
    """
    if model.classes_in_batch is None and data.spec.rate and not data.options.get("groups"):
        # windows of a recording are counted together, but it is nobody
        return None
    tested, validated = (_take(model, split) for split in (data.test, data.validation))
    if tested is None:
        return None
    count = len(tested.who.unique())
    classes = model.classes_in_batch is not None and bool(data.spec.classes)
    found = VerificationFigures(
        kind="class" if classes else "group", identities=count, observations=len(tested.who),
        unseen=not classes and not _met(data),
    )  # fmt: skip
    if count == len(tested.who):
        return None
    if count < 2:
        return replace(found, reason="all test observations are of one of them")
    seen = _Values(data)
    ways: dict[str, Callable[[Observations], Tensor]] = {
        "codes": lambda split: encode_split(model, split),
        "values": seen.of,
        "components": seen.components,
    }
    measured, areas = dict[str, RocFigures](), dict[str, Tensor]()
    for name, codes in ways.items():
        pairs = Pairs.of(codes(tested.split), tested.who)
        others = None if validated is None else Pairs.of(codes(validated.split), validated.who)
        held = None if others is None else others.rates()
        threshold = held.best_threshold if held is not None and held.known else None
        measured[name], areas[name] = _roc(pairs, count, threshold)
        found = replace(
            found, same=int(pairs.same.sum()), different=int((~pairs.same).sum()),
            validation_identities=0 if validated is None else len(validated.who.unique()),
        )  # fmt: skip
    gain = measured["codes"].area.value - measured["values"].area.value
    beyond = _figure(gain, areas["codes"] - areas["values"], len(tested.who))
    return replace(
        found, codes=measured["codes"], values=measured["values"],
        components=measured["components"], beyond=beyond, of_components=seen.count,
    )  # fmt: skip


@dataclass(frozen=True)
class _Taken:
    split: Observations
    who: Tensor


def _take(model: Model, split: Observations) -> _Taken | None:
    """Some observations and whose each is; nothing where nobody knows."""
    who = split.groups if model.classes_in_batch is None else identities(split, model.spec)
    if who is None or not bool((who >= 0).any()):
        return None
    rows = chosen(who)
    return _Taken(split.take(rows), who[rows])


def _met(data: Dataset) -> bool:
    """Whether a group of the test split is one of the training split too, as ready splits may."""
    train, test = data.train.groups, data.test.groups
    return train is not None and test is not None and bool(torch.isin(test, train).any())


class _Values:
    """Observations as numbers that a distance can be told of, `(n, D)`, and their components."""

    def __init__(self, data: Dataset) -> None:
        self.spec = data.spec
        self.train = data.train.take(permutation(len(data.train))[:MOST])
        self.shift, self.scale = torch.zeros(()), torch.ones(())
        if self.spec.levels is None:
            self.shift, self.scale = moments(self.train.batch(torch.arange(len(self.train)))[0])
        x = self.of(self.train)
        self.mean = x.mean(0)
        x -= self.mean
        # of fewer rows than values the products of rows tell the same, much sooner
        variances, vectors = torch.linalg.eigh(x @ x.T)
        known = variances > variances[-1].clamp_min(0) * 1e-10
        vectors = vectors[:, known].flip(1)[:, :_COMPONENTS]
        self.directions = torch.nn.functional.normalize(vectors.T @ x, dim=1)

    @property
    def count(self) -> int:
        return len(self.directions)

    def of(self, split: Observations) -> Tensor:
        x, _ = split.batch(torch.arange(len(split)))
        x = x if self.spec.levels is not None else (x - self.shift) / self.scale
        return as_input(x, self.spec, torch.float64).flatten(1)

    def components(self, split: Observations) -> Tensor:
        return (self.of(split) - self.mean) @ self.directions.T


def _roc(pairs: Pairs, count: int, threshold: float | None) -> tuple[RocFigures, Tensor]:
    """The figures of some pairs, and the areas of the bootstrap, NaN where it drew no pairs."""

    def numbers(rates: Rates) -> list[float]:
        if not rates.known:
            return [math.nan] * 3
        right = math.nan if threshold is None else rates.right_below(threshold)
        return [rates.area, rates.equal_error, right]

    drawn = []
    with seeded(0):
        for _ in range(_DRAWS if count >= _FEWEST else 0):
            times = torch.randint(count, (count,)).bincount(minlength=count)
            drawn.append(numbers(pairs.rates(times)))
    several = torch.tensor(drawn, dtype=torch.float64).view(-1, 3)
    rates, n = pairs.rates(), len(pairs.gaps)
    area, equal_error, right = (
        None if math.isnan(value) else _figure(value, several[:, at], n)
        for at, value in enumerate(numbers(rates))
    )
    assert area is not None
    assert equal_error is not None
    places = torch.linspace(0, 1, _POINTS + 1, dtype=torch.float64).square()
    curve = tuple((float(at), float(rates.true[rates.false <= at].max())) for at in places)
    figures = RocFigures(
        area=area, equal_error=equal_error, accuracy=right, threshold=threshold, curve=curve
    )
    return figures, several[:, 0]


def _figure(value: float, drawn: Tensor, count: int) -> Figure:
    """A number within the middle 95 % of what the bootstrap drew."""
    drawn = drawn[drawn.isfinite()]
    if not len(drawn):
        return Figure(value, count)
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()
    return Figure(value, count, min(low, value), max(high, value))
