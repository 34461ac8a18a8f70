"""`pinned_classifier`: trained on a data set's training labels by one recipe, and kept."""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
from pathlib import Path

from simulacra.data.dataset import Dataset, Observations
from simulacra.data.labels import joint_classes
from simulacra.ground.errors import CheckpointError, ResourceError
from simulacra.ground.randomness import seeded
from simulacra.ground.storage import read_folder, write_folder
from simulacra.judging.features.classifier import Classifier
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options

RECIPE = "classifier-64, 1"
"""One that is trained otherwise has another name."""
_OPTIONS = Options(batch=128, lr=3e-3, weight_decay=0.05, ema=0.99, seed=0, device="cpu")
_VALUES = 1 << 26
_FEWEST_STEPS, _MOST_STEPS, _EPOCHS = 300, 800, 30


def _steps(observations: int) -> int:
    """Steps of the classifier's training: about 30 epochs, within limits."""
    return min(_MOST_STEPS, max(_FEWEST_STEPS, _EPOCHS * observations // _OPTIONS.batch))


def pinned_classifier(data: Dataset, folder: Path | None) -> Classifier:
    """The classifier of the training labels, trained, or found where it was kept.

    Args:
        data: With two labels at least in the training split, which alone is looked at, as far as
            its labels are told.
        folder: Where it is kept and found again; nowhere by default.
    """
    train, classes = data.train, joint_classes(data.train, data.spec)
    if classes is not None and bool((classes < 0).any()):
        train = train.take((classes >= 0).nonzero()[:, 0])
    steps = _steps(len(train))
    if data.spec.labels_channels:
        # as many pictures of one channel as a classifier of these alone would see
        steps = max(min(steps, _FEWEST_STEPS), steps // len(data.spec.parts))
    with seeded(0):
        model = Classifier(data.spec)
    recipe = f"{RECIPE}, by parts" if data.spec.parts else RECIPE
    recipe += ", of bands" * (model.bands is not None)
    key = _fingerprint(train, f"{recipe} {steps} {_OPTIONS} {data.spec}")
    place = None if folder is None else folder / "extractor" / key[:16]
    if place is not None and _restored(model, place, key):
        return model
    # nothing of it validates, so the validation split is not looked at; and one thread works, so
    # that it has the same numbers on machines with more or fewer cores
    training = Training(model, train, data.validation, _OPTIONS, threads=1)
    training.set_plan(Budget(steps, "steps"))
    for _ in training:
        pass
    trained = training.averaged.eval().requires_grad_(False)
    assert isinstance(trained, Classifier)
    if place is not None:
        # kept to save time: without it the figures are the same
        with contextlib.suppress(ResourceError, CheckpointError):
            write_folder(place, {"classifier": {"key": key, "weights": trained.state_dict()}})
    return trained


def _restored(model: Classifier, place: Path, key: str) -> bool:
    """Load the weights of this very recipe and data; what is broken there is removed."""
    if not place.is_dir():
        return False
    try:
        kept = read_folder(place, "classifier")["classifier"]
        if kept["key"] == key:
            model.load_state_dict(kept["weights"])
            model.eval().requires_grad_(False)
            return True
    except (CheckpointError, KeyError, TypeError, AttributeError, RuntimeError):
        pass
    shutil.rmtree(place, ignore_errors=True)
    return False


def _fingerprint(train: Observations, recipe: str) -> str:
    digest = hashlib.sha256(f"{recipe} {train.kind}".encode())
    # as many as ever, of observations that are not large
    size = max(1, min(1000, _VALUES // math.prod(train.x.shape[1:])))
    for x, context in train.batches(size):
        for tensor in (x, context):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
