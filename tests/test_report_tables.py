"""The tables below the main one: every figure, its interval, and what must not be overlooked."""

from __future__ import annotations

import re

import pytest
import torch

from reported import (
    digits_pictures,
    fig,
    five,
    full,
    likelihood,
    pair,
    render,
    table,
    texts,
    typed,
    words,
)
from simulacra.drawing import files, grids
from simulacra.judging.figures.measures import CLASSES, MEASURES
from simulacra.report import sample_tables, short, tables
from simulacra.report.sections import measures_shown

WHY = "12 samples: 179 are needed, half of the test split"


def quick(results):
    """Without curves, which take their time to draw."""
    for m in results["models"]:
        m["curves"] = {}
    return results


def by_model(rows):
    assert all(list(row) == list(rows[0]) for row in rows)
    return {next(iter(row.values())): row for row in rows}


def headings(page):
    return re.findall(r"<h2[^>]*>([^<]*)</h2>", page)


def told_parts(results):
    """The first model was asked for a digit and a speaker, as real data are."""
    first, real = results["models"][0], results["references"]["real"]
    for samples, digit, speaker in ((first["samples"], 0.42, 0.8), (real, 0.98, 1.0)):
        samples["by_part"] = {"digit": fig(digit), "speaker": fig(speaker)}
    results["references"]["chance"] = {
        "count": 0, "whole": {"class_accuracy": fig(1 / 60)},
        "by_part": {"digit": fig(0.1), "speaker": fig(1 / 6)},
    }  # fmt: skip
    return results


def test_what_was_asked_for_is_counted_part_by_part_beside_chance():
    results = told_parts(full())
    name = results["models"][0]["model"]
    rows = by_model(texts(sample_tables.label_table, results))
    assert rows["chance"] == {
        "model": "chance", "class accuracy → real": "1.7 %", "digit accuracy → real": "10.0 %",
        "speaker accuracy → real": "16.7 %", "class distance ↓": "–",
    }  # fmt: skip
    assert rows[name]["digit accuracy → real"] == "42.0 %"
    assert rows["real (floor)"]["speaker accuracy → real"] == "100.0 %"
    told = by_model(texts(short.detail_figures, results))
    assert list(told)[-1] == "chance"
    assert [told[each]["digit accuracy"] for each in ("real (floor)", name, "chance")] == [
        "98.0 %", "42.0 %", "10.0 %"
    ]  # fmt: skip
    page = render(quick(results), {})
    assert "“chance” is the commonest class" in words(page)
    assert "All samples that were drawn are counted." in page
    assert typed(results).to_json()["references"]["chance"]["by_part"]["digit"]["value"] == 0.1
    # of models that are asked for nothing, nothing comes by chance
    for m in results["models"]:
        if m.get("samples"):
            m["samples"]["whole"].pop("class_accuracy", None)
            m["samples"].pop("by_part", None)
    assert "chance" not in by_model(texts(sample_tables.label_table, results))


def test_samples_stand_between_floor_and_ceiling():
    rows = texts(sample_tables.fidelity_table, full(), "features")
    names = [row["model"] for row in rows]
    assert names == ["real (floor)", "pixelcnn", "gmm", "vae", "nice", "gan",
                     "independent (ceiling)"]  # fmt: skip
    assert by_model(rows)["gmm"]["Fréchet distance ↓"] == "10.76 [9.66, 11.86]"
    assert by_model(rows)["independent (ceiling)"]["precision → real"] == "0.00 [0.00, 0.02]"
    page = render(quick(full()), {})
    assert "179 samples of each model" in words(page)
    assert "classifier-64; 17 wide; accuracy on the validation split 98.3 %; sha256 3fa9" in page
    assert "pca; 17 wide; not whitened; sha256 77b1" in page
    assert "The classifier finds the class of 98.3 % of validation observations." in page
    assert page.count('class="reference"') == 2 * 2 + 2 * 2 + 2 + 2 + 2


