"""What is changed while a training goes on, how it is made longer, and what it begins with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import toys
from learning import equal, training, values
from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import UsageError
from simulacra.runs.events import EVENTS, EventLog
from simulacra.runs.run import Run
from simulacra.training.changes import make_longer, set_rate
from simulacra.training.loop import Training
from simulacra.training.options import Budget, Options
from simulacra.training.plan import Event

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def run_of(folder: Path, data: Dataset, name: str = "clipped-wgan", **told: Any) -> Run:
    options = Options(batch=16, device="cpu", **told.pop("options", {}))
    return Run.create(
        folder, model=toys.place(name), keywords=told.pop("keywords", {}), data=data,
        budget=Budget(20, "steps"), options=options, **told,
    )  # fmt: skip


def train(run: Run, data: Dataset, **told: Any) -> Any:
    return run.train(data, code=run.record["model"], **told)


def weights(run: Run) -> dict[str, Tensor]:
    return dict(run.model(code=run.record["model"]).state_dict())


def forget_after(run: Run, step: int) -> None:
    """As if the process had been killed before it wrote later checkpoints."""
    for folder in run.checkpoints():
        if int(folder.name) > step:
            shutil.rmtree(folder)


def test_a_finished_run_trains_longer_and_a_kill_does_not_forget_it(
    digits: Dataset, tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", digits)
    train(run, digits)
    shutil.copytree(run.folder, tmp_path / "killed")
    assert train(Run.open(run.folder), digits, longer=Budget(15, "steps")).steps == 35
    again = Run.open(run.folder)
    assert again.plan is not None
    assert again.plan.steps == 35
    # killed when the change was written down, and the checkpoint that has it was not
    killed = Run.open(tmp_path / "killed")
    shutil.copy(again.folder / EVENTS, killed.folder)
    assert train(killed, digits).steps == 35
    assert equal(weights(again), weights(Run.open(killed.folder)))
    # and once more, in other units
    epochs = 2 * 4 * 16 / len(digits.train)
    assert train(again, digits, longer=Budget(epochs, "epochs")).steps == 37
    longer = train(Run.open(run.folder), digits, longer=Budget(0.2, "s"))
    assert longer.finished
    assert longer.steps > 37


def test_a_longer_training_is_one_that_was_planned_longer(digits: Dataset) -> None:
    """But for what came before it was: its schedule goes on as that of the longer one."""
    short, long = training("autoencoder", digits, 20), training("autoencoder", digits, 40)
    list(short)
    make_longer(short, Budget(20, "steps"))
    rates = {record.step: record.lr for record in short}
    expected = {record.step: record.lr for record in long}
    assert rates == {step: expected[step] for step in range(21, 41)}


def test_what_cannot_be_longer_says_so(digits: Dataset) -> None:
    mixture = training("sweeps", digits, 300, keywords={"components": 2})
    list(mixture)
    with pytest.raises(UsageError, match="has converged"):
        make_longer(mixture, Budget(5, "steps"))
    with pytest.raises(UsageError, match="by sweeps has no learning rate"):
        set_rate(mixture, 0.1)
    staged = training("sampled-autoencoder", digits, 20)
    with pytest.raises(UsageError, match=r"in its stage 'codes': .* in its last one, 'mixture'"):
        make_longer(staged, Budget(5, "steps"))
    with pytest.raises(UsageError, match=r"no player is called 'critics': .*critic"):
        set_rate(training("clipped-wgan", digits, 20), 0.1, "critics")


def test_a_rate_that_is_changed_meanwhile_is_followed_after_a_kill(
    digits: Dataset, tmp_path: Path
) -> None:
    def trained(name: str, change: bool) -> Run:
        run = run_of(tmp_path / name, digits, options={"schedule": "constant", "warmup": 0})
        held: list[Training] = []

        def see(record: Any) -> None:
            if change and record.step == 7:
                set_rate(held[0], 0.05, "critic")

        train(run, digits, on_start=lambda made, _: held.append(made), on_record=see)
        assert held[0].rate("critic") == pytest.approx(0.05 if change else 0.002)
        assert held[0].rate("generator") == pytest.approx(0.001)
        return Run.open(run.folder)

    changed, left = trained("changed", True), trained("left", False)
    assert EventLog(changed.folder).read() == [Event(7, "critic", 0.05)]
    assert not equal(weights(changed), weights(left))
    # with a checkpoint at every step, the run is put to one before the change
    state = tmp_path / "killed"
    stopped = run_of(state, digits, options={"schedule": "constant", "warmup": 0})
    steps: list[int] = []
    train(
        stopped, digits, on_record=lambda record: steps.append(record.step),
        should_stop=lambda: len(steps) >= 4,
    )  # fmt: skip
    shutil.copy(changed.folder / EVENTS, state)
    shutil.copytree(state, tmp_path / "before")
    train(Run.open(state), digits)
    assert equal(weights(Run.open(state)), weights(changed))
    # as it was written down once
    early = Run.open(tmp_path / "before")
    (early.folder / EVENTS).unlink()
    event = {"step": 7, "player": "critic", "lr": 0.05, "plan": None}
    train(Run(early.folder, early.record | {"events": [event]}), digits)
    assert equal(weights(Run.open(early.folder)), weights(changed))


def test_a_run_begins_with_the_weights_of_another(digits: Dataset, tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", digits, "warm-vae", keywords={"hidden": (12,)})
    train(first, digits)
    second = run_of(tmp_path / "second", digits, "warm-vae", start=first)
    assert second.record["keywords"]["hidden"] == (12,)
    assert second.record["start"] == {"run": str(first.folder), "steps": 20}
    begun: list[dict[str, Tensor]] = []
    # the other one need not be there any more
    expected = weights(first)
    shutil.rmtree(first.folder)
    opened = Run.open(second.folder)
    train(opened, digits, on_start=lambda made, _: begun.append(values(made.model)))
    assert equal(begun[0], expected)
    assert not equal(weights(opened), expected)
    with pytest.raises(
        UsageError, match=r"toys.py:WarmVAE, whose weights are not for .*:ClippedWGAN"
    ):
        run_of(tmp_path / "other", digits, "clipped-wgan", start=opened)
    with pytest.raises(
        UsageError, match=r"do not fit: encoding.layers.0.weight should be \(5, 64\)"
    ):
        run_of(tmp_path / "wider", digits, "warm-vae", start=opened, keywords={"hidden": (5,)})
    assert not (tmp_path / "wider").exists()


def test_data_of_another_form_do_not_fit(digits: Dataset, tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", digits, "warm-vae")
    train(first, digits)
    few = replace(
        digits, spec=replace(digits.spec, event_shape=(1, 4, 4)),
        **{name: Observations(split.x[:, :, :4, :4]) for name, split in digits.splits.items()},
    )  # fmt: skip
    with pytest.raises(
        UsageError,
        match=r"data of another form: event_shape is \(1, 8, 8\) there, here \(1, 4, 4\)",
    ):
        run_of(tmp_path / "small", few, "warm-vae", start=first)


def test_weights_for_other_levels_fit_and_are_refused(digits: Dataset, tmp_path: Path) -> None:
    first = run_of(tmp_path / "first", digits, "clipped-wgan")
    train(first, digits)
    with pytest.raises(UsageError, match="another form: levels is 17 there, here 4"):
        run_of(tmp_path / "few", load("digits", levels=4), "clipped-wgan", start=first)


def test_another_rate_for_what_has_ended_asks_for_how_long(digits: Dataset, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", digits)
    train(run, digits)
    with pytest.raises(UsageError, match="has ended: say with --budget how much longer"):
        train(run, digits, rates={"critic": 1e-4})
    assert "events" not in Run.open(run.folder).record
    longer = train(run, digits, rates={"critic": 1e-4}, longer=Budget(3, "steps"))
    assert longer.steps == 23


def test_what_is_ordered_on_resuming_goes_before_what_was_to_be_later(digits: Dataset) -> None:
    """As after a kill that took back to before it."""
    made = training("clipped-wgan", digits, 30, schedule="constant")
    longer = replace(made.plan, steps=80)
    made.events = [Event(10, "critic", 0.5), Event(10, plan=longer), Event(12, "generator", 0.25)]
    set_rate(made, 1e-4, "critic")
    make_longer(made, Budget(20, "steps"))
    assert made.plan.steps == 100
    rates = {record.step: record.losses["critic/lr"] for record in made if record.step < 20}
    assert set(rates.values()) == {1e-4}
    assert made.rate("generator") == 0.25
    assert made.progress.step == 100


def test_an_extension_that_was_only_written_down_is_made(digits: Dataset, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", digits)
    train(run, digits)
    # killed before the checkpoint that has it
    lengthened = {"step": 20, "player": None, "lr": 0.0}
    plan = run.record["plan"] | {"steps": 35}
    record = Run.open(run.folder).record | {"events": [lengthened | {"plan": plan}]}
    assert train(Run(run.folder, record), digits, longer=Budget(10, "steps")).steps == 45


def test_a_short_run_made_much_longer_validates_no_more_than_a_long_one(digits: Dataset) -> None:
    # a clock that goes on by a moment whenever it is looked at, however slow the machine is
    ticks = count()
    made = training("autoencoder", digits, 20, clock=lambda: 0.002 * next(ticks))
    list(made)
    assert made.plan.validate_every == 1
    make_longer(made, Budget(400, "steps"))
    assert sum(record.validated for record in made) <= 21
    make_longer(made, Budget(0.3, "s"))
    records = list(made)
    assert len(records) > 20
    assert sum(record.validated for record in records) <= 21


def test_a_rate_that_was_changed_is_the_one_that_is_told(digits: Dataset) -> None:
    made = training("autoencoder", digits, 6, schedule="constant")
    set_rate(made, 1e-5)
    assert {record.lr for record in made} == {1e-5}


def test_a_run_that_begins_with_weights_never_begins_without(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_of(tmp_path / "first", digits, "warm-vae")
    train(first, digits)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("simulacra.models.saved.save", die)
    with pytest.raises(Killed):
        run_of(tmp_path / "second", digits, "warm-vae", start=first)
    assert not (tmp_path / "second" / "run.json").exists()


def test_what_cannot_begin_makes_no_folder(digits: Dataset, tmp_path: Path) -> None:
    told = {name: Observations(split.x) for name, split in digits.splits.items()}
    unlabelled = replace(digits, spec=replace(digits.spec, classes=0), **told)
    with pytest.raises(UsageError, match="give --labels, or --groups"):
        run_of(tmp_path / "run", unlabelled, "triplet")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_run_are_not_prepared_anew(digits: Dataset, tmp_path: Path) -> None:
    """What was taken from the data that they learnt from belongs to them."""
    first = run_of(tmp_path / "first", digits, "nice", keywords={"hidden": (8,)})
    train(first, digits)
    turned = {name: Observations(16 - split.x) for name, split in digits.splits.items()}
    others = replace(digits, **turned)
    begun: list[dict[str, Tensor]] = []
    second = run_of(tmp_path / "second", others, "nice", start=first)
    train(second, others, on_start=lambda made, _: begun.append(values(made.model)))
    expected = weights(first)
    assert torch.equal(begun[0]["shift"], expected["shift"])
    assert equal(begun[0], expected)
