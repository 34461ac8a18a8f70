"""The same drawings as numbers, as 256 levels and as a palette: nothing is lost between them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from simulacra.models.registry import build

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import colours, colours_course  # noqa: E402
from benchmarks.drawings import COLOURS, SIDE, drawings  # noqa: E402

from simulacra.models.autoregressive.base import Autoregressive  # noqa: E402


def test_drawings_are_of_eight_colours_and_alike_on_both_sides() -> None:
    before = torch.get_rng_state()
    x = drawings(300, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, drawings(300, 1))
    assert not torch.equal(x, drawings(300, 2))
    assert torch.equal(x, x.flip(3))
    pixels = x.permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    assert {tuple(each) for each in pixels} == set(COLOURS)
    # every drawing has paper, an outline and something inside
    assert all(len(each.flatten(1).unique(dim=1).T) >= 3 for each in x)


def test_the_palette_of_drawings_is_one_to_one_with_their_rgb() -> None:
    both = colours.ways("drawings", None, 0, 100)
    assert both.lossless
    assert both.palette.spec.levels == len(COLOURS)
    for name, rgb in both.rgb.splits.items():
        own = both.palette.splits[name].batch(torch.arange(len(rgb)))[0]
        shown = both.rgb.spec.to_float(rgb.batch(torch.arange(len(rgb)))[0])
        assert torch.allclose(both.palette.spec.to_float(own), shown)


@pytest.mark.parametrize("way", ["gaussian", "palette"])
def test_a_row_says_what_it_is_a_likelihood_of(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colours, "_DRAWN", 8)
    both = colours.ways("drawings", None, 0, 100)
    data = both.palette if way == "palette" else both.rgb
    output = "gaussian" if way == "gaussian" else "categorical"
    model = build("pixelcnn", data.spec, {"channels": 2, "layers": 0, "output": output}).eval()
    assert isinstance(model, Autoregressive)
    row, pictures = colours.figures(model, data, 5)
    assert pictures.shape == (6, 8, 3, SIDE, SIDE)
    # what is given of a continuation, and of a completion
    assert torch.equal(pictures[2, :, :, :3], pictures[0, :, :, :3])
    given = (pictures[5] == pictures[0]).all(1)
    assert torch.equal(pictures[4].movedim(1, -1)[given], pictures[0].movedim(1, -1)[given])
    assert 8 * 14 <= int(given.sum()) <= 8 * 16
    kept = {way: (pictures * 255).round().long().tolist()}
    assert colours.strip(kept).shape == (28, 3, SIDE, SIDE)
    told = {"rows": {f"pixelcnn/{way}": row}, "pictures": {"pixelcnn": kept}}
    table = colours.markdown(told, torch.tensor(COLOURS), "told of.")
    assert ("| 8 colours |" if way == "palette" else "| RGB |") in table
    # a palette has no other colours; an untrained regression hits few
    assert ("| 100% | 100% |" in table) == (way == "palette")
    assert table.endswith("told of.")


def test_what_is_held_out_of_few_drawings_is_none_of_them(tmp_path: Path) -> None:
    data = colours_course.few(0)
    known, *others = (
        {tuple(row) for row in split.x[:].flatten(1).tolist()} for split in data.splits.values()
    )
    assert len(data.train) == colours_course.TRAINING
    assert all(len(each) > 100 and not known & each for each in others)
    shown = data.spec.to_float(data.train.batch(torch.arange(9))[0])
    assert torch.equal((shown * 255).round().to(torch.uint8), drawings(600, 0)[:9])


def test_rows_that_are_there_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    row = {"bits": 90.0, "error": 2.0, "dims": 144, "levels": 8, "scored": 5}
    row |= {key: [0.5, 0.4, 0.6] for key in ("samples", "continued", "likeliest")}

    def trained(name: str, way: str, *_: object) -> None:
        asked.append(f"{name}/{way}")
        if len(asked) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(colours, "trained", trained)
    monkeypatch.setattr(colours, "figures", lambda *_: (row, torch.rand(6, 8, 3, SIDE, SIDE)))
    told = ["--count", "100", "--out", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        colours.main(told)
    assert colours.main(told) == 0
    assert asked == [
        "pixelcnn/gaussian", "pixelcnn/categorical", "pixelcnn/palette", "pixelcnn/palette",
        *(f"pixel-rnn/{way}" for way in colours.WAYS),
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert out.count("| 90 ± 2 |") == 6
    assert "bits a picture compare" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "colours-drawings-pixel-rnn.png", "colours-drawings-pixelcnn.png", "drawings-120s-0.json",
    ]  # fmt: skip