@pytest.mark.parametrize(
    ("key", "value", "at"),
    [("frechet", 1.1, True), ("frechet", 1.2, False), ("frechet", 0.1, True),
     # noise may have more precision than real data
     ("precision", 1.0, False), ("density", 1.0, False), ("kernel", -0.003, True)],
)  # fmt: skip
def test_a_distance_as_small_as_that_of_real_data_is_like_theirs_and_never_better(key, value, at):
    results = full()
    results["models"][2]["samples"]["views"]["features"][key] = fig(value, 0.05)
    rows = by_model(texts(sample_tables.fidelity_table, results, "features"))
    heading = next(h for h in rows["pixelcnn"] if h.startswith(MEASURES[key].name))
    assert rows["pixelcnn"][heading].endswith(" like real data") is at
    assert "like" not in rows["real (floor)"][heading]
    assert "like" not in rows["independent (ceiling)"][heading]
    # where independent values are as near, nearness says nothing
    results["references"]["independent"]["views"]["features"][key] = fig(0.0, 2.0)
    rows = by_model(texts(sample_tables.fidelity_table, results, "features"))
    assert "like" not in rows["pixelcnn"][heading]
    assert "better than real" not in words(render(quick(results), {})).replace("no better than", "")


def test_refused_samples_and_warnings_are_shown():
    results = quick(full())
    results["models"][0]["samples"] = {"count": 12, "refused": WHY, "views": {}, "whole": {}}
    results["models"][1]["samples"]["warnings"] = ["all samples are one and the same"]
    data = "no saturation: the data are grey"
    for samples in (results["references"]["real"], *(m["samples"] for m in results["models"][1:4])):
        samples["warnings"].append(data)
    page = render(results, {})
    assert f'<b class="loud">gmm</b>: no figures of samples: {WHY}.' in page
    assert '<b class="loud">vae</b>: all samples are one and the same' in page
    rows = by_model(texts(sample_tables.fidelity_table, results, "features"))
    assert rows["gmm"]["coverage → real"] == "–"
    # what is so of real data is of no model
    assert page.count(data) == 1
    assert f"<li>{data}</li>" in page


def test_where_all_samples_were_refused_there_are_reasons_and_no_tables():
    results = quick(full())
    results["references"] = {}
    for m in results["models"][:5]:
        m["samples"] = {"count": 12, "refused": WHY, "views": {}, "whole": {}}
    page = render(results, {})
    assert page.count(WHY) == 1
    assert f'<b class="loud">all models</b>: no figures of samples: {WHY}.' in page
    assert "Seen as" not in page
    assert texts(short.sample_figures, results) == []
    assert "Fréchet distance ↓" not in table(results)[0]
    assert "Novelty" not in headings(page)


def test_novelty_has_real_data_beside_and_says_who_copies():
    results = quick(full())
    rows = by_model(texts(sample_tables.novelty_table, results, "features"))
    names = ["real (floor)", "pixelcnn", "gmm", "vae", "nice", "gan", "independent (ceiling)"]
    assert list(rows) == names
    assert rows["independent (ceiling)"]["C_T → 0"] == "8.30"
    assert rows["gan"]["C_T → 0"] == "−7.40"
    assert rows["real (floor)"]["suspects → real"] == "1.1 % [0.3, 4.0]"
    assert "duplicates ↓" not in rows["gan"]
    equal = by_model(texts(sample_tables.equal_table, results))
    assert list(equal) == names
    assert equal["gan"]["duplicates ↓"] == "62.0 % [54.7, 68.8]"
    text = words(render(results, {}))
    assert text.count("As they are, value for value") == 1
    assert "gan copies training data: 62.0 % equal a training observation; C_T = −7.4" in text
    assert "No sign of copying in these views: pixelcnn, gmm, vae and nice." in text
    assert text.count("copies training data") == 2  # there and in the verdict


def test_samples_that_lie_far_off_are_not_only_free_of_copies():
    results = quick(full())
    text = words(render(results, {}))
    assert (
        "Further from the training data than real data: vae (C_T = 3.9 in features, 3.9 in pixels) "
        "and nice (C_T = 5.1 in features, 5.1 in pixels)."
    ) in text
    results["references"]["real"]["views"]["features"]["c_t"] = fig(4.0)
    text = words(render(results, {}))
    assert "than real data: vae (C_T = 3.9 in pixels) and nice (C_T = 5.1 in features" in text
    for m in results["models"][:5]:
        for view in m["samples"]["views"].values():
            view["c_t"] = fig(3.0)
    assert "Further from the training data" not in words(render(results, {}))


