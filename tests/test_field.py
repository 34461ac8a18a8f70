"""The measured field of a prediction, against what an architecture has by its paper."""

import pytest
import torch

import laws
from simulacra.drawing import maps
from simulacra.ground.errors import MissingCapability, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import registry
from simulacra.models.autoregressive.base import Autoregressive
from simulacra.models.autoregressive.pixelcnn import PixelCNN
from simulacra.tasks.field import field, measured
from simulacra.tasks.masks import masks

GREY = DataSpec((1, 7, 7), 3, classes=2, context_width=2)
RGB = DataSpec((3, 4, 3), 3)


def small(spec=GREY, kind=PixelCNN, **keywords):
    with seeded(0):
        return kind(spec, **{"channels": 6, "layers": 2, "first_kernel_size": 3, **keywords}).eval()


def rows(values, spec=GREY):
    """Booleans of one colour as lines of x and dots."""
    return ["".join(".x"[int(v)] for v in row) for row in values.view(spec.event_shape[1:])]


class Leaks(PixelCNN):
    """Each pixel sees the one to its right."""

    def conditionals(self, x, context=None):
        found = super().conditionals(x, context)
        return type(found)(logits=found.logits + x.roll(-1, -1)[..., None] * torch.arange(3))


class SeesItself(PixelCNN):
    def conditionals(self, x, context=None):
        found = super().conditionals(x, context)
        return type(found)(logits=found.logits + 1e-9 * x[..., None] * torch.arange(3))


class Denies(PixelCNN):
    """Declares one pixel more than there is: (0, 0) for all others."""

    def blind_spot(self):
        blind = super().blind_spot()
        blind[0, 1:] = True
        return blind


class Hides(PixelCNN):
    def blind_spot(self):
        return torch.zeros_like(super().blind_spot())


class Fades(Autoregressive):
    """A walk over all pixels that forgets nearly all at each: too faint for 49 steps of float64."""

    def __init__(self, spec):
        super().__init__(spec)
        self.keep = torch.nn.Parameter(torch.tensor([0.05]))

    def conditionals(self, x, context=None):
        flat, state, states = x.flatten(1).to(self.keep.dtype) + 1, 0, []
        for i in range(flat.shape[1]):
            states.append(state + flat[:, i] * 0)
            state = 1 + self.keep * state + self.keep * flat[:, i]
        h = torch.stack(states, 1).view(x.shape)
        return torch.distributions.Categorical(logits=h[..., None] * torch.arange(3))


def test_one_layer_sees_its_kernel():
    found = field(small(layers=0), (3, 3))
    expected = [".......", ".......", "..xxx..", "..x....", ".......", ".......", "......."]
    assert rows(found.reached[:, 0]) == expected
    assert torch.equal(found.strength > 0, found.reached)
    assert not found.leaks.any()
    assert not found.undeclared.any()
    assert not found.denied.any()


def test_layers_widen_the_field_and_leave_the_blind_spot():
    found = field(small(), (3, 3))
    expected = ["xxxxxxx", "xxxxxx.", "xxxxx..", "xxx....", ".......", ".......", "......."]
    expected[0] = "xxxxxxx"
    assert rows(found.reached[:, 0]) == expected
    earlier = ["xxxxxxx"] * 3 + ["xxx...."] + ["......."] * 3
    assert rows(found.earlier[:, 0]) == earlier
    assert torch.equal(found.declared, found.earlier & ~found.reached)


def test_each_neighbour_is_stronger_than_what_is_far():
    strength = measured(small(), (3, 3))[:, 0].view(7, 7)
    assert strength[3, 2] > strength[0, 0] > 0
    assert strength[2, 3] > strength[0, 6] > 0


def test_colours_see_the_colours_before_them():
    found = field(small(RGB), (1, 1))
    own = found.reached.view(3, 4, 3, 3)[:, 1, 1]
    assert own.tolist() == [[False, True, True], [False, False, True], [False] * 3]
    assert torch.equal(own, found.earlier.view(3, 4, 3, 3)[:, 1, 1])
    assert bool(found.reached.view(3, 4, 3, 3)[:, 1, 0].all())
    assert not found.leaks.any()
    assert not found.undeclared.any()
    assert not found.denied.any()


@pytest.mark.parametrize("context", ["label", "vector"])
def test_a_context_is_no_part_of_the_field(context):
    found = field(small(context=context), (3, 3))
    assert torch.equal(found.reached, field(small(), (3, 3)).reached)


