"""Results as a comparison writes them, made by hand, and what a report's page says in words."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from sklearn.datasets import load_digits

from simulacra.drawing import files, grids
from simulacra.judging.results import FORMAT, Results
from simulacra.report import copying, page, tables
from simulacra.report import verdict as answer
from simulacra.report.cells import Rows

Json = dict[str, Any]
"""Results as `results.json` has them, which tests change before they are read."""


def typed(results: Json) -> Results:
    """Results read from JSON, as a run's are."""
    return Results.from_json(json.loads(json.dumps({"format": FORMAT, **results})))


def render(results: Json, pictures: Mapping[str, bytes]) -> str:
    """The report of results."""
    return page.render(typed(results), pictures)


def verdict(results: Json) -> str:
    """The answer in words."""
    return answer.verdict(typed(results))


def texts(make: Callable[..., Rows], results: Json, *arguments: str) -> list[dict[str, str]]:
    """A table of a report as a terminal would show its cells."""
    made = make(typed(results), *arguments)
    return [{heading: str(cell) for heading, cell in row.items()} for row in made]


def table(results: Json) -> list[dict[str, str]]:
    """The main table."""
    return texts(tables.table, results)


def copies(results: Json, model: Json) -> str | None:
    """What says that a model's samples are copies."""
    read = typed(results)
    return copying.copies(read.references, read.models[results["models"].index(model)].samples)


def likelihood(bits: float, error: float, *, exact: bool = True, draws: int = 1) -> Json:
    """A likelihood on 359 digits as `evaluate` reports it."""
    return {
        "exact": exact,
        "relation": "=" if exact else "≤",
        "bits_per_dim": bits,
        "standard_error": error,
        "log_likelihood": -bits * 64 * math.log(2),
        "draws": draws,
        "observations": 359,
        "non_finite": 0,
    }


def model(name: str, family: str, figure: Json | None, **more: Any) -> Json:
    """One entry of `models`, with plausible learning curves; keywords of `cost` go there."""
    cost = {"parameters": 123_456, "training_seconds": 40.12, "seconds_for_1": 0.0312,
            "samples_per_second": 64 / 1.204}  # fmt: skip
    cost |= {key: more.pop(key) for key in list(more) if key in cost}
    last = figure["bits_per_dim"] if figure else None
    curve = [last + 2.1 * math.exp(-i / 3) for i in range(24)] if last else []
    return {
        "model": name,
        "class": name.upper(),
        "family": family,
        "summary": f"What {name} is, in one line.",
        "paper": "Author and Author, 2016, arXiv:1601.06759",
        "departs": None,
        "cost": cost,
        "steps": 2_310,
        "observations": 147_840,
        "step_name": "steps",
        "likelihood": figure,
        "likelihood_given_label": None,
        "capabilities": ["samples", "likelihood"] if figure else ["samples"],
        "curves": {
            "seconds": [40 * (i + 1) / 24 for i in range(24)],
            "steps": [96 * (i + 1) for i in range(24)],
            "validation": curve or [None] * 24,
            "losses": {} if figure else {
                "discriminator": [1.38 - 0.5 * i / 24 + 0.1 * math.sin(i) for i in range(24)],
                "generator": [0.7 + i / 24 + 0.2 * math.cos(i) for i in range(24)],
            },
        },
        "warnings": [],
        "failed": None,
        **more,
    }  # fmt: skip


