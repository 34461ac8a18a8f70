"""Completing and interpolating, with stand-in models that say what they were given."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from laws import randomise
from simulacra.drawing.style import HIDDEN
from simulacra.ground.column import Column
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.flow.nice import NICE
from simulacra.models.model import Completion, Latent, Model
from simulacra.tasks.complete import Hidden, complete, mask, strips
from simulacra.tasks.directions import direction
from simulacra.tasks.interpolate import between, interpolate
from simulacra.tasks.reconstruct import reconstruct

GREY = DataSpec((1, 4, 4), 5, classes=3)


def no_loss(self: Model, x: Tensor, context: Tensor | None = None, *, turn: str = "") -> Any:
    raise AssertionError("nothing is trained here")


class Filler(Completion):
    """Fills hidden values at random, and keeps what it was asked."""

    loss = no_loss

    def completes_exactly(self, observed: Tensor) -> bool:
        return True

    def complete(self, x: Tensor, observed: Tensor, context: Tensor | None = None) -> Tensor:
        assert not torch.is_grad_enabled()
        self.asked = (x, observed, context)
        return torch.where(observed, x, torch.randint(100, 200, x.shape))


# ---- masks --------------------------------------------------------------------------------------


def hidden(height: int, width: int, hide: Any) -> list[str]:
    observed = mask((2, height, width), hide)
    assert observed.shape == (2, height, width)
    assert observed.dtype == torch.bool
    assert torch.equal(observed[0], observed[1])
    return ["".join(".x"[int(not seen)] for seen in row) for row in observed[0].tolist()]


@pytest.mark.parametrize(
    ("hide", "rows"),
    [
        ("bottom", ["....", "....", "xxxx", "xxxx"]),
        ("top", ["xxxx", "xxxx", "....", "...."]),
        ("left", ["xx.."] * 4),
        ("right", ["..xx"] * 4),
        ("centre", ["....", ".xx.", ".xx.", "...."]),
    ],
)
def test_masks_of_even_pictures(hide: Hidden, rows: list[str]) -> None:
    assert hidden(4, 4, hide) == rows


@pytest.mark.parametrize(
    ("hide", "rows"),
    [
        ("bottom", [".....", "xxxxx", "xxxxx"]),
        ("top", ["xxxxx", ".....", "....."]),
        ("left", ["xx..."] * 3),
        ("right", ["..xxx"] * 3),
    ],
)
def test_masks_of_odd_pictures(hide: Hidden, rows: list[str]) -> None:
    assert hidden(3, 5, hide) == rows


@pytest.mark.parametrize("size", range(4, 40))
def test_the_hidden_centre_is_in_the_middle_and_about_half(size: int) -> None:
    rows = hidden(size, size, "centre")
    columns = ["".join(column) for column in zip(*rows, strict=True)]
    assert rows == rows[::-1] == columns
    middle = rows[size // 2]
    assert middle.count("x") == sum("x" in row for row in rows)
    assert size / 2 <= middle.count("x") < size / 2 + 2
    assert "x" not in rows[0]


@pytest.mark.parametrize("pair", [("top", "bottom"), ("left", "right")])
@pytest.mark.parametrize("size", [2, 5, 8])
def test_two_halves_are_the_whole(pair: tuple[Any, Any], size: int) -> None:
    one, other = (mask((1, size, size + 1), hide) for hide in pair)
    assert torch.equal(one, ~other)


@pytest.mark.parametrize("size", [2, 5, 8])
def test_scattered_pixels_are_half_and_belong_to_their_seed(size: int) -> None:
    shape = (3, size, size + 1)
    before = torch.get_rng_state()
    observed = mask(shape, "random", seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert observed.shape == shape
    assert torch.equal(observed[0], observed[1])
    assert int((~observed[0]).sum()) == size * (size + 1) // 2
    assert torch.equal(observed, mask(shape, "random", seed=4))
    assert size == 2 or not torch.equal(observed, mask(shape, "random", seed=5))


@pytest.mark.parametrize("share", ["0.9", "0.29", "0.5", "0.01"])
def test_a_share_of_the_pixels_is_scattered(share: str) -> None:
    hidden = ~mask((3, 10, 10), f"random:{share}", seed=4)
    assert torch.equal(hidden[0], hidden[1])
    assert int(hidden[0].sum()) == round(100 * float(share))
    # what half of them hides, more of them hide too
    half = ~mask((3, 10, 10), "random", seed=4)
    assert torch.equal(half & hidden, hidden if float(share) < 0.5 else half)


@pytest.mark.parametrize("hide", ["random:0", "random:1", "random:x", "random:", "top:0.5",
                                  "random:nan", "random:-0.1"])  # fmt: skip
def test_shares_that_are_none_are_refused(hide: str) -> None:
    with pytest.raises(UsageError, match=f"random:SHARE .* between 0 and 1, got '{hide}'"):
        mask((1, 4, 4), hide)
    with pytest.raises(UsageError, match=r"random:0\.05 hides none of 16 places"):
        mask((1, 4, 4), "random:0.05")


@pytest.mark.parametrize(
    ("hide", "seen"), [("left", "xx..."), ("right", "..xxx"), ("centre", ".xxx.")]
)
def test_masks_of_sounds(hide: Hidden, seen: str) -> None:
    observed = mask((5,), hide)
    assert "".join(".x"[int(not value)] for value in observed.tolist()) == seen
    assert int((~mask((5,), "random")).sum()) == 2


def test_other_masks_are_refused() -> None:
    with pytest.raises(UsageError, match="bottom, top, left, right, centre, random, or random"):
        mask((1, 4, 4), "middle")
    for hide in get_args(Hidden):
        with pytest.raises(UsageError, match="only pictures"):
            mask((4, 4), hide)
    for hide in ("bottom", "top"):
        with pytest.raises(UsageError, match=f"a sound has no {hide}: --hide left, right"):
            mask((16,), hide)


# ---- completing ---------------------------------------------------------------------------------


def test_each_row_is_completed_several_times() -> None:
    model, x = Filler(GREY), torch.arange(48).view(3, 1, 4, 4)
    observed, labels = mask((1, 4, 4), "bottom"), torch.tensor([7, 8, 9])
    drawn = complete(model, x, observed, times=4, context=labels)
    assert drawn.shape == (3, 4, 1, 4, 4)
    many, seen, told = model.asked
    assert told is not None
    assert told.tolist() == [7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9]
    assert torch.equal(seen, observed)
    for n in range(3):
        assert torch.equal(drawn[n][:, observed], x[n][observed].expand(4, -1))
        for i in range(4):
            assert torch.equal(many[4 * n + i], x[n])
    assert len(drawn[:, :, ~observed].flatten(0, 1).unique(dim=0)) == 12


def test_vectors_of_context_go_with_their_rows() -> None:
    model, context = Filler(GREY), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    complete(
        model, torch.zeros(2, 1, 4, 4).long(), mask((1, 4, 4), "top"), times=2, context=context
    )
    assert model.asked[2] is not None
    assert model.asked[2].tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
    complete(model, torch.zeros(2, 1, 4, 4).long(), mask((1, 4, 4), "top"))
    assert model.asked[2] is None


def test_completions_belong_to_their_seed() -> None:
    x, observed = torch.zeros(2, 1, 4, 4).long(), mask((1, 4, 4), "left")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = complete(Filler(GREY), x, observed, times=2, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(complete(Filler(GREY), x, observed, times=2, seed=5), first)
    assert not torch.equal(complete(Filler(GREY), x, observed, times=2, seed=6), first)


def test_a_model_that_completes_nothing_says_so() -> None:
    with pytest.raises(
        MissingCapability, match="VQVAE does not complete hidden parts: use pixelcnn"
    ):
        complete(
            registry.build("vqvae", GREY),
            torch.zeros(1, 1, 4, 4).long(),
            mask((1, 4, 4), "top"),
        )


@pytest.mark.parametrize("channels", [1, 3])
def test_strips_are_given_completions_truth(channels: int) -> None:
    """A palette's mask has one channel, its colours three."""
    x = torch.rand(2, channels, 2, 2)
    completions = torch.rand(2, 3, channels, 2, 2)
    observed = torch.tensor([[[True, False], [True, True]]])
    rows = strips(x, observed, completions).unflatten(0, (2, 5))
    assert rows.shape == (2, 5, 3, 2, 2)
    # equal in all colours if it has one
    assert bool((rows[:, 1:4] == completions).all())
    assert bool((rows[:, 4] == x).all())
    assert bool((rows[:, 0, :, 0, 1] == torch.tensor(HIDDEN)).all())
    kept = [(0, 0), (1, 0), (1, 1)]
    assert all(bool((rows[:, 0, :, i, j] == x[:, :, i, j]).all()) for i, j in kept)