@pytest.mark.parametrize(
    ("key", "floor", "half", "text"),
    [("frechet", 1.5, 40.0, "1.5"), ("frechet", 0.0167, 40.0, "0.017"),
     ("frechet", 15.0, 40.0, "15"), ("frechet", 0.0, 40.0, "0"),
     ("frechet", 1.5e-7, 40.0, "0.0000"),
     # the kernel distance of real data is 0 but for chance
     ("kernel", -0.0002, 1.9, "0.0"), ("kernel", 0.0, 19.0, "0")],
)  # fmt: skip
def test_distances_have_two_digits_of_the_floor(key, floor, half, text):
    results = full()
    for samples in (
        *results["references"].values(),
        *(m["samples"] for m in results["models"][:5]),
    ):
        samples["views"]["features"][key] = fig(floor, half)
    row = by_model(texts(sample_tables.fidelity_table, results, "features"))["real (floor)"]
    heading = next(h for h in row if h.startswith(MEASURES[key].name))
    assert row[heading].partition(" [")[0] == text


def test_pictures_of_suspects_and_of_reliability_belong_to_their_sections():
    png = files.png(grids.grid(torch.ones(2, 1, 2, 2)))
    page = render(quick(full()), {"gan/suspects": png, "vae/reliability": png})
    novelty, labels = (page.split(f'<h2 id="{key}"')[1].split("</section>")[0]
                       for key in ("novelty", "labels"))  # fmt: skip
    assert novelty.count("<img src") == 1
    assert "In each pair the sample is on the left, the training observation nearest" in novelty
    assert labels.count('<img class="drawn" src') == 1
    assert render(quick(five()), {"gan/suspects": png}).count("<img") == 1


def test_pairs_show_each_difference_once_and_name_ties():
    results = quick(full())
    results["pairs"][0] = pair(results, "gmm", "vae", half=0.5)
    assert [list(row.values()) for row in texts(tables.pairs, results)] == [
        ["pixelcnn", "+0.578 [+0.558, +0.598]", "+0.855 [+0.835, +0.875]",
         "+1.064 [+1.044, +1.084]"],
        ["gmm", "", "+0.277 [−0.223, +0.777] tie", "+0.486 [+0.466, +0.506]"],
        ["vae", "", "", "+0.209 [+0.189, +0.229]"],
    ]  # fmt: skip
    page = render(results, {})
    assert '<span class="at">tie</span>' in page
    assert "Bounds (≤): vae and nice." in words(page)
    assert "one observation at a time" in words(page)
    assert "two combined standard errors" not in words(page)


def test_a_pair_that_cannot_be_made_says_why():
    results = quick(full())
    why = "the second model gives 3 of 359 observations no finite likelihood"
    none = {"difference": None, "low": None, "high": None, "tie": None, "reason": why}
    results["pairs"] = [{"models": ["gmm", "vae"], **none}, *results["pairs"][1:]]
    one = "of one observation the spread is unknown"
    results["pairs"][1] |= {"low": None, "high": None, "reason": one}
    results["pairs"][2]["reason"] = "nothing to be said"
    text = words(render(results, {}))
    assert f"No pair of gmm and pixelcnn: {one}." in text
    assert "nothing to be said" not in text
    assert f"No pair of gmm and vae: {why}." in text
    assert texts(tables.pairs, results)[1]["than vae"] == "–"
    assert "two combined standard errors" in text


def test_likelihood_in_detail():
    results = quick(full())
    vae, gmm = results["models"][1], results["models"][0]
    gmm["likelihood"]["non_finite"] = 3
    vae["likelihood_given_label"] = likelihood(2.5, 0.02, exact=False, draws=50) | {
        "shuffled": fig(0.001, 0.004), "ignores_context": True}  # fmt: skip
    rows = by_model(texts(tables.likelihoods, results))
    assert rows["vae"]["test"] == "≤ 2.71 ± 0.02"
    assert rows["pixelcnn"]["training"] == "= 1.803 ± 0.012"
    assert rows["pixelcnn"]["gap"] == "+0.05 [+0.02, +0.08]"
    assert rows["vae"]["draws, k"] == "50"
    assert rows["pixelcnn"]["test, nats"] == "= 82.2"
    assert rows["vae, given the label"]["label shuffled"] == "+0.001 [−0.003, +0.005]; ignores it"
    assert rows["gmm"]["not finite"].endswith("3 of 359")
    page = render(results, {})
    assert '<b class="loud">vae</b> ignores its context' in page
    assert '<span class="loud">3 of 359</span>' in page