@pytest.mark.parametrize("at_once", [1, 49 * 3 * 10, 10**9])
def test_how_much_is_computed_at_once_changes_nothing(monkeypatch, at_once):
    """Not even the last bit: ten rows at a time leave a batch that is not full."""
    model = small()
    whole = measured(model, (3, 3), pictures=2)
    monkeypatch.setattr("simulacra.tasks.field._AT_ONCE", at_once)
    part = measured(model, (3, 3), pictures=2)
    assert torch.equal(part > 0, whole > 0)
    torch.testing.assert_close(part, whole)


def test_the_strength_is_the_mean_change_of_log_probabilities():
    model = small().double()
    with seeded(5):
        x = torch.randint(3, (1, 1, 7, 7))
        other = (x + torch.randint(1, 3, x.shape)) % 3
    changed = x.clone()
    changed[0, 0, 2, 4] = other[0, 0, 2, 4]
    with torch.no_grad():
        logits = [model.conditionals(each).logits[0, 0, 3, 3] for each in (x, changed)]
    found = measured(model, (3, 3), pictures=1, seed=5)[2 * 7 + 4, 0]
    assert float(found) == pytest.approx(float((logits[0] - logits[1]).abs().mean()), rel=1e-6)


def test_the_model_and_the_generator_stay_as_they_are():
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    field(model, (3, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())


def test_a_leak_is_found():
    leaks = field(small(kind=Leaks), (3, 3)).leaks[:, 0].view(7, 7)
    assert leaks.nonzero().tolist() == [[3, 4]]
    # of the last column the roll leads to the first pixel of the row
    assert field(small(kind=Leaks), (3, 6)).leaks.any() == 0
    leaks = field(small(kind=SeesItself), (3, 3)).leaks[:, 0].view(7, 7)
    assert leaks.nonzero().tolist() == [[3, 3]]


def test_a_blind_spot_that_is_not_there_is_found():
    denied = field(small(kind=Denies), (3, 3)).denied[:, 0].view(7, 7)
    assert denied.nonzero().tolist() == [[0, 0]]


def test_a_blind_spot_that_is_not_declared_is_found():
    found = field(small(kind=Hides), (3, 3))
    assert torch.equal(found.undeclared, field(small(), (3, 3)).declared)
    assert int(found.undeclared.sum()) == 3


def test_what_fades_is_no_blind_spot():
    found = field(Fades(GREY), (6, 6))
    assert int((found.strength == 0).sum()) > 20
    assert bool(found.reached[:-1].all())
    assert not found.undeclared.any()
    assert not found.leaks.any()


def test_gates_that_training_has_shut_are_no_blind_spot():
    model = small()
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            parameter.zero_()
    found = field(model, (3, 3))
    assert rows(found.strength[:, 0] > 0) == rows(field(small(layers=0), (3, 3)).reached[:, 0])
    assert torch.equal(found.reached, field(small(), (3, 3)).reached)


def test_the_middle_is_the_usual_pixel():
    assert field(small(layers=0)).at == (3, 3)
    assert field(small(RGB, layers=0)).at == (2, 1)


def test_what_has_no_field_is_refused():
    for at in ((7, 0), (0, 7), (-1, 0)):
        with pytest.raises(UsageError, match=r"rows 0 … 6 and columns 0 … 6, got"):
            field(small(), at)
    with pytest.raises(MissingCapability, match="GMM does not predict one value after another"):
        field(registry.build("gmm", GREY))
    with pytest.raises(
        MissingCapability, match=r"of pictures \(C, H, W\) of levels, not of \(9,\)"
    ):
        measured(Fades(DataSpec((9,), 3)), (0, 0))


def test_the_law_and_the_field_agree():
    """Two measures of one thing, by other code."""
    model = laws.randomise(small(DataSpec((1, 4, 4), 3)))
    laws.is_causal(model)
    for at in ((0, 0), (1, 2), (3, 3)):
        found = field(model, at)
        assert not (found.leaks | found.undeclared | found.denied).any()


# ---- the picture --------------------------------------------------------------------------------


def colours_of(figure):
    """The colour of each pixel as drawn."""
    (image,) = figure.axes[0].get_images()
    return torch.from_numpy(image.get_array().filled()).mul(255).round().int()


NONE = torch.zeros(3, 3).bool()


def test_influence_is_blue_none_orange_and_later_grey():
    strength = torch.tensor([[1e-2, 1e-5, 0], [1e-1, 0, 0], [0, 0, 0]], dtype=torch.float64)
    earlier = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    drawn = colours_of(maps.field(strength, earlier, NONE, (1, 1), "$x_i"))
    hexes = [["#" + "".join(f"{c:02x}" for c in pixel) for pixel in row] for row in drawn.tolist()]
    assert hexes[0][2] == maps.BLIND
    assert hexes[1][2] == maps.LATER
    assert hexes[1][1] == "#000000"
    for i, j in ((0, 0), (0, 1), (1, 0)):
        red, green, blue = drawn[i, j].tolist()
        assert blue > green > red
    # stronger is darker
    assert drawn[1, 0].sum() < drawn[0, 0].sum() < drawn[0, 1].sum()


@pytest.mark.parametrize("value", [0.0, 1e-310, 1e-12, 3.0, float("inf")])
def test_any_strength_can_be_drawn(value):
    strength = torch.full((3, 3), value, dtype=torch.float64)
    drawn = colours_of(maps.field(strength, torch.ones(3, 3).bool(), NONE, (0, 0), "all"))
    orange = "#" + "".join(f"{c:02x}" for c in drawn[2, 2].tolist()) == maps.BLIND
    assert orange == (value == 0)


@pytest.mark.parametrize("place", [(1, 1), (2, 0)])
def test_what_leaks_is_red(place):
    strength, leaks = torch.zeros(3, 3, dtype=torch.float64), NONE.clone()
    strength[0, 0] = 1e-3
    strength[place], leaks[place] = 0.5, True
    earlier = torch.tensor([[True] * 3, [True, False, False], [False] * 3])
    figure = maps.field(strength, earlier, leaks, (1, 1), "t")
    drawn = colours_of(figure)
    assert "#" + "".join(f"{c:02x}" for c in drawn[place].tolist()) == maps.LEAK
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "seen too early"
    # what is predicted is to be seen all the same
    assert bool(drawn[1, 1].any()) == (place == (1, 1)) == bool(figure.axes[0].patches)


# ---- masks --------------------------------------------------------------------------------------


def test_masks_are_those_of_the_paper():
    """Of 5×5: two rows above whole, two pixels to the left, and of the pixel itself by colours."""
    found = masks(small(RGB, first_kernel_size=5, kernel_size=5))
    assert [mask.kind for mask in found] == ["A", "B"]
    for mask in found:
        assert torch.equal(mask.seen, mask.right.float())
        assert rows(mask.seen[2, 0], DataSpec((1, 5, 5), 2)) == [
            "xxxxx", "xxxxx", "xxx..", ".....", "....."
        ]  # fmt: skip
        assert not mask.leaks.any()
    a, b = (mask.seen[..., 2, 2].tolist() for mask in found)
    assert a == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert b == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]