# ---- walking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (2,), (16,), (3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_way_starts_and_ends_where_it_should(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    with seeded(0):
        start, end = torch.randn(2, 40, *shape, dtype=dtype)
    way = between(start, end, 7)
    assert way.shape == (40, 7, *shape)
    assert way.dtype == dtype
    assert torch.equal(way[:, 0], start)
    assert torch.equal(way[:, -1], end)


def test_a_way_turns_and_grows_evenly() -> None:
    """Lengths in equal steps, and angles too."""
    with seeded(0):
        start, end = torch.randn(2, 50, 6, dtype=torch.float64)
    way = between(start, 3 * end, 9)
    lengths = way.norm(dim=2)
    torch.testing.assert_close(lengths.diff(dim=1), lengths.diff(dim=1)[:, :1].expand(-1, 8))
    unit = way / lengths[..., None]
    angles = (unit[:, 1:] * unit[:, :-1]).sum(2).acos()
    torch.testing.assert_close(angles, angles[:, :1].expand(-1, 8), rtol=1e-6, atol=1e-6)
    whole = torch.nn.functional.cosine_similarity(start, end).acos()
    torch.testing.assert_close(angles.sum(1), whole, rtol=1e-6, atol=1e-6)


def test_a_quarter_turn_by_hand() -> None:
    way = between(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 3)
    torch.testing.assert_close(way[0, 1], torch.tensor([math.sqrt(2), math.sqrt(2)]))


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [
        ([3.0, 4.0], [3.0, 4.0], [3.0, 4.0]),
        ([3.0, 4.0], [6.0, 8.0], [4.5, 6.0]),
        ([1.0, 0.0], [1.0, 1e-6], [1.0, 5e-7]),
        ([0.0, 0.0], [0.0, 0.0], [0.0, 0.0]),
        ([1.0], [3.0], [2.0]),
        # opposite codes have no arc: through the origin
        ([2.0, 0.0], [-2.0, 0.0], [0.0, 0.0]),
        ([1.0], [-1.0], [0.0]),
        ([3.0, 4.0], [-6.0, -8.0], [0.0, 0.0]),
    ],
)
def test_ways_without_an_arc_are_straight(
    start: list[float], end: list[float], middle: list[float]
) -> None:
    for dtype in (torch.float32, torch.float64):
        a, b = torch.tensor([start], dtype=dtype), torch.tensor([end], dtype=dtype)
        way = between(a, b, 9)
        assert torch.equal(way[:, 0], a)
        assert torch.equal(way[:, -1], b)
        torch.testing.assert_close(
            way[0, 4], torch.tensor(middle, dtype=dtype), rtol=1e-5, atol=1e-5
        )
        # no jump on the way
        assert float(way.diff(dim=1).norm(dim=2).max()) <= (a - b).norm() / 2 + 1e-6


