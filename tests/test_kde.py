"""`kde`: the estimate that scikit-learn makes, levels by hand, what it copies, and odd data."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.neighbors import KernelDensity

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import CheckpointError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import read_folder, write_folder
from simulacra.judging.figures.novelty import novelty
from simulacra.models import saved
from simulacra.models.mixture import kde, kde_kernel
from simulacra.models.mixture.kde import KDE
from simulacra.training.fit import fit

TRIPLE = DataSpec((3,), None)
GREY = DataSpec((1, 2, 2), 3, classes=3)
PALETTE = DataSpec((1, 2, 2), 3, ordered=False)


def cloud(n, width=3, seed=0):
    with seeded(seed):
        return torch.randn(n, width, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1]) + 7


def levels(spec, n, seed=0):
    with seeded(seed):
        return torch.randint(spec.levels, (n, *spec.event_shape))


def prepared(spec, x, told=None):
    model = KDE(spec, context="none" if told is None else "label").double().eval()
    model.prepare(x, told)
    return model


def swept(model, sweeps=30):
    """The mean leave-one-out loss of each sweep, until it converges."""
    losses = []
    for _ in range(sweeps):
        found = model.update([])
        losses.append(found["loss"])
        if found["converged"]:
            break
    return losses


# ---- vectors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.05, 0.5, 3.0])
def test_it_is_the_estimate_of_scikit_learn(width):
    x, asked = cloud(300), cloud(50, seed=1)
    model = prepared(TRIPLE, x)
    # one bandwidth in the data's own units
    model.bandwidths.copy_(width / model.scale)
    # in one leaf: what it leaves out of its trees shows in the fourth digit
    theirs = KernelDensity(bandwidth=width, leaf_size=1000).fit(x.numpy())
    ours = model.log_likelihood(asked).numpy()
    np.testing.assert_allclose(ours, theirs.score_samples(asked.numpy()), rtol=1e-6, atol=1e-6)


def test_leaving_one_out_is_leaving_it_out():
    x = cloud(40)
    model = prepared(TRIPLE, x)
    others = []
    for row in range(len(x)):
        rest = KDE(TRIPLE).double()
        rest.load_state_dict(model.state_dict())
        for name in ("points", "keys", "labels"):
            own = getattr(model, name)
            setattr(rest, name, torch.cat([own[:row], own[row + 1 :]]))
        others.append(-rest.log_likelihood(x[row : row + 1]))
    assert float(model.loss(x)["loss"]) == pytest.approx(float(torch.cat(others).mean()), abs=1e-9)


def test_sweeps_reach_the_bandwidths_that_no_other_ones_beat():
    x = cloud(300)
    model = prepared(TRIPLE, x)
    model.bandwidths.fill_(2)
    losses = swept(model)
    assert losses[-1] < losses[0] - 0.1
    best = float(model.loss(x)["loss"])
    for value, factor in itertools.product(range(3), (0.8, 1.25)):
        model.bandwidths[value] *= factor
        assert float(model.loss(x)["loss"]) > best - 1e-3
        model.bandwidths[value] /= factor


def test_copies_of_a_row_do_not_shrink_its_kernels():
    x = cloud(60)
    once, twice = prepared(TRIPLE, x), prepared(TRIPLE, torch.cat([x, x]))
    for model in (once, twice):
        model.bandwidths.fill_(0.5)
        swept(model)
    torch.testing.assert_close(twice.bandwidths, once.bandwidths, rtol=0.02, atol=0)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("same", [True, False])
def test_few_rows_and_rows_that_are_all_alike(rows, same):
    x = cloud(rows)
    x = x[:1].expand(rows, -1) if same else x
    for spec, given in ((TRIPLE, x), (GREY, levels(GREY, rows)), (PALETTE, levels(PALETTE, rows))):
        model = prepared(spec, given)
        assert all(map(math.isfinite, swept(model)))
        assert model.log_likelihood(given).isfinite().all()
        spec.check(model.sample(5))


def test_a_value_that_never_varies_has_the_least_bandwidth_or_the_mean_distance_of_one():
    x = cloud(200)
    x[:, 1] = 4.0
    model = prepared(TRIPLE, x)
    swept(model)
    assert 1e-3 <= float(model.bandwidths[1]) < 0.1 * float(model.bandwidths[0])


# ---- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [GREY, PALETTE])
def test_kernels_of_levels_by_hand(spec):
    x, asked = levels(spec, 6), levels(spec, 9, seed=1)
    model = prepared(spec, x)
    model.bandwidths.copy_(torch.tensor([0.1, 0.3, 0.5, 1.0]))
    mass = [float((x == level).sum()) + 0.5 for level in range(3)]
    mass = [each / sum(mass) for each in mass]
    place = [sum(mass[:level]) + mass[level] / 2 for level in range(3)]

    def kernel(value, centre, width):
        far = [
            (place[each] - place[centre]) ** 2 if spec.ordered else float(each != centre)
            for each in range(3)
        ]
        bumps = [mass[each] * math.exp(-far[each] / (2 * width**2)) for each in range(3)]
        return bumps[value] / sum(bumps)

    for row, score in zip(asked.flatten(1).tolist(), model.log_likelihood(asked), strict=True):
        p = [
            math.prod(map(kernel, row, centre, model.bandwidths.tolist()))
            for centre in x.flatten(1).tolist()
        ]
        assert float(score) == pytest.approx(math.log(sum(p) / len(p)), abs=1e-9)


@pytest.mark.parametrize("spec", [GREY, PALETTE])
def test_what_is_made_in_small_pieces_is_the_same(spec, monkeypatch):
    x = levels(spec, 20)
    whole = prepared(spec, x)
    scores, losses = whole.log_likelihood(x), swept(whole, 1)
    for module in (kde, kde_kernel):
        monkeypatch.setattr(module, "NUMBERS", 20)
    pieces = prepared(spec, x)
    torch.testing.assert_close(pieces.log_likelihood(x), scores)
    np.testing.assert_allclose(swept(pieces, 1), losses)
    torch.testing.assert_close(pieces.bandwidths, whole.bandwidths)


def test_one_copy_of_a_picture_is_left_out_and_others_are_not():
    x = torch.zeros(3, 1, 2, 2).long()
    x[2] = 2
    model = prepared(GREY, x)
    model.bandwidths.fill_(1e-3)
    # of two that are alike each is explained by the other; the third by none
    alone = -torch.tensor([float(model.loss(row[None])["loss"]) for row in x])
    torch.testing.assert_close(alone[:2], torch.full((2,), math.log(1 / 2)))
    assert float(alone[2]) < -1000


def test_of_a_class_are_the_kernels_of_that_class():
    x, told = levels(GREY, 30), torch.arange(30) % 2
    told[:4] = -1
    model = prepared(GREY, x, told)
    model.bandwidths.fill_(0.2)
    asked = levels(GREY, 8, seed=1)

    def of(rows):
        part = KDE(GREY).double()
        state = model.state_dict() | {"points": model.points[rows], "keys": model.keys[rows]}
        state |= {"labels": model.labels[rows]}
        part.load_state_dict({k: v for k, v in state.items() if not k.startswith("context")})
        return part.log_likelihood(asked)

    for label, rows in ((0, told == 0), (1, told == 1), (-1, told < 9), (2, told < 9)):
        scores = model.log_likelihood(asked, torch.full((8,), label))
        torch.testing.assert_close(scores, of(rows))


def test_no_rows_have_no_scores_whatever_is_told():
    x, told = levels(GREY, 30), torch.arange(30) % 2
    model = prepared(GREY, x, told)
    assert not any(each.any() for each in model.statistics(x[:0], told[:0]))
    assert model.log_likelihood(x[:0], told[:0]).shape == (0,)
    assert model.sample(0, told[:0]).shape == (0, *GREY.event_shape)


def test_of_parts_of_a_label_are_the_kernels_that_agree_with_what_is_told():
    spec = DataSpec((1, 2, 2), 5, classes=6, parts=(("digit", 3), ("speaker", 2)))
    x, told = levels(spec, 30), torch.stack([torch.arange(30) % 3, torch.arange(30) % 2], 1)
    model = prepared(spec, x, told)
    swept(model, 2)
    asked = levels(spec, 7, seed=1)
    plain = prepared(replace(spec, classes=2, parts=()), x, told[:, 1])
    plain.bandwidths.copy_(model.bandwidths)
    scores = model.log_likelihood(asked, torch.tensor([[-1, 1]]).expand(7, -1))
    torch.testing.assert_close(scores, plain.log_likelihood(asked, torch.ones(7).long()))
    assert model.sample(4, told[:4]).shape == (4, 1, 2, 2)


# ---- what it keeps, and what it copies -----------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    return data, fit(KDE(data.spec), data, "5steps")


def test_it_beats_a_product_of_frequencies_and_the_rule_it_began_with(digits):
    data, model = digits
    bits = -model.log_likelihood(data.test.x[:]).mean() / data.spec.dims / math.log(2)
    assert float(bits) < 2.06  # 2.03
    begun = KDE(data.spec)
    begun.prepare(data.train.x[:])
    assert float(begun.log_likelihood(data.test.x[:]).mean()) < float(
        model.log_likelihood(data.test.x[:]).mean()
    )


def test_novelty_tells_a_copycat_from_the_estimate(digits):
    data, model = digits
    copycat = KDE(data.spec)
    copycat.load_state_dict(model.state_dict())
    copycat.bandwidths.fill_(1e-3)
    real = [of.x[:].flatten(1).double() for of in (data.train, data.test)]
    found = []
    for each in (model, copycat):
        with seeded(0):
            found.append(novelty(*real, each.sample(len(real[1])).flatten(1).double()))
    estimate, copies = found
    assert copies["c_t"].value < -10 < 0 < estimate["c_t"].value
    assert copies["suspects"].low > 0.8 > 0.01 > estimate["suspects"].low


def test_the_file_holds_the_centres_that_there_are(tmp_path):
    x = levels(GREY, 30)
    model = KDE(GREY, centres=20)
    model.prepare(x)
    saved.save(model, tmp_path / "of", "kde")
    again = saved.load(tmp_path / "of")
    assert again.points.shape == (20, 4)
    assert again.points.dtype == torch.uint8
    assert torch.equal(again.log_likelihood(x), model.log_likelihood(x))
    what = read_folder(tmp_path / "of", "model", "weights")
    what["weights"]["points"][3, 1] = 3
    write_folder(tmp_path / "wrong", what)
    with pytest.raises(CheckpointError, match="points has 3, of 3 levels"):
        saved.load(tmp_path / "wrong")


def test_no_more_centres_than_asked_for():
    splits = (Observations(levels(GREY, n, seed=n)) for n in (60, 20, 20))
    data = Dataset("grey", GREY, *splits)
    model = fit(KDE(GREY, centres=7), data, "2steps")
    assert len(model.points) == 7


def test_many_values_of_a_real_table_converge_in_a_few_sweeps():
    x = torch.tensor(load_wine().data)
    model = prepared(DataSpec((13,), None), x)
    # with a promise for each value alone, thousands
    assert len(swept(model)) < 15
