"""What the documentation says is so: commands run, code works, generated parts are in step."""

from __future__ import annotations

import doctest
import importlib.util
import math
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import laws
from commands import blank, run_main, undrawn
from simulacra.cli.app import app
from simulacra.ground.errors import BrokenLaw
from simulacra.ground.randomness import seeded
from simulacra.ground.spec import DataSpec
from simulacra.models import description, registry
from simulacra.models.laws import check_model
from simulacra.models.model import Model, Sampling
from simulacra.runs import zoo

pytestmark = pytest.mark.usefixtures("short_chains")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]
CONFIGURATION = (ROOT / "mkdocs.yml").read_text("utf-8")
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)


def read(page: str) -> str:
    return (DOCS / page).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    return [code for kind, code in _BLOCK.findall(text) if kind == language]


def test_other_ways_to_learn_are_those_of_the_toys() -> None:
    """The excerpts stand, line for line and in this order, in models that keep every law."""
    page = read("adding-a-model.md")
    chapter = page.partition("## Other ways to learn\n")[2].partition("\n## ")[0]
    excerpts = blocks(chapter, "python")
    assert len(excerpts) > 5

    def lines(code: str) -> str:
        # a formatter moves an excerpt to the left
        return "\n".join(line.strip() for line in code.splitlines() if line.strip())

    toys = lines((ROOT / "tests" / "toys.py").read_text("utf-8"))
    for excerpt in excerpts:
        assert lines(excerpt) in toys, excerpt


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in "".join(blocks(text, "sh")).splitlines()]


def ours(text: str) -> list[list[str]]:
    return [words[1:] for words in commands(text) if words[0] == "simulacra"]


# the first page's chapters that have commands of ours
CHAPTERS = {
    part.partition("\n")[0]: ours(part)
    for part in re.split(r"^## ", read("getting-started.md"), flags=re.M)
    if ours(part)
}


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", NAMES)
def test_generated_parts_are_in_step(name: str, generate: dict[str, Any]) -> None:
    text = read(name)
    assert generate["in_step"](text) == text, "run: python docs/generate.py"


def test_a_page_out_of_step_is_seen(generate: dict[str, Any]) -> None:
    text = read("models/vae.md")
    assert text.count("| `latent` |") == 1
    assert generate["in_step"](text.replace("| `latent` |", "| `size` |")) == text
    empty = re.sub(r"(<!-- generated.*?-->).*?(<!-- end -->)", r"\1\n\2", text, flags=re.S)
    assert generate["in_step"](empty) == text


def test_every_model_has_its_page() -> None:
    for name in registry.MODELS:
        text = read(f"models/{name}.md")
        assert f"<!-- generated: model {name} -->" in text
        for part in ("## Equations", "## How it works", "**Cite.**"):
            assert part in text, (name, part)
        for keyword in description.describe(name).keywords:
            assert f"| `{keyword}` |" in text, (name, keyword)
    rows = read("capabilities.md")
    assert re.findall(r"^\| \[`([\w-]+)`\]", rows, re.M) == list(registry.MODELS)


def test_the_capabilities_are_those_of_the_classes() -> None:
    lines = read("capabilities.md").splitlines()
    (words,) = (line.split(" | ")[1:] for line in lines if line.startswith("| model |"))
    rows = [line.split(" | ") for line in lines if line.startswith("| [`")]
    has = {row[0].split("`")[1]: dict(zip(words, row[1:], strict=True)) for row in rows}
    games = {name for name in has if description.describe(name).family == "adversarial"}
    assert "gan" in games
    without = {*games, "autoencoder", "sparse-autoencoder", "pca", "vqvae", "triplet"}
    assert {name for name in has if has[name]["likelihood"] == "–"} == without
    assert has["gmm"]["by sweeps"] == has["nice"]["completes"] == "yes"
    assert has["vae"]["completes"] == "yes"
    assert has["sequential-vae"]["completes"] == has["gan"]["encodes"] == "–"
    refining = {name for name in has if has[name]["in any number of steps"] == "yes"}
    denoising = {name for name in has if has[name]["denoises"] == "yes"}
    assert refining == denoising | {"d3pm"} == {"ddpm", "vdm", "flow-matching", "d3pm"}


def test_the_navigation_holds_every_page() -> None:
    told = re.findall(r"(\S+\.md)$", CONFIGURATION, re.M)
    assert sorted(told) == NAMES


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\s-]", "", t).strip().lower().replace(" ", "-") for t in titles}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = DOCS / name
    text = page.read_text("utf-8")
    without_code = _BLOCK.sub("", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code):
        if target.startswith("https://arxiv.org/"):
            continue
        path, _, anchor = target.partition("#")
        there = page if not path else page.parent / path
        assert there.is_file(), target
        if anchor:
            assert anchor in anchors(there.read_text("utf-8")), target


