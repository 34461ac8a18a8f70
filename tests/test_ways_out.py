"""TensorBoard, the Hugging Face hub, ONNX: what an extra installs."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

import simulacra as sim
from kept import Kept
from simulacra.cli.app import main
from simulacra.ground.errors import CheckpointError, MissingCapability, ResourceError, UsageError
from simulacra.runs.run import Run


def need(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed: it is an extra")


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "vae"
    small = ["--set", "latent=3", "--set", "hidden=8", "--budget", "4steps", "--out", str(folder)]
    assert command("train", "vae", "digits", *small) == 0
    return Run.open(folder)


@pytest.fixture(scope="module", autouse=True)
def words_read_once() -> Iterator[None]:
    """The exporter reads the source of all that ONNX can say whenever it exports: here once."""
    name = "onnxscript._framework_apis.torch_2_5"
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("onnxscript") and importlib.util.find_spec(name):
            module = importlib.import_module(name)
            patch.setattr(module, "get_torchlib_ops", cache(module.get_torchlib_ops))
        yield


# --- TensorBoard


@need("tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_gets_the_scalars_and_goes_on(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    folder = tmp_path / "run"
    small = ["--set", "latent=3", "--set", "hidden=8", "--budget", "6steps", "--out", str(folder)]
    assert command("train", "vae", "digits", *small, "--tensorboard") == 0
    rows = Run.open(folder).metrics()
    # the last step is done again
    shutil.rmtree(folder / "checkpoints" / "6")
    assert int(Run.open(folder).checkpoints()[0].name) == 5
    assert command("resume", str(folder), "--tensorboard") == 0
    board = EventAccumulator(str(folder / "tensorboard"), {"tensors": 0, "images": 0})
    board.Reload()
    for name in ("loss", "kl", "validation"):
        events = {e.step: float(make_ndarray(e.tensor_proto)) for e in board.Tensors(name)}
        written = {int(s): v for s, v in zip(rows["step"], rows[name], strict=True) if v}
        assert events == pytest.approx(written, rel=1e-6)
    assert board.Tags()["images"]


def test_without_tensorboard_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    small = ["--set", "components=2", "--budget", "2steps", "--out", str(tmp_path / "run")]
    assert command("train", "gmm", "digits", *small, "--tensorboard") == UsageError.exit_code
    assert "pip install 'simulacra[tensorboard]'" in capsys.readouterr().err


# --- the hub


@pytest.fixture
def uploaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that stands for the hub."""
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is an extra")
    place = tmp_path / "hub"

    class Commit:
        commit_url = "https://example.org/commit"

    def upload_folder(*, repo_id: str, folder_path: Path, commit_message: str) -> Commit:
        assert commit_message
        shutil.copytree(folder_path, place / repo_id)
        return Commit()

    def snapshot_download(repo_id: str, **_: Any) -> str:
        cache = tmp_path / "cache"
        cache.mkdir()
        for file in (place / repo_id).glob("*.*"):
            # the true cache is of links
            (cache / file.name).symlink_to(file)
        return str(cache)

    monkeypatch.setattr(hub, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(hub, "upload_folder", upload_folder)
    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return place


def test_what_is_pushed_comes_back(run: Run, uploaded: Path) -> None:
    assert sim.push_to_hub(run, "owner/name") == "https://example.org/commit"
    card = (uploaded / "owner/name" / "README.md").read_text()
    assert "# VAE on digits" in card
    assert "1312.6114" in card
    model = sim.from_pretrained("owner/name")
    mine = run.model()
    assert model.keywords == mine.keywords
    for name, value in mine.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_what_was_altered_on_the_hub_is_refused(run: Run, uploaded: Path) -> None:
    sim.push_to_hub(run, "owner/name")
    weights = uploaded / "owner/name" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"owner/name/weights.safetensors was altered"):
        sim.from_pretrained("owner/name")


