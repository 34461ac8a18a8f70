"""`View`: observations as features, in which real and drawn ones are compared.

Nothing is downloaded: an extractor is trained on the training split, or random with a fixed seed,
or brought by the user. Each has a name and a hash of all its numbers, for figures made with
different extractors do not compare.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.errors import UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.judging.features.classifier import Classifier
from simulacra.judging.features.inception import Inception
from simulacra.judging.features.pinned_classifier import RECIPE, pinned_classifier
from simulacra.judging.figures.intervals import share
from simulacra.judging.figures.records import ViewSummary
from simulacra.models.at_once import rows_at_once
from simulacra.models.modes import scoring
from simulacra.nn.levels import is_sound, seen, seen_shape
from simulacra.nn.precision import moments
from simulacra.nn.random_convolutions import RandomConvolutions
from simulacra.tasks.sample import device_of

WIDEST = 64
"""Features of a view, at most; Inception alone may have more."""
ROWS_A_FEATURE = 10
"""A feature needs as many observations on each side: a covariance of fewer is mostly noise."""
FITTED_ON = 10_000
"""Training observations that projections are fitted on, at most."""

_VALUES = 20_000_000
"""Raw features of all of these together, at most, unless they are fewer than 1000 rows."""
_EXACT = 1024
"""Raw features up to which principal axes are exact; above, by random subspace iteration."""
_BATCH = 256


@dataclass(frozen=True, eq=False)
class View:
    """One way to see observations: as vectors of features.

    Args:
        name: `features`; or `pixels`, of what is no picture `values`: what is there itself.
        extractor: What makes the features: `classifier-64` (the last layer but one of a network
            trained on the training labels), `random-convolutions-64`, `vector`, `pca`,
            `inception-pool3`.
        spec: Of the observations.
        network: From floats, see `classifier.seen`, to raw features; a classifier from levels.
        shift: Subtracted from raw features, `(R,)` float64.
        matrix: From raw to shown features, `(R, width)` float64.
        hash: SHA-256 (hex) of the extractor's name, of its network's weights, and of the training
            observations that its projection is fitted to: the same on every device.
        note: What a reader has to know; empty if nothing.
        classifier: Of the labels, where there are any; the first view alone has it.
        accuracy: Of the classifier on the validation split.
    """

    name: str
    extractor: str
    spec: DataSpec
    network: nn.Module
    shift: Tensor
    matrix: Tensor
    hash: str
    note: str = ""
    classifier: Classifier | None = None
    accuracy: float | None = None

    @property
    def learned(self) -> bool:
        """Whether the features were learned from training observations, which look special then."""
        return isinstance(self.network, Classifier)

    @property
    def width(self) -> int:
        """Number of features."""
        return self.matrix.shape[1]

    def features(self, x: Tensor) -> Tensor:
        """Observations as features.

        Args:
            x: Levels `(N, *event_shape)`, or floats of a continuous vector.

        Returns:
            `(N, width)` float64, on the CPU; a row depends on the others by rounding alone.

        Raises:
            UsageError: If they are not of the data's form, or not all numbers.
        """
        raw = _raw(self.network, self.spec, self._checked(x))
        return (raw.double() - self.shift) @ self.matrix

    def log_probabilities(self, x: Tensor) -> Tensor | None:
        """Log p(label | x) by the classifier, `(N, classes)` float64; `None` without one.

        Raises:
            UsageError: As `features` does.
        """
        if self.classifier is None:
            return None
        return _log_probabilities(self.classifier, self._checked(x))

    def summary(self) -> ViewSummary:
        """As the results have it."""
        return ViewSummary(
            name=self.name,
            extractor=self.extractor,
            hash=self.hash,
            width=self.width,
            accuracy=self.accuracy,
            parameters=sum(p.numel() for p in self.network.parameters()),
            note=self.note,
        )

    def _checked(self, x: Tensor) -> Tensor:
        x = x.detach().cpu()
        self.spec.check(x)
        # a double may be too large for what networks work in
        broken = int((~x.float().isfinite()).flatten(1).any(1).sum())
        if broken:
            raise UsageError(
                f"{broken} of {len(x)} observations hold values that are not finite numbers: "
                "leave them out before their features are compared"
            )
        return x


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that the number of threads does not change a hash."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def views(
    data: Dataset,
    count: int,
    *,
    inception: Path | None = None,
    folder: Path | None = None,
    device: torch.device | None = None,
) -> list[View]:
    """The views of some data, fitted on the training split; the test split is not looked at.

    Args:
        data: What models learn from.
        count: Observations on each side of the later comparison.
        inception: File with Inception's weights, whose features then are the first view.
        folder: Where a trained classifier is kept and found again; nowhere by default.
        device: Where networks see observations; a classifier is trained on the CPU anyway.

    Returns:
        `features`, and `pixels` (of what is no picture, `values`) unless these would be the same.

    Raises:
        UsageError: If there are too few observations for any feature, or Inception is asked for
            what are no pictures.
        CheckpointError: If the file holds no weights of Inception.
    """
    width = count // ROWS_A_FEATURE
    if width < 1:
        raise UsageError(
            f"features need at least {ROWS_A_FEATURE} observations on each side of a comparison, "
            f"got {count}: give more samples and test observations"
        )
    spec, notes = data.spec, []
    if data.train.lengths is not None:
        notes.append("the silence that short sounds are padded with is part of what is seen")
    found = _labels(data)
    classifier = pinned_classifier(data, folder).to(device) if found > 1 else None
    if found == 1:
        notes.append("all training observations have one label: there is no classifier")
    if classifier is not None and (why := _at_chance(classifier, data)):
        notes.append(why)
        classifier = None

    def fitted(name: str, extractor: str, network: nn.Module, most: int = WIDEST) -> View:
        """A view whose projection is that of training observations."""
        rows = min(FITTED_ON, max(1000, _VALUES // spec.dims))
        if isinstance(network, Inception):
            # it is slow, and this many have as many principal components as it has features
            rows = network.width
        x = data.train.batch(permutation(len(data.train))[:rows])[0]
        raw = _raw(network.to(device), spec, x)
        shift, matrix, note = _projection(raw, min(width, most), extractor)
        first = name == "features"
        return View(
            name, extractor, spec, network, shift, matrix,
            hash=_hash(f"{extractor} {RECIPE} {matrix.shape[1]}", network, x),
            note="; ".join(filter(None, (*notes, note))),
            classifier=classifier if first else None,
            accuracy=_accuracy(classifier, data.validation) if classifier and first else None,
        )  # fmt: skip

    places = spec.is_image or is_sound(spec)
    if inception is not None:
        if not spec.is_image or seen_shape(spec)[0] not in (1, 3):
            raise UsageError(
                f"Inception sees grey and colour pictures, these observations are "
                f"{spec.event_shape}: leave its weights out"
            )
        network = Inception.read(inception)
        first = fitted("features", "inception-pool3", network, network.width)
    elif classifier is not None:
        name = "classifier-64" if classifier.bands is None else "bands-classifier-64"
        first = fitted("features", name, classifier)
    elif places:
        channels, *sides = seen_shape(spec)
        first = fitted(
            "features", "random-convolutions-64", RandomConvolutions(channels, len(sides))
        )
    else:
        return [fitted("features", "vector", nn.Flatten())]
    second = "pixels" if spec.is_image else "values"
    return [first, fitted(second, "pca" if places else "vector", nn.Flatten())]


# ---- features and their projection -------------------------------------------------------------


@scoring()
def _raw(network: nn.Module, spec: DataSpec, x: Tensor) -> Tensor:
    """Raw features `(N, R)` of a network, on the CPU; it sees floats, a classifier levels."""
    device = device_of(network)

    def features(some: Tensor) -> Tensor:
        if isinstance(network, Classifier):
            return network.encode(some.to(device)).cpu()
        return network(seen(spec, some).to(device)).cpu()

    most = min(len(x), 16 if isinstance(network, Inception) and device.type == "cpu" else _BATCH)
    size = rows_at_once(lambda n: features(x[:n]), most)
    return torch.cat([features(part) for part in x.split(size)])


@torch.no_grad()
def _projection(raw: Tensor, width: int, extractor: str) -> tuple[Tensor, Tensor, str]:
    """Shift and matrix from raw features to at most so many, and a note.

    Features of our networks are divided by their deviation, so that none rules by its unit, but
    by no less than a tenth of their root mean square, so that none that hardly varies rules either.
    Values of a vector have units of their own, and are divided by their deviation each. Pixels
    share one unit and stay as they are: whitened, the noise of a corner that is nearly always
    black would count as much as the figure in the middle. Inception's features stay as they are
    because its distance is defined so.

    What is too wide is projected on its principal axes, which are not whitened either. All of it
    is scaled as one, so that features have the variance 1 on average: the kernel has a scale.
    """
    mean, scale = moments(raw)
    varies = bool((raw != raw[:1]).any())
    note = "" if varies else "all training observations have the same features"
    if extractor in ("pca", "inception-pool3"):
        scale = torch.ones_like(mean)
    elif extractor != "vector" and varies:
        spread = raw.double().std(0, unbiased=False)
        scale = spread.clamp(min=float(spread.square().mean().sqrt()) / 10)
    if raw.shape[1] <= width and extractor != "pca":
        return mean, scale.reciprocal().diag(), note
    axes = _components((raw.double() - mean) / scale, min(width, *raw.shape))
    matrix = axes / scale[:, None]
    variance = float(((raw.double() - mean) @ matrix).var(0, unbiased=False).mean())
    if extractor != "inception-pool3" and variance > 0:
        matrix = matrix / variance**0.5
    return mean, matrix, note


def _components(centred: Tensor, width: int) -> Tensor:
    """The first principal axes `(R, width)`, each with its largest entry positive.

    Those along which nothing varies are left out, but for the first.
    """
    if centred.shape[1] > _EXACT:
        more = min(width + 16, *centred.shape)
        with seeded(0):
            _, deviations, axes = torch.svd_lowrank(centred, more, niter=6)
        variances = deviations.square()
    else:
        values, axes = torch.linalg.eigh(centred.T @ centred)
        variances, axes = values.flip(0), axes.flip(1)
    rank = int((variances[:width] > 1e-10 * variances[0]).sum())
    axes = axes[:, : max(1, rank)]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * torch.where(largest < 0, -1.0, 1.0)


def _hash(name: str, network: nn.Module, *tensors: Tensor) -> str:
    digest = hashlib.sha256(name.encode())
    for key, value in [*network.state_dict().items(), *(("", each) for each in tensors)]:
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


# ---- labels --------------------------------------------------------------------------------------


def _labels(data: Dataset) -> int:
    """How many different labels the training observations have, told ones alone; 0 without."""
    classes = joint_classes(data.train, data.spec)
    return 0 if classes is None else len(classes[classes >= 0].unique())


def _at_chance(classifier: Classifier, data: Dataset) -> str:
    """Why a classifier's features are of no use, in words; empty if they may be of use."""
    classes = joint_classes(data.validation, data.spec)
    assert classes is not None
    classes = classes[classes >= 0]
    if not len(classes):
        return "no label of the validation split is told: a classifier of the labels is not used"
    right = round(_accuracy(classifier, data.validation) * len(classes)) / len(classes)
    found, most = share(right, len(classes)), float(classes.bincount().max()) / len(classes)
    if found.low is not None and found.low > most:
        return ""
    return (
        f"a classifier of the labels finds {found.value:.0%} of the validation split, no more than "
        "chance may: it is not used"
    )


@scoring()
def _log_probabilities(classifier: Classifier, x: Tensor) -> Tensor:
    device = device_of(classifier)

    def of(some: Tensor) -> Tensor:
        return classifier.log_probabilities(some.to(device)).cpu()

    size = rows_at_once(lambda n: of(x[:n]), min(len(x), _BATCH))
    return torch.cat([of(part) for part in x.split(size)]).double()


def _accuracy(classifier: Classifier, split: Observations) -> float:
    """Share of a split's labels that the classifier finds, of those that are told."""
    classes = joint_classes(split, classifier.spec)
    assert classes is not None
    told = (classes >= 0).nonzero()[:, 0]
    parts = [_log_probabilities(classifier, split.batch(rows)[0]) for rows in told.split(_BATCH)]
    return float((torch.cat(parts).argmax(1) == classes[told]).double().mean())
