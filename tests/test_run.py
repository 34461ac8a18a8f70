"""A run: written whole, resumed bit for bit, never left broken."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import undrawn
from forked import Forked
from kept import Kept
from simulacra.cli.flags import new_folder
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset
from simulacra.ground import threads
from simulacra.ground.errors import CheckpointError, DataError, UsageError
from simulacra.ground.storage import read_folder
from simulacra.models import description, saved
from simulacra.runs import recorded
from simulacra.runs import run as run_module
from simulacra.runs.run import Run
from simulacra.training.options import Budget, Options
from simulacra.training.progress import Outcome, Record
from toys import place

TINY: dict[str, dict[str, Any]] = {
    "gmm": {"components": 4, "tolerance": 0.0},
    "vae": {"latent": 2, "hidden": (16,)},
    "pixelcnn": {"channels": 4, "layers": 1, "dropout": 0.2},
    "gan": {"latent": 2, "hidden": (16,)},
    "nice": {"hidden": (16,)},
    # in stages; and a game with turns, rates and an average of its own
    "sampled-autoencoder": {"components": 4},
    "clipped-wgan": {},
}
OTHERS: dict[str, dict[str, Any]] = {
    "two-scales": {},
    "triplet": {},
    "warm-vae": {},
    "codebook": {},
}
"""Kinds that are killed with `--every`: made of models, by classes, by place, with a codebook."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.function is test_kill_9_at_random_moments:
        every = metafunc.config.getoption("every")
        usual = ["nice", "clipped-wgan", "sampled-autoencoder"]
        metafunc.parametrize("name", [*usual, *OTHERS] if every else usual)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def create(
    folder: Path, data: Dataset, name: str = "nice", *, budget: str = "40steps", **options: Any
) -> Run:
    return Run.create(
        folder, model=place(name), keywords=(TINY | OTHERS)[name], data=data,
        budget=Budget.parse(budget),
        options=Options(**{"batch": 16, "device": "cpu", "precision": "32"} | options),
    )  # fmt: skip


def test_a_run_from_before_a_keyword_came_goes_on(digits: Dataset, tmp_path: Path) -> None:
    run = create(tmp_path / "run", digits, "vae", budget="4steps")
    # as it was written when there were none of these
    old = {k: v for k, v in run.record["keywords"].items() if k not in ("warmup", "dropout")}
    run = Run(run.folder, run.record | {"keywords": old})
    asked = iter([False, True])
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        run.train(digits, should_stop=lambda: next(asked, False))
        (run.folder / "run.json").write_text(json.dumps(run.record))
        again = Run.open(run.folder)
        assert again.train(digits).finished
    assert again.record["keywords"].keys() == old.keys()
    assert again.model().keywords["warmup"] == 0.1


@pytest.fixture
def finished(kept: Kept, digits: Dataset, tmp_path: Path) -> Callable[..., Run]:
    """A run to its end, trained for the first who asks: each gets a copy to change."""

    def run(name: str = "nice", folder: str = "run") -> Run:
        def train(folder: Path) -> None:
            assert trained(create(folder, digits, name), digits).finished

        # sums are added in another order with other threads
        made = kept.once(f"{__name__} {name} {torch.get_num_threads()}", train)
        return Run.open(Path(shutil.copytree(made, tmp_path / folder)))

    return run


def trained(run: Run, data: Dataset, **told: Any) -> Outcome:
    """Trained on, with the code that it was made with."""
    return run.train(data, code=run.record["model"], **told)


def weights(run: Run) -> dict[str, Any]:
    return dict(run.model(code=run.record["model"]).state_dict())


def losses(run: Run) -> dict[str, Any]:
    """The metrics but for what time they took."""
    return {name: column for name, column in run.metrics().items() if name != "seconds"}


def assert_same(one: Run, other: Run) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    newest = [run.newest("training")[1]["training"] for run in (one, other)]
    for state in newest:
        state["progress"].pop("seconds")
        state["progress"].pop("peak_bytes")
        state["progress"].pop("spent")
        state["plan"].pop("begun")
    assert flat(newest[0]) == flat(newest[1])
    assert losses(one) == losses(other)