def test_a_repository_of_something_else_is_refused(uploaded: Path) -> None:
    (uploaded / "owner/name").mkdir(parents=True)
    (uploaded / "owner/name" / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is it a model of simulacra"):
        sim.from_pretrained("owner/name")


@need("huggingface_hub")
@pytest.mark.parametrize("pull", [False, True])
def test_offline_is_said_in_one_line(run: Run, pull: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    act = sim.from_pretrained if pull else partial(sim.push_to_hub, run)
    with pytest.raises(ResourceError, match="cannot be reached for owner/missing") as told:
        act("owner/missing")
    assert "\n" not in str(told.value)


@need("huggingface_hub")
@pytest.mark.parametrize("client", ["httpx", "httpx2", "httpcore2._exceptions", "requests"])
def test_a_network_that_fails_is_no_fault_of_ours(
    run: Run, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def fail(*_: object, **__: object) -> None:
        raise type("ConnectError", (Exception,), {"__module__": client})("no such host")

    monkeypatch.setattr(huggingface_hub, "create_repo", fail)
    with pytest.raises(ResourceError, match="cannot be reached for owner/name"):
        sim.push_to_hub(run, "owner/name")


@need("huggingface_hub")
def test_a_name_that_is_none_is_refused(run: Run) -> None:
    with pytest.raises(UsageError, match="owner/name"):
        sim.from_pretrained("a//b")
    with pytest.raises(UsageError, match="owner/name"):
        sim.push_to_hub(run, "a//b")


def test_without_the_hub_it_says_how_to_get_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"simulacra\[hub\]"):
        sim.push_to_hub(run, "owner/name")


# --- ONNX


def run_onnx(path: Path, name: str, value: torch.Tensor) -> torch.Tensor:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    (result,) = onnxruntime.InferenceSession(str(path)).run(None, {name: value.numpy()})
    return torch.from_numpy(result)


def built(name: str, levels: int = 17, **keywords: Any) -> Any:
    torch.manual_seed(0)
    return sim.build(name, sim.DataSpec((1, 4, 4), levels), {"latent": 3, "hidden": (8,)}).eval()


@need("onnxscript")
def test_a_generator_gives_the_same_without_torch(tmp_path: Path) -> None:
    gan = built("gan")
    sim.export_onnx(gan, tmp_path / "g.onnx")
    z = gan.prior(7)
    assert torch.equal(run_onnx(tmp_path / "g.onnx", "z", z), gan.decode(z))


@need("onnxscript")
def test_a_discriminator_gives_the_same_without_torch(tmp_path: Path) -> None:
    gan = built("gan")
    sim.export_onnx(gan, tmp_path / "d.onnx", "discriminator")
    x = gan.sample(7)
    found = run_onnx(tmp_path / "d.onnx", "x", x.float())
    torch.testing.assert_close(found, gan.scores(x).detach(), rtol=0, atol=1e-5)
    assert found.std() > 1e-4


@need("onnxscript")
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_random_decoder_gives_its_expected_level(tmp_path: Path, levels: int) -> None:
    vae = built("vae", levels)
    sim.export_onnx(vae, tmp_path / "v.onnx")
    z = vae.prior(2)
    found = run_onnx(tmp_path / "v.onnx", "z", z)
    with torch.no_grad():
        drawn = vae.decode(z.repeat_interleave(4000, 0)).float().unflatten(0, (2, 4000))
    error = drawn.std(1) / 4000**0.5
    assert bool(((found - drawn.mean(1)).abs() < 6 * error + 0.01).all())


# the exporter takes many seconds for a spline, of which all but one step is the same
@need("onnxscript")
@pytest.mark.parametrize("name", ["nice", pytest.param("spline-flow", marks=pytest.mark.nightly)])
def test_a_coupling_flow_gives_the_same_without_torch(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    keywords = {"hidden": (8,), "couplings": 2}
    flow: Any = sim.build(name, sim.DataSpec((3,), None), keywords).eval()
    sim.export_onnx(flow, tmp_path / "f.onnx")
    z = flow.prior(7)
    torch.testing.assert_close(run_onnx(tmp_path / "f.onnx", "z", z), flow.decode(z))


@need("onnxscript")
@pytest.mark.parametrize("data", ["digits", "moons"])
def test_an_exported_encoder_gives_the_same_codes(
    data: str, ok: Callable[..., tuple[str, str]], kept: Kept
) -> None:
    small = ["--budget", "2steps", "--set", "hidden=4", "--set", "latent=2"]
    run = Run.open(kept.run("vae", data, *small))
    _, err = ok("export", run.folder, "--part", "encoder", "-o", "encoder.onnx")
    assert err.endswith("to codes z\n")
    x = run.dataset(None).validation.batch(torch.arange(5))[0]
    z = run_onnx(Path("encoder.onnx"), "x", x.float())
    with torch.no_grad():
        expected = run.model().eval().encode(x)  # type: ignore[operator]
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-4)


@need("onnxscript")
def test_what_onnx_cannot_say_is_refused_in_a_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    keywords = {"hidden": (4,), "transforms": 1}
    flow = sim.build("maf", sim.DataSpec((2,), None), keywords).eval()
    with pytest.raises(MissingCapability, match="ONNX has no words for what this MAF does"):
        sim.export_onnx(flow, tmp_path / "f.onnx")
    assert "".join(capfd.readouterr()) == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "part", "message"),
    [
        (lambda: built("vae"), "discriminator", "VAE has no discriminator"),
        (lambda: sim.build("gmm", sim.DataSpec((2,), None)), "decoder", "GMM has no decoder"),
        (
            lambda: sim.build("gan", sim.DataSpec((1, 4, 4), 2, classes=3), {"context": "label"}),
            "decoder",
            "takes context",
        ),
        (lambda: sim.build("vae", sim.DataSpec((3,), None), {"latent": 2}), "decoder", "ordered"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    make: Callable[[], Any], part: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(MissingCapability, match=message):
        sim.export_onnx(make(), tmp_path / "x.onnx", part)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"called \*.onnx"):
        sim.export_onnx(built("gan"), tmp_path / "x.pt")
