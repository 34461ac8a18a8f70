"""Extractors: features that are pinned, and know nothing of the test split."""

from __future__ import annotations

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import save_file

from simulacra.data.catalogue import load
from simulacra.data.dataset import Dataset, Observations
from simulacra.ground.errors import CheckpointError, UsageError
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.ground.storage import read_folder, write_folder
from simulacra.judging.features import pinned_classifier as pinned
from simulacra.judging.features import views as extractors
from simulacra.judging.features.inception import Inception
from simulacra.judging.features.views import views
from simulacra.models.lawbook.device import ELSEWHERE, Elsewhere


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    take_steps(monkeypatch, 4)
    if "chance" not in request.node.name:
        # after so few steps a classifier is no better
        monkeypatch.setattr(extractors, "_at_chance", lambda *_: "")


def take_steps(monkeypatch, count):
    monkeypatch.setattr(pinned, "_FEWEST_STEPS", count)
    monkeypatch.setattr(pinned, "_MOST_STEPS", count)


def of(spec, train, labels=None, **parts):
    """A data set whose other splits are some of the training observations."""
    split = Observations(train, labels)
    few = split.take(torch.arange(min(40, len(train))))
    return Dataset("made", spec, **{"train": split, "validation": few, "test": few} | parts)


def pictures(n=200, shape=(1, 8, 8), levels=256, *, seed=0, **more):
    with seeded(seed):
        x = torch.randint(levels, (n, *shape))
    return DataSpec(shape, levels, **more), x