def flat(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (value.dtype, value.shape, value.flatten().tolist())
    if isinstance(value, dict):
        return {key: flat(part) for key, part in value.items()}
    return [flat(part) for part in value] if isinstance(value, list) else value


ONCE_MORE = ("vae", "gan", "nice")
"""What these have, others have too: turns and an average, stages and codes, noise in each step."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.nightly] * (name in ONCE_MORE)) for name in TINY],
)
def test_a_stopped_run_goes_on_bit_for_bit(
    name: str,
    digits: Dataset,
    finished: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = finished(name, "whole")
    # that drawing changes nothing is seen by the way: the whole run drew
    undrawn(monkeypatch)
    parts = create(tmp_path / "parts", digits, name)
    # before EM converges; and where a stage ends, and within the next one
    for stop in (5, 32, 34) if name == "sampled-autoencoder" else (5, 9, 14):
        seen: list[int] = []
        outcome = trained(
            parts,
            digits,
            on_record=lambda record, seen=seen: seen.append(record.step),
            should_stop=lambda seen=seen, stop=stop: len(seen) > 0 and seen[-1] >= stop - 1,
        )
        assert not outcome.finished
        parts = Run.open(tmp_path / "parts")
    assert trained(parts, parts.dataset()).finished
    assert_same(whole, parts)


def test_a_finished_run_is_left_as_it_is(digits: Dataset, finished: Callable[..., Run]) -> None:
    run = finished()
    before = weights(run)
    seen: list[Record] = []
    assert run.train(digits, on_record=seen.append).finished
    assert seen == []
    after = weights(Run.open(run.folder))
    assert all(torch.equal(before[name], value) for name, value in after.items())


def train_and_kill(folder: Path) -> None:
    """Train a run to its end in processes that are killed; say how many were.

    Each is killed some steps after its start, at a moment of the next step or the one after it,
    whatever is computed or written there; or before or soon after it has started.
    """
    # one thread, as a process that is forked from one with several may not start its own
    torch.set_num_threads(1)
    moments, kills, step = random.Random(0), 0, 0.02
    data = Run.open(folder).dataset()
    for _ in range(60):
        heard, told = os.pipe()
        child = os.fork()
        if not child:
            tell = functools.partial(os.write, told, b".")
            trained(
                Run.open(folder), data,
                on_start=lambda *_, tell=tell: tell(), on_record=lambda _, tell=tell: tell(),
            )  # fmt: skip
            os._exit(0)
        os.close(told)
        times = [time.monotonic()]
        for _ in range(moments.randrange(8)):
            os.read(heard, 1)
            times.append(time.monotonic())
        if len(times) > 3:
            step = min(b - a for a, b in pairwise(times[1:]))
        time.sleep(moments.uniform(0, 2 * step if len(times) > 1 else 0.1))
        done, status = os.waitpid(child, os.WNOHANG)
        if not done:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        os.close(heard)
        if not os.WIFSIGNALED(status):
            assert status == 0, status
            break
        kills += 1
    print(kills)


def test_kill_9_at_random_moments(
    name: str, digits: Dataset, finished: Callable[..., Run], tmp_path: Path
) -> None:
    """Killed again and again, a run ends where one that was left in peace ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = finished(name, "whole")
        killed = create(tmp_path / "killed", digits, name)
        process = Forked(train_and_kill, killed.folder, log=tmp_path / "log")
        assert process.wait() == 0, process.said()
        assert int(process.said()) >= 5, "it was hardly ever killed, so little was tested"
        killed = Run.open(killed.folder)
        trained(killed, killed.dataset())
    finally:
        torch.set_num_threads(threads)
    assert_same(whole, killed)


def test_checkpoints_are_few_and_the_best_is_kept(digits: Dataset, tmp_path: Path) -> None:
    run = create(tmp_path / "run", digits, lr=0.3, warmup=0, schedule="constant", ema=0.0)
    values: dict[int, float] = {}

    def see(record: Record) -> None:
        if record.validation is not None:
            values[record.step] = record.validation

    outcome = run.train(digits, on_record=see)
    best = min(values, key=lambda step: values[step])
    assert outcome.best == values[best]
    assert best < max(values), "this rate is too high to get better to the end"
    assert [int(path.name) for path in run.checkpoints()] == [*sorted(values)[:-3:-1], best]
    x, _ = digits.validation.batch(torch.arange(len(digits.validation)))
    with torch.no_grad():
        assert -float(run.model().log_likelihood(x).double().mean()) == pytest.approx(  # type: ignore[operator]
            values[best], rel=1e-5
        )


def test_a_broken_newest_checkpoint_is_named_and_passed_over(
    digits: Dataset, finished: Callable[..., Run]
) -> None:
    whole, run = finished(folder="whole"), finished()
    newest, before = run.checkpoints()[:2]
    path = newest / "training.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    told: list[str] = []
    started: list[int] = []

    def on_start(training: Any, broken: list[str]) -> None:
        told.extend(broken)
        started.append(training.progress.step)

    assert run.train(digits, on_start=on_start).finished
    assert started == [int(before.name)]
    assert len(told) == 1
    assert str(path) in told[0]
    assert "altered" in told[0]
    assert_same(whole, run)


def test_no_sound_checkpoint_is_an_error(finished: Callable[..., Run]) -> None:
    run = finished()
    for folder in run.checkpoints():
        (folder / "MANIFEST.json").unlink()
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        run.model()


def test_no_file_of_a_run_holds_code(finished: Callable[..., Run]) -> None:
    run = finished("gan")
    kinds = {path.suffix for path in run.folder.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors", ".csv", ".png"}


def test_the_record_says_what_was_run(digits: Dataset, tmp_path: Path) -> None:
    run = create(tmp_path / "run", digits, "vae", seed=7, lr=0.01)
    run.train(digits)
    record = json.loads((run.folder / "run.json").read_text())
    assert record["model"] == "vae"
    assert record["keywords"]["latent"] == 2
    assert record["keywords"]["observation"] == "auto"
    assert record["options"]["seed"] == 7
    assert record["options"]["lr"] == 0.01
    assert record["plan"] == {
        "steps": 40,
        "validate_every": 2,
        "validate_on": 1000,
        "invert_on": 32,
        "seconds": None,
        "start": 0,
        "begun": 0.0,
        "passes": 20,
        "validations": 20,
        "origin": 0.0,
        "at": None,
        "place_at": 0.0,
    }
    assert record["data"]["fingerprint"] == digits.fingerprint
    assert record["versions"]["torch"] == torch.__version__
    assert record["threads"] == torch.get_num_threads()
    opened = Run.open(run.folder)
    assert opened.options == run.options
    assert opened.spec == digits.spec


def test_other_data_are_refused(digits: Dataset, tmp_path: Path) -> None:
    run = create(tmp_path / "run", digits)
    run.record["data"]["options"]["levels"] = 4
    # which are the run's own
    assert "levels" not in digits.options
    with pytest.raises(DataError, match="fingerprint"):
        run.dataset()


def test_folders_that_are_taken_or_empty(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(UsageError, match="exists already"):
        create(tmp_path / "taken", digits)
    (tmp_path / "empty").mkdir()
    create(tmp_path / "empty", digits)
    with pytest.raises(CheckpointError, match="did you mean 'empty'"):
        Run.open(tmp_path / "emtpy")
    assert new_folder(tmp_path, "empty") == tmp_path / "empty-2"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("spec"),
        lambda record: record.update(format=2),
        lambda record: record["options"].update(lr=-1),
        lambda record: record["options"].update(colour="red"),
        lambda record: record["spec"].update(levels=1),
        lambda record: record.update(spec=3),
        lambda record: record.pop("data"),
        lambda record: record["data"].pop("fingerprint"),
        lambda record: record.update(plan={"step": 3}),
        lambda record: record.update(budget="soon"),
        lambda record: record.update(model=None),
    ],
)
def test_records_that_lie_are_refused(change: Any, digits: Dataset, tmp_path: Path) -> None:
    run = create(tmp_path / "run", digits)
    change(run.record)
    (run.folder / "run.json").write_text(json.dumps(run.record))
    with pytest.raises(CheckpointError, match=r"run\.json"):
        Run.open(run.folder)


def test_what_is_done_between_steps_has_the_usual_threads(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cores of a busy machine are slow at what is small: weights looked through and copied."""
    monkeypatch.setattr(threads, "usual", lambda: 3)
    seen = []
    for module, name in ((run_module, "finite"), (recorded, "write_checkpoint")):
        whole = getattr(module, name)

        def watched(*given: Any, whole: Callable[..., Any] = whole) -> Any:
            seen.append(torch.get_num_threads())
            return whole(*given)

        monkeypatch.setattr(module, name, watched)
    run = Run.create(
        tmp_path / "run", model="nice", keywords={"hidden": (4,)}, data=digits,
        budget=Budget.parse("2steps"), options=Options(device="cpu"),
    )  # fmt: skip
    before = torch.get_num_threads()
    run.train(digits)
    assert len(seen) > 2
    assert set(seen) == {3}
    assert torch.get_num_threads() == before


def test_pictures_are_drawn_at_the_quarters(finished: Callable[..., Run]) -> None:
    run = finished()
    assert [path.stem for path in sorted((run.folder / "samples").iterdir())] == [
        "00000010", "00000020", "00000030", "00000040",
    ]  # fmt: skip
    assert run.outcome().spent["pictures"] > 0


MY_MODEL = """
import torch
from torch.distributions import Categorical
from simulacra.models.autoregressive.base import Autoregressive

class Mine(Autoregressive):
    \"\"\"Independent levels.

    Paper: none, 2026.
    \"\"\"

    def __init__(self, spec, *, start: float = 0.0):
        super().__init__(spec)
        self.start = start
        self.logits = torch.nn.Parameter(torch.full((*spec.event_shape, spec.levels), start))

    def conditionals(self, x, context=None):
        return Categorical(logits=self.logits.expand(len(x), *self.logits.shape))
"""


def test_a_model_of_ones_own_trains_and_is_only_run_when_named(
    digits: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "my.py").write_text(MY_MODEL)
    name = f"{tmp_path / 'my.py'}:Mine"
    run = Run.create(
        tmp_path / "run", model=name, keywords={"start": "0.5"}, data=digits,
        options=Options(device="cpu"), budget=Budget(20, "steps"),
    )  # fmt: skip
    assert run.train(digits, code=name).finished
    with pytest.raises(CheckpointError, match="--code"):
        run.model()
    with pytest.raises(CheckpointError, match="--code"):
        Run.open(run.folder).train(digits)
    model = run.model(code=name)
    assert model.keywords == {"start": 0.5}
    assert model.sample(3).shape == (3, 1, 8, 8)  # type: ignore[operator]
    assert description.describe(name).family == "yours"


def test_a_checkpoint_is_a_saved_model(finished: Callable[..., Run]) -> None:
    run = finished("vae")
    alone = saved.load(run.checkpoints()[0])
    stored = read_folder(run.checkpoints()[0], "weights")["weights"]
    assert all(torch.equal(stored[name], value) for name, value in alone.state_dict().items())


def test_a_checkpoint_holds_the_average_of_the_weights(digits: Dataset, tmp_path: Path) -> None:
    run = create(tmp_path / "run", digits, ema=0.9)
    kept: dict[str, Any] = {}
    live: dict[str, Any] = {}

    def on_start(training: Any, _: list[str]) -> None:
        kept["training"] = training

    run.train(digits, on_start=on_start)
    live = kept["training"].model.state_dict()
    average = kept["training"].averaged.state_dict()
    stored = read_folder(run.checkpoints()[0], "weights")["weights"]
    assert all(torch.equal(stored[name], value) for name, value in average.items())
    assert any(not torch.equal(stored[name], value) for name, value in live.items())


@pytest.mark.parametrize("change", [{"model": "gmm"}, {"keywords": {"hidden": [9]}}])
def test_a_record_of_another_model_is_refused(
    change: dict[str, Any], digits: Dataset, finished: Callable[..., Run]
) -> None:
    run = finished()
    run.record.update(change)
    with pytest.raises(CheckpointError, match="another model"):
        run.model()
    with pytest.raises(CheckpointError, match="not of the model"):
        run.train(digits)


def test_a_broken_best_checkpoint_leaves_the_newest(digits: Dataset, tmp_path: Path) -> None:
    run = create(tmp_path / "run", digits, lr=0.3, warmup=0, schedule="constant", ema=0.0)
    run.train(digits)
    best = run.newest("training")[1]["training"]["progress"]["best_step"]
    newest = run.checkpoints()[0]
    assert int(newest.name) != best
    (newest.with_name(str(best)) / "weights.safetensors").write_bytes(b"")
    expected = saved.load(newest).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in weights(run).items())
