"""`python -m benchmarks.latent NAME`: measure, write docs/latent.NAME.json, and draw the picture.

`noise`, `bound`, `curves`, `rates`, `numbers`, `blur`: the page is docs/latent.md.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path

import torch

from simulacra.ground.storage import write_json

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("noise", "bound", "curves", "rates", "numbers", "blur")


def main(arguments: list[str] | None = None) -> int:
    """Run one experiment, or draw what it measured before."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latent", description=(__doc__ or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("name", choices=NAMES, help="of the experiment")
    parser.add_argument("--steps", type=int, help="of each training; by default as on the page")
    parser.add_argument("--data-dir", type=Path, help="where MNIST is, for `blur`")
    parser.add_argument("--drawn", action="store_true", help="draw what was measured before")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of figures and JSON")
    given = parser.parse_args(arguments)
    module = importlib.import_module(f"benchmarks.latent.{given.name}")
    path = given.out / f"latent.{given.name}.json"
    if given.drawn:
        report = json.loads(path.read_text("utf-8"))
    else:
        torch.set_num_threads(1)
        asked = {"steps": given.steps, "data_dir": given.data_dir}
        known = inspect.signature(module.measure).parameters
        report = module.measure(**{key: v for key, v in asked.items() if v and key in known})
        given.out.mkdir(parents=True, exist_ok=True)
        write_json(path, report)
    module.draw(report, given.out / "figures")
    print(module.markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
