"""The comparison report says what the results bear, shows all of them, and asks nothing outside."""

from __future__ import annotations

import base64
import html
import json
import math
import re
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from simulacra import plot
from simulacra.errors import UsageError
from simulacra.evaluate.report import render, table, verdict

Results = dict[str, Any]
WHY = "training diverged; loss not finite ± 0"


def likelihood(bits: float, error: float, *, exact: bool = True, draws: int = 1) -> Results:
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


def model(name: str, family: str, figure: Results | None, **more: Any) -> Results:
    """One entry of `models`, with plausible learning curves."""
    last = figure["bits_per_dim"] if figure else None
    curve = [last + 2.1 * math.exp(-i / 3) for i in range(24)] if last else []
    return {
        "model": name,
        "class": name.upper(),
        "family": family,
        "summary": f"What {name} is, in one line.",
        "paper": "Author and Author, 2016, arXiv:1601.06759",
        "departs": None,
        "parameters": 123_456,
        "training_seconds": 40.12,
        "steps": 2_310,
        "step_name": "steps",
        "likelihood": figure,
        "likelihood_given_label": None,
        "seconds_for_1": 0.0312,
        "seconds_for_64": 1.204,
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


def five() -> Results:
    """Results of five models on the digits, out of order."""
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


def digits_pictures() -> dict[str, bytes]:
    """Grids of digits in the place of every kind of picture."""
    x = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    pictures = {"real": plot.png(plot.grid(x[:64], columns=8))}
    for i, name in enumerate(("gmm", "vae", "pixelcnn", "gan", "nice")):
        some = (x[64 * i + 64 : 64 * i + 128] + 0.03 * i * torch.rand(64, 1, 8, 8)).clamp(0, 1)
        pictures[f"{name}/samples"] = plot.png(plot.grid(some, columns=8))
    for name in ("gmm", "pixelcnn"):
        pictures[f"{name}/completions"] = plot.png(plot.grid(x[:28], columns=7))
    for name in ("vae", "gan", "nice"):
        pictures[f"{name}/interpolation"] = plot.png(plot.grid(x[:36], columns=9))
    return pictures


def words(page: str) -> str:
    """What the page says: no tags, no style, one kind of space."""
    page = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", page)))


def rows_of(page: str) -> dict[str, str]:
    """The main table's rows as words, by the model in front."""
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    rows = [words(row) for row in body.split("<tr")[1:]]
    return {row.split(">")[-1].split()[0]: row for row in rows}


def test_the_table_orders_the_models_and_gives_each_its_figure() -> None:
    rows = table(five())
    assert [row["model"] for row in rows] == ["pixelcnn", "gmm", "vae", "nice", "gan"]
    assert [row["bits/dim, test"] for row in rows] == [
        "= 1.853 ± 0.012",
        "= 2.43 ± 0.02",
        "≤ 2.71 ± 0.02 (k 50)",
        "≤ 2.917 ± 0.019",
        "no likelihood",
    ]
    assert rows[0]["nats, per observation"] == "= 82.2"
    assert rows[2]["nats, per observation"] == "≤ 120.1"
    assert rows[4]["nats, per observation"] == "–"
    assert (rows[0]["parameters"], rows[0]["steps"]) == ("123,456", "2,310")
    assert (rows[1]["steps"], rows[1]["training, s"]) == ("48 sweeps", "3.40")
    assert (rows[4]["1 sample, s"], rows[4]["64 samples, s"]) == ("<0.001", "1.20")
    assert all(list(row) == list(rows[0]) for row in rows)


@pytest.mark.parametrize(
    ("error", "figure"),
    [
        (0.0123, "= 1.853 ± 0.012"),
        (0.0203, "= 1.85 ± 0.02"),
        (0.00096, "= 1.8531 ± 0.0010"),
        (1.4, "= 1.9 ± 1.4"),
        (0.0, "= 1.853"),
        (None, "= 1.853"),
        (math.nan, "= 1.853"),
    ],
)
def test_digits_follow_from_the_standard_error(error: float | None, figure: str) -> None:
    results = five()
    results["models"][2]["likelihood"]["standard_error"] = error
    row = next(row for row in table(results) if row["model"] == "pixelcnn")
    assert row["bits/dim, test"] == figure


def test_the_page_has_a_row_for_each_model_with_the_table_s_figures() -> None:
    page = render(five(), digits_pictures())
    shown = rows_of(page)
    for row in table(five()):
        for heading, text in row.items():
            if heading != "can":
                assert text in shown[row["model"]], (row["model"], heading)
    assert list(shown) == [row["model"] for row in table(five())]
    assert "completes exactly" in shown["gmm"]
    assert words(page).count(verdict(five())) == 1


def test_the_verdict_names_the_best_and_those_without_a_likelihood() -> None:
    assert verdict(five()) == (
        "On digits, with 40s of training each, pixelcnn gives the fewest bits per dimension among "
        "the 4 models with a likelihood (pixelcnn = 1.853 ± 0.012 bits/dim; next: gmm = 2.43 ± "
        "0.02 bits/dim). For vae and nice the figure is only an upper limit (≤): the true one "
        "may be lower. Without a likelihood, to be judged by the samples: gan."
    )


@pytest.mark.parametrize(("apart", "tied"), [(1.9, True), (2.1, False)])
def test_a_tie_is_below_two_combined_standard_errors(apart: float, tied: bool) -> None:
    results = five()
    best, other = (m["likelihood"] for m in (results["models"][2], results["models"][0]))
    combined = math.hypot(best["standard_error"], other["standard_error"])
    other["bits_per_dim"] = best["bits_per_dim"] + apart * combined
    assert ("pixelcnn and gmm tie for the fewest bits" in verdict(results)) is tied
    assert ("pixelcnn gives the fewest bits" in verdict(results)) is not tied
    assert ("by less than two combined standard errors" in verdict(results)) is tied
    assert render(results, {}).count('<tr class="best">') == (2 if tied else 1)


def test_a_winner_by_a_bound_needs_no_caution_and_a_missing_error_is_a_tie() -> None:
    results = five()
    results["models"] = [m for m in results["models"] if m["model"] in ("vae", "nice")]
    assert "For nice the figure is only an upper limit (≤)" in verdict(results)
    results["models"][0]["likelihood"]["standard_error"] = None
    assert "vae and nice tie" in verdict(results)
    assert "without standard errors nothing tells them apart" in verdict(results)
    assert "For vae and nice the figure is only an upper" in verdict(results)


def test_nothing_is_ranked_where_nothing_can_be() -> None:
    results = five()
    results["models"] = [results["models"][3]]
    assert "nothing is ranked" in verdict(results)
    assert '<tr class="best">' not in render(results, {})
    results["models"] = five()["models"][2:4]
    assert "only one model has a likelihood that can be compared: pixelcnn" in verdict(results)
    assert '<tr class="best">' not in render(results, {})


def test_what_is_not_finite_is_counted_loud_and_never_wins() -> None:
    results = five()
    results["models"][2]["likelihood"]["non_finite"] = 3
    assert "gmm gives the fewest" in verdict(results)
    assert "among the 3 models with a finite likelihood (gmm" in verdict(results)
    assert "its likelihood is not finite for 3 of 359 test observations." in verdict(results)
    row = next(row for row in table(results) if row["model"] == "pixelcnn")
    assert row["bits/dim, test"] == "= 1.853 ± 0.012; 3 of 359 not finite"
    assert '<span class="loud">3 of 359 not finite</span>' in render(results, {})
    results["models"][2]["likelihood"].update(bits_per_dim=None, log_likelihood=None)
    assert "= not finite; 3 of 359 not finite" in table(results)[3]["bits/dim, test"]
    render(results, {})


def test_a_failed_model_keeps_a_row_that_says_why() -> None:
    results = five()
    results["models"][2] |= {"failed": WHY, "likelihood": None}
    assert table(results)[-1]["bits/dim, test"] == f"failed: {WHY}"
    assert f"failed: {WHY}" in rows_of(render(results, {}))["pixelcnn"]
    assert f"pixelcnn failed: {WHY}." in verdict(results)


def test_given_the_label_has_a_column_only_when_some_model_has_it() -> None:
    heading = "bits/dim, test given the label"
    results = five()
    assert heading not in table(results)[0]
    assert heading not in render(results, {})
    results["models"][3]["likelihood_given_label"] = likelihood(1.7, 0.012)
    assert [row[heading] for row in table(results)] == [*["–"] * 4, "= 1.700 ± 0.012"]
    assert "= 1.700 ± 0.012" in rows_of(render(results, {}))["gan"]
    assert "another question: gan" in verdict(results)


def test_continuous_data_is_judged_in_nats_and_more_is_better() -> None:
    results = five()
    results["data"] |= {"levels": None, "event_shape": [2], "name": "moons"}
    for m, nats in zip(results["models"], (-1.9, -1.2, -2.5, None, -1.7), strict=True):
        if m["likelihood"]:
            m["likelihood"] |= {
                "bits_per_dim": None,
                "log_likelihood": nats,
                "standard_error": 0.012,
            }
    rows = table(results)
    assert [row["model"] for row in rows] == ["vae", "nice", "gmm", "pixelcnn", "gan"]
    assert rows[0]["log-likelihood, nats, test"] == "≥ −1.200 ± 0.012 (k 50)"
    assert "vae gives the highest log-likelihood" in verdict(results)
    assert "For nice the figure is only a lower limit (≥): the true one may be higher" in verdict(
        results
    )
    text = words(render(results, {}))
    assert "≥ −1.200 ± 0.012 (k 50)" in text
    assert "bits" not in text


def test_pictures_are_in_the_page_byte_for_byte_beside_words() -> None:
    pictures = digits_pictures()
    page = render(five(), pictures)
    found = re.findall(
        r'<img src="data:image/png;base64,([^"]*)" width="(\d+)"[^>]*alt="([^"]+)"', page
    )
    assert sorted(base64.b64decode(data) for data, _, _ in found) == sorted(pictures.values())
    assert {width for _, width, alt in found if "ample" in alt or "real" in alt} == {"391"}
    assert page.count("<img") == len(pictures)
    for heading in ("Samples", "Completions", "Between two codes"):
        assert f">{heading}</h2>" in page
    bare = render(five(), {})
    assert "<img" not in bare
    assert ">Samples</h2>" not in bare
    with pytest.raises(UsageError, match="gan/samples"):
        render(five(), {"gan/samples": b"GIF89a"})


def test_curves_show_likelihoods_together_and_each_game_apart() -> None:
    results = five()
    results["models"][1]["curves"]["losses"] = {"model": [3.0, 2.0], "kl": [1.0, 1.1]}
    results["models"][3]["curves"]["validation"] = [2.0] * 24
    svgs = re.findall(r"<svg.*?</svg>", render(results, {}), flags=re.DOTALL)
    likelihoods, game = (re.findall(r"<text[^>]*>([^<]*)</text>", svg) for svg in svgs)
    assert {"pixelcnn", "gmm", "vae", "nice"} <= set(likelihoods)
    assert "gan" not in likelihoods
    assert {"discriminator", "generator"} <= set(game)
    ids = re.findall(r'\bid="([^"]*)"', "".join(svgs))
    assert len(ids) == len(set(ids))
    refers = re.findall(r'(?:href="|url\()#([^")]*)', "".join(svgs))
    assert set(refers) <= set(ids)


def test_the_page_asks_nothing_of_any_other_address() -> None:
    page = render(five(), digits_pictures())
    assert not re.search(r"https?:|@import", re.sub(r'base64,[^"]*', "", page))
    for address in re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']?([^"'\s>]*)""", page):
        assert address.startswith(("data:", "#")), address
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "$x$ & 模型"]
)
def test_hostile_words_stay_words(hostile: str) -> None:
    results = five()
    results["data"] |= {"name": hostile, "description": hostile, "notes": [hostile]}
    results |= {"command": hostile, "budget": hostile}
    results["models"][2] |= {"model": hostile, "class": hostile, "departs": hostile}
    results["models"][2] |= {"warnings": [hostile], "capabilities": [hostile]}
    results["models"][1]["failed"] = hostile
    page = render(results, {f"{hostile}/samples": plot.png(plot.grid(torch.ones(1, 1, 2, 2)))})
    assert "<script" not in page
    assert page.count("<img") == 1
    assert "onerror=y>" not in page
    assert words(page).count(hostile) > 8


def test_sparse_results_still_make_a_page() -> None:
    assert "No model was compared" in render({}, {})
    assert "No model was compared" in render({"models": [], "data": None, "machine": None}, {})
    bare = [{"model": "a"}, {"model": "b", "likelihood": {"bits_per_dim": 2.0}}]
    assert list(rows_of(render({"models": bare}, {}))) == ["b", "a"]
    for m in (results := json.loads(json.dumps(five())))["models"]:
        m["curves"] = None
    assert "<svg" not in render(results, {})


def test_the_page_says_what_to_know_of_data_models_and_machine() -> None:
    results, text = five(), words(render(five(), {}))
    told = [results["command"], results["date"], *map(str, results["machine"].values())]
    told += [results["data"]["description"], *results["data"]["notes"]]
    told += [results["data"]["fingerprint"], "1 × 8 × 8", "1258 to train, 180 to validate, 359 to"]
    told += ["seed0", "levels costs 4.087 bits", "Departs from the paper: ReLU in place of tanh"]
    for m in results["models"]:
        told += [m["class"], m["summary"], m["paper"], *m["warnings"]]
    assert [fact for fact in told if fact not in text] == []


def test_vector_contexts_are_not_called_labels() -> None:
    results = five()
    results["data"]["classes"] = 0
    results["models"][0]["likelihood_given_label"] = dict(results["models"][0]["likelihood"])
    headings = " ".join(table(results)[0])
    assert "given the context" in headings
    assert "given the label" not in headings