def five() -> Json:
    """Results of five models on the digits, out of order, with likelihoods alone."""
    ways = ["samples", "likelihood", "encodes", "decodes"]
    return {
        "title": None,
        "command": "simulacra compare digits --budget 40s",
        "date": "2026-11-21 10:00 UTC",
        "seed": 0,
        "budget": "40s",
        "machine": {"processor": "AMD EPYC 7B13", "threads": 2, "device": "cpu",
                    "python": "3.11.9", "torch": "2.13.0", "simulacra": "0.1.0"},
        "data": {"name": "digits", "description": "Handwritten digits, 8 × 8 pixels of 17 levels.",
                 "notes": ["Alpaydin and Kaynak, 1998, from UCI."], "event_shape": [1, 8, 8],
                 "levels": 17, "classes": 10, "train": 1258, "validation": 180, "test": 359,
                 "fingerprint": "9f2c" * 16},
        "models": [
            model("gmm", "mixture", likelihood(2.4312, 0.0203), step_name="sweeps", steps=48,
                  training_seconds=3.4, capabilities=[*ways[:2], "completes", "completes exactly"]),
            model("vae", "latent", likelihood(2.7082, 0.0214, exact=False, draws=50),
                  capabilities=ways, warnings=["2 steps were skipped: the loss was not finite."]),
            model("pixelcnn", "autoregressive", likelihood(1.8531, 0.0123),
                  capabilities=[*ways[:2], "completes"],
                  departs="ReLU in place of tanh; the order of colours is R, G, B."),
            model("gan", "adversarial", None, capabilities=["samples", "decodes"],
                  seconds_for_1=0.0004),
            model("nice", "flow", likelihood(2.9174, 0.0188, exact=False), capabilities=ways),
        ],
    }  # fmt: skip


def fig(value: float, half: float | None = None, count: int = 179) -> Json:
    """A figure with an interval of equal halves."""
    low, high = (None, None) if half is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "count": count}


