"""The comparison report says what the results bear, shows all of them, and asks nothing outside."""

from __future__ import annotations

import base64
import json
import math
import re

import pytest
import torch

from reported import digits_pictures, five, likelihood, render, rows_of, table, verdict, words
from simulacra.drawing import files, grids
from simulacra.ground.errors import UsageError

WHY = "training diverged; loss not finite ± 0"


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
    assert (rows[0]["parameters"], rows[0]["steps"]) == ("123,456", "2,310")
    assert (rows[1]["steps"], rows[1]["training, s"]) == ("48 sweeps", "3.40")
    once = five()
    once["models"][0]["steps"] = 1
    assert table(once)[1]["steps"] == "1 sweep"
    assert rows[0]["observations seen"] == "148 k"
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
    heading = "bits/dim | label"
    results = five()
    assert heading not in table(results)[0]
    assert heading not in render(results, {})
    assert "told an observation’s" not in render(results, {})
    results["models"][3]["likelihood_given_label"] = likelihood(1.7, 0.012)
    assert [row[heading] for row in table(results)] == [*["–"] * 4, "= 1.700 ± 0.012"]
    assert "= 1.700 ± 0.012" in rows_of(render(results, {}))["gan"]
    assert "bits/dim | labelThe same of models that are told an observation’s label" in words(
        render(results, {})
    )
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
    page = render(results, {f"{hostile}/samples": files.png(grids.grid(torch.ones(1, 1, 2, 2)))})
    assert "<script" not in page
    assert page.count("<img") == 1
    assert "onerror=y>" not in page
    assert words(page).count(hostile) > 8


def test_sparse_results_still_make_a_page() -> None:
    assert "No model was compared" in render({}, {})
    assert "No model was compared" in render({"models": []}, {})
    bare = [{"model": "a"}, {"model": "b", "likelihood": {"exact": False, "bits_per_dim": 2.0}}]
    assert list(rows_of(render({"models": bare}, {}))) == ["b", "a"]
    for m in (results := json.loads(json.dumps(five())))["models"]:
        m["curves"] = {}
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
    assert "bits/dim | context" in headings
    assert "label" not in headings


def test_the_page_says_how_many_observations_likelihoods_rest_on():
    results = five()
    assert "Judged on 359 test observations that had no part" in words(render(results, {}))
    for m in results["models"]:
        if m["likelihood"]:
            m["likelihood"]["observations"] = 30
    text = words(render(results, {}))
    assert "Likelihood on 30 of 359 test observations that had no part in training." in text
    assert "Judged on" not in text
    results["models"][1]["likelihood"]["observations"] = 40
    assert "Likelihood on 30 and 40 of 359 test" in words(render(results, {}))


def test_the_glossary_speaks_of_what_is_there():
    results = five()
    assert "“(k\u00a050)” says how many draws" in render(results, {})
    results["models"][1]["likelihood"]["draws"] = 64
    results["models"][4]["likelihood"]["draws"] = 8
    assert "“(k\u00a08 and k\u00a064)” says" in render(results, {})
    for m in results["models"]:
        if m["likelihood"]:
            m["likelihood"]["draws"] = 1
    assert "(k" not in words(render(results, {}))
    assert "two combined standard errors" in words(render(results, {}))
    # a single model ties with nobody
    results["models"] = results["models"][:1]
    text = words(render(results, {}))
    assert "two combined standard errors" not in text
    assert "called tied" not in text
    results["models"] = []
    assert "called tied" not in words(render(results, {}))


def test_recordings_are_counted_where_windows_come_from_them():
    results = five()
    results["data"] |= {"rate": 8000, "event_shape": [512], "valid": 400}
    assert "so the standard errors are too small" in words(render(results, {}))
    for m in results["models"]:
        if m["likelihood"]:
            m["likelihood"]["groups"] = 37
    text = words(render(results, {}))
    assert "recordings, not windows, are counted as independent (37 of them)" in text
    assert "too small" not in text
    results["data"]["rate"] = None
    assert "recordings" not in words(render(results, {}))
    # of pictures, and of vectors, which have no bits
    counted = "groups, not observations, are counted as independent (37 of them)"
    assert counted in words(render(results, {}))
    results["data"]["levels"] = None
    assert counted in words(render(results, {}))


def test_what_holds_for_all_models_is_said_once():
    results = five()
    for m in results["models"]:
        m["warnings"] = ["the whole budget went", f"only {m['model']}"]
    results["models"][3] |= {"failed": WHY, "warnings": ["of the failed one"]}
    text = words(render(results, {}))
    assert text.count("the whole budget went") == 1
    assert "all models: the whole budget went" in text
    assert "gmm: only gmm" in text
    assert "gan: of the failed one" in text
    results["models"] = results["models"][:1]
    assert "gmm: the whole budget went" in words(render(results, {}))
