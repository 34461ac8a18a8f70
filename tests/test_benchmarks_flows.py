"""Flows beside those of other packages: what is compared, and what is missing, at tiny sizes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from simulacra.ground.spec import DataSpec
from simulacra.models.model import Model

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    # the benchmarks are run from the project's folder and not installed
    sys.path.append(str(ROOT))

from benchmarks import flows, measure  # noqa: E402
from benchmarks.flows import Case, Drawn, compare, main, markdown  # noqa: E402
from benchmarks.peers import Peer  # noqa: E402

VECTORS, PICTURES = DataSpec((6,), levels=None), DataSpec((3, 8, 8), levels=256)


def like(sizes: Any) -> Model:
    network = nn.Linear(sizes.spec.dims, sizes.hidden[0])
    return Drawn(sizes.spec, network, lambda x: network(x.float()).square().mean(),
                 lambda n: torch.zeros(n, sizes.spec.dims))  # fmt: skip


def absent(_: Any) -> Model:
    raise ModuleNotFoundError("no such", name="absent")


def test_ours_and_theirs_are_measured_in_the_same_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LEAST", 1e-9)
    peers = Peer("theirs", "nice", None, like), Peer("absent", "nice", None, absent)
    case = Case("nice", VECTORS, {"hidden": (4,)}, 8, 3, peers)
    found = compare(case, 2, 0)
    ours, theirs, missing = found["rows"]
    assert ours["package"] == "simulacra"
    assert ours["steps"] == ours["samples"] == 1.0
    assert theirs["parameters"] == 6 * 4 + 4
    assert min(theirs["step"], theirs["sample"], theirs["steps"], theirs["samples"]) > 0
    assert missing["missing"] == "not installed"
    text = markdown({"machine": {"cpu": "any"}, "cases": [found]})
    assert "### nice(hidden=[4])" in text
    assert "| absent | not installed | — | — | — | — |" in text
    json.dumps(found)


def test_without_ours_the_others_are_measured_nevertheless() -> None:
    case = Case("no-such", VECTORS, {"hidden": (4,)}, 8, 3, (Peer("theirs", "", None, like),))
    ours, theirs = compare(case, 1, 0)["rows"]
    assert "no model is called 'no-such'" in ours["missing"]
    assert theirs["step"] > 0
    assert "steps" not in theirs


@pytest.mark.parametrize(
    ("package", "name"),
    [("zuko", "maf"), ("nflows", "maf"), ("normflows", "glow"), ("normflows", "realnvp")],
)
def test_peers_have_the_sizes_that_were_asked(package: str, name: str) -> None:
    # not imported here, which would switch off torch's checks
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install {package}")
    (case,) = (case for case in flows.CASES if case.ours == name)
    (peer,) = (peer for peer in case.peers if peer.package == package)
    small: dict[str, Any] = (
        {"transforms": 2, "hidden": (8, 8)} if name == "maf"
        else {"scales": 2, "steps": 2, "hidden": 8, "coupling": "affine", "blocks": 1}
    )  # fmt: skip
    spec = VECTORS if name == "maf" else PICTURES
    made: Any = peer.make(Case(name, spec, small, 4, 4, ()).sizes)  # type: ignore[arg-type]
    assert isinstance(made, Drawn), made
    x = torch.randn(4, 6) if name == "maf" else torch.randint(256, (4, 3, 8, 8))
    assert bool(made.loss(x)["loss"].isfinite())
    assert made.sample(4).shape == (4, *spec.event_shape)
    if name == "maf":
        # two networks 6 → 8 → 8 → 12
        assert sum(p.numel() for p in made.parameters()) == 2 * (7 * 8 + 9 * 8 + 9 * 12)


def test_what_cannot_be_asked_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in ((["--models", "gan"], "--models are of"), (["--rounds", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            main(words)
        assert why in capsys.readouterr().err


def test_a_run_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Case("nice", VECTORS, {"hidden": (4,)}, 8, 3, (Peer("theirs", "nice", None, like),))
    monkeypatch.setattr(flows, "CASES", (case,))
    assert main(["--rounds", "1", "--out", str(tmp_path / "new")]) == 0
    report = json.loads((tmp_path / "new" / "flows.json").read_text())
    assert markdown(report) in capsys.readouterr().out
    assert report["machine"]["threads"] == 1
