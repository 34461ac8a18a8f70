"""A linear probe: which classes a linear classifier finds in codes, and in plainer features."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.labels import joint_classes
from simulacra.data.splits import permutation
from simulacra.ground.errors import DataError, MissingCapability
from simulacra.models.model import Model
from simulacra.tasks.codes import encode_split, encoder_of, has_features

_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Of regularisation, the inverse: what scikit-learn calls C."""
_MOST = 5000
"""Training observations, and validation ones, at most."""
_HELD_OUT = 5
"""One in so many training observations chooses the regularisation."""


@dataclass(frozen=True)
class Probed:
    """How much a linear classifier finds in one kind of features.

    Args:
        name: Of the features.
        features: How many each observation has.
        accuracy: Share of validation observations whose class is found.
        low: Lower end of its 95 % interval (Wilson), in which each group counts as one.
        high: Upper end.
        observations: Validation observations.
        trained: Training observations.
    """

    name: str
    features: int
    accuracy: float
    low: float
    high: float
    observations: int
    trained: int


def probe(model: Model, data: Dataset) -> list[Probed]:
    """How many classes a linear classifier tells apart by codes; by other features for comparison.

    Multinomial logistic regression on standardised features of training observations, 5000 at
    most. How strongly it is regularised is chosen on a fifth of these, so that the validation split
    has chosen nothing but the model's best step; the test split is not looked at.

    Args:
        model: One that encodes and is told no context, which might name the class; or a game, whose
            opponent's features are looked at, which no context goes into.
        data: With labels; that the model learned from.

    Returns:
        The codes, or the features; as many principal components of the raw values; the raw values;
        and the most frequent class.

    Raises:
        MissingCapability: If the model has no codes or features, or its codes are told a context.
        DataError: If there are not two classes with labels in both splits.

    Example:
        >>> import simulacra as sim
        >>> data = sim.load_data("digits")
        >>> model = sim.build("vae", data.spec, {"latent": 2, "hidden": (8,)})
        >>> [each.name for each in sim.probe(model, data)]
        ['codes', 'principal components', 'raw values', 'most frequent class']
    """
    encoder_of(model)
    game = has_features(model)
    if game is None and model.context != "none":
        raise MissingCapability(
            f"this {type(model).__name__} is told a {model.context}, and its codes need not say "
            "what it was told: train one without --set context"
        )
    train, known = labelled(data.train, data, "training"), labelled(data.validation, data, "")
    y, true = classes_of(train, data), classes_of(known, data)
    n = len(known) if known.groups is None else len(known.groups.unique())
    results = []

    def add(name: str, features: int, right: NDArray[np.bool_]) -> None:
        share = float(right.mean())
        results.append(Probed(name, features, share, *wilson(share, n), len(known), len(train)))

    codes, codes_known = (
        encode_split(model, split).flatten(1).double().numpy() for split in (train, known)
    )
    if not (np.isfinite(codes).all() and np.isfinite(codes_known).all()):
        raise DataError("some codes are not finite: nothing can be learned from them")
    name = "codes" if game is None else f"features of the {game.opponent}"
    add(name, codes.shape[1], Linear.fit(codes, y).classes(codes_known) == true)
    raw, raw_known = values_of(train, data), values_of(known, data)
    from sklearn.decomposition import PCA

    few = min(codes.shape[1], *raw.shape)
    found = PCA(few, random_state=0).fit(raw)
    reduced = found.transform(raw), found.transform(raw_known)
    add("principal components", few, Linear.fit(reduced[0], y).classes(reduced[1]) == true)
    add("raw values", raw.shape[1], Linear.fit(raw, y).classes(raw_known) == true)
    add("most frequent class", 0, true == np.bincount(y).argmax())
    return results


@dataclass(frozen=True, eq=False)
class Linear:
    """Multinomial logistic regression on standardised features.

    Args:
        pipeline: Of scikit-learn, fitted.
        strength: The inverse of the regularisation that was chosen.
    """

    pipeline: Any
    strength: float

    @classmethod
    def fit(cls, x: NDArray[np.float64], y: NDArray[np.int64]) -> Linear:
        """Regularised as is best for a fifth that is held out, then fitted to all.

        Args:
            x: Features `(N, D)`, in an order that says nothing.
            y: Classes `(N,)`, two of them at least.
        """
        inner = np.arange(len(x)) % _HELD_OUT != 0
        if len(set(y[inner].tolist())) < 2:
            return cls(_fitted(x, y, 1.0), 1.0)
        scores = [
            _log_loss(_fitted(x[inner], y[inner], strength), x[~inner], y[~inner])
            for strength in _STRENGTHS
        ]
        best = _STRENGTHS[int(np.argmin(scores))]
        return cls(_fitted(x, y, best), best)

    def classes(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """The likeliest class of each row."""
        found: NDArray[np.int64] = self.pipeline.predict(x)
        return found

    def probabilities(self, x: NDArray[np.float64], classes: int) -> NDArray[np.float64]:
        """Of each class, `(N, classes)`: 0 of those that none was fitted to."""
        whole = np.zeros((len(x), classes))
        whole[:, self.pipeline.classes_] = self.pipeline.predict_proba(x)
        return whole


def _fitted(x: NDArray[np.float64], y: NDArray[np.int64], strength: float) -> Any:  # noqa: ANN401
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with warnings.catch_warnings():
        # where it would go on, what it gains is less than what regularising otherwise does
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200)).fit(
            x, y
        )


def _log_loss(pipeline: Any, x: NDArray[np.float64], y: NDArray[np.int64]) -> float:  # noqa: ANN401
    """Mean −log p of the true class; those of classes that were never seen count for nothing."""
    p = pipeline.predict_proba(x)
    places = {label: place for place, label in enumerate(pipeline.classes_.tolist())}
    rows = [(row, places[label]) for row, label in enumerate(y.tolist()) if label in places]
    if not rows:
        return 0.0
    own = np.array([p[row, place] for row, place in rows])
    return float(-np.log(own.clip(1e-12)).mean())


def labelled(split: Observations, data: Dataset, called: str, most: int = _MOST) -> Observations:
    """Observations whose class is told, in a random order that is always the same.

    Raises:
        DataError: If there is none, or in training only one class.
    """
    classes = joint_classes(split, data.spec)
    if classes is None:
        raise DataError(f"{data.name} has no labels, and a probe needs classes to find")
    order = permutation(len(split))
    rows = order[classes[order] >= 0][:most]
    if not len(rows) or (called and len(classes[rows].unique()) < 2):
        raise DataError(
            f"a probe needs {'two classes' if called else 'a class'} among the "
            f"{called or 'validation'} observations of {data.name}, and there are not so many"
        )
    return split.take(rows)


def classes_of(split: Observations, data: Dataset) -> NDArray[np.int64]:
    """The class of each observation of a split that has labels."""
    classes = joint_classes(split, data.spec)
    assert classes is not None
    found: NDArray[np.int64] = classes.numpy()
    return found


def values_of(split: Observations, data: Dataset) -> NDArray[np.float64]:
    """Numbers of each observation as people see them, `(N, D)`."""
    x, _ = split.batch(torch.arange(len(split)))
    return flat_values(data.spec.to_float(x))


def flat_values(values: Tensor) -> NDArray[np.float64]:
    """Rows of numbers, `(N, D)`."""
    found: NDArray[np.float64] = values.flatten(1).double().numpy()
    return found


def wilson(share: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The 95 % interval of a share of n (Wilson 1927), which holds near 0 and 1 too."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # rounding must not leave the share itself outside
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