def test_each_class_by_itself_and_many_only_when_asked():
    results = quick(full())
    empty = {"class": "ten", "observations": 0}
    for m in results["models"]:
        if m["likelihood"]:
            m["likelihood"]["per_class"].append(dict(empty))
    rows = by_model(texts(tables.per_class, results))
    assert rows["3"] == {"class": "3", "observations": "35", "pixelcnn": "= 1.94 ± 0.04",
                         "gmm": "= 2.52 ± 0.06", "vae": "≤ 2.80 ± 0.06",
                         "nice": "≤ 3.01 ± 0.06"}  # fmt: skip
    assert set(rows["ten"].values()) == {"ten", "0", "–"}
    assert "<details>" not in render(results, {})
    results["models"][0]["likelihood"]["per_class"] += [
        {**results["models"][0]["likelihood"]["per_class"][0], "class": f"more {i}"}
        for i in range(5)
    ]
    assert by_model(texts(tables.per_class, results))["more 1"]["vae"] == "–"
    assert "<details><summary>Each class by itself</summary>" in render(results, {})


def test_labels_and_the_generative_classifier_beside_its_baseline():
    results = quick(full())
    vae = results["models"][1]["classifier"]
    vae |= {"impossible": 2, "log_loss": None, "non_finite": 1}
    samples = by_model(texts(sample_tables.label_table, results))
    assert samples["vae"]["class accuracy → real"] == "79 % [72, 84]"
    assert samples["gmm"]["class accuracy → real"] == "–"
    rows = by_model(texts(sample_tables.classifier_table, results))
    assert list(rows) == ["vae", "discriminative baseline"]
    assert rows["vae"]["accuracy ↑"] == "93.0 % [89.9, 95.2]; 1 not finite"
    assert rows["vae"]["log-loss ↓, nats"] == "–; 2 held impossible"
    assert rows["discriminative baseline"]["calibration error ↓"].endswith(" may be chance")
    assert (rows["vae"]["by"], rows["vae"]["its floor"]) == ("a bound", "1.8 %")
    assert '<span class="loud">2 held impossible</span>' in render(results, {})


def test_costs_have_good_units():
    row = by_model(texts(tables.costs, full()))["pixelcnn"]
    assert row["parameters"] == "123 k"
    assert row["training, peak memory"] == "143 MB"
    assert row["scoring, per observation"] == "3.33 MFLOP"
    assert row["calls, per sample"] == "64"
    few = by_model(texts(tables.costs, five()))["gan"]
    assert (few["1 sample, s"], few["64 at once, samples/s"]) == ("<0.001", "53.2")
    # what nobody measured has no column
    assert not any("peak" in h or "scoring" in h for h in few)


def test_nature_says_what_was_measured():
    results = full()
    results["models"][4]["nature"]["recovered"] = 0.99987
    rows = by_model(texts(tables.natures, results))
    assert rows["nice"]["reconstruction error, of the range 0 … 1"] == "2e−7 (worst 9e−7)"
    assert rows["nice"]["values recovered"] == "99.99 %"
    assert rows["pixelcnn"] == {
        "model": "pixelcnn", "likelihood": "exact", "samples": "sequential", "invertible": "no",
        "reconstruction error, of the range 0 … 1": "–", "values recovered": "–", "latent": "–",
        "completes": "no",
    }  # fmt: skip
    results["data"] |= {"rate": 8000, "event_shape": [512]}
    assert "reconstruction error, of the range −1 … 1" in texts(tables.natures, results)[0]
    results["data"] |= {"rate": None, "levels": None, "event_shape": [2]}
    assert "reconstruction error" in texts(tables.natures, results)[0]


def test_the_page_explains_every_figure_that_it_shows_and_no_other():
    results = quick(full())
    text = words(render(results, {}))
    for key, measure in MEASURES.items():
        shown = key not in ("likelihood", "saturation", "kl", "modes", "good", *CLASSES)
        assert (measure.says in text) is shown, key
        assert (measure.blind in text) is shown, key
    assert measures_shown(typed(five())) == {}
    assert "The figures, one by one" not in words(render(quick(five()), {}))


def test_records_of_before_there_were_these_figures_have_none_of_their_parts():
    found = headings(render(quick(five()), digits_pictures()))
    assert found == ["The models", "Samples", "Likelihood in detail", "Completions",
                     "Between two codes", "Cost", "How to read this", "About the models", "Data",
                     "Do it again"]  # fmt: skip


