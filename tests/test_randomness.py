"""Seeds that scope, and draws that belong to an observation."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from simulacra.ground import randomness
from simulacra.ground.randomness import keyed_normal, keyed_uniform, keys_from, keys_of, seeded

TOP = 2**63 - 1


def first_draws(*seed: int) -> Tensor:
    with seeded(*seed):
        return torch.rand(4)


# ---- scopes -------------------------------------------------------------------------------------


def test_a_scope_leaves_the_generator_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(1):
        torch.rand(3)
        torch.manual_seed(9)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_error_inside_leaves_the_generator_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1):
        assert float(torch.rand(())) / 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [(0,), (5, 7, 0, 2), (-3, 1), (2**62, 2**63 - 1, -(2**63))])
def test_a_scope_has_the_key_of_its_integers(seed):
    with seeded(*seed):
        drawn = torch.rand(5)
    key = int(keys_from(*map(torch.tensor, seed)))
    assert torch.equal(drawn, torch.rand(5, generator=torch.Generator().manual_seed(key)))


def test_gpus_at_work_are_seeded_without_a_look_at_all_kinds_of_device(monkeypatch):
    """`torch.manual_seed` would write down the stack of calls for each kind that may yet appear."""
    gpus = [torch.Generator(), torch.Generator()]
    before = [gpu.get_state() for gpu in gpus]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "default_generators", gpus)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda at: gpus[at].get_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, at: gpus[at].set_state(state))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch, "manual_seed", lambda _: pytest.fail("all kinds are seeded"))
    with seeded(3, 4):
        drawn = [torch.rand(5, generator=gpu) for gpu in [torch.default_generator, *gpus]]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    assert all(torch.equal(gpu.get_state(), old) for gpu, old in zip(gpus, before, strict=True))


def test_a_scope_within_a_scope_does_not_disturb_it() -> None:
    with seeded(1):
        alone = torch.rand(2), torch.rand(2)
    with seeded(1):
        first = torch.rand(2)
        with seeded(2):
            inner = torch.rand(2)
        second = torch.rand(2)
    assert torch.equal(first, alone[0])
    assert torch.equal(second, alone[1])
    assert torch.equal(inner, first_draws(2)[:2])


def test_a_scope_does_not_depend_on_what_was_drawn_before() -> None:
    torch.manual_seed(1)
    one = first_draws(3, 4)
    torch.manual_seed(2)
    torch.randn(17)
    assert torch.equal(first_draws(3, 4), one)


def test_every_part_of_a_seed_counts_and_so_does_their_order() -> None:
    seeds = [
        (), (0,), (1,), (2,), (12,), (21,), (0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (1, 1),
        (0, 0, 0), (1, 2, 3), (12, 3), (1, 23), (-1,), (TOP,), (TOP, 1), (2**32,), (2**32 + 1,),
    ]  # fmt: skip
    drawn = {tuple(first_draws(*seed).tolist()) for seed in seeds}
    assert len(drawn) == len(seeds)


@settings(deadline=None, database=None)
@given(
    st.lists(
        st.lists(st.integers(0, TOP), max_size=3).map(tuple), min_size=2, max_size=2, unique=True
    )
)
def test_seeds_fold_apart(pair: list[tuple[int, ...]]) -> None:
    used = []
    for seed in pair:
        with seeded(*seed):
            used.append(torch.initial_seed())
    assert used[0] != used[1]


def test_consecutive_steps_of_a_run_are_uncorrelated() -> None:
    drawn = torch.stack([first_draws(0, step) for step in range(1000)]).double()
    for column in range(4):
        r = stats.pearsonr(drawn[:-1, column], drawn[1:, column]).statistic
        assert abs(r) < 5 / 1000**0.5
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-4


# ---- keyed draws --------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0, -1, TOP, -(2**63), (1 << 11) - 1, -(1 << 12)])
def test_uniform_draws_are_strictly_inside(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    """At the hash values that come next to 0 and 1."""
    monkeypatch.setattr(randomness, "_mix", lambda x: torch.full_like(x, bits))
    drawn = keyed_uniform(torch.zeros(2, dtype=torch.int64), (3,))
    assert bool(((drawn > 0) & (drawn < 1)).all())
    assert bool(keyed_normal(torch.zeros(2, dtype=torch.int64), (3,)).isfinite().all())


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,)])
def test_draws_have_the_shape_asked_for(shape: tuple[int, ...]) -> None:
    drawn = keyed_uniform(torch.arange(5), shape)
    assert drawn.shape == (5, *shape)
    assert drawn.dtype == torch.float64


def test_a_row_depends_on_its_key_alone() -> None:
    keys = keys_from(0, torch.arange(20))
    together = keyed_uniform(keys, (2, 3))
    for i in (0, 7, 19):
        assert torch.equal(keyed_uniform(keys[i : i + 1], (2, 3))[0], together[i])
    assert torch.equal(keyed_uniform(keys.flip(0), (2, 3)), together.flip(0))
    # a longer row begins like a shorter one
    assert torch.equal(keyed_uniform(keys, (9,))[:, :6], together.flatten(1))
    torch.manual_seed(3)
    assert torch.equal(keyed_uniform(keys, (2, 3)), together)


def test_the_same_key_draws_the_same_and_another_does_not() -> None:
    keys = torch.tensor([5, 5, 6])
    drawn = keyed_uniform(keys, (8,))
    assert torch.equal(drawn[0], drawn[1])
    assert not bool((drawn[0] == drawn[2]).any())


# keys as a user of them has them: counted up, hashed, and next to one another for several draws
KEYS = {
    "counted": torch.arange(400),
    "negative": -torch.arange(1, 401),
    "hashed": keys_from(3, torch.arange(400)),
    "draws": (keys_from(3, torch.arange(50))[:, None] + torch.arange(8)).flatten(),
}


@pytest.mark.parametrize("kind", KEYS)
def test_draws_are_uniform(kind: str) -> None:
    drawn = keyed_uniform(KEYS[kind], (500,)).flatten()
    assert stats.kstest(drawn.numpy(), "uniform").pvalue > 1e-4
    # the finer digits too
    assert stats.kstest((drawn * 2**20 % 1).numpy(), "uniform").pvalue > 1e-4
    assert len(drawn.unique()) == len(drawn)


@pytest.mark.parametrize("kind", KEYS)
def test_neighbours_are_independent(kind: str) -> None:
    drawn = keyed_uniform(KEYS[kind], (500,))
    neighbours = {
        "keys": (drawn[:-1], drawn[1:]),
        "positions": (drawn[:, :-1], drawn[:, 1:]),
        "both": (drawn[1:, :-1], drawn[:-1, 1:]),
    }
    for one, other in neighbours.values():
        a, b = one.flatten().numpy(), other.flatten().numpy()
        assert abs(stats.pearsonr(a, b).statistic) < 5 / len(a) ** 0.5
        cells = torch.bincount(
            torch.as_tensor((a * 16).astype(int) * 16 + (b * 16).astype(int)), minlength=256
        )
        assert stats.chisquare(cells.numpy()).pvalue > 1e-4


def test_normal_draws_are_normal() -> None:
    drawn = keyed_normal(KEYS["draws"], (500,)).flatten()
    n = len(drawn)
    assert stats.kstest(drawn.numpy(), "norm").pvalue > 1e-4
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs(float(drawn.pow(power).mean()) - moment) < 5 * (variance / n) ** 0.5


# ---- keys of observations -----------------------------------------------------------------------


def pictures(n: int, levels: int = 4) -> Tensor:
    with seeded(8):
        return torch.randint(levels, (n, 1, 4, 4))


def test_an_observation_has_its_key_in_any_batch() -> None:
    x = pictures(50)
    together = keys_of(x, 3)
    assert torch.equal(torch.cat([keys_of(row[None], 3) for row in x]), together)
    assert torch.equal(keys_of(x.flip(0), 3), together.flip(0))
    assert torch.equal(keys_of(x.expand(2, *x.shape).flatten(0, 1), 3), together.repeat(2))


@pytest.mark.parametrize("levels", [2, 256])
def test_any_changed_value_changes_the_key(levels: int) -> None:
    x = pictures(20, levels)
    before = keys_of(x)
    for position in range(16):
        changed = x.flatten(1).clone()
        changed[:, position] = (changed[:, position] + 1) % levels
        assert not bool((keys_of(changed.view_as(x)) == before).any())


def test_permuted_values_have_another_key() -> None:
    x = torch.tensor(list(itertools.permutations(range(6))))
    assert len(keys_of(x).unique()) == len(x)
    assert len(keys_of(x.double()).unique()) == len(x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_levels_have_their_key_in_any_integer_type(dtype: torch.dtype) -> None:
    x = pictures(20, 256)
    kept = x if dtype == torch.int16 else x.to(dtype)
    assert torch.equal(keys_of(kept), keys_of(x))


def test_floats_have_their_key_in_any_float_type() -> None:
    with seeded(0):
        x = torch.randn(20, 3)
    assert torch.equal(keys_of(x), keys_of(x.double()))
    assert torch.equal(keys_of(x.T.contiguous().T), keys_of(x))


def test_the_two_zeros_are_one() -> None:
    assert torch.equal(keys_of(torch.tensor([[0.0, -0.0]])), keys_of(torch.tensor([[-0.0, 0.0]])))


def test_seeds_of_keys_differ() -> None:
    x = pictures(50)
    every = torch.cat([keys_of(x, seed) for seed in (0, 1, 2, TOP)])
    assert len(every.unique()) == 4 * len(x.flatten(1).unique(dim=0))


def test_no_two_of_many_observations_share_a_key() -> None:
    with seeded(0):
        random = torch.randint(256, (100_000, 1, 3, 3))
    every = torch.tensor(list(itertools.product(range(2), repeat=16)))
    sparse = torch.cat([torch.eye(1000, dtype=torch.int64) * level for level in range(1, 30)])
    for x in (random, every, every.float(), every.float() * 2 - 1, sparse):
        assert len(keys_of(x).unique()) == len(x)


@settings(max_examples=50, deadline=None, database=None)
@given(st.integers(1, 6), st.data())
def test_different_vectors_have_different_keys(width: int, data: st.DataObject) -> None:
    value = st.floats(-1e3, 1e3, width=32)
    rows = st.lists(value, min_size=width, max_size=width)
    a, b = torch.tensor(data.draw(rows)), torch.tensor(data.draw(rows))
    assert torch.equal(a, b) == torch.equal(keys_of(a[None]), keys_of(b[None]))


def test_keys_from_integers_tell_the_parts_apart() -> None:
    index = torch.arange(100)
    parts = [(0, 0), (0, 1), (1, 0), (1, 1), (31, 0), (0, 31), (TOP, 0)]
    every = torch.cat([keys_from(seed, epoch, index) for seed, epoch in parts])
    assert len(every.unique()) == len(parts) * 100
    assert torch.equal(keys_from(3, 4, index)[7:8], keys_from(3, 4, torch.tensor([7])))
    assert torch.equal(keys_from(3, 4, index), keys_from(torch.full((100,), 3), 4, index))