def test_a_way_from_the_origin_leads_to_its_end() -> None:
    way = between(torch.zeros(1, 3), torch.tensor([[0.0, 3.0, 4.0]]), 5)
    assert bool(way.isfinite().all())
    assert way[0, 0].tolist() == [0, 0, 0]
    torch.testing.assert_close(way[0, -1], torch.tensor([0.0, 3.0, 4.0]))


LATENT: dict[str, dict[str, Any]] = {
    "vae": {"latent": 2, "hidden": (8,)},
    "gan": {"latent": 3, "hidden": (8,)},
    "nice": {"hidden": (8,)},
}


def latent(name: str, **keywords: Any) -> Latent:
    with seeded(0):
        model = registry.build(name, GREY, LATENT[name] | keywords)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape))
    assert isinstance(model, Latent)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", LATENT)
def test_ends_are_the_decoded_codes_under_the_same_noise(name: str) -> None:
    model = latent(name)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    frames = interpolate(model, rows=5, steps=4, seed=8)
    assert torch.equal(torch.get_rng_state(), before)
    assert frames.shape == (5, 4, 1, 4, 4)
    with seeded(8):
        start, end = model.prior(5), model.prior(5)
    for code, at in ((start, 0), (end, -1)):
        with seeded(8, 1):
            assert torch.equal(frames[:, at], model.decode(code))
    assert not torch.equal(frames[:, 0], frames[:, -1])
    torch.rand(5)
    assert torch.equal(interpolate(model, rows=5, steps=4, seed=8), frames)
    assert not torch.equal(interpolate(model, rows=5, steps=4, seed=9), frames)


