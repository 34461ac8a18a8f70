"""runs, export and push: what becomes of a run when it is trained."""

import json
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import simulacra as sim
from commands import BRIEF, undrawn


@pytest.fixture
def made(kept, tmp_path):
    """Put a copy of a run that is kept below runs/, under a name of its own."""

    def make(name, recipe, day=1):
        folder = kept.run(*BRIEF[recipe], into=tmp_path / "runs" / name)
        # each of a day of its own, that the order is known
        record = json.loads((folder / "run.json").read_text())
        record["created"] = f"2026-03-{day:02}T12:00:00+00:00"
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return make


def shown(ok, *arguments):
    found = json.loads(ok("runs", *arguments, "--json")[0])
    return {about["name"]: about for about in found}


def best_validation(folder):
    heading, *rows = (folder / "metrics.csv").read_text().splitlines()
    column = heading.split(",").index("validation")
    return min(float(row.split(",")[column]) for row in rows if row.split(",")[column])


# ---- runs ---------------------------------------------------------------------------------------


def test_runs_are_listed_with_their_figures_the_newest_first(ok, made, monkeypatch):
    made("old", "pixelcnn", day=1)
    made("new", "gan", day=3)
    made("told", "labelled", day=2)
    found = shown(ok)
    assert list(found) == ["new", "told", "old"]
    about = found["old"]
    best = best_validation(Path("runs/old"))
    assert about["validation"]["value"] == pytest.approx(best / (64 * np.log(2)))
    assert about["validation"]["unit"] == "bits/dim"
    assert about["created"] == "2026-03-01T12:00:00+00:00"
    expected = {"model": "pixelcnn", "data": "digits", "budget": "3steps", "steps": 3,
                "planned": 3, "observations": 3 * 16, "finished": True, "broken": None,
                "test": None, "folder": "runs/old"}  # fmt: skip
    assert {key: about[key] for key in expected} == expected
    # a model without a likelihood has nothing to show
    # of a game, the distance of its samples
    assert found["new"]["validation"]["unit"] == "loss"
    monkeypatch.setenv("COLUMNS", "140")
    out, err = ok("runs")
    assert err == ""
    heading, *rows = out.splitlines()
    assert heading.split() == ["run", "model", "data", "steps", "seen", "validation", "test",
                               "unit", "made"]  # fmt: skip
    assert [row.split()[0] for row in rows] == ["new", "told", "old"]
    assert re.search(rf"3/3 +48 +{about['validation']['value']:.3f} +– bits/dim ", rows[2])
    local = datetime.fromisoformat(about["created"]).astimezone()
    assert rows[2].endswith(f" {local:%d %b %H:%M}")


def test_a_judged_run_shows_its_test_figure_until_it_learns_on(ok, made, monkeypatch):
    # read when the console is made, which is before
    monkeypatch.setattr("simulacra.cli.terminal.console._width", 120)
    folder = made("judged", "pixelcnn")
    results = json.loads(ok("evaluate", "judged", "--test-limit", 9, "--json")[0])
    likelihood = results["models"][0]["likelihood"]
    test = shown(ok)["judged"]["test"]
    assert test == {"value": likelihood["bits_per_dim"], "unit": "bits/dim", "relation": "=",
                    "observations": 9}  # fmt: skip
    assert f"= {test['value']:.3f} (of 9) bits/dim" in ok("runs")[0]
    # what was judged is another model than that of now
    last = folder / "checkpoints" / "3"
    shutil.rmtree(last)
    assert shown(ok)["judged"]["steps"] == 2
    assert shown(ok)["judged"]["test"] is None


def test_the_test_figure_of_a_model_that_is_told_labels_is_given_them(ok, made):
    made("told", "labelled")
    results = json.loads(ok("evaluate", "told", "--test-limit", 9, "--draws", 2, "--json")[0])
    given = results["models"][0]["likelihood_given_label"]["bits_per_dim"]
    assert shown(ok)["told"]["test"] == {"value": given, "unit": "bits/dim", "relation": "≤",
                                         "observations": 9}  # fmt: skip


