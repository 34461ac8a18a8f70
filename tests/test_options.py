"""Budgets as people write them, and the options of a training."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulacra.ground.errors import UsageError
from simulacra.models.registry import MODELS, preset
from simulacra.training.options import Budget, Options


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("90s", 90, "s"),
        ("5m", 300, "s"),
        ("1.5h", 5400, "s"),
        ("0.25s", 0.25, "s"),
        ("2000steps", 2000, "steps"),
        ("1step", 1, "steps"),
        ("1e3steps", 1000, "steps"),
        ("2.0steps", 2, "steps"),
        ("10epochs", 10, "epochs"),
        ("1epoch", 1, "epochs"),
        ("0.5epochs", 0.5, "epochs"),
        (" 10 epochs ", 10, "epochs"),
        ("+3s", 3, "s"),
        ("1e-3s", 0.001, "s"),
        ("2e+1steps", 20, "steps"),
        ("2h", 7200, "s"),
        ("20000obs", 20_000, "obs"),
        ("500kobs", 500_000, "obs"),
        ("2Mobs", 2_000_000, "obs"),
        (" 2 Mobs ", 2_000_000, "obs"),
        # a product of floats would not be whole
        ("1.1Mobs", 1_100_000, "obs"),
        ("1e-3Mobs", 1000, "obs"),
        ("3Gflops", 3e9, "flops"),
        ("1e9Gflops", 1e18, "flops"),
    ],
)
def test_budgets_are_read(text: str, amount: float, unit: str) -> None:
    budget = Budget.parse(text)
    assert (budget.amount, budget.unit) == (amount, unit)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "s", "90", "90 sec", "90seconds", "steps", "ms", "5ms", "1d", "s90", "90s 5m",
        "nans", "nan s", "infs", "inf steps", "e5s", "1e", "1es", "1.2.3s", "--5s", "+-5s", "..s",
        "1_000s", "1,000s", "0x10s", "٣s", "½s", "1e400s", "-1e400s", "1e400steps", "1e307h",
        "0s", "0m", "0steps", "-0s", "-5s", "-3steps", "-1epochs", "1e-400s",
        "1.5steps", "0.999steps", "1e-1steps", "5s\n6s", "ſ", "5ſ", "90s;", "9" * 400 + "s",
        "1e300steps", f"{2**63}steps", "\x1b[2Js", "90\x00s",
        "5M", "5k", "2G", "2 M obs", "2mobs", "2MObs", "2Tflops", "2kMobs", "2Ksteps", "2Msteps",
        "2Mepochs", "2Ms", "0.5obs", "1.5flops", "0.0001kobs", "0Mobs", "-2Mobs", "1e300obs",
        "1eMobs", "1eobs", "eMobs", "Mobs", "obs", "2Mob", "1e308Gflops", "10 Epochs", "90S", "1H",
    ],
)  # fmt: skip
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Budget.parse(text)


def test_a_refusal_says_how_a_budget_is_written() -> None:
    units = "90s, 5m, 1h, 2000steps, 10epochs, 2Mobs or 3Gflops"
    with pytest.raises(UsageError, match=f"a budget is written {units}, got '2 fortnights'$"):
        Budget.parse("2 fortnights")
    meant = "got '5M': 5m is 5 minutes, 5Mobs 5 million observations"
    with pytest.raises(UsageError, match=meant):
        Budget.parse("5M")
    with pytest.raises(UsageError, match="got '10 Epochs': write 10 epochs"):
        Budget.parse("10 Epochs")
    with pytest.raises(UsageError, match=r"got 'xM'$"):
        Budget.parse("xM")
    with pytest.raises(UsageError, match=r"a number of observations is whole, got 0\.5"):
        Budget.parse("0.0005kobs")
    with pytest.raises(UsageError, match="a budget is positive, got -5s"):
        Budget.parse("-5s")
    with pytest.raises(UsageError, match=r"a number of steps is whole, got 1\.5"):
        Budget.parse("1.5steps")


# texts that nearly are budgets, as well as any text
NEARLY = st.text(alphabet="0123456789.e+-smhtpocbflMkG ", max_size=12)


@settings(deadline=None, database=None)
@given(st.one_of(st.text(max_size=30), NEARLY))
@example("1e308epochs")
@example("9e999999999s")
def test_any_text_is_a_budget_or_a_usage_error(text: str) -> None:
    try:
        budget = Budget.parse(text)
    except UsageError:
        return
    assert 0 < budget.amount < math.inf
    assert budget.unit in ("s", "steps", "epochs", "obs", "flops")


@pytest.mark.parametrize("amount", [0, -1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("unit", ["s", "steps", "epochs", "obs", "flops"])
def test_amounts_that_are_none_are_refused(amount: float, unit: Any) -> None:
    with pytest.raises(UsageError, match="a budget is positive"):
        Budget(amount, unit)


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(90, "s"), "90s"),
        (Budget(2000, "steps"), "2000steps"),
        (Budget(1234567.0, "steps"), "1234567steps"),
        (Budget(0.1, "epochs"), "0.1epochs"),
        (Budget(500, "obs"), "500obs"),
        (Budget(20_000, "obs"), "20kobs"),
        (Budget(250_000, "obs"), "250kobs"),
        (Budget(1_500_000, "obs"), "1.5Mobs"),
        (Budget(1_234_567, "obs"), "1234567obs"),
        (Budget(2e9, "obs"), "2Gobs"),
        (Budget(3.05e15, "flops"), "3050000Gflops"),
    ],
)
def test_a_budget_is_written_as_people_do(budget: Budget, text: str) -> None:
    assert str(budget) == text


@settings(deadline=None, database=None)
@given(
    st.one_of(
        st.builds(Budget, st.integers(1, 10**15), st.just("steps")),
        st.builds(Budget, st.floats(1e-9, 1e300), st.sampled_from(["s", "epochs"])),
        st.builds(Budget, st.integers(1, 2**53).map(float), st.sampled_from(["obs", "flops"])),
        st.builds(Budget, st.floats(1, 1e300).map(math.floor).map(float), st.just("flops")),
    )
)
def test_a_written_budget_is_read_as_itself(budget: Budget) -> None:
    """A run records its budget as text, and trains by what it reads."""
    assert Budget.parse(str(budget)) == budget


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("batch", [0, -1, 64.5, "64", True, None, math.nan, 2**63]),
        ("accumulate", [0, -3, 1.0, [1], 10**30]),
        ("lr", [0.0, -1e-3, math.nan, math.inf]),
        ("betas", [(0.9, 1.0), (-0.1, 0.9), (0.9,), (0.9, 0.9, 0.9), (math.nan, 0.9), ()]),
        ("weight_decay", [-1e-4, math.nan, math.inf]),
        ("warmup", [-1, 0.5, math.inf, 2**63]),
        ("schedule", ["linear", "", "Cosine"]),
        ("clip", [-1.0, math.nan, math.inf]),
        ("ema", [1.0, -0.1, math.nan]),
        ("seed", [-1, 2**63, 0.0, "0", False]),
        ("device", [5, None]),
        ("precision", ["16", "bf-16", "64"]),
    ],
)
def test_impossible_values_are_refused_by_name(name: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(UsageError, match=f"^{name} is .*, got "):
            Options(**{name: value})


def test_possible_extremes_are_kept() -> None:
    options = Options(
        batch=1, accumulate=1, betas=(0.0, 0.0), weight_decay=0.0, warmup=0, clip=0.0, ema=0.0,
        seed=2**63 - 1, precision="bf16",
    )  # fmt: skip
    assert options.seed == 2**63 - 1


STEPS = st.integers(1, 10_000)


@settings(deadline=None, database=None)
@given(STEPS, st.integers(0, 500), st.sampled_from(["cosine", "constant"]), st.data())
def test_the_learning_rate_stays_in_its_range(
    steps: int, warmup: int, schedule: Any, data: st.DataObject
) -> None:
    options = Options(lr=0.3, warmup=warmup, schedule=schedule)
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < options.lr_at(step, steps) <= 0.3


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_warm_up_rises_to_the_learning_rate(schedule: Any) -> None:
    options = Options(lr=0.5, warmup=100, schedule=schedule)
    rates = [options.lr_at(step, 2000) for step in range(2000)]
    assert rates[0] == pytest.approx(0.005)
    assert all(a < b for a, b in itertools.pairwise(rates[:100]))
    assert rates[99] == rates[100] == 0.5
    assert max(rates) == 0.5


def test_the_warm_up_is_at_most_a_tenth_of_the_training() -> None:
    rates = [Options(lr=1.0, warmup=100, schedule="constant").lr_at(s, 200) for s in range(200)]
    assert sum(rate < 1 for rate in rates) == 19
    assert rates[0] == pytest.approx(1 / 20)


@pytest.mark.parametrize("warmup", [0, 100])
def test_a_cosine_falls_to_nearly_nothing(warmup: int) -> None:
    options = Options(lr=1.0, warmup=warmup)
    rates = [options.lr_at(warmup + step, 1000 + warmup) for step in range(1000)]
    assert all(a >= b for a, b in itertools.pairwise(rates))
    assert rates[0] == 1
    assert rates[500] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-5


def test_a_constant_rate_is_constant() -> None:
    options = Options(lr=0.2, warmup=0, schedule="constant")
    assert {options.lr_at(step, 50) for step in range(50)} == {0.2}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_short_trainings_start_at_the_learning_rate(schedule: Any, steps: int) -> None:
    assert Options(lr=0.2, schedule=schedule).lr_at(0, steps) == 0.2


# ---- presets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_presets_are_options_that_differ_from_the_usual(name: str) -> None:
    usual, suited = Options(), preset(name)
    assert suited.keys() <= {field.name for field in fields(Options)}
    built = Options(**suited)
    for key, value in suited.items():
        assert type(value) is type(getattr(usual, key)), f"{name}: {key}"
        assert getattr(built, key) != getattr(usual, key), f"{name}: {key} is the usual one"


def test_a_model_of_ones_own_may_have_a_preset(tmp_path: Path) -> None:
    base = "from simulacra.models.flow.nice import NICE\nclass Mine(NICE):\n    "
    (tmp_path / "my.py").write_text(base + "preset = {'batch': 3}\n")
    assert preset(f"{tmp_path}/my.py:Mine") == {"batch": 3}
    assert preset("made") == {}