def test_a_fault_in_a_mask_is_seen_where_it_is():
    model = small(RGB, first_kernel_size=5)
    # features 4 … 7 of 12 are those of green: half of them see green, and none the far corner
    model.first.mask[4:6, 1, 2, 2] = True
    model.first.mask[4:8, 0, 0, 4] = False
    (mask, _) = masks(model)
    assert mask.seen[1, 1, 2, 2] == 0.5
    assert mask.leaks.nonzero().tolist() == [[1, 1, 2, 2]]
    lost = mask.right & (mask.seen < 1)
    assert lost.nonzero().tolist() == [[1, 0, 0, 4]]


def test_pictures_of_masks_are_drawn_from_what_they_are_told():
    mask = masks(small(RGB))[0]
    figure = maps.masks([("one", mask.seen, torch.zeros_like(mask.leaks))], "RGB")
    leaks = torch.zeros_like(mask.leaks)
    leaks[1, 1, 1, 1] = True
    other = maps.masks([("one", mask.seen, leaks)], "RGB")
    assert len(figure.subfigs[0].axes) == 9
    words = [[text.get_text() for text in each.legends[0].get_texts()] for each in (figure, other)]
    assert words == [["seen", "not seen"], ["seen", "not seen", "seen too early"]]
    shown = [each.subfigs[0].axes[4].images[0].get_array() for each in (figure, other)]
    assert not (shown[0] == shown[1]).all()
    labels = [axes.get_ylabel() for axes in figure.subfigs[0].axes]
    assert labels == ["for R", "", "", "for G", "", "", "for B", "", ""]