def test_vectors_are_shown_in_nats(ok, monkeypatch):
    undrawn(monkeypatch)
    np.save("v.npy", np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    ok("train", "gmm", "v.npy", "--set", "components=2", "--budget", "2steps")
    [name] = shown(ok)
    ok("evaluate", name)
    about = shown(ok)[name]
    assert about["validation"]["unit"] == about["test"]["unit"] == "nats"
    # the log-likelihood, as in a report
    assert about["validation"]["value"] == pytest.approx(-best_validation(Path("runs", name)))
    results = json.loads(Path("runs", name, "results.json").read_text())
    assert about["test"]["value"] == results["models"][0]["likelihood"]["log_likelihood"]
    # of the whole test split
    assert about["test"]["observations"] is None
    assert f" = {about['test']['value']:.3f} ".replace("-", "−") in ok("runs")[0]


def test_runs_of_a_comparison_or_of_another_folder_go_by_what_commands_take(ok, made, tmp_path):
    made("digits/gmm", "gmm", day=1)
    (tmp_path / "runs" / "digits" / "compare.json").write_text("{}")
    made("alone", "gmm", day=2)
    assert list(shown(ok)) == ["alone", "digits/gmm"]
    shutil.copytree(tmp_path / "runs", tmp_path / "else where")
    there = ["else where/alone", "else where/digits/gmm"]
    assert list(shown(ok, "else where")) == there
    assert list(shown(ok, "else where/digits")) == there[1:]
    assert list(shown(ok, "else where/digits/gmm")) == there[1:]
    for name in ("digits/gmm", *there):
        ok("sample", name, "-n", 1, "-o", "short/form.png")
    assert Path("short/form.png").is_file()


def test_a_run_that_was_stopped_or_not_begun_is_unfinished(ok, made):
    folder = made("stopped", "pixelcnn", day=2)
    shutil.rmtree(folder / "checkpoints" / "3")
    new = made("new", "pixelcnn", day=1)
    shutil.rmtree(new / "checkpoints")
    record = json.loads((new / "run.json").read_text())
    (new / "run.json").write_text(json.dumps(record | {"plan": None}))
    found = shown(ok)
    assert [found[name]["finished"] for name in ("stopped", "new")] == [False, False]
    assert [found[name]["broken"] for name in ("stopped", "new")] == [None, None]
    assert [found[name]["steps"] for name in ("stopped", "new")] == [2, 0]
    out, _ = ok("runs")
    assert out.count("unfinished") == 2
    assert "2/3" in out
    assert found["new"]["planned"] is None
    assert found["new"]["observations"] == 0


BREAKS = {
    "cut": lambda folder: (folder / "run.json").write_text("{"),
    "another": lambda folder: (folder / "run.json").write_text('{"format": 1}'),
    "newer": lambda folder: (folder / "run.json").write_text('{"format": 9}'),
    "link": lambda folder: ((folder / "run.json").unlink(),
                            (folder / "run.json").symlink_to("/dev/null")),
    "unsound": lambda folder: [p.write_bytes(b"") for p in folder.rglob("training.json")],
    "undated": lambda folder: (folder / "run.json").write_text(
        re.sub('"created": "[^"]*"', '"created": "yesterday"', (folder / "run.json").read_text())
    ),
    "of no calendar": lambda folder: (folder / "run.json").write_text(
        re.sub('"created": "[^"]*"', '"created": "0001-01-01T00:00:00+00:00"',
               (folder / "run.json").read_text())
    ),
    "of a number": lambda folder: (folder / "run.json").write_text(
        re.sub('"name": "digits"', '"name": 5', (folder / "run.json").read_text())
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_run_is_a_line_that_says_so(how, ok, made):
    made("whole", "gmm", day=1)
    BREAKS[how](made("broken one", "gmm", day=2))
    found = shown(ok)
    assert set(found) == {"whole", "broken one"}
    assert found["whole"]["broken"] is None
    out, err = ok("runs")
    assert err == ""
    assert "whole" in out
    if how in ("undated", "of no calendar"):
        # it can be used all the same
        assert list(found) == ["whole", "broken one"]
        assert found["broken one"]["broken"] is None
    elif how != "link":
        assert "broken one" in found["broken one"]["broken"]
        assert "broken: " in out


def test_where_there_are_no_runs_it_says_how_to_make_one(ok, cli, tmp_path):
    advice = "holds no runs: make one, as in simulacra train vae digits\n"
    assert ok("runs") == ("", f"runs {advice}")
    assert ok("runs", "--json") == ("[]\n", "")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    assert ok("runs", "empty") == ("", f"empty {advice}")
    for path in ("nowhere", "empty/notes.txt"):
        code, out, err = cli("runs", path)
        assert (code, out) == (2, "")
        assert err == f"error: {path} is no folder: name one that holds runs, or leave it out\n"


# ---- export -------------------------------------------------------------------------------------


def test_a_decoder_is_exported(ok, made):
    made("small", "vae")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is an extra")
    pytest.importorskip("onnxscript", reason="onnxscript is an extra")
    said = "from codes z (n, latent) to observations x (n, 1×8×8)\n"
    assert ok("export", "small")[1] == f"runs/small/decoder.onnx: {said}"
    session = runtime.InferenceSession("runs/small/decoder.onnx")
    width = session.get_inputs()[0].shape[1]
    [x] = session.run(None, {"z": np.zeros((3, width), np.float32)})
    assert x.shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["export"], 2, "export needs RUN"),
        (["export", "nothing"], 4, "holds no run"),
        (["export", "small", "-o", "x.pt"], 2, "--out is a .onnx file, got 'x.pt'"),
        (["export", "mixture"], 2, "GMM has no decoder of codes: use vae or gan"),
        (["export", "told"], 2, "takes context, which is not exported"),
        (["push", "small"], 2, "push needs OWNER/NAME"),
        (["push", "nothing", "a/b"], 4, "holds no run"),
    ],
)
def test_what_cannot_be_given_away_is_refused(arguments, code, words, cli, made):
    for name, recipe in (("small", "vae"), ("mixture", "gmm"), ("told", "labelled")):
        made(name, recipe)
    ended, out, err = cli(*arguments)
    assert (ended, out) == (code, "")
    assert words in err
    assert err.count("\n") == 1


