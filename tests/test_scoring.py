"""Likelihoods in float32 on every device: no autocast, no TF32, whatever the process is set to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import simulacra as sim
from simulacra.judging.figures import diagnostics, nature
from simulacra.judging.figures.likelihood import likelihood
from simulacra.models.modes import scoring
from simulacra.tasks.bayes import class_frequencies
from simulacra.tasks.classify import classify
from simulacra.tasks.field import measured
from simulacra.tasks.surprise import surprise
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options


def digits_kept() -> list[object]:
    backends = torch.backends
    return [
        torch.is_autocast_enabled("cpu"), torch.is_grad_enabled(),
        backends.cuda.matmul.fp32_precision, backends.cudnn.conv.fp32_precision,
        backends.cudnn.rnn.fp32_precision, backends.mkldnn.matmul.fp32_precision,
        backends.mkldnn.conv.fp32_precision, backends.mkldnn.rnn.fp32_precision,
    ]  # fmt: skip


ALL = [False, False, *["ieee"] * 6]


@pytest.fixture
def hasty() -> Iterator[list[object]]:
    """A process that prefers speed, and how it was set."""
    with torch.autocast("cpu", torch.bfloat16):
        torch.set_float32_matmul_precision("medium")
        before = digits_kept()
        assert "bf16" in before
        assert "tf32" in before
        yield before
        after = digits_kept()
        # torch's older switches can read them again
        assert torch.backends.cuda.matmul.allow_tf32
        torch.set_float32_matmul_precision("highest")
        assert after == before


def test_an_error_leaves_all_as_it_was(hasty: list[object]) -> None:
    def fails() -> None:
        with scoring():
            assert digits_kept() == ALL
            raise KeyError

    with pytest.raises(KeyError):
        fails()


def test_all_that_scores_keeps_all_digits(hasty: list[object]) -> None:
    data = sim.load_data("digits")
    few = data.test.take(torch.arange(4))
    model = sim.build("made", data.spec, {"hidden": (4,), "context": "label"}).eval()
    found: list[list[object]] = []
    whole = type(model).conditionals

    class Noting(type(model)):  # type: ignore[misc]
        __doc__ = type(model).__doc__

        def conditionals(self, *args, **options):
            found.append(digits_kept())
            return whole(self, *args, **options)

    model = Noting(data.spec, hidden=(4,), context="label").eval()
    frequencies = class_frequencies(data.train, data.spec)
    assert frequencies is not None
    for score in (
        lambda: likelihood(model, few),
        lambda: classify(model, few.x.long(), frequencies),
        lambda: surprise(model, few.x.long(), few.context),
        lambda: diagnostics._other_rows(model, few, torch.arange(4).roll(1), 1, 0),
        lambda: measured(model, (0, 0), pictures=1),
    ):
        found.clear()
        score()
        assert found
        assert all(each == ALL for each in found)


def test_what_the_best_step_is_chosen_by_keeps_all_digits(hasty: list[object]) -> None:
    data = sim.load_data("digits")
    found: list[list[object]] = []

    class Noting(sim.find("nice")):  # type: ignore[misc]
        def validation_loss(self, *args, **options):
            found.append(digits_kept())
            return super().validation_loss(*args, **options)

        def encode(self, *args, **options):
            found.append(digits_kept())
            return super().encode(*args, **options)

    model = Noting(data.spec, hidden=(4,))
    few = data.train.take(torch.arange(16))
    training = Training(model, few, few, Options(precision="32", device="cpu"))
    training.set_plan(Budget(1, "steps"))
    list(training)
    assert found
    assert all(each == ALL for each in found)
    found.clear()
    nature._reconstruction(model, data)
    assert found
    assert all(each == ALL for each in found)