def test_no_page_has_a_hole() -> None:
    """A word of capitals alone on its line stands for something that is still to be written."""
    for page in DOCS.rglob("*.md"):
        holes = re.findall(r"^[A-Z]{5,}$|^<!-- [A-Z]+ -->$", page.read_text("utf-8"), re.M)
        assert not holes, f"{page.name}: {holes}"


def test_pictures_are_small_shown_and_described() -> None:
    shown = {}
    for page in PAGES:
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text("utf-8")):
            shown[(page.parent / target).resolve()] = words
            assert len(words) > 20, (page, target)
    drawn = set((DOCS / "figures").glob("*.png"))
    assert drawn == {path for path in shown if path.parent.name == "figures"}
    for path in drawn:
        assert path.stat().st_size < 60_000, path
        with Image.open(path) as image:
            # these have the grey of empty places too
            least = 2 if "in black and white" in shown[path] else 3
            assert len(image.convert("RGB").getcolors(1 << 20) or []) > least, path


def test_every_figure_says_how_it_was_drawn() -> None:
    figures = runpy.run_path(str(DOCS / "figures.py"))["FIGURES"]
    assert set(figures) <= set(registry.MODELS)
    for name in registry.MODELS:
        drawn_by = "python docs/figures.py" if name in figures else "simulacra field"
        page, models = read(f"models/{name}.md"), "python -m benchmarks.autoencoders"
        assert f"{drawn_by} {name}`" in page or models in page
        if not issubclass(registry.find(name), Sampling):
            # one that samples with a keyword says so
            assert ("## Samples" in page) == ("simulacra sample RUN" in page)
            continue
        scripts = re.findall(r"python (examples/\w+\.py) --", read(f"models/{name}.md"))
        trained = re.findall(r"simulacra sample ([\w-]+) -n", read(f"models/{name}.md"))
        assert len(scripts) + len(trained) == 1, name
        assert "## Samples" in read(f"models/{name}.md")
        assert all((ROOT / script).is_file() for script in scripts)
        assert all(zoo.run_of(run).record["model"] == name for run in trained)