def share(value: float, count: int = 179) -> Json:
    """A share with Wilson's interval."""
    z = 1.96
    middle = (value + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(value * (1 - value) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    low, high = min(value, max(0.0, middle - half)), max(value, middle + half)
    return {"value": value, "low": low, "high": high, "count": count}


def samples(far: float, *, copied: float = 0.0, labelled: bool = False) -> Json:
    """Figures of samples: `far` 0 for real data to 1 for independent values, a share copied."""
    good, new = 1 - far, 1 - copied
    view = {
        "frechet": fig(0.9 + 60 * far**1.5, 0.2 + 3 * far),
        "kernel": fig(0.0003 + 0.9 * far**1.5, 0.0009 + 0.03 * far),
        "precision": share(0.93 * good),
        "recall": share(0.91 * good),
        "density": fig(0.98 * good, 0.05),
        "coverage": share(0.95 * good),
        "c_t": fig(0.3 + 8 * far - 15 * copied),
        "authentic": share(min(1.0, 0.53 + 0.4 * far) * new),
        "nearer": fig(0.49 - 0.3 * far + 0.5 * copied, 0.03),
        "suspects": share(0.011 * good * new + copied),
        "membership": fig(0.4 + 14 * copied),
    }
    whole = {
        "duplicates": share(copied),
        "leaked": share(0.0),
        "repeats": share(0.0),
        "sharpness": fig(1.01 - 0.4 * far, 0.06),
        "class_distance": fig(0.04 + 0.3 * far, 0.02),
    }
    if labelled:
        whole["class_accuracy"] = share(0.97 - 0.4 * far)
    views = {"features": view, "pixels": {k: dict(v) for k, v in view.items()}}
    return {"count": 179, "refused": None, "views": views, "whole": whole, "warnings": []}


def pair(results: Json, a: str, b: str, *, half: float = 0.02) -> Json:
    """The paired difference of two models' figures, `b` less `a`."""
    bits = {m["model"]: m["likelihood"]["bits_per_dim"] for m in results["models"]
            if m["likelihood"]}  # fmt: skip
    apart = bits[b] - bits[a]
    return {"models": [a, b], "difference": apart, "low": apart - half, "high": apart + half,
            "tie": abs(apart) <= half, "observations": 359, "reason": None}  # fmt: skip


def full() -> Json:
    """Results of six models with every figure that a report can have."""
    results = five()
    names = ["gmm", "vae", "pixelcnn", "nice"]
    results["views"] = [
        {"name": "features", "extractor": "classifier-64", "hash": "3fa9" * 16, "width": 17,
         "accuracy": 0.983},
        {"name": "pixels", "extractor": "pca", "hash": "77b1" * 16, "width": 17, "accuracy": 0.983,
         "note": "not whitened"},
    ]  # fmt: skip
    results["references"] = {"real": samples(0.0), "independent": samples(1.0)}
    gmm, vae, pixelcnn, gan, nice = results["models"]
    for m, far, copied in ((gmm, 0.3, 0.0), (vae, 0.45, 0.0), (pixelcnn, 0.04, 0.0),
                           (gan, 0.2, 0.62), (nice, 0.6, 0.0)):  # fmt: skip
        m["samples"] = samples(far, copied=copied, labelled=m is vae)
        m["cost"] |= {"flops_per_observation": round(3.2e6 * (1 + far)),
                      "flops_per_training_step": 9_600_000,
                      "flops_per_sample": round(2.05e8 * (1 - far)),
                      "training_peak_bytes": 143_000_000, "samples_per_second": 53.2,
                      "sequential_calls": 64 if m is pixelcnn else 1}  # fmt: skip
        m["nature"] = {"likelihood": "none" if m is gan else "bound" if m is vae else "exact",
                       "invertible": m is nice, "latent": 16 if m in (vae, gan, nice) else None,
                       "reconstruction_error": 0.0812 if m is vae else 2e-7 if m is nice else None,
                       "reconstruction_worst": 0.61 if m is vae else 9e-7 if m is nice else None,
                       "sampling": "sequential" if m is pixelcnn else "parallel",
                       "completes": "exactly" if m is gmm else "no"}  # fmt: skip
    for m in (gmm, vae, pixelcnn, nice):
        bits, error = m["likelihood"]["bits_per_dim"], m["likelihood"]["standard_error"]
        m["likelihood"] |= {
            "train": likelihood(bits - 0.05, error),
            "gap": fig(0.05, 2.5 * error) | {"unit": "bits/dim"},
            "per_class": [
                {"class": str(i), "bits_per_dim": bits + 0.03 * (i % 4),
                 "standard_error": 3 * error, "log_likelihood": -60 * bits,
                 "observations": 36 - i % 2}
                for i in range(10)
            ],
            "shuffled": fig(0.21, 0.03) if m is vae else None,
            "ignores_context": False,
        }  # fmt: skip
    vae["classifier"] = {"accuracy": share(0.93, 359), "ece": fig(0.031, 0.012), "ece_floor": 0.018,
                         "log_loss": 0.31, "bound": True}  # fmt: skip
    results["baseline_classifier"] = {"accuracy": share(0.978, 359), "ece": fig(0.012, 0.006),
                                      "ece_floor": 0.009, "log_loss": 0.081,
                                      "calibrated": True}  # fmt: skip
    results["pairs"] = [pair(results, a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    out = model("realnvp", "flow", None, capabilities=[], curves={}, steps=None)
    results["models"].append(
        out | {"cost": {}, "left_out": "needs vectors or pictures of even sides"}
    )
    return results


def digits_pictures() -> dict[str, bytes]:
    """Grids of digits in the place of every kind of picture."""
    x = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    pictures = {"real": files.png(grids.grid(x[:64], columns=8))}
    for i, name in enumerate(("gmm", "vae", "pixelcnn", "gan", "nice")):
        some = (x[64 * i + 64 : 64 * i + 128] + 0.03 * i * torch.rand(64, 1, 8, 8)).clamp(0, 1)
        pictures[f"{name}/samples"] = files.png(grids.grid(some, columns=8))
    for name in ("gmm", "pixelcnn"):
        pictures[f"{name}/completions"] = files.png(grids.grid(x[:28], columns=7))
    for name in ("vae", "gan", "nice"):
        pictures[f"{name}/interpolation"] = files.png(grids.grid(x[:36], columns=9))
    return pictures


def words(page: str) -> str:
    """What the page says: no tags, no style, one kind of space."""
    page = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", page)))


def rows_of(page: str, number: int = 0) -> dict[str, str]:
    """The rows of a page's table as words, by the model in front; first the main table."""
    body = page.split("<tbody>")[1 + number].split("</tbody>")[0]
    rows = [words(row) for row in body.split("<tr")[1:]]
    return {row.split(">")[-1].split()[0]: row for row in rows}