def test_what_comes_first_is_asked_first():
    found = headings(render(full(), digits_pictures()))
    assert found == ["The models", "Samples", "Fidelity and coverage", "Novelty",
                     "Greyness and blur", "Likelihood in detail", "Pair by pair", "Labels",
                     "Learning", "Completions", "Between two codes", "Cost", "Nature",
                     "How to read this", "About the models", "Data", "Do it again"]  # fmt: skip


def test_every_cell_of_every_table_is_on_the_page():
    results = full()
    text = re.sub(r"[\u2007\u2008]", "", words(render(quick(results), {})))
    told = [*texts(sample_tables.fidelity_table, results, "pixels"), *texts(tables.costs, results),
            *texts(sample_tables.novelty_table, results, "features"),
            *texts(sample_tables.equal_table, results), *texts(sample_tables.label_table, results),
            *texts(sample_tables.classifier_table, results),
            *texts(sample_tables.appearance_table, results), *texts(tables.natures, results),
            *texts(tables.likelihoods, results), *texts(tables.per_class, results),
            *texts(tables.pairs, results)]  # fmt: skip
    for row in told:
        for cell in row.values():
            head, _, rest = cell.partition(" [")
            interval, _, mark = rest.partition("]")
            # the page has a mark in front of the interval
            shown = f"{head} {mark.strip()} [{interval}]".replace("  ", " ") if rest else cell
            assert shown in text


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "real; 3 ± 1 [a, b] tie"])
def test_names_stay_names_in_every_table(hostile):
    results = quick(full())
    for m in results["models"]:
        if m["likelihood"]:
            m["likelihood"]["per_class"][0]["class"] = hostile
    pixelcnn = results["models"][2]
    pixelcnn["model"] = hostile
    for each in results["pairs"]:
        each["models"] = [hostile if name == "pixelcnn" else name for name in each["models"]]
    results["views"][0] |= {"extractor": hostile, "note": hostile}
    pixelcnn["samples"]["warnings"] = [hostile]
    page = render(results, {})
    assert "<script" not in page
    # main, fidelity and novelty in two views, likelihood, class, pairs, labels, blur, cost, nature
    assert words(page).count(hostile) >= 14
    first = [words(cell) for cell in re.findall(r'<th scope="row">(.*?)</th>', page)]
    assert first.count(hostile) == 13


def test_vectors_are_in_nats_in_every_table():
    results = quick(full())
    results["data"] |= {"levels": None, "event_shape": [2], "name": "moons", "truth": -0.9}
    results["views"] = results["views"][:1]
    for m, nats in zip(results["models"], (-1.0, -1.2, -1.5, None, -1.21, None), strict=True):
        if m["likelihood"]:
            found = {"bits_per_dim": None, "log_likelihood": nats, "standard_error": 0.012}
            m["likelihood"] |= found | {"per_class": None}
            m["likelihood"]["train"] = found | {"exact": m["likelihood"]["exact"]}
            m["kl"] = fig(-0.9 - nats, 0.02)
    ends = {"low": -0.02, "high": 0.003, "tie": True}
    results["pairs"] = [{"models": ["nice", "vae"], "difference": -0.01, **ends}]
    rows = by_model(texts(tables.likelihoods, results))
    assert rows["vae"]["training"] == "≥ −1.200 ± 0.012"
    assert "test, nats" not in rows["vae"]
    assert by_model(table(results))["gmm"]["KL to the truth, nats"] == "= 0.10 [0.08, 0.12]"
    assert (
        by_model(texts(tables.pairs, results))["vae"]["than nice"] == "+0.010 [−0.003, +0.020] tie"
    )
    text = words(render(results, {}))
    assert "How many more nats of log-likelihood the model of a row gives" in text
    assert "The density that the data were drawn from gives −0.900 nats." in text
    assert "bits" not in text


def test_the_classes_of_samples_stand_beside_those_of_real_data():
    results = full()
    results["data"]["class_names"] = ["cat", "dog <b>"]
    results["references"]["real"]["class_shares"] = [0.25, 0.75]
    results["models"][0]["samples"]["class_shares"] = [0.5, 0.5]
    name = results["models"][0]["model"]
    assert texts(sample_tables.class_table, results) == [
        {"class": "cat", sample_tables.REAL: "25.0 %", name: "50.0 %"},
        {"class": "dog <b>", sample_tables.REAL: "75.0 %", name: "50.0 %"},
    ]
    assert "dog &lt;b&gt;" in render(results, {})