def two_classes(n=200, shape=(1, 4, 4), **more):
    """Label 1 is bright on one side."""
    spec, x = pictures(n, shape, 8, classes=2, **more)
    labels = torch.arange(n) % 2
    half = x.flatten(1)[:, : x[0].numel() // 2]
    half[labels == 1] = half[labels == 1] // 2 + 4
    half[labels == 0] = half[labels == 0] // 2
    return of(spec, x, labels)


def test_labelled_pictures_have_a_classifier_and_pixels(monkeypatch):
    take_steps(monkeypatch, 60)
    data = load("digits")
    features, pixels = views(data, 180)
    assert (features.name, features.extractor, features.width) == ("features", "classifier-64", 18)
    assert (pixels.name, pixels.extractor, pixels.width) == ("pixels", "pca", 18)
    x, labels = data.validation.batch(torch.arange(len(data.validation)))
    found = features.log_probabilities(x)
    assert found.dtype == torch.float64
    assert torch.allclose(found.exp().sum(1), torch.ones(len(x)).double(), atol=1e-5)
    right = (found.argmax(1) == labels).double().mean()
    assert features.accuracy == pytest.approx(float(right))
    assert features.accuracy > 0.9
    assert pixels.log_probabilities(x) is None
    for view in (features, pixels):
        seen = view.features(x)
        assert seen.shape == (len(x), 18)
        assert seen.dtype == torch.float64
        assert not seen.requires_grad
        assert torch.allclose(seen[:3], view.features(x[:3]), atol=1e-5)
    record = features.summary()
    assert record.accuracy == features.accuracy
    assert record.parameters > 10_000
    assert len(record.hash) == 64


def test_width_stays_below_a_tenth_of_the_count():
    data = two_classes()
    for count in (10, 19, 35, 5000):
        for view in views(data, count):
            assert 1 <= view.width <= min(64, count // 10)
    with pytest.raises(UsageError, match="at least 10"):
        views(data, 9)


def test_same_training_data_same_hash_other_data_another():
    data = two_classes()
    first, again = views(data, 100), views(data, 100)
    assert [view.hash for view in first] == [view.hash for view in again]
    x = data.train.x.clone()
    x[0, 0, 0, 0] = 7 - x[0, 0, 0, 0]
    altered = dataclasses.replace(data, train=Observations(x, data.train.context))
    for ours, theirs in zip(first, views(altered, 100), strict=True):
        assert ours.hash != theirs.hash


def test_networks_see_on_the_device_and_features_come_back():
    data = two_classes()
    plain = views(data, 100)
    with Elsewhere() as there:
        moved = views(data, 100, device=ELSEWHERE)
        for ours, theirs in zip(moved, plain, strict=True):
            weights = [*ours.network.parameters(), *ours.network.buffers()]
            assert all(map(there.has, weights))
            seen = ours.features(data.train.x)
            assert not there.has(seen)
            assert torch.equal(seen, theirs.features(data.train.x))
            assert ours.hash == theirs.hash
        found = moved[0].log_probabilities(data.train.x)
        assert not there.has(found)
        assert moved[0].accuracy == plain[0].accuracy


class Unseen(Observations):
    """A split that nobody may look at."""

    def __getattribute__(self, name):
        if name in ("x", "context", "batch", "batches", "take", "lengths", "__len__"):
            raise AssertionError(f"the test split was looked at: {name}")
        return super().__getattribute__(name)


def test_the_test_split_is_not_looked_at():
    data = two_classes()
    unseen = object.__new__(Unseen)
    blind = dataclasses.replace(data, test=unseen)
    with pytest.raises(AssertionError, match="looked at"):
        blind.test.batch(torch.arange(1))
    assert [v.hash for v in views(blind, 100)] == [v.hash for v in views(data, 100)]
    other = dataclasses.replace(data, test=data.train.take(torch.arange(7)))
    assert [v.hash for v in views(other, 100)] == [v.hash for v in views(data, 100)]


def test_the_validation_split_changes_nothing_but_the_accuracy():
    data = two_classes()
    wrong = Observations(data.validation.x, 1 - data.validation.context)
    first, other = views(data, 100)[0], views(dataclasses.replace(data, validation=wrong), 100)[0]
    assert first.hash == other.hash
    assert first.accuracy == pytest.approx(1 - other.accuracy)


def test_a_classifier_at_chance_is_not_used():
    """Features of labels that mean nothing are worth nothing."""
    data = load("moons")
    with seeded(0):
        noise = torch.randint(0, 2, (3, 10_000))
    splits = {
        name: dataclasses.replace(split, context=noise[i, : len(split)])
        for i, (name, split) in enumerate(data.splits.items())
    }
    first = views(dataclasses.replace(data, **splits), 100)[0]
    assert (first.extractor, first.classifier) == ("vector", None)
    assert "no more than chance" in first.note


def test_generators_are_left_as_they_were():
    data = two_classes()
    with seeded(3):
        before = torch.get_rng_state()
        for view in views(data, 100):
            view.features(data.train.x)
            view.log_probabilities(data.train.x)
        assert torch.equal(before, torch.get_rng_state())
    hashes = set()
    for seed in (4, 5):
        with seeded(seed):
            hashes.add(views(data, 100)[0].hash)
    assert len(hashes) == 1


# ---- kinds of data -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 7, 5), (1, 1, 9), (3, 40, 64)])
@pytest.mark.parametrize("labelled", [True, False])
def test_pictures_of_any_side(shape, labelled):
    data = two_classes(60, shape)
    if not labelled:
        spec = dataclasses.replace(data.spec, classes=0)
        data = of(spec, data.train.x)
    features, pixels = views(data, 100)
    assert features.extractor == ("classifier-64" if labelled else "random-convolutions-64")
    for view in (features, pixels):
        seen = view.features(data.train.x)
        assert seen.shape == (60, view.width)
        assert bool(seen.isfinite().all())
    assert (features.log_probabilities(data.train.x) is not None) == labelled


def test_a_palette_is_seen_as_its_colours():
    colours = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (9, 9, 200))
    spec = DataSpec((1, 6, 6), 4, ordered=False, coding="palette", palette=colours)
    x = pictures(80, (1, 6, 6), 4)[1]
    # the same pictures by another order of the colours
    order = torch.tensor([2, 0, 3, 1])
    swapped = dataclasses.replace(spec, palette=tuple(colours[i] for i in order.argsort()))
    for ours, theirs in zip(
        views(of(spec, x), 100), views(of(swapped, order[x]), 100), strict=True
    ):
        assert torch.allclose(ours.features(x), theirs.features(order[x]))


@pytest.mark.parametrize("labelled", [True, False])
def test_sounds(monkeypatch, labelled):
    take_steps(monkeypatch, 15)
    t = torch.arange(900) / 900
    with seeded(0):
        labels = torch.arange(60) % 2
        phase = torch.rand(60, 1)
    tone = torch.sin(6.28 * ((20 + 60 * labels[:, None]) * t + phase))
    x = ((tone + 1) / 2 * 255).round().long()
    spec = DataSpec((900,), 256, coding="mu-law", classes=2 * labelled, rate=900)
    data = of(spec, x, labels if labelled else None)
    features, pixels = views(data, 100)
    assert features.extractor == ("bands-classifier-64" if labelled else "random-convolutions-64")
    assert pixels.extractor == "pca"
    seen = features.features(x)
    inside = torch.stack([seen[labels == y].std(0).norm() for y in (0, 1)]).max()
    assert (seen[labels == 0].mean(0) - seen[labels == 1].mean(0)).norm() > 3 * inside


def test_unlabelled_vectors_are_their_own_features():
    with seeded(0):
        x = torch.randn(300, 3) * torch.tensor([1.0, 1e6, 0.0]) + 5
    (view,) = views(of(DataSpec((3,), None), x), 100)
    assert (view.extractor, view.width) == ("vector", 3)
    seen = view.features(x)
    assert torch.allclose(seen.std(0, unbiased=False)[:2], torch.ones(2).double(), atol=1e-5)
    assert torch.allclose(seen.mean(0), torch.zeros(3).double(), atol=1e-5)
    assert bool((seen[:, 2] == 0).all())
    assert view.log_probabilities(x) is None


def test_labelled_vectors_have_both(monkeypatch):
    take_steps(monkeypatch, 60)
    data = load("moons")
    features, values = views(data, 500)
    assert (features.extractor, values.extractor) == ("classifier-64", "vector")
    assert 2 < features.width <= 50
    assert values.width == 2
    assert features.accuracy > 0.8
    far = features.features(torch.tensor([[1e30, -1e30]]))
    assert bool(far.isfinite().all())


# ---- hard cases --------------------------------------------------------------------------------


def test_one_label_alone_makes_no_classifier():
    data = two_classes()
    labels = torch.ones(200, dtype=torch.long)
    alike = dataclasses.replace(data, train=Observations(data.train.x, labels))
    features, _ = views(alike, 100)
    assert features.extractor == "random-convolutions-64"
    assert "one label" in features.summary().note
    assert features.log_probabilities(data.train.x) is None
    assert features.accuracy is None


def test_constant_pictures_are_noted():
    spec, x = pictures(50)
    for view in views(of(spec, torch.full_like(x, 9)), 100):
        assert "same features" in view.note
        assert bool(view.features(x).isfinite().all())


def test_values_that_are_no_numbers_are_refused():
    with seeded(0):
        x = torch.randn(100, 2)
    (view,) = views(of(DataSpec((2,), None), x), 100)
    x = x.double()
    x[3, 0], x[5, 1], x[6, 1] = float("nan"), float("inf"), 1e300
    with pytest.raises(UsageError, match="3 of 100"):
        view.features(x)
    spec, x = pictures(50)
    with pytest.raises(UsageError, match="raw levels"):
        views(of(spec, x), 100)[0].features(x / 255)


def test_the_padding_of_sounds_is_noted():
    x = pictures(60, (50,))[1]
    padded = Observations(x, lengths=torch.full((60,), 40))
    data = dataclasses.replace(of(DataSpec((50,), 256, rate=100), x), train=padded)
    assert all("padded" in view.note for view in views(data, 100))


def test_pixels_are_principal_components_with_fixed_signs():
    with seeded(0):
        x = torch.randn(500, 2)[:, :1, None, None] * torch.tensor([3.0, -40.0]) + 128
        x = (x + torch.randn(500, 1, 1, 2)).round().clamp(0, 255).long()
    _, pixels = views(of(DataSpec((1, 1, 2), 256), x), 500)
    seen, flat = pixels.features(x), x.flatten(1).double() / 255
    variances = torch.linalg.eigvalsh(flat.mT.cov()).flip(0)
    # scaled as one, to a mean variance of 1
    assert torch.allclose(seen.mT.cov() * variances.mean() * 499 / 500, variances.diag())
    # the largest entry of an axis is positive: here that of the second pixel
    assert torch.stack([seen[:, 0], flat[:, 1]]).corrcoef()[0, 1] > 0.99


def test_wide_pixels_have_nearly_the_exact_components(monkeypatch):
    data = of(*pictures(200, (1, 12, 12)))
    _, exact = views(data, 50)
    monkeypatch.setattr(extractors, "_EXACT", 100)
    _, random = views(data, 50)
    spread = [view.features(data.train.x).var(0) for view in (exact, random)]
    assert torch.allclose(*spread, rtol=0.02)


def test_no_feature_rules_and_none_that_hardly_varies_does():
    with seeded(0):
        raw = torch.randn(1000, 3) * torch.tensor([100.0, 80.0, 1e-6])
    shift, matrix, _ = extractors._projection(raw, 64, "classifier-64")
    spread = ((raw.double() - shift) @ matrix).std(0)
    assert spread[:2].tolist() == pytest.approx([1, 1], abs=0.01)
    assert spread[2] < 1e-5


# ---- what is kept ------------------------------------------------------------------------------


def trained(monkeypatch, data, folder):
    """The classifier's hash, and how many were trained for it."""
    count = 0

    class Counted(pinned.Training):
        def __init__(self, *arguments, **named):
            nonlocal count
            count += 1
            super().__init__(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(pinned, "Training", Counted)
        return views(data, 100, folder=folder)[0].hash, count


def test_a_classifier_is_kept_and_a_broken_one_trained_anew(monkeypatch, tmp_path):
    data = two_classes()
    first, count = trained(monkeypatch, data, tmp_path)
    assert count == 1
    assert trained(monkeypatch, data, tmp_path) == (first, 0)
    (place,) = (tmp_path / "extractor").iterdir()
    (place / "classifier.safetensors").write_bytes(b"broken")
    assert trained(monkeypatch, data, tmp_path) == (first, 1)
    assert trained(monkeypatch, data, tmp_path) == (first, 0)
    (place / "MANIFEST.json").unlink()
    assert trained(monkeypatch, data, tmp_path) == (first, 1)
    # another set's or recipe's is not taken, and is left alone
    flipped = Observations(data.train.x, 1 - data.train.context)
    other, count = trained(monkeypatch, dataclasses.replace(data, train=flipped), tmp_path)
    assert (other != first, count) == (True, 1)
    take_steps(monkeypatch, 5)
    assert trained(monkeypatch, data, tmp_path)[1] == 1
    assert trained(monkeypatch, dataclasses.replace(data, train=flipped), tmp_path)[1] == 1


def test_a_foreign_classifier_under_our_name_is_not_taken(monkeypatch, tmp_path):
    data = two_classes()
    first, _ = trained(monkeypatch, data, tmp_path)
    (place,) = (tmp_path / "extractor").iterdir()
    record = (place / "classifier.json").read_text()
    kept = read_folder(place)["classifier"]["weights"]
    other = {name: value + 1 for name, value in kept.items()}
    for state in ({"classifier": {"key": "other", "weights": other}}, {"classifier": 3}):
        shutil.rmtree(place)
        write_folder(place, state)
        assert trained(monkeypatch, data, tmp_path) == (first, 1)
    assert (place / "classifier.json").read_text() == record


def test_a_folder_that_cannot_be_written_costs_time_alone(monkeypatch, tmp_path):
    (tmp_path / "extractor").write_text("a file")
    assert trained(monkeypatch, two_classes(), tmp_path)[1] == 1


# ---- Inception ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights():
    """Of the right names and shapes; the real ones are the user's to bring."""
    with seeded(0):
        state = Inception().state_dict()
        for name, value in state.items():
            if name.endswith("conv.weight"):
                torch.nn.init.kaiming_normal_(value, nonlinearity="relu")
    return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}


def test_inception_has_the_published_number_of_parameters():
    with seeded(0):
        count = sum(p.numel() for p in Inception().parameters())
    # torchvision's inception_v3 has 27 161 264 for 1000 classes, 3 326 696 in its side classifier
    assert count + 1000 * 2049 == 27_161_264 - 3_326_696


def test_inception_sees_grey_and_colour(weights, tmp_path):
    torch.save(weights, tmp_path / "w.pth")
    network = Inception.read(tmp_path / "w.pth")
    with seeded(0), torch.no_grad():
        grey = torch.rand(1, 1, 12, 9)
        found = network(grey)
        assert torch.equal(found, network(grey.repeat(1, 3, 1, 1)))
        assert found.shape == (1, 2048)
        assert not torch.allclose(found, network(1 - grey), rtol=1e-3)
    assert not any(p.requires_grad for p in network.parameters())


def test_inception_is_the_first_view_if_its_weights_are_brought(weights, tmp_path):
    file = tmp_path / "w.safetensors"
    save_file(weights, file)
    spec, x = pictures(3)
    first, second = views(of(spec, x), 20, inception=file)
    assert (first.name, first.extractor, first.width) == ("features", "inception-pool3", 2)
    assert second.extractor == "pca"
    vectors = of(DataSpec((2,), None), torch.randn(50, 2))
    with pytest.raises(UsageError, match="pictures"):
        views(vectors, 20, inception=file)


def test_a_file_without_inceptions_weights_is_refused(weights, tmp_path):
    # as good as nothing on the disk
    weights = {name: torch.zeros(()).expand(value.shape) for name, value in weights.items()}
    wrong = {
        "absent": None,
        "bytes": b"no weights",
        "list": [1, 2],
        "torchvision": weights | {"fc.weight": torch.zeros(1000, 2048)},
        "part": {k: v for k, v in weights.items() if not k.startswith("Mixed_7c")},
        "more": weights | {"AuxLogits.fc.bias": torch.zeros(1000)},
        "nan": weights | {"Mixed_5b.branch1x1.bn.bias": torch.full((64,), float("nan"))},
    }
    for name, content in wrong.items():
        path = tmp_path / f"{name}.pth"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(CheckpointError, match=f"{name}.pth"):
            Inception.read(path)
    (tmp_path / "broken.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(CheckpointError, match="broken"):
        Inception.read(tmp_path / "broken.safetensors")
