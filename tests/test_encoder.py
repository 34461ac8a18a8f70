"""Runs that are told the codes of another run's model, and keep that model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import simulacra as sim
from simulacra.data.dataset import Dataset
from simulacra.ground.errors import CheckpointError, DataError, MissingCapability, UsageError
from simulacra.ground.storage import read_json, write_json
from simulacra.judging.figures.likelihood import likelihood
from simulacra.nn.context import ContextEmbedding
from simulacra.runs import zoo
from simulacra.runs.again import again, differences
from simulacra.runs.encoder import ENCODER
from simulacra.runs.run import Run
from simulacra.tasks.codes import encode_split
from simulacra.tasks.interpolate import walk

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {"channels": 4, "layers": 2, "first_kernel_size": 3, "context": "vector"}
FORM = {"levels": 4}


def trained(
    folder: Path, model: str, data: Dataset, keywords: dict[str, object], steps: int = 2
) -> Run:
    options = sim.Options(device="cpu", batch=8)
    run = Run.create(
        folder, model=model, keywords=keywords, data=data, options=options,
        budget=sim.Budget(steps, "steps"),
    )  # fmt: skip
    run.train(data)
    return run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pictures`, 12 persons of 4 each at 10×8; an encoder of them at 6×6, and what it tells."""
    place = tmp_path_factory.mktemp("told")
    generator = np.random.default_rng(0)
    for person in range(12):
        (place / "pictures" / f"p{person}").mkdir(parents=True)
        own = generator.integers(0, 255, (10, 8))
        for number in range(4):
            pixels = np.clip(own + generator.integers(-30, 30, (10, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "pictures" / f"p{person}" / f"{number}.png")
    wide = sim.load_data(str(place / "pictures"), side=6, groups="{person}/*")
    trained(place / "codes", "pca", wide, {"components": 3}, steps=1)
    data = sim.load_data(str(place / "pictures"), side=4, levels=4, groups="{person}/*", flip=True)
    trained(place / "told", "gated-pixelcnn", Run.open(place / "codes").tell(data), SMALL)
    return place


@pytest.fixture
def own(place: Path, tmp_path: Path) -> Path:
    """All of it somewhere else, without the run that the encoder is from."""
    shutil.copytree(place / "told", tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def test_vectors_are_codes_brought_to_one_size(place: Path) -> None:
    codes = Run.open(place / "codes")
    wide = codes.dataset()
    data = sim.load_data(str(place / "pictures"), side=4, levels=4, groups="{person}/*", flip=True)
    told = codes.tell(data)
    assert told.spec.context_width == 3
    train = told.train.context
    assert train is not None
    assert torch.allclose(train.mean(0), torch.zeros(3), atol=1e-5)
    assert float(train.square().mean()) == pytest.approx(1, abs=1e-4)
    # one scale for all numbers: distances of codes keep their proportions
    raw = encode_split(codes.model(), wide.test)
    test = told.test.context
    assert test is not None
    assert torch.allclose(torch.pdist(raw) / torch.pdist(test), torch.tensor(told.encoder.spread))
    assert torch.equal(told.test.groups, data.test.groups)
    assert any("codes of pca" in note for note in told.notes)
    # what training does to a picture changes nothing of its vector
    again_ = codes.tell(replace(data, train=data.train.take(torch.arange(len(data.train)))))
    assert torch.equal(told.train.take(torch.arange(3)).batch(torch.arange(3))[1], train[:3])
    assert again_.train.context is not None


def test_an_encoder_of_another_split_is_told(place: Path, tmp_path: Path) -> None:
    """It may have learned from the very persons that are tested."""
    source = str(place / "pictures")
    by_picture = sim.load_data(source, side=4, levels=4)
    trained(tmp_path / "mixed", "pca", by_picture, {"components": 3}, steps=1)
    data = sim.load_data(source, side=4, levels=4, groups="{person}/*")
    notes = {
        run: " ".join(Run.open(run).tell(data).notes)
        for run in (tmp_path / "mixed", place / "codes")
    }
    assert "learned from another split" in notes[tmp_path / "mixed"]
    assert "another split" not in notes[place / "codes"]


def test_a_run_keeps_its_encoder_and_gives_the_same_data_again(place: Path, own: Path) -> None:
    run, before = Run.open(own), Run.open(place / "told").dataset()
    data = run.dataset()
    assert data.fingerprint == before.fingerprint == run.record["data"]["fingerprint"]
    for split in ("train", "validation", "test"):
        assert torch.equal(data.splits[split].context, before.splits[split].context)
    assert run.record["data"]["encoder"]["run"] == str(place / "codes")
    scores = likelihood(run.model(), data.test)
    assert scores.given_label is not None
    # the form alone reads a file as the data were read
    picture = next((place / "pictures" / "p0").glob("*.png"))
    assert len(run.form.train) == 0
    assert torch.equal(run.form.encoder.read(picture), data.encoder.read(picture))


def test_the_vector_of_a_file_is_that_of_its_row(place: Path) -> None:
    data = Run.open(place / "told").dataset()
    files = sorted((place / "pictures").glob("*/*.png"))
    vectors = torch.cat([data.encoder.read(file) for file in files])
    rows = torch.cat([split.context for split in data.splits.values()])
    assert vectors.shape == rows.shape
    # each row is some file's
    apart = (rows[:, None] - vectors).norm(dim=2)
    assert float(apart.min(1).values.max()) < 1e-5


def test_it_goes_on_and_is_done_again(own: Path, tmp_path: Path) -> None:
    run = Run.open(own)
    made = again(run, tmp_path / "again")
    made.train(made.dataset())
    assert differences(run, made) == []
    assert made.encoder is not None
    longer = Run.open(own).train(run.dataset(), longer=sim.Budget(2, "steps"))
    assert longer.steps == 4


def test_another_encoder_makes_other_data(place: Path, tmp_path: Path) -> None:
    wide = sim.load_data(str(place / "pictures"), side=6, groups="{person}/*")
    other = trained(tmp_path / "two", "pca", wide, {"components": 2}, steps=1)
    data = sim.load_data(str(place / "pictures"), side=4, levels=4, groups="{person}/*")
    told = [run.tell(data).fingerprint for run in (other, Run.open(place / "codes"))]
    assert len({data.fingerprint, *told}) == 3
    # the last digits of vectors are a machine's own, and change nothing
    shaken = replace(
        (first := other.tell(data)),
        test=replace(first.test, context=first.test.context.nextafter(torch.tensor(9.0))),
    )
    assert shaken.fingerprint == first.fingerprint


def test_a_comparison_keeps_it_too(
    place: Path, tmp_path: Path, ok: Callable[..., tuple[str, str]]
) -> None:
    data = Run.open(place / "told").dataset()
    found = sim.compare(
        data, ["gated-pixelcnn"], folder=tmp_path / "many", budget="1steps",
        keywords={"gated-pixelcnn": SMALL}, draws=1,
    )  # fmt: skip
    assert found.models[0].likelihood_given_label is not None
    assert (tmp_path / "many" / ENCODER).is_dir()
    assert Run.open(tmp_path / "many" / "gated-pixelcnn").dataset().fingerprint == data.fingerprint
    # which is refused where the data are others
    ok("resume", tmp_path / "many")


def test_the_zoo_keeps_it_too(own: Path, tmp_path: Path) -> None:
    zoo.add(Run.open(own), "told", tmp_path / "zoo")
    found = zoo.run_of("told", tmp_path / "zoo").encoder
    assert found is not None
    # where files lay on the machine that trained is no one else's business
    assert found.origin == "codes"
    assert "data_dir" not in found.record["data"]["options"]
    record = read_json(tmp_path / "zoo" / "told" / "run.json")
    assert record["data"]["encoder"]["run"] == "codes"


def test_all_frames_of_a_row_have_the_same_random_numbers(place: Path) -> None:
    model = Run.open(place / "told").model()
    one = torch.tensor([[0.5, -1.0, 2.0]])
    still = walk(model, (one, one), 3, draws=2)
    assert still.shape == (2, 3, 1, 4, 4)
    assert torch.equal(still[:, 0], still[:, 2])
    assert not torch.equal(still[0], still[1])
    # and whoever hears nothing draws one picture all along
    for layer in model.modules():
        if isinstance(layer, ContextEmbedding):
            torch.nn.init.zeros_(layer.embed.weight)
    moved = walk(model, (one, -one), 3, draws=2)
    assert torch.equal(moved[:, 0], moved[:, 2])
    with pytest.raises(UsageError, match="two ends"):
        walk(model, (one, one[:, :2]), 3)
    with pytest.raises(MissingCapability, match="takes no context vectors"):
        walk(sim.build("made", sim.DataSpec((1, 2, 2), levels=2)), (one, one), 3)


# ---- refusals -----------------------------------------------------------------------------------


def test_encoders_that_cannot_be_told_from_are_refused(place: Path, tmp_path: Path) -> None:
    data = sim.load_data("digits", levels=4)
    labelled = trained(tmp_path / "nice", "nice", data, {"hidden": (4,), "context": "label"})
    with pytest.raises(MissingCapability, match="told a label"):
        labelled.tell(data)
    with pytest.raises(MissingCapability, match="does not encode"):
        Run.open(place / "told").tell(data)
    with pytest.raises(DataError, match="cannot be read in the form"):
        # sounds and tables alike have no side of pictures
        Run.open(place / "codes").tell(replace(data, options={"source": "digits", "levels": 3}))
    with pytest.raises(UsageError, match="already"):
        Run.open(place / "codes").tell(Run.open(place / "told").dataset())
    nowhere = replace(data, options={})
    with pytest.raises(UsageError, match="from where"):
        Run.open(place / "codes").tell(nowhere)


def test_other_observations_are_refused(place: Path) -> None:
    data = sim.load_data(str(place / "pictures"), side=4, groups="{person}/*")
    fewer = replace(data, test=data.test.take(torch.arange(3)))
    with pytest.raises(DataError, match="other observations"):
        Run.open(place / "codes").tell(fewer)
    moved = replace(data, test=replace(data.test, groups=data.test.groups.flip(0)))
    with pytest.raises(DataError, match="other observations"):
        Run.open(place / "codes").tell(moved)


def test_a_lost_or_other_encoder_is_told(own: Path) -> None:
    record = read_json(own / "run.json")
    record["data"]["encoder"]["hash"] = "0" * 64
    write_json(own / "run.json", record)
    with pytest.raises(CheckpointError, match="another one"):
        Run.open(own).dataset()
    shutil.rmtree(own / ENCODER)
    with pytest.raises(CheckpointError, match="is lost"):
        Run.open(own).dataset()
    record["data"]["encoder"] = {"run": 3}
    write_json(own / "run.json", record)
    with pytest.raises(CheckpointError, match="encoder"):
        Run.open(own)


# ---- the command line ---------------------------------------------------------------------------


@pytest.fixture
def here(place: Path, own: Path, tmp_path: Path) -> Path:
    shutil.copytree(place / "codes", tmp_path / "runs" / "codes")
    first, second, *_ = sorted((place / "pictures").glob("p*/0.png"))
    shutil.copy(first, tmp_path / "a.png")
    shutil.copy(second, tmp_path / "b.png")
    return tmp_path


def test_commands(place: Path, here: Path, ok: Callable[..., tuple[str, str]]) -> None:
    set_ = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    pictures = place / "pictures"
    form = ["--side", 4, "--levels", 4, "--groups", "{person}/*", "--context", "codes"]
    ok("train", "gated-pixelcnn", pictures, *form, *set_, "--budget", "1steps", "--out", "runs/g")
    _, err = ok("train", "pca", pictures, *form, "--budget", "1steps", "--out", "runs/deaf")
    assert "pca is told no context vectors" in err
    shutil.rmtree("runs/codes")
    ok("sample", "g", "--like", "a.png", "b.png", "-n", 3, "-o", "s.png")
    assert np.load("s.npy").shape == (6, 1, 4, 4)
    with Image.open("s.png") as seen:
        # two rows of a picture and what is drawn like it
        assert seen.width > seen.height
    ok("sample", "g", "--like", 2, "-o", "t.png")
    assert np.load("t.npy").shape == (8, 1, 4, 4)
    _, err = ok("interpolate", "g", "a.png", "b.png", "-n", 2, "--frames", 3, "-o", "i.png")
    assert "a.png and b.png" in err
    ok("interpolate", "g", "-n", 1, "--frames", 2, "-o", "j.gif")
    ok("interpolate", "g", 0, "b.png", "-n", 1, "--frames", 2, "-o", "k.png")
    ok("complete", "g", "--image", "a.png", "--times", 1, "-o", "c.png")
    out, _ = ok("surprise", "g", "a.png", "-o", "u.png")
    assert "a.png" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["sample", "{told}", "--like", "a.png", "--context", "v.npy"], 2, "--like and --context"),
        (["sample", "{codes}", "--like", "a.png"], 2, "draws no samples"),
        (["sample", "{told}", "--like", "lost.png"], 3, "lost.png does not exist"),
        (["sample", "{told}", "--like", 99], 2, "validation observations go from 0"),
        (["train", "made", "digits", "--context", "nobody"], 4, "nobody holds no run"),
        (["train", "made", "digits", "--context", "a.png"], 2, "by --context RUN"),
    ],
)
def test_what_is_refused_in_words(
    here: Path, cli: Callable[..., tuple[int, str, str]],
    arguments: list[object], code: int, said: str,
) -> None:  # fmt: skip
    places = {"told": here / "elsewhere", "codes": here / "runs" / "codes"}
    came, _, err = cli(*(str(each).format(**places) for each in arguments))
    assert (came, said in " ".join(err.split())) == (code, True), err