# ---- push ---------------------------------------------------------------------------------------


def test_a_model_is_pushed_and_its_address_told(ok, made, monkeypatch):
    made("small", "vae")
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is an extra")
    asked = []

    class Commit:
        commit_url = "https://example.org/commit"

    def upload(*, repo_id, folder_path, commit_message):
        assert sim.from_pretrained(str(folder_path)).keywords["hidden"] == (4,)
        return Commit()

    monkeypatch.setattr(hub, "create_repo", lambda name, **told: asked.append((name, told)))
    monkeypatch.setattr(hub, "upload_folder", upload)
    out, err = ok("push", "small", "me/small")
    assert out == "https://example.org/commit\n"
    assert "simulacra.from_pretrained('me/small')" in err
    ok("push", "small", "me/small", "--private")
    assert [(name, told["private"]) for name, told in asked] == [
        ("me/small", False), ("me/small", True)
    ]  # fmt: skip


def test_a_model_of_ones_own_is_pushed_when_its_code_is_named(ok, cli, monkeypatch):
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is an extra")
    uploaded = []
    Path("mine.py").write_text(
        "from simulacra.models.mixture.gmm import GMM\n"
        'class Mine(GMM):\n    """A mixture of my own."""\n'
    )
    ok("train", "mine.py:Mine", "digits", "--set", "components=2", "--budget", "1steps",
       "-o", "runs/mine")  # fmt: skip
    code, _, err = cli("push", "mine", "me/mine")
    assert code == 4
    assert "pass --code file.py:Class" in err

    def upload(*, folder_path, **_):
        uploaded.append((folder_path / "README.md").read_text())
        return SimpleNamespace(commit_url="https://example.org/commit")

    monkeypatch.setattr(hub, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(hub, "upload_folder", upload)
    ok("push", "mine", "me/mine", "--code", "mine.py:Mine")
    assert "A mixture of my own." in uploaded[0]


def test_a_push_that_cannot_be_ends_with_its_code(cli, made, monkeypatch):
    made("small", "vae")
    constants = pytest.importorskip("huggingface_hub.constants", reason="it is an extra")
    code, out, err = cli("push", "small", "a//b")
    assert (code, out, err) == (2, "", "error: a repository is called owner/name, got 'a//b'\n")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, out, err = cli("push", "small", "a/b")
    assert (code, out) == (5, "")
    assert "cannot be reached for a/b" in err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, out, err = cli("push", "small", "a/b")
    assert (code, out) == (2, "")
    assert "pip install 'simulacra[hub]'" in err
