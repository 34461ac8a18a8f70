"""Modes of stacked MNIST: what is found among what is there, by a recogniser that knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import stacked  # noqa: E402

from simulacra.data.dataset import Dataset, Observations  # noqa: E402
from simulacra.data.labels import form_of  # noqa: E402
from simulacra.ground.spec import COLOURS, DataSpec  # noqa: E402
from simulacra.models.model import Model, Sampling  # noqa: E402

CPU = torch.device("cpu")


def bars(n: int, seed: int) -> Observations:
    """A bar at the left, in the middle or at the right, in each colour."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n, 3), generator=generator)
    return Observations(drawn(labels, generator).to(torch.uint8), labels)


def drawn(labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
    x = torch.randint(0, 40, (len(labels), 3, 9, 9), generator=generator)
    for place in range(3):
        x[..., 3 * place : 3 * place + 3] += 180 * (labels == place)[:, :, None, None]
    return x


@pytest.fixture(scope="module")
def data() -> Dataset:
    spec = DataSpec((3, 9, 9), 256, **form_of(dict.fromkeys(COLOURS, tuple("012")), "bars"))
    assert spec.labels_channels
    return Dataset("bars", spec, bars(600, 0), bars(90, 1), bars(500, 2))


@pytest.fixture(scope="module")
def recogniser(data: Dataset) -> stacked.Recogniser:
    return stacked.recogniser_of(data, CPU, 25)


class Bars(Sampling):
    """Draws every combination but those whose red bar stands at the left: 18 of 27."""

    def loss(
        self, x: Tensor, context: Tensor | None = None, *, turn: str = "model"
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    def sample(self, n: int, context: Tensor | None = None) -> Tensor:
        labels = torch.randint(0, 3, (n, 3))
        labels[:, 0] = torch.randint(1, 3, (n,))
        return drawn(labels)


def test_modes_that_a_model_does_not_draw_are_not_found(
    data: Dataset, recogniser: stacked.Recogniser
) -> None:
    assert recogniser.accuracy == 1
    found, real = stacked.modes(Bars(data.spec), data, recogniser, 500)
    assert (found.found, found.classes, found.among) == (18, 27, 500)
    assert (real.found, real.among) == (27, 500)
    assert found.rarest.ratio.value == 0
    assert found.reverse_kl is not None
    assert real.reverse_kl is not None
    # a third of the classes is missing: ln (27 / 18), and what chance adds
    assert found.reverse_kl.value == pytest.approx(0.405, abs=0.07)
    assert real.reverse_kl.value < 0.1


def test_the_command_prints_a_table(
    data: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def load(name: str, **form: Any) -> Dataset:
        asked.update(form, name=name)
        return data

    def untrained(model: Model, *_: Any) -> Model:
        return Bars(data.spec) if "gan" in type(model).__name__.lower() else model.eval()

    monkeypatch.setattr(stacked, "load", load)
    monkeypatch.setattr(stacked, "fit", untrained)
    options = ["--samples", "200", "--device", "cpu", "--budget", "5s", "--recogniser", "1"]
    assert stacked.main(["gan", *options, "--side", "9"]) == 0
    assert asked == {"name": "stacked-mnist", "data_dir": None, "side": 9}
    text = capsys.readouterr().out
    assert "| gan | 200 | " in text
    assert "| real, test | 200 | " in text
    assert "`gan`, 5s (" in text
    assert "of validation pictures" in text
    assert stacked.main(["toast"]) == 2
    assert "toast" in capsys.readouterr().err
