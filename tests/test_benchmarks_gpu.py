"""The benchmark for a GPU: its rows, its time, what fails, and one tiny run on the CPU."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from simulacra.ground.errors import UsageError
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.registry import MODELS
from simulacra.runs.record import versions
from simulacra.training.options import Budget

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmark is run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks.gpu import diffusions, games, learning, pictures, rows  # noqa: E402
from benchmarks.gpu.__main__ import main  # noqa: E402
from benchmarks.gpu.board import (  # noqa: E402
    Board,
    Figure,
    Job,
    Place,
    Section,
    chosen,
    measure_all,
    written,
)
from benchmarks.measure import measure  # noqa: E402

CPU = torch.device("cpu")


def read(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "gpu.json").read_text("utf-8"))["rows"]
    return found


def fails(_: Place) -> Iterator[Figure]:
    yield Figure("first", 1.5, "s")
    raise ValueError("too much\nof everything")


def right(_: Place) -> Iterator[Figure]:
    yield Figure("right", "ok")


def test_a_row_that_fails_ends_no_other_and_each_is_written_at_once(tmp_path: Path) -> None:
    there: list[int] = []

    def looks(_: Place) -> Iterator[Figure]:
        there.append(len(read(tmp_path)))
        yield Figure("looked", "ok")

    sections = [Section("one", 0.5, lambda: [Job("wrong", fails), Job("look", looks)]),
                Section("two", 0.5, lambda: [Job("right", right)])]  # fmt: skip
    board = Board(tmp_path / "gpu.json", CPU)
    assert read(tmp_path) == []
    assert not measure_all(sections, board, Place(CPU), 60)
    assert there == [2]
    found = read(tmp_path)
    assert [row["name"] for row in found] == ["first", "wrong", "looked", "right"]
    assert [row["failed"] for row in found] == [False, True, False, False]
    assert (found[1]["section"], found[1]["figure"]) == ("one", "ValueError: too much")
    assert found[0].keys() == {"section", "name", "figure", "unit", "seconds", "failed", "device",
                               "torch"}  # fmt: skip
    assert measure_all(sections[1:], board, Place(CPU), 60)


def test_sections_keep_to_their_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    given: list[float] = []

    def slow(place: Place) -> Iterator[Figure]:
        nonlocal now
        given.append(place.left)
        now += 8
        yield Figure("slow", "ok")

    sections = [Section("one", 0.2, lambda: [Job("slow", slow)] * 4),
                Section("rest", 1.0, lambda: [Job("slow", slow)])]  # fmt: skip
    assert measure_all(sections, Board(tmp_path / "gpu.json", CPU), Place(CPU), 50)
    # 10 seconds for four, of which the first took 8 and the second what was left and more
    assert given == [2.5, pytest.approx(2 / 3), 34]
    assert [row["name"] for row in read(tmp_path)] == ["slow", "slow", "no time left", "slow"]
    assert read(tmp_path)[2]["figure"] == "2 of 4 left out"


def test_no_round_begins_after_the_time() -> None:
    now = 0.0

    def task() -> None:
        nonlocal now
        now += 1

    assert measure({"a": task}, 9, clock=lambda: now, until=3)["a"] == [1.0] * 2
    assert len(measure({"a": task}, 9, clock=lambda: now, until=3)["a"]) == 1


def test_numbers_are_written_to_four_digits() -> None:
    found = [written(each) for each in (176326.4, 103.97, 30.0, 1.0, 0.03761, 7, "ok")]
    assert found == ["176,326", "104.0", "30.00", "1.000", "0.03761", "7", "ok"]


def unlikely(self: Any, x: Tensor, context: Tensor | None = None, **_: Any) -> Tensor:
    """No number, but where it is the loss."""
    scores: Tensor = Autoregressive.log_likelihood(self, x, context)
    return scores if torch.is_grad_enabled() else scores * math.nan


def beyond(self: Any, x: Tensor, observed: Tensor, context: Tensor | None) -> Tensor:
    return x.where(observed, 9)


@pytest.mark.parametrize(
    ("broken", "wrong", "message"),
    [
        ("sample", lambda *_: torch.full((4, 1, 6, 6), 9), "level"),
        ("sample", lambda *_: torch.zeros(3, 1, 6, 6).long(), "shape"),
        ("log_likelihood", unlikely, "a likelihood is not finite"),
        ("complete", lambda _, x, *__: 3 - x, "changed what it was given"),
        ("complete", beyond, "level"),
    ],
)
def test_a_model_that_is_wrong_is_not_ok(
    broken: str, wrong: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows.find("made"), broken, wrong)
    with pytest.raises((ArithmeticError, UsageError), match=message):
        list(rows.works("made", "32", Place(CPU)))


def test_a_tiny_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = {name: MODELS[name] for name in ("gmm", "made")}
    monkeypatch.setattr(rows, "MODELS", few)
    monkeypatch.setattr(rows, "TRAINED", {"made": {"hidden": (8,)}})
    monkeypatch.setattr(rows, "ROUNDS", 1)
    # a training that does not take all the time that is left
    monkeypatch.setattr(learning, "Budget", lambda *_: Budget(3, "steps"))
    out = tmp_path / "new" / "bench"
    asked = ["--minutes", "2", "--device", "cpu", "--data-dir", str(tmp_path)]
    assert main([*asked, "--out", str(out)]) == 0
    found = {row["name"]: row for row in read(out)}
    assert not any(row["failed"] for row in found.values())
    assert [*dict.fromkeys(row["section"] for row in found.values())] == [
        section.title for section in rows.SECTIONS
    ]
    works = {row["name"] for row in found.values() if str(row["figure"]).startswith("ok")}
    assert works == {"gmm, float32", "gmm, bf16", "made, float32", "made, bf16"}
    assert found["made, bf16"]["figure"] == "ok: trains, samples, scores, completes"
    assert found["made, 8×8, batch 16"]["figure"] > 0
    assert found["gmm, 8×8, batch 1"]["unit"] == "forward passes"
    assert found["made, 8×8, batch 16, bf16"]["unit"] == "observations/s"
    instead = "digits instead: binarized-mnist needs binarized_mnist.npz"
    assert found["no static MNIST"]["figure"] == instead
    nats, bits = (found[f"made, digits: {what}"] for what in ("nats", "likelihood"))
    assert nats["figure"] == pytest.approx(100, rel=0.9)
    assert bits["figure"] == pytest.approx(nats["figure"] / 64 / math.log(2))
    assert bits["unit"] == "bits/dim"
    absent = "left out: there is no such model"
    assert [found[f"{rows.BEST}, {data}"]["figure"] for data in ("mnist", "cifar10")] == [
        absent
    ] * 2
    assert found["made, digits: sampling 64 at once"]["figure"] > 0
    steps, seen = (found[f"made, digits: {what}"] for what in ("steps", "observations seen"))
    assert (steps["figure"], seen["figure"]) == (3, 3 * 64)
    text = capsys.readouterr().out
    assert all(name in text for name in found)
    # no row is left half written
    assert [path.name for path in out.iterdir()] == ["gpu.json"]


def test_a_model_that_is_not_there_ends_no_section(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {"made": MODELS["made"], "lost": "simulacra.models.nowhere:Lost"}
    monkeypatch.setattr(rows, "MODELS", lost)
    monkeypatch.setitem(MODELS, "lost", lost["lost"])
    jobs = [job.name for section in rows.SECTIONS[:3] for job in section.jobs()]
    assert [name for name in jobs if "lost" in name] == [
        "lost, float32", "lost, bf16", "lost", "lost, batch 64", "lost, batch 1",
    ]  # fmt: skip
    (job,) = (each for each in rows.SECTIONS[1].jobs() if each.name == "lost")
    with pytest.raises(ImportError):
        list(job.run(Place(CPU)))


def test_a_flow_learns_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BEST", "nice")
    (missing,) = rows.flow("mnist", 1.02, "10 minutes", Place(CPU, tmp_path))
    assert (missing.name, missing.figure) == (
        "nice, mnist",
        "left out: mnist needs train-images-idx3-ubyte.gz or train-images-idx3-ubyte",
    )  # fmt: skip
    monkeypatch.setattr(learning, "Budget", lambda *_: Budget(2, "steps"))
    place = Place(CPU, until=time.perf_counter() + 1)
    found = {each.name: each for each in rows.flow("digits", 2.3, "a minute", place)}
    assert found["nice, digits: likelihood"].figure == pytest.approx(4, rel=0.5)
    aim = found["nice, digits: aim"]
    assert (aim.figure, aim.unit) == (2.3, "bits/dim within a minute")


def test_a_section_chosen_has_all_the_minutes() -> None:
    few = [Section("A game", 0.1, list), Section("Another game", 0.3, list),
           Section("Other", 1.0, list)]  # fmt: skip
    assert [section.share for section in chosen(few, "")] == [0.1, 0.3, 1.0]
    assert [section.share for section in chosen(few, "GAME")] == pytest.approx([0.25, 0.75])
    assert chosen(few, "none") == []


def test_games_say_what_they_make_of_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in (games.stacked, partial(pictures.pictures, "gan", "cifar10", "game")):
        (missing,) = job(Place(CPU, tmp_path))
        assert str(missing.figure).startswith("left out: ")
    monkeypatch.setattr(learning, "Budget", lambda *_: Budget(2, "steps"))
    monkeypatch.setattr("simulacra.judging.features.pinned_classifier._FEWEST_STEPS", 20)
    monkeypatch.setattr("simulacra.judging.features.pinned_classifier._MOST_STEPS", 20)
    monkeypatch.setattr(pictures, "cache_folder", lambda: None)
    soon = Place(CPU, until=time.perf_counter() + 30)
    (short,) = pictures.pictures("gan", "digits", "game", soon)
    assert str(short.figure).endswith("s are too few, run --only game --minutes 8")
    told = pictures.pictures("gan", "digits", "game", Place(CPU, until=1e9), aim=1.5)
    found = {each.name: each for each in told}
    assert found["gan, digits: frechet"].figure > 0
    assert "of 179; real 0." in found["gan, digits: frechet"].unit
    assert found["gan, digits: frechet"].unit.endswith(", aim 1.5 times that")
    assert found["gan, digits: steps"].figure == 2


def test_speeds_of_a_diffusion_are_told_by_batch_and_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diffusions, "ROUNDS", 1)
    monkeypatch.setattr(diffusions, "CALLS", (1, 2))
    found = {each.name: each for each in diffusions.speeds(Place(CPU))}
    of = f"{diffusions.PICTURED}, 8×8"
    assert [*found] == [
        *(f"{of}, {what}, {way}" for way in ("float32", "bf16")
          for what in ("step of 16", "call of 1", "call of 2")),
        f"{of}, 4 at once, float32", f"{of}, 4 at once, bf16",
    ]  # fmt: skip
    assert all(each.figure > 0 for each in found.values())
    # whatever the time, what was measured is told
    assert len(list(diffusions.speeds(Place(CPU, until=0)))) == 2


def test_what_cannot_be_measured_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--device", "toaster", "--out", str(tmp_path)]) == 2
    assert "device is one of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--only", "toast"])
    assert "--only names a section, got 'toast': Every model" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--minutes", "0"])
    assert "--minutes is positive, got 0" in capsys.readouterr().err


def test_a_checkout_that_is_not_installed_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert versions()["simulacra"] == "not installed"