def test_the_receptive_field_is_measured(tmp_path: Path) -> None:
    drawn = runpy.run_path(str(DOCS / "figures.py"))
    # the functions of a script see its own globals
    drawn["pixelcnn"].__globals__["HERE"] = tmp_path
    drawn["pixelcnn"]()
    with Image.open(tmp_path / "pixelcnn-field.png") as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert {(0, 0, 0), (255, 255, 255), (0, 114, 178)} <= colours
    drawn["pixelcnn"].__globals__["reached"] = lambda *_: torch.ones(15, 15).bool()
    with pytest.raises(RuntimeError, match="disagree"):
        drawn["pixelcnn"]()


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_understood(name: str) -> None:
    targets = (ROOT / "Makefile").read_text("utf-8")
    for words in commands(read(name)):
        if words[0] == "simulacra":
            app.parse_args(words[1:], exit_on_error=False, print_error=False)
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", targets, re.M), words
        else:
            module = ROOT / words[2].replace(".", "/") if words[1] == "-m" else ROOT / words[1]
            places = (module, module.with_suffix(".py"), module / "__main__.py")
            assert words[0] == "source" or any(map(Path.is_file, places)), words


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a few pictures, sounds and a table, to run commands in."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("pictures", "sounds"):
        (tmp_path / name).mkdir()
    for i in range(40):
        pixels = rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
        sound = (8000 * np.sin(np.arange(900) * (i + 1) / 40)).astype("<i2")
        with wave.open(str(tmp_path / "sounds" / f"{i}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(sound.tobytes())
    table = ["height,width,depth"]
    table += [",".join(f"{value:.4f}" for value in row) for row in rng.normal(size=(80, 3))]
    (tmp_path / "table.csv").write_text("\n".join(table) + "\n")
    return tmp_path


def ends_well(words: list[str]) -> None:
    """Run a command with a budget, pictures and a network that cost seconds and not minutes."""
    small = {"16": "4"} if "--side" in words else {}
    told = [small.get(word, re.sub(r"^\d+s$", "2steps", word)) for word in words]
    if words[0] in ("train", "compare") and "pixelcnn" in " ".join(words):
        told += ["--set", "channels=8" if words[0] == "train" else "pixelcnn.channels=8"]
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch)
        blank(patch)
        assert run_main(*told) == 0, words


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_first_commands_run(chapter: str, at_home: Path) -> None:
    for words in CHAPTERS[chapter]:
        ends_well(words)
    made = [path for path in at_home.rglob("*.png") if path.parent.name != "pictures"]
    assert made or list(at_home.rglob("report.html"))


PROGRAMS = [*blocks(read("getting-started.md"), "python"), *blocks(read("data.md"), "python")]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_programs_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, shorter = re.subn(r'"(30s|20s|300steps)"', '"12steps"', PROGRAMS[number])
    assert shorter == 1
    code = code.replace('"pixelcnn", data.spec)', '"pixelcnn", data.spec, {"channels": 8})')
    known: dict[str, Any] = {}
    with seeded(0), monkeypatch.context() as patch:
        blank(patch)
        exec(code, known)
    assert isinstance(known["model"], Model)
    assert "score" not in known or math.isfinite(known["score"].nats)


class TestModelOfOnesOwn:
    """The complete example of the page about models of one's own."""

    @pytest.fixture
    def path(self, at_home: Path) -> Path:
        code, *_ = blocks(read("adding-a-model.md"), "python")
        path = at_home / "fvsbn.py"
        path.write_text(code, "utf-8")
        return path

    @pytest.mark.parametrize("context", ["none", "label", "vector"])
    @pytest.mark.parametrize("shape", [(1, 2, 2), (3, 1, 2), (4,)])
    def test_keeps_the_laws(self, context: str, shape: tuple[int, ...], path: Path) -> None:
        spec = DataSpec(shape, 2 if len(shape) == 3 else 3, classes=3, context_width=2)
        model: Any = registry.build(f"{path}:FVSBN", spec, {"context": context})
        laws.randomise(model)
        laws.sums_to_one(model)
        laws.is_causal(model)
        laws.scores_alone(model)
        laws.completes(model)
        if context != "none":
            laws.keeps_contexts_apart(model)

    def test_is_checked_as_the_page_says(self, path: Path) -> None:
        (told,) = blocks(read("adding-a-model.md"), "pycon")
        example = doctest.DocTestParser().get_doctest(told, {}, "adding-a-model.md", None, None)
        differs: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        runner.run(example, out=differs.append)
        assert not differs, "".join(differs)

    def test_what_sees_too_much_is_found(self, path: Path) -> None:
        path.write_text(path.read_text("utf-8").replace("rank < rank", "rank <= rank"), "utf-8")
        (said,) = [text for text in blocks(read("adding-a-model.md"), "text") if "breaks" in text]
        with pytest.raises(BrokenLaw, match=re.escape(said.strip())):
            check_model(f"{path}:FVSBN")

    def test_commands_of_the_page_run(self, path: Path) -> None:
        told = ours(read("adding-a-model.md"))
        assert [words[0] for words in told] == ["models", "train", "sample", "compare"]
        for words in told:
            ends_well(words)
        assert Path("runs/own/samples-0.png").is_file()


class Loads(HTMLParser):
    """Addresses that a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "link":
            # a canonical address or a next page is named, not fetched
            kinds = set((told.get("rel") or "").split())
            if kinds & {"stylesheet", "icon", "preconnect", "preload", "manifest", "modulepreload"}:
                self.found.append(told.get("href") or "")
        for name in ("src", "srcset", "poster", "data"):
            self.found += [told[name] or ""] if name in told else []
        self.found += outside(told.get("style") or "")

    def handle_data(self, data: str) -> None:
        if self.get_starttag_text() == "<style>":
            self.found += outside(data)


def outside(css: str) -> list[str]:
    return re.findall(r"(?:@import\s+|url\()[\"']?((?:https?:)?//[^\"')\s]+)", css)


def loads(html: str) -> list[str]:
    """Addresses of other hosts alone."""
    parser = Loads()
    parser.feed(html)
    return [address for address in parser.found if re.match(r"(https?:)?//", address)]


def test_loads_from_other_addresses_are_seen() -> None:
    assert loads('<a href="https://arxiv.org/abs/1312.6114">a paper</a><img src="a.png">') == []
    for fetched in (
        '<script src="https://a.org/b.js"></script>', '<img src="//a.org/b.png">',
        '<link rel="stylesheet" href="http://a.org/b.css">', '<iframe src="https://a.org"></iframe>',
        '<style>@import "https://a.org/b.css";</style>',
        '<p style="background: url(https://a.org/b.png)">',
    ):  # fmt: skip
        assert len(loads(fetched)) == 1, fetched


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The built site, in a folder of its own."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: pip install --group docs")
    place = tmp_path_factory.mktemp("documentation")
    shutil.copytree(DOCS, place / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", place)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=place, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stdout + built.stderr
    return place / "site"


def test_the_site_holds_every_page_and_no_script(site: Path) -> None:
    made = {str(path.relative_to(site).with_suffix(".md")) for path in site.rglob("*.html")}
    assert set(NAMES) <= made
    assert not list(site.rglob("*.py"))


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        assert loads(page.read_text("utf-8")) == [], page
    for sheet in site.rglob("*.css"):
        assert outside(sheet.read_text("utf-8")) == [], sheet


def test_what_the_site_loads_is_there(site: Path) -> None:
    for page in sorted(site.rglob("*.html")):
        for address in re.findall(r'(?:src|href)="([^"#?]+)', page.read_text("utf-8")):
            # the page for what is not found is served at any address: its own are absolute
            if not re.match(r"\w+:", address) and page.name != "404.html":
                assert (page.parent / address).exists(), (page, address)