def test_only_the_code_changes_along_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one code everywhere the frames of a row are one picture, however random the decoder."""
    model = latent("vae")
    monkeypatch.setattr(model, "prior", lambda n, _: torch.full((n, 2), 0.1))
    frames = interpolate(model, rows=3, steps=5)
    assert bool((frames == frames[:, :1]).all())
    assert not bool((frames[0] == frames[1]).all()), "rows have noise of their own"


def test_each_way_keeps_its_context(monkeypatch: pytest.MonkeyPatch) -> None:
    model = latent("gan", context="label")
    told: list[Any] = []
    decode = model.decode

    def listening(z: Tensor, context: Tensor | None = None) -> Tensor:
        told.append(context)
        return decode(z, context)

    monkeypatch.setattr(model, "decode", listening)
    labels = torch.tensor([2, 0])
    assert interpolate(model, rows=2, steps=3, context=labels).shape == (2, 3, 1, 4, 4)
    # after the first way, whose memory is counted
    assert [c.tolist() for c in told] == [[2], *[[2, 0]] * 3]


@torch.no_grad()
def test_a_way_joins_the_codes_of_what_is_given() -> None:
    model, x = latent("nice"), torch.arange(96).view(6, 1, 4, 4) % 5
    frames = interpolate(model, ends=(x[:3], x[3:]), steps=4)
    assert torch.equal(frames[:, 0], x[:3])
    assert torch.equal(frames[:, -1], x[3:])
    codes = between(model.encode(x[:3]), model.encode(x[3:]), 4)  # type: ignore[attr-defined]
    assert torch.equal(frames[:, 2], model.decode(codes[:, 2]))
    with pytest.raises(UsageError, match="3 ways need as many ends, got 3 and 2"):
        interpolate(model, ends=(x[:3], x[:2]), steps=4)
    with pytest.raises(UsageError, match="rows is at least 1 and steps at least 2, got None and 4"):
        interpolate(model, steps=4)
    # what has no encoder goes between codes that are sought
    assert interpolate(latent("gan"), ends=(x[:3], x[3:]), steps=4).shape == (3, 4, 1, 4, 4)


def test_a_model_fresh_from_training_drops_nothing_on_the_way() -> None:
    model = registry.build("maf", GREY, {"hidden": (32,), "dropout": 0.5})
    randomise(model)
    x = torch.arange(96).view(6, 1, 4, 4) % 5
    upper = mask((1, 4, 4), "bottom")

    def made() -> tuple[Tensor, ...]:
        ends = x[:3], x[3:]
        return interpolate(model, ends=ends, steps=3), complete(model, x[:2], upper)

    resting = made()
    model.train()
    assert all(map(torch.equal, made(), resting))
    assert model.training


# ---- there and back, and along directions -------------------------------------------------------


def test_what_comes_back_is_the_same_in_any_lot(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = latent("nice"), torch.arange(96).view(6, 1, 4, 4) % 5
    whole = reconstruct(model, x)
    assert torch.equal(whole.x, x)
    assert whole.worst is None
    assert whole.exact is not None
    assert whole.exact.tolist() == [1.0] * 6
    monkeypatch.setattr("simulacra.tasks.reconstruct._AT_ONCE", 2)
    parts = reconstruct(model, x)
    assert whole.inverse_error is not None
    assert parts.inverse_error is not None
    torch.testing.assert_close(parts.inverse_error, whole.inverse_error, atol=1e-4, rtol=0)
    with pytest.raises(UsageError, match="at least one observation"):
        reconstruct(model, x[:0])


def test_columns_are_reconstructed_in_their_own_units() -> None:
    """A column that is held in thousandths is wrong by thousands where it is held wrong by ones."""
    spec = DataSpec((2,), None, columns=(Column(), Column(offset=1e6, scale=1000.0)))

    class Off(NICE):
        def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
            return super().decode(z, context) + torch.tensor([0.5, 1.0])

    found = reconstruct(Off(spec, hidden=(4,)), torch.randn(3, 2))
    assert (found.exact, found.error) == (None, None)
    assert found.worst is not None
    assert found.worst.tolist() == pytest.approx([1000.0] * 3, rel=1e-3)


def test_a_direction_of_a_model_that_is_told_the_class_is_refused() -> None:
    x = torch.zeros(2, 1, 4, 4).long()
    with pytest.raises(MissingCapability, match="NICE is told a label"):
        direction(latent("nice", context="label"), x, x)
    with pytest.raises(UsageError, match="got 2 and 0"):
        direction(latent("nice"), x, x[:0])
    with pytest.raises(MissingCapability, match="Filler does not encode"):
        direction(Filler(GREY), x, x)


def test_a_model_without_codes_says_so() -> None:
    with pytest.raises(MissingCapability, match="Filler has no latent space to walk in: use vae"):
        interpolate(Filler(GREY), rows=1, steps=2)
